"""A step of the encoder's training and its measurement: which images, styles, weights and rates."""

from pathlib import Path

from common import runs
from common.data import ImageSet, to_model_range
from common.metrics import identity

import pytest
import torch
from small_gans import save_pets

from hw3_stylegan_sampling import encoder as encoders
from hw3_stylegan_sampling import projection, train_encoder, weights
from hw3_stylegan_sampling.networks import Architecture, Generator

SMALL = Architecture(size=16, channels=(8, 8, 8), z_dim=6, w_dim=8, noise=False)
MEAN = "def load(device):\n    return lambda images: images.mean((2, 3)) + 0.1\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A generator's file beside pictures and a network that knows faces by their mean colour."""
    root = tmp_path_factory.mktemp("data")
    save_pets(root / "pets", {"train": 24, "val": 6})
    torch.manual_seed(0)
    generator = Generator(SMALL).eval()
    generator.estimate_w_mean(500)
    weights.save(root / "net.safetensors", generator, "a test")
    (root / "mean.py").write_text(MEAN)
    return root


def config(folder: Path, outdir: Path, **changes) -> train_encoder.Config:
    small = {"steps": 1, "batch_size": 4, "measure_every": 1, "measure_images": 4, "device": "cpu",
             "perceptual": "small", "identity": str(folder / "mean.py")}  # fmt: skip
    return train_encoder.Config(
        network=str(folder / "net.safetensors"), data=str(folder / "pets"), outdir=outdir,
        **{**small, **changes},
    )  # fmt: skip


def spied(monkeypatch, owner, name: str) -> list[tuple]:
    """Arguments and answer of every call."""
    calls, function = [], getattr(owner, name)

    def spy(*given):
        answer = function(*given)
        calls.append((*given, answer))
        return answer

    monkeypatch.setattr(owner, name, spy)
    return calls


def test_known_styles_are_compared_for_generated_images_and_the_rest_for_those_of_the_set(
    folder, tmp_path, monkeypatch
):
    answers = spied(monkeypatch, encoders.Encoder, "forward")
    known = spied(monkeypatch, train_encoder, "known_styles")
    errors = spied(monkeypatch, train_encoder, "styles_error")
    losses = spied(monkeypatch, train_encoder.Losses, "forward")
    run_dir = train_encoder.main(config(folder, tmp_path, styles=0.25))
    _, given, found = answers[0]
    generator, *_, ws = known[0]
    compared, wanted, spread, error = errors[0]
    assert torch.equal(wanted, ws) and torch.equal(compared, found[:4])
    assert torch.allclose(given[:4], generator.synthesis(ws, "const").clamp(-1, 1), atol=1e-5)
    _, images, of_set, unit, terms = losses[0]
    assert torch.equal(images, given[4:]) and torch.equal(of_set, found[4:]) and torch.equal(unit, spread)
    train = to_model_range(train_encoder.load(config(folder, tmp_path), generator, "train").images)
    assert torch.cdist(images.flatten(1), train.flatten(1)).min(1).values.max() < 1e-3
    line = runs.read_metrics(run_dir)[-1]
    assert line["train/styles"] == pytest.approx(0.25 * error.mean().item(), rel=1e-5)
    for name, loss in terms.items():
        if name != "styles":
            assert line[f"train/{name}"] == pytest.approx(loss.mean().item(), rel=1e-4), name


def test_the_learning_rate_falls_as_half_a_cosine(folder, tmp_path, monkeypatch):
    rates = spied(monkeypatch, train_encoder, "set_learning_rate")
    train_encoder.main(config(folder, tmp_path, steps=4, measure_every=4, learning_rate=0.01))
    half = 0.5**0.5
    expected = [0.01, 0.01 * (1 + half) / 2, 0.005, 0.01 * (1 - half) / 2]
    assert [rate for _, rate, _ in rates] == pytest.approx(expected)


def test_the_measurement_is_of_validation_images_and_of_generated_ones(folder, tmp_path):
    one = config(folder, tmp_path)
    generator = weights.read(folder / "net.safetensors").requires_grad_(False)
    encoder = train_encoder.build(generator).eval()
    losses = train_encoder.Losses(one, generator, torch.device("cpu"))
    pictures = train_encoder.load(one, generator, "val").images
    numbers, images = train_encoder.measure(encoder, losses, ImageSet(pictures, "pets", "val", "a test"))
    with torch.no_grad():
        real = to_model_range(pictures)
        z = torch.randn(4, 6, generator=torch.Generator().manual_seed(2))
        generated = generator.synthesis(generator.styles(z), "const").clamp(-1, 1)
        again, once_more = (generator.synthesis(encoder(each), "const") for each in (real, generated))
    assert numbers["set_psnr_db"] == pytest.approx(projection.psnr(real, again).mean().item(), abs=1e-3)
    assert numbers["generated_psnr_db"] == pytest.approx(
        projection.psnr(generated, once_more).mean().item(), abs=1e-3
    )
    net = losses.identity
    cosine = identity.similarity(identity.embed(net, again), identity.embed(net, pictures)).mean().item()
    assert numbers["set_identity"] == pytest.approx(cosine, abs=1e-5) and cosine < 0.9999
    assert torch.equal(images[:4], pictures) and len(images) == 8


def test_the_spread_of_w_is_the_unit_of_an_answer():
    generator = Generator(SMALL).eval()
    generator.estimate_w_mean(100)
    encoder, images = train_encoder.build(generator).eval(), torch.rand(3, 3, 16, 16) * 2 - 1
    before = encoder(images) - encoder.w_mean
    encoder.spread *= 3
    torch.testing.assert_close(encoder(images) - encoder.w_mean, 3 * before)
