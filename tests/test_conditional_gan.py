"""A GAN whose networks are told the attributes, from training to evaluation."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from common import checkpoints, data
from common.data import avatars, to_model_range
from common.errors import InputError
from common.metrics import extractors
from hw2_gan import compare_hypotheses, eval_gan, networks, train_gan

SMALL = {"size": 32, "width": 0.125, "epochs": 1, "batch_size": 8, "measure_images": 8, "device": "cpu"}
OPTIONS = tuple(map(len, avatars.CHOICES.values()))


@pytest.fixture(autouse=True)
def _few_images(monkeypatch, tmp_path):
    """24 avatars in each split."""
    load = lambda config, split, count=None: data.load(
        config.data, split, size=config.size, count=24, data_dir=tmp_path / "data"
    )
    monkeypatch.setattr(train_gan, "load_split", load)


def config(outdir: Path, **changes) -> train_gan.Config:
    one = train_gan.Config(hypothesis="6", conditional=True, checkpoint_seconds=1e9, outdir=outdir)
    return dataclasses.replace(one, **{**SMALL, **changes})


def test_each_image_is_judged_with_its_own_attributes(tmp_path, monkeypatch):
    seen, drawn = [], []
    judge, draw = networks.DCGANDiscriminator.forward, networks.ConditionalGenerator.forward

    def judging(self, images, choices=None):
        seen.append((images.detach().clone(), choices))
        return judge(self, images, choices)

    def drawing(self, z):
        images = draw(self, z)
        drawn.append((images.detach().clone(), self.choices(z)))
        return images

    monkeypatch.setattr(networks.DCGANDiscriminator, "forward", judging)
    monkeypatch.setattr(networks.ConditionalGenerator, "forward", drawing)
    one = config(tmp_path, r1_gamma=1.0, penalty_every=1, discriminator_steps=2, generator_steps=2)
    train_gan.main(one)
    train = train_gan.load_split(one, "train")
    table = torch.stack([train.attributes[name] for name in avatars.CHOICES], 1)
    known = [(to_model_range(train.images[i]), table[i]) for i in range(len(train))]
    known += [(image, choice) for images, choices in drawn for image, choice in zip(images, choices)]
    assert len(seen) == 1 * (2 * 3 + 2)  # 1 step: D twice real, fake and penalty, then G twice
    for images, choices in seen:
        for image, told in zip(images, choices):
            assert any(torch.equal(image, one) and torch.equal(told, its) for one, its in known)


def test_training_and_evaluation(tmp_path):
    one = config(tmp_path)
    torch.manual_seed(0)
    fresh = {"generator": train_gan.build_generator(one), "discriminator": train_gan.build_discriminator(one)}
    assert fresh["generator"].latent == 100 + len(OPTIONS)
    run_dir = train_gan.main(one)
    parts = checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]
    for name, network in fresh.items():
        for key, value in network.named_parameters():
            assert parts[name][key].isfinite().all() and not torch.equal(parts[name][key], value), key
    told = parts["generator"]["generator.start.0.weight"][100:]  # of the one-hot inputs
    assert told.shape[0] == sum(OPTIONS)
    evaluated = eval_gan.main(
        eval_gan.Config(run_dir, frames=4, samples=24, device="cpu", outdir=tmp_path / "evaluated")
    )
    summary = json.loads((evaluated / "summary.json").read_text())
    logits = {name: value for name, value in summary["metrics"].items() if "logit" in name}
    assert len(logits) == 3
    generator, discriminator = eval_gan.load_networks(one, run_dir)
    test = train_gan.load_split(one, "test")
    found = eval_gan.opinions(discriminator, test.images, train_gan.attributes(one, test))
    assert found.mean().item() == pytest.approx(logits["eval/d_test_mean_logit"], abs=1e-4)
    assert not torch.allclose(found, eval_gan.opinions(discriminator, test.images, None))
    assert "eval/obeyed_all" not in summary["metrics"]  # no extractor reads images of 32 pixels
    z = torch.randn(3, generator.latent)
    assert torch.equal(train_gan.chosen(generator, z), generator.choices(z))
    assert train_gan.chosen(generator.generator, z) is None


def test_obedience_is_the_share_of_images_that_show_what_was_ordered():
    images = avatars.draw_set("test", 64, 60, 0)
    choices = torch.stack([images.attributes[name] for name in avatars.CHOICES], 1)
    extractor = extractors.load_extractor("avatars")
    features = extractors.features_of(images, extractor)
    exact = eval_gan.obeyed(list(avatars.CHOICES), choices, features, extractor)
    styles = {*avatars.STYLE_OPTIONS, "expression", "all"}  # of the background the extractor knows nothing
    assert exact.keys() == {f"obeyed_{name}" for name in styles} and min(exact.values()) > 0.95
    other = choices.clone()
    other[:15, 0] = (other[:15, 0] + 1) % 7  # a quarter of the orders for another hair
    wrong = eval_gan.obeyed(list(avatars.CHOICES), other, features, extractor)
    assert wrong["obeyed_hair"] == pytest.approx(exact["obeyed_hair"] - 0.25, abs=0.02)
    assert wrong["obeyed_clothes"] == exact["obeyed_clothes"] and wrong["obeyed_all"] <= 0.75


@pytest.mark.parametrize("name", ["celeba", "some/folder"])
def test_sets_without_attributes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"--conditional --data {name}: .* of avatars and creatures; take"):
        train_gan.check(config(tmp_path, data=name))
    study = compare_hypotheses.Config(data=name, hypotheses=("6", "7"))
    with pytest.raises(InputError, match=f"--hypotheses 7: --conditional --data {name}: "):
        compare_hypotheses.check(study)
