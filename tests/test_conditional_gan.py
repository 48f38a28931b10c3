"""A GAN whose networks are told the attributes, from training to evaluation."""

import dataclasses
import json
import types
from pathlib import Path

from common import checkpoints, data, devices
from common.data import avatars, to_model_range
from common.errors import InputError
from common.metrics import attributes, extractors, samples

import pytest
import torch

from hw2_gan import compare_hypotheses, eval_gan, gan_data, networks, players, train_gan

SMALL = {"size": 32, "width": 0.125, "epochs": 1, "batch_size": 8, "measure_images": 8, "device": "cpu"}
OPTIONS = tuple(map(len, avatars.CHOICES.values()))


@pytest.fixture(autouse=True)
def _few_images(monkeypatch, tmp_path):
    """24 avatars in each split."""
    load = lambda config, split, count=None: data.load(
        config.data, split, size=config.size, count=24, data_dir=tmp_path / "data"
    )
    monkeypatch.setattr(gan_data, "load_split", load)


def config(outdir: Path, **changes) -> train_gan.Config:
    one = train_gan.Config(hypothesis="6", conditional=True, checkpoint_seconds=1e9, outdir=outdir)
    return dataclasses.replace(one, **{**SMALL, **changes})


def test_each_image_is_judged_with_its_own_attributes(tmp_path, monkeypatch):
    judged, drawn = [], []
    judge, draw = networks.DCGANDiscriminator.forward, networks.ConditionalGenerator.forward

    def judging(self, images, labels=None):
        judged.append((images.detach().clone(), labels))
        return judge(self, images, labels)

    def drawing(self, z):
        images = draw(self, z)
        drawn.append((images.detach().clone(), self.labels(z)))
        return images

    monkeypatch.setattr(networks.DCGANDiscriminator, "forward", judging)
    monkeypatch.setattr(networks.ConditionalGenerator, "forward", drawing)
    one = config(tmp_path, r1_gamma=1.0, penalty_every=1, discriminator_steps=2)
    train_gan.main(one)
    train = gan_data.load_split(one, "train")
    table = torch.stack([train.attributes[name] for name in avatars.CHOICES], 1)
    known = [(to_model_range(train.images[i]), table[i]) for i in range(len(train))]
    known += [(image, label) for images, labels in drawn for image, label in zip(images, labels)]
    assert len(judged) == 1 * (2 * 3 + 1)  # 1 step: D twice real, fake and penalty, then G
    for images, labels in judged:
        for image, label in zip(images, labels):
            assert any(torch.equal(image, one) and torch.equal(label, its) for one, its in known)


def test_training_and_evaluation(tmp_path):
    one = config(tmp_path)
    torch.manual_seed(0)
    fresh = {"generator": players.build_generator(one), "discriminator": players.build_discriminator(one)}
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
    _, discriminator = eval_gan.load_networks(one, run_dir)
    test = gan_data.load_split(one, "test")
    found = eval_gan.logits_of(discriminator, test.images, gan_data.labels(one, test))
    assert found.mean().item() == pytest.approx(logits["eval/d_test_mean_logit"], abs=1e-4)
    assert not torch.allclose(found, eval_gan.logits_of(discriminator, test.images, None))
    assert "eval/obeyed_all" not in summary["metrics"]  # no extractor reads images of 32 pixels


def test_obedience_is_the_share_of_images_that_show_what_was_ordered():
    images = avatars.draw_set("test", 64, 60, 0)
    ordered = {name: images.attributes[name] for name in avatars.CHOICES}
    extractor = extractors.load_extractor("avatars")
    found = extractor.answers(extractors.features_of(images, extractor))
    exact = attributes.obeyed(ordered, found)
    styles = {*avatars.STYLE_OPTIONS, "expression", "all"}  # of the background the extractor knows nothing
    assert exact.keys() == {f"obeyed_{name}" for name in styles}
    assert min(exact.values()) > 0.95
    other = {**ordered, "hair": ordered["hair"].clone()}
    other["hair"][:15] = (other["hair"][:15] + 1) % 7  # a quarter of the orders for another hair
    wrong = attributes.obeyed(other, found)
    assert wrong["obeyed_hair"] == pytest.approx(exact["obeyed_hair"] - 0.25, abs=0.02)
    assert wrong["obeyed_clothes"] == exact["obeyed_clothes"]
    assert wrong["obeyed_all"] <= 0.75


def test_a_study_measures_whether_orders_are_obeyed(tmp_path):
    """By the averaged weights, and of the latents that its images are drawn from."""
    one = config(tmp_path, size=64, width=0.0625)
    run_dir = train_gan.main(one)
    real = samples.reference_of(gan_data.test_images(one, 24))
    run = types.SimpleNamespace(device=devices.start("cpu"))
    study = compare_hypotheses.Config(samples=24)
    row = compare_hypotheses.measure(study, run, compare_hypotheses.Training("6", 0, run_dir), real)
    generator, _ = eval_gan.load_networks(one, run_dir)
    z = samples.latents(24, generator.latent, seed=0)
    found = real.extractor.answers(real.features_of(samples.decode(generator, z)))
    ordered = dict(zip(avatars.CHOICES, generator.labels(z).unbind(1)))
    expected = {f"ema_{name}": share for name, share in attributes.obeyed(ordered, found).items()}
    assert "ema_obeyed_expression" in expected
    assert {name: row[name] for name in expected} == expected
    features = real.features_of(real.images)
    own = gan_data.labels(one, gan_data.test_images(one, 24))
    assert eval_gan.obeyed(one, own, features, real)["obeyed_all"] > 0.8  # real images show what they are
    assert eval_gan.obeyed(one, own.flip(0), features, real)["obeyed_all"] < 0.2
    assert eval_gan.obeyed(one, None, features, real) == {}


def test_obedience_by_hand():
    ordered = {"hair": torch.tensor([0, 1, 2, 0]), "hat": torch.tensor([1, 1, 0, 0]), "shoes": torch.zeros(4)}
    found = {"hair": torch.tensor([0, 1, -1, 1]), "hat": torch.tensor([1, 0, 0, 1])}
    assert attributes.obeyed(ordered, found) == {"obeyed_hair": 0.5, "obeyed_hat": 0.5, "obeyed_all": 0.25}
    with pytest.raises(ValueError, match=r"none of \['shoes'\]"):
        attributes.obeyed({"shoes": ordered["shoes"]}, found)


@pytest.mark.parametrize("name", ["celeba", "some/folder"])
def test_sets_without_attributes_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"--conditional --data {name}: .* of avatars and creatures; take"):
        train_gan.check(config(tmp_path, data=name))
    study = compare_hypotheses.Config(data=name, hypotheses=("6", "7"))
    with pytest.raises(InputError, match=f"--hypotheses 7: --conditional --data {name}: "):
        compare_hypotheses.check(study)
