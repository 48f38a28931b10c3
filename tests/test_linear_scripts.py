"""linear_diffusion.py and linear_costs.py: what they measure, draw, keep and refuse."""

import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

from common import command_line, figures
from common.data import digits
from common.metrics import samples

import pytest
import torch
from linear_worlds import COLOURS, OPTIONS, image_set, pictures, two_classes
from PIL import Image

from hw4_diffusion import (
    linear_costs,
    linear_denoiser,
    linear_diffusion,
    linear_encoder,
    linear_figures,
    linear_measures,
)
from hw4_diffusion.linear_captions import Captions, captions_of

# ---- measures and figures


def test_test_images_themselves_obey_their_captions_and_are_at_no_distance():
    few = digits.draw_set("test", 28, 200, 0)
    numbers = linear_measures.of_images(few.images, captions_of(few), samples.reference_of(few))
    assert numbers["eval/obeyed_all_percent"] > 97
    assert numbers["eval/fd_digits_200"] == pytest.approx(0, abs=1e-3)


def test_what_the_encoder_loses():
    images = pictures(count=200, channels=1)
    encoder = linear_encoder.fit(images, 12)
    numbers = linear_measures.of_encoder(encoder, images)
    rest = linear_encoder.fit(images, 20).variance[12:].sum().item()
    assert numbers["val/encoder_mse"] == pytest.approx(rest / 20 / 4, rel=1e-4)
    total = linear_encoder.fit(images, 20).variance.sum().item()
    assert numbers["val/encoder_lost_variance"] == pytest.approx(rest / total, rel=1e-4)


def test_a_sheet_has_a_row_for_each_option():
    captions = captions_of(image_set(attributes=COLOURS, options=OPTIONS))
    shown, rows = linear_figures.sheet(captions, per_option=3)
    assert rows == ["red", "blue"]
    assert shown.chosen["colour"].tolist() == [0, 0, 0, 1, 1, 1]
    assert shown.chosen["shape"].tolist() == [2, 0, 1, 2, 0, 1]
    shown, rows = linear_figures.sheet(Captions(4, {}, {}), per_option=6)
    assert (shown.embedded.shape, rows) == ((6, 0), [""])


def test_the_film_shows_every_option_and_ends_with_the_samples(tmp_path):
    shades = torch.tensor([10, 11, 20, 21, 30, 31])[:, None, None, None]  # two samples of three options
    images = [(shades + 40 * i).to(torch.uint8).expand(-1, 1, 4, 5) for i in range(6)]
    linear_figures.save_film(tmp_path / "way.gif", images, options=3)
    with Image.open(tmp_path / "way.gif") as film:
        assert film.n_frames == 4 + linear_figures.HELD  # 0, 2, 4, 5
        film.seek(film.n_frames - 1)
        shown = film.convert("L")
        assert [shown.getpixel((7 * 2 * column + 2, 2)) for column in range(3)] == [210, 220, 230]


# ---- the scripts


def test_the_denoising_error_is_that_of_each_level_s_own_weights():
    """Against draws of the noise, on latents that the weights were not made for."""
    torch.manual_seed(0)
    latents, captions = torch.randn(2, 300, 3).double(), torch.eye(2).double().repeat(150, 1)
    denoiser = linear_denoiser.LinearDenoiser(latents[0] @ torch.rand(3, 3).double(), captions)
    levels, expected = [(0.9, 0.4), (0.3, 0.95)], 0.0
    z, c = latents[1].repeat(300, 1), captions.repeat(300, 1)
    for alpha, sigma in levels:
        guess = denoiser(alpha * z + sigma * torch.randn_like(z), c, alpha, sigma)
        expected += (guess - z).square().mean().item() / 2
    found = linear_measures.denoising_error(denoiser, latents[1], captions, levels)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.fixture
def few_digits(monkeypatch):
    monkeypatch.setattr(digits, "DEFAULT_COUNTS", {"train": 600, "val": 60, "test": 60})


def read(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_the_script_leaves_samples_the_way_and_numbers(few_digits, tmp_path):
    config = linear_diffusion.Config(
        components=12, steps=6, samples=50, data_dir=tmp_path / "data", outdir=tmp_path
    )
    linear_diffusion.main(config)
    folder = tmp_path / "hw4" / "0001-linear-digits"
    summary = read(folder)
    assert summary["figures"] == ["samples.png", "way.png", "way.gif"]
    assert all((folder / name).stat().st_size > 2_000 for name in summary["figures"])
    assert (summary["n_train"], summary["n_test"]) == (600, 50)
    metrics = summary["metrics"]
    assert metrics["eval/fd_digits_50"] > metrics["eval/fd_digits_50_reconstructions"] > 0
    assert 0 < metrics["val/denoising_error"] < 1
    linear_diffusion.main(replace(config, solver="gradient-descent", iterations=4000))
    same = read(tmp_path / "hw4" / "0002-linear-digits")["metrics"]
    assert same == pytest.approx(metrics, rel=1e-4)
    linear_diffusion.main(replace(config, products=False))
    assert (
        read(tmp_path / "hw4" / "0003-linear-digits")["metrics"]["val/denoising_error"]
        > (metrics["val/denoising_error"])
    )


def test_a_folder_without_classes_is_drawn_without_captions(tmp_path):
    for i, image in enumerate(pictures(count=60, height=16, width=16)):
        figures.save_png(tmp_path / "mine" / f"{i}.png", image)
    config = linear_diffusion.Config(
        data=str(tmp_path / "mine"), size=16, components=3, steps=3, samples=10, outdir=tmp_path
    )
    linear_diffusion.main(config)
    summary = read(tmp_path / "hw4" / "0001-linear-mine")
    assert not any("fd_" in name for name in summary["metrics"])


def test_what_linearity_costs_is_tabled(few_digits, tmp_path):
    config = linear_costs.Config(
        components=10,
        steps=8,
        component_sweep=(10, 4),
        step_sweep=(8, 2),
        iterations=50,
        seeds=(0, 1),
        samples=60,
        data_dir=tmp_path / "data",
        outdir=tmp_path,
    )
    linear_costs.main(config)
    folder = tmp_path / "hw4" / "0001-linear-costs-digits"
    summary = read(folder)
    rows = {row["model"]: row for row in summary["rows"]}
    assert list(rows) == [
        "products", "one regression", "no products", "no caption", "Gaussians", "encoder only",
        "training images",
    ]  # fmt: skip
    assert rows["products"]["error"] < rows["no products"]["error"] < rows["no caption"]["error"]
    assert rows["products"]["seeds"] == 2 and rows["products"]["fd_sd"] > 0
    assert rows["training images"]["fd"] < rows["encoder only"]["fd"] < rows["products"]["fd"]
    assert 0.7 < rows["Gaussians"]["variance"] < 1.3
    assert [row["components"] for row in summary["by_components"]] == [4, 10]
    assert summary["by_components"][1]["fd_encoder"] == pytest.approx(rows["encoder only"]["fd"])
    of_steps = summary["by_steps"]
    assert [row["steps"] for row in of_steps] == [2, 8]
    assert of_steps[1]["exact_ddim"] < of_steps[0]["exact_ddim"]
    assert "exact_ancestral" not in of_steps[0]
    assert [way["gap"] < 1e-2 for way in summary["descent"]] == [True] * 3
    assert "| no products | 2 |" in (folder / "table.md").read_text(encoding="utf-8")
    assert all((folder / name).stat().st_size > 10_000 for name in summary["figures"])


def test_the_exact_error_is_that_of_many_samples(few_digits, tmp_path):
    config = linear_costs.Config(components=4, component_sweep=(4,), samples=60, data_dir=tmp_path / "data")
    world = linear_costs.prepare(config)
    model = world.train()
    few, many = (linear_costs.exact_error(world, model, "dpm-solver++", steps) for steps in (5, 200))
    assert many < few / 50
    captions = torch.eye(10)[torch.arange(10).repeat_interleave(4000)]
    *_, (_, latents) = linear_diffusion.sample(model, captions, "dpm-solver++", 5, seed=0)
    squared = []
    for label, gaussian in enumerate(linear_costs.class_moments(world, model)):
        own = latents[4000 * label : 4000 * (label + 1)].double()
        drawn = linear_costs.frechet.Moments(own.mean(0), torch.cov(own.T))
        squared.append(linear_costs.frechet.distance(drawn, gaussian))
    assert (sum(squared) / 10) ** 0.5 == pytest.approx(few, rel=0.1)


def test_gaussians_drawn_at_once_have_the_moments_of_the_class_of_their_caption(monkeypatch):
    latents, _, of = two_classes()
    moments = []
    for label in (0, 1):
        own = latents[of == label]
        moments.append(linear_costs.frechet.Moments(own.mean(0), torch.cov(own.T)))
    monkeypatch.setattr(linear_costs, "class_moments", lambda world, model: moments)
    labels = torch.arange(100_000) % 2
    captions = Captions(len(labels), {"label": labels}, {"label": ("a", "b")})
    world = SimpleNamespace(captions={"test": captions})
    model = SimpleNamespace(encoder=SimpleNamespace(dimension=3))
    drawn = linear_costs.drawn_at_once(world, model, seed=0)
    for label, gaussian in enumerate(moments):
        own, scale = drawn[labels == label], gaussian.sigma.diagonal().max()
        assert ((own.mean(0) - gaussian.mu).abs() < 0.03 * scale.sqrt()).all()
        assert ((torch.cov(own.T) - gaussian.sigma).abs() < 0.03 * scale).all()


@pytest.fixture
def costs(few_digits, tmp_path):
    """What is compared by linear_costs.py, and its model of 4 dimensions and 3 steps."""
    flags = {"components": 4, "component_sweep": (4,), "steps": 3, "samples": 60}
    world = linear_costs.prepare(linear_costs.Config(**flags, data_dir=tmp_path / "data"))
    return world, world.train()


def test_the_sweeps_draw_with_the_first_seed(costs, monkeypatch):
    world, model = costs
    seeds = []
    monkeypatch.setattr(
        linear_costs.World, "sampled", lambda self, model, sampler, steps, seed: seeds.append(seed) or {}
    )
    monkeypatch.setattr(linear_costs, "exact_error", lambda *_: 0.0)
    other = dataclasses.replace(world, seed=7)
    linear_costs.by_steps(other, model, 2)
    linear_costs.by_components(other, 2)
    assert set(seeds) == {7} and other.base.seed == 0


def test_the_gaussian_of_a_single_component_is_drawn_too(costs):
    world, _ = costs
    model = world.train(components=1)
    latents = model.encoder.encode(world.sets["train"].images)
    (labels,) = world.captions["train"].chosen.values()
    gaussian = linear_costs.class_moments(world, model)[3]
    expected = latents[labels == 3].var(correction=0)
    assert gaussian.sigma.shape == (1, 1) and torch.allclose(gaussian.sigma[0, 0], expected)
    drawn = linear_costs.drawn_at_once(world, model, 0)
    assert drawn.shape == (len(world.sets["test"]), 1) and drawn.isfinite().all()


def test_errors_are_of_validation_latents_and_real_images_are_those_trained_on(costs):
    world, model = costs
    rows = {row["model"]: row for row in linear_costs.compare_denoisers(world, model, (0,))}
    val, real = world.sets["val"], world.sets["train"].few(60).images
    levels = [model.schedule.pair(t) for t in (1000, 667, 333)]
    error = linear_measures.denoising_error(
        model.denoiser, model.encoder.encode(val.images), captions_of(val).embedded, levels
    )
    assert rows["products"]["error"] == pytest.approx(error, rel=1e-6)
    expected = world.reference.distance(world.reference.features_of(real))
    assert rows["training images"]["fd"] == pytest.approx(expected, rel=1e-6)
    latents = model.encoder.encode(world.sets["test"].images)
    once, twice = (world.drawn(model, scale * latents)["variance"] for scale in (1, 2))
    assert twice == pytest.approx(4 * once, rel=1e-5)


def test_what_is_compared_is_what_the_numbers_are_called(costs, monkeypatch):
    world, model = costs
    monkeypatch.setattr(
        linear_costs.World,
        "sampled",
        lambda self, model, sampler, steps, seed: {
            "fd": (sampler, steps, model.denoiser.products, model.encoder.dimension)
        },
    )
    monkeypatch.setattr(linear_costs, "exact_error", lambda world, model, sampler, steps: sampler)
    row = linear_costs.by_steps(world, model, 2)
    for sampler in linear_costs.SAMPLERS:
        assert row[f"fd_{sampler}"] == (sampler, 2, True, 4)
        assert row.get(f"exact_{sampler}", "ancestral") == sampler
    row = linear_costs.by_components(world, 3)
    assert row["fd_products"] == (world.base.sampler, 3, True, 3)
    assert row["fd_no_products"] == (world.base.sampler, 3, False, 3)


def test_the_way_down_is_told_in_shares_of_the_objective():
    latents, captions, _ = two_classes()
    denoiser = linear_denoiser.LinearDenoiser(latents, captions)
    model = SimpleNamespace(denoiser=denoiser, schedule=SimpleNamespace(pair=lambda t: (0.6, 0.8)))
    way = linear_costs.way_down(model, 500, penalty=0.5, iterations=6)
    left, right = denoiser.moments.normal_equations(0.6, 0.8)
    objective = lambda W: ((W * (left @ W)).sum() - 2 * (W * right).sum() + 0.5 * W.square().sum()).item()
    least = objective(linear_denoiser.ridge(left, right, 0.5))
    started = objective(torch.zeros_like(right)) - least
    reached = [linear_denoiser.descend(left, right, 0.5, count) for count in range(1, 7)]
    assert way["gaps"] == pytest.approx([(objective(W) - least) / started for W in reached], rel=1e-6)
    assert way["gap"] == way["gaps"][-1]


@pytest.mark.parametrize(
    ("module", "arguments", "named"),
    [
        (linear_diffusion, ["--components", "601"], "--components 601: 600 images of 784 values"),
        (linear_diffusion, ["--steps", "1001"], "--steps 1001: the model was trained with 1000 times"),
        (linear_diffusion, ["--attributes", "hair"], "--attributes hair: digits has label, style"),
        (linear_diffusion, ["--ridge", "0"], "--ridge 0.0: must be greater than 0"),
        (linear_diffusion, ["--ridge", "nan"], "--ridge nan: must be a finite number"),
        (linear_diffusion, ["--data", "nothing-there"], "--data nothing-there: neither a data set"),
        (linear_costs, ["--seeds"], "--seeds, --component-sweep, --step-sweep: name at least one"),
        (linear_costs, ["--attributes", "style"], "--data digits: no shipped network reads these captions"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(few_digits, tmp_path, module, arguments, named):
    arguments = [*arguments, "--data-dir", str(tmp_path / "data"), "--outdir", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        command_line.run(module.main, module.Config, arguments)
    assert str(ended.value).startswith(f"error: {named}")
    assert "\n" not in str(ended.value)
    assert not (tmp_path / "hw4").exists()
