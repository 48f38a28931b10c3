"""What a VAE's evaluation measures of what: which split, which latents, which classes, how many draws."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from common import gaussian_mixture, latent_space
from common.data import ImageSet
from common.metrics import extractors

import pytest
import torch

from hw1_bayes_and_autoencoders import eval_vae, train_vae, vae_measures

LEVEL = {"train": 50, "val": 100, "test": 200}
COUNTS = {"train": 12, "val": 6, "test": 8}


@pytest.fixture
def sets() -> dict[str, ImageSet]:
    """Images of two classes, of one grey level in each split."""
    return {
        split: ImageSet(
            torch.full((count, 1, 4, 4), LEVEL[split], dtype=torch.uint8), name="grey", split=split,
            source="drawn", labels=torch.arange(count) % 2, class_names=("even", "odd"),
        )
        for split, count in COUNTS.items()
    }  # fmt: skip


class Model(torch.nn.Linear):
    """As much of a conditional VAE as an evaluation asks for."""

    latent, classes = 2, 2

    def __init__(self):
        super().__init__(1, 1)
        self.pixel_log_variance = torch.tensor(-2.0)

    def images(self, z, labels):
        """The first number of z as a grey level, and one more for odd ones."""
        return (z[:, :1, None, None] + labels[:, None, None, None]).expand(-1, 1, 4, 4).clamp(-1, 1)


def level_of(x: torch.Tensor) -> str:
    """The split whose grey images in [-1, 1] these are."""
    return next(split for split, level in LEVEL.items() if (x - (level / 127.5 - 1)).abs().max() < 1e-5)


# ---- a row of the table


@pytest.fixture
def asked(sets, monkeypatch) -> dict:
    """What `measure` passes on, of a Gaussian model with beta 3 and the seed 5."""
    seen = {}

    def encode(model, x, labels):
        seen.setdefault("seed", torch.initial_seed())
        return f"latents of {level_of(x)}", len(labels)

    monkeypatch.setattr(train_vae, "load_best", lambda *_: Model())
    monkeypatch.setattr(vae_measures, "encode", encode)
    for name in ("bounds", "distances"):
        monkeypatch.setattr(
            vae_measures, name, lambda *given, name=name, **more: seen.update({name: (given, more)}) or {}
        )
    monkeypatch.setattr(
        vae_measures, "latents_to_decode", lambda *given: seen.update(decoded=given) or ({"prior": "z"}, {})
    )
    monkeypatch.setattr(
        eval_vae.vae_bounds, "linear_vae_dimensions", lambda *given: seen.update(linear=given) or 0
    )
    monkeypatch.setattr(eval_vae.runs, "read_json", lambda path: {"minutes": 1.0})
    trained = train_vae.Config(data="grey", likelihood="gaussian", beta=3.0, latent=2, conditional=True)
    config = eval_vae.Config((), seed=5, importance_samples=7, importance_images=3, components=(4,))
    eval_vae.measure(Path("run"), trained, config, sets, 6, "extractor", None)
    return seen


def test_bounds_and_distances_are_of_the_images_measured_on(asked, sets):
    (model, x, labels, latents), draws = asked["bounds"]
    assert level_of(x) == "test" and labels is sets["test"].labels and latents == ("latents of test", 8)
    assert draws == {"samples": 7, "images": 3} and asked["seed"] == 5
    (same, z, ordered, latents, test, extractor), _ = asked["distances"]
    assert same is model and z == {"prior": "z"} and torch.equal(ordered, sets["test"].few(6).labels)
    assert latents == ("latents of test", 8) and test is sets["test"] and extractor == "extractor"
    _, latents, known, ordered, count, components = asked["decoded"]
    assert latents == {split: (f"latents of {split}", COUNTS[split]) for split in COUNTS} and known is sets
    assert torch.equal(ordered, sets["test"].few(6).labels) and (count, components) == (6, (4,))


def test_a_linear_vae_is_asked_about_training_pixels_from_0_to_1(asked):
    pixels, variance, beta = asked["linear"]
    assert torch.allclose(pixels, torch.full_like(pixels, 50 / 255)) and len(pixels) == 12
    assert variance == pytest.approx(torch.tensor(-2.0).exp().item()) and beta == 3


@pytest.mark.parametrize("split", ["test", "val"])
def test_real_images_are_as_many_of_training_against_those_measured_on(split, sets, monkeypatch, tmp_path):
    """And every seed of a model is measured with the same draws."""
    measured, compared = [], []
    monkeypatch.setattr(eval_vae, "check", lambda config: [train_vae.Config(data="grey")])
    monkeypatch.setattr(train_vae, "load_split", lambda config, split: sets[split])
    monkeypatch.setattr(vae_measures, "extractor_for", lambda *_: "extractor")
    monkeypatch.setattr(extractors, "frechet", lambda *given: compared.append(given) or 1.5)
    monkeypatch.setattr(vae_measures, "conclusions", lambda *_: [])
    monkeypatch.setattr(eval_vae.vae_figures, "save_distances", lambda *given: compared.append(given[3]))
    monkeypatch.setattr(
        eval_vae, "measure", lambda *given: measured.append(given) or {"model": "VAE", "seed": 0}
    )
    eval_vae.main(eval_vae.Config(run_dirs=(Path("run"),), split=split, samples=5, outdir=tmp_path))
    (extractor, real, other), distance = compared
    assert extractor == "extractor" and distance == 1.5
    assert real.shape == other.shape == (5, 1, 4, 4)
    assert (real == LEVEL["train"]).all() and (other == LEVEL[split]).all()
    images = measured[0][3]["test"].images
    assert torch.equal(images, sets[split].few(5).images) and measured[0][4] == 5


# ---- the measures


def test_mixtures_are_fitted_to_training_latents_and_chosen_by_validation_ones(sets, monkeypatch):
    """One for each class, with its share of the components."""
    latents = {
        split: (
            torch.randn(count, 2) * 0.01 + LEVEL[split] + 10 * sets[split].labels[:, None],
            torch.full((count, 2), -40.0),
        )
        for split, count in COUNTS.items()
    }
    seen = []

    def fit(train, validation, sizes):
        seen.append((train, validation, sizes))
        parts = {
            "log_density": lambda z: z[:, 0].double(),
            "sample": lambda count: torch.ones(count, 2) * len(seen),
        }
        return SimpleNamespace(weights=torch.ones(len(seen)), **parts), None

    monkeypatch.setattr(gaussian_mixture, "fit_best", fit)
    labels = torch.tensor([1, 0, 1])
    drawn, numbers = vae_measures.latents_to_decode(Model(), latents, sets, labels, 3, (4, 8))
    for label, (train, validation, sizes) in enumerate(seen):
        assert (train - (50 + 10 * label)).abs().max() < 1 and len(train) == 6
        assert (validation - (100 + 10 * label)).abs().max() < 1 and len(validation) == 3
        assert sizes == [2, 4]
    assert drawn["mixture"].tolist() == [[2, 2], [1, 1], [2, 2]], "each of the mixture of its class"
    assert numbers["eval/mixture_components"] == 3


def test_the_importance_bound_takes_so_many_draws_of_images_from_all_parts_of_the_set(monkeypatch):
    seen = []

    def bound(model, x, labels, samples):
        seen.append((x, labels, samples))
        return torch.zeros(len(x))

    monkeypatch.setattr(vae_measures.vae_bounds, "importance_bound", bound)
    model = Model()
    model.reconstruct = lambda x, labels: x
    model.forward = lambda x, labels: {"reconstruction": torch.zeros(len(x))}
    x, labels = torch.randn(150, 1, 4, 4), torch.arange(150)
    latents = torch.randn(2, 150, 2).unbind(0)
    numbers = vae_measures.bounds(model, x, labels, latents, samples=9, images=120)
    rows = torch.arange(120) * 150 // 120
    assert torch.equal(torch.cat([part[0] for part in seen]), x[rows])
    assert torch.equal(torch.cat([part[1] for part in seen]), labels[rows])
    assert {part[2] for part in seen} == {9}
    kl = latent_space.kl_to_standard_normal(*latents).sum(1)[rows]  # of the images of the bound, here 0
    assert numbers["eval/posterior_gap_nats"] == pytest.approx(kl.mean().item(), rel=1e-5)


def test_images_are_decoded_with_their_own_labels(monkeypatch):
    monkeypatch.setattr(vae_measures, "CHUNK", 2)
    labels = torch.tensor([0, 0, 1, 0, 1])
    images = vae_measures.decode(Model(), torch.zeros(5, 2), labels)
    assert (images[:, 0, 0, 0] > 200).long().tolist() == labels.tolist()


def test_distances_are_to_all_images_and_of_a_class_to_its_own(sets, monkeypatch):
    """Reconstructions draw z from q, and their classes are those of the images."""
    torch.manual_seed(3)
    compared = []
    monkeypatch.setattr(extractors, "moments_of", lambda images, extractor: images)
    monkeypatch.setattr(
        extractors,
        "frechet",
        lambda extractor, images, target: compared.append((images, target)) or len(compared),
    )
    read = torch.tensor([0, 1, 1, 1, 0, 1])  # of the classes asked: one of the three even ones is wrong
    monkeypatch.setattr(extractors, "predictions_of", lambda images, extractor: {"label": read})
    labels, test = torch.tensor([0, 1, 0, 1, 0, 1]), sets["test"]
    test = replace(test, labels=1 - test.labels)
    z = {"prior": torch.full((6, 2), -0.5)}
    latents = torch.full((8, 2), -0.5), torch.full((8, 2), -2.0)
    extractor = SimpleNamespace(name="grey")
    numbers = vae_measures.distances(Model(), z, labels, latents, test, extractor)
    assert numbers["eval/recognised_percent_prior"] == pytest.approx(100 * 5 / 6)
    assert numbers["eval/recognised_percent_worst_class_prior"] == pytest.approx(100 * 2 / 3)
    (prior, real), *of_class, (again, also_real) = compared
    assert len(real.images) == len(also_real.images) == 6
    light = lambda images: (images.float().mean((1, 2, 3)) > 110).long().tolist()
    assert light(prior) == labels.tolist() and light(again) != light(prior)
    assert [(light(images), own.labels.unique().tolist()) for images, own in of_class] == [
        ([0] * 3, [0]), ([1] * 3, [1])
    ]  # fmt: skip
    assert again[::2].unique().numel() > 1, "drawn from q, which has a width"
    drawn = []
    monkeypatch.setattr(latent_space, "reparameterise", lambda *given: drawn.append(given) or given[0])
    numbered = torch.arange(8.0)[:, None].expand(8, 2)
    vae_measures.distances(Model(), z, labels, (numbered, numbered), test, extractor)
    assert drawn[0][0][:, 0].tolist() == [k * 8 // 6 for k in range(6)], (
        "of the images they are compared with"
    )
