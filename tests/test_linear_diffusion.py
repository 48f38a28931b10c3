"""Linear diffusion: its encoder, its captions, and what samplers draw of Gaussians that are known."""

import re

from common.data import to_model_range, to_uint8
from common.errors import InputError

import pytest
import torch
from linear_worlds import COLOURS, OPTIONS, D, K, image_set, pictures, two_classes

from hw4_diffusion import linear_diffusion, linear_encoder
from hw4_diffusion.linear_captions import captions_of
from hw4_diffusion.linear_denoiser import LinearDenoiser
from hw4_diffusion.linear_diffusion import LinearDiffusion
from hw4_diffusion.schedule import build


@pytest.fixture(scope="module")
def world():
    return two_classes()


# ---- the encoder


def test_the_encoder_is_the_best_projection():
    images = pictures()
    x = to_model_range(images, torch.float64).flatten(1)
    left, values, right = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    best = x.mean(0) + (left[:, :7] * values[:7]) @ right[:7]
    encoder = linear_encoder.fit(images, 7)
    decoded = encoder.decode(encoder.encode(images))
    assert decoded.shape == images.shape
    assert torch.allclose(decoded.flatten(1).double(), best, atol=1e-5)
    assert torch.allclose(encoder.components @ encoder.components.T, torch.eye(7).double(), atol=1e-10)
    assert torch.allclose(encoder.variance, values[:7] ** 2 / len(images), rtol=1e-5)


@pytest.mark.parametrize("components", [1, 4, 7])
def test_latents_have_a_mean_variance_of_1_and_the_largest_comes_first(components):
    images = pictures()
    encoder = linear_encoder.fit(images, 7).first(components)
    latents = encoder.encode(images)
    variance = latents.var(0, correction=0)
    assert latents.shape == (30, components)
    assert torch.allclose(latents.mean(0), torch.zeros(components).double(), atol=1e-6)
    assert variance.mean().item() == pytest.approx(1, abs=1e-5)
    assert (variance.diff() <= 0).all()


def test_all_components_lose_nothing():
    images = pictures(count=100, channels=1)
    encoder = linear_encoder.fit(images, 20)
    assert torch.equal(to_uint8(encoder.decode(encoder.encode(images))), images)


@pytest.mark.parametrize(
    ("images", "components", "named"),
    [
        (pictures(count=5), 5, "--components 5: 5 images of 60 values have at most 4"),
        (pictures()[:1].repeat(9, 1, 1, 1), 2, "--components 2: the 9 images vary in fewer directions"),
        (pictures(count=3, height=50, width=50), 2, "--size 50: images of 7,500 values"),
    ],
)
def test_components_that_cannot_be_had_are_named(images, components, named):
    with pytest.raises(InputError, match=re.escape(named)):
        linear_encoder.fit(images, components)


# ---- captions


def test_a_caption_is_zeros_and_ones():
    captions = captions_of(image_set(attributes=COLOURS, options=OPTIONS))
    assert captions.embedded.tolist() == [
        [1, 0, 0, 0, 1], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]
    ]  # fmt: skip
    assert not captions.of_classes
    changed = captions.with_option("colour", 1).take(torch.tensor([3, 1]))
    assert changed.embedded.tolist() == [[0, 1, 0, 0, 1], [0, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("labels", "attributes", "asked", "chosen"),
    [
        ([2, 1, 0, 0], {}, (), ["label"]),
        ([2, 1, 0, 0], COLOURS, (), ["label"]),
        ([2, 0, 1, 2], COLOURS, (), ["colour", "shape"]),  # the class is one of the attributes
        (None, COLOURS, (), ["colour", "shape"]),
        ([2, 1, 0, 0], COLOURS, ("shape", "label"), ["shape", "label"]),
        (None, {}, (), []),
    ],
)
def test_what_a_caption_tells(labels, attributes, asked, chosen):
    labels = None if labels is None else torch.tensor(labels)
    options = {name: OPTIONS[name] for name in attributes}
    captions = captions_of(image_set(labels, attributes, options), asked)
    assert list(captions.chosen) == chosen
    assert captions.embedded.shape == (4, sum(len(captions.options[name]) for name in chosen))


@pytest.mark.parametrize("options", [OPTIONS, {}])
def test_an_attribute_that_is_not_there_is_named(options):
    there = "colour, shape" if options else "none"
    with pytest.raises(InputError, match=rf"--attributes size: toys has {there}"):
        captions_of(image_set(attributes=COLOURS if options else {}, options=options), ("size",))


# ---- sampling


def model_of(world, **options) -> LinearDiffusion:
    latents, captions, _ = world
    identity = linear_encoder.LinearEncoder(
        torch.zeros(D).double(), torch.eye(D).double(), torch.ones(D).double(), (1, 1, D)
    )
    return LinearDiffusion(identity, LinearDenoiser(latents, captions, **options), build("cosine"))


def drawn_gaussian(model, sampler, steps, label):
    """Mean and covariance of all that a sampler without new noise draws of one class."""
    start = torch.cat([torch.zeros(1, D), torch.eye(D)]).double()
    captions = torch.eye(K).double()[label].expand(len(start), -1)
    *_, (time, ends) = linear_diffusion.denoised(model, captions, sampler, steps, start)
    assert time == 0
    root = ends[1:] - ends[0]
    return ends[0], root.T @ root


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm-solver++", 2), ("heun", 2)])
def test_samplers_draw_the_gaussian_of_the_class_the_better_the_more_steps(world, sampler, order):
    latents, _, labels = world
    model = model_of(world, penalty=1e-10)
    off = []
    for steps in (50, 100):
        mean, covariance = drawn_gaussian(model, sampler, steps, 1)
        own = latents[labels == 1]
        off.append((covariance - torch.cov(own.T, correction=0)).norm() + (mean - own.mean(0)).norm())
    assert off[1] < off[0] / (1.6 if order == 1 else 2.6)
    assert off[1] < 0.1 * own.var(0).sum()


def test_new_noise_draws_the_same_gaussian(world):
    latents, captions, labels = world
    count = 20_000
    wanted = captions[-1:].expand(count, -1)
    *_, (_, drawn) = linear_diffusion.sample(model_of(world, penalty=1e-10), wanted, "ancestral", 250, seed=1)
    own = latents[labels == 1]
    covariance = torch.cov(own.T, correction=0)
    assert torch.allclose(drawn.mean(0).double(), own.mean(0), atol=5 * (covariance.max() / count) ** 0.5)
    assert torch.allclose(torch.cov(drawn.T).double(), covariance, atol=0.05 * covariance.max().item())


def test_one_step_draws_the_mean_of_the_class(world):
    latents, captions, labels = world
    *_, (_, drawn) = linear_diffusion.sample(model_of(world), captions, "ddim", 1, seed=0)
    for label in range(K):
        mean = latents[labels == label].mean(0)
        assert torch.allclose(
            drawn[labels == label].double(), mean.expand(sum(labels == label), -1), atol=0.02
        )


def test_a_seed_draws_the_same_and_the_way_begins_with_its_noise(world):
    model, captions = model_of(world), world[1]
    ways = [list(linear_diffusion.sample(model, captions, "ancestral", 5, seed)) for seed in (3, 3, 4)]
    assert [time for time, _ in ways[0]] == [1000, 800, 600, 400, 200, 0]
    assert torch.equal(ways[0][-1][1], ways[1][-1][1])
    assert not torch.equal(ways[0][-1][1], ways[2][-1][1])
    assert abs(ways[0][0][1].std().item() - 1) < 0.15
