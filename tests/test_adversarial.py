"""Adversarial losses and penalties against closed forms and torch, differentiable augmentation."""

import dataclasses
import math
from collections.abc import Callable

from common import adversarial, augmentation, devices
from common.data import Batches, ImageSet
from common.noise import BatchNoise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hw2_gan import players, train_gan

LN2 = math.log(2)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def logits() -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(7, dtype=torch.float64), 3 * torch.randn(7, dtype=torch.float64)


def largest(one: Tensor, two: Tensor) -> float:
    return (one - two).abs().max().item()


# ---- losses


def test_losses_equal_their_formulas():
    real, fake = logits()
    D, G = real.sigmoid(), fake.sigmoid()
    for found, expected in (
        (adversarial.cross_entropy_discriminator(real, fake), -D.log() - (1 - G).log()),
        (adversarial.least_squares_discriminator(real, fake), (real - 1) ** 2 / 2 + fake**2 / 2),
        (adversarial.hinge_discriminator(real, fake), (1 - real).clamp(min=0) + (1 + fake).clamp(min=0)),
        (adversarial.wasserstein_discriminator(real, fake), fake - real),
        (adversarial.minimax_generator(fake), (1 - G).log()),
        (adversarial.non_saturating_generator(fake), -G.log()),
        (adversarial.least_squares_generator(fake), (fake - 1) ** 2 / 2),
        (adversarial.linear_generator(fake), -fake),
    ):
        assert found.shape == (7,) and largest(found, expected) < 1e-12


def test_labels_are_cross_entropy_targets():
    real, fake = logits()
    a, b = torch.rand(7, dtype=torch.float64), torch.rand(7, dtype=torch.float64)
    entropy = F.binary_cross_entropy
    expected = entropy(real.sigmoid(), a, reduction="none") + entropy(fake.sigmoid(), b, reduction="none")
    assert largest(adversarial.cross_entropy_discriminator(real, fake, a, b), expected) < 1e-12
    smooth = adversarial.cross_entropy_discriminator(real, fake, 0.9, 0.1)
    ones = torch.ones_like(real)
    assert largest(smooth, adversarial.cross_entropy_discriminator(real, fake, 0.9 * ones, 0.1 * ones)) == 0


def test_an_undecided_discriminator_pays_two_ln_2():
    half = torch.zeros(3, dtype=torch.float64)
    assert largest(adversarial.cross_entropy_discriminator(half, half), torch.full((3,), 2 * LN2)) < 1e-7
    assert adversarial.minimax_generator(half)[0].item() == pytest.approx(-LN2)


@pytest.mark.parametrize("far", [1e4, -1e4])
def test_a_sure_discriminator_gives_no_nan(far):
    for loss in set(train_gan.DISCRIMINATOR_LOSSES.values()):
        real, fake = (torch.tensor([sign * far], requires_grad=True) for sign in (1, -1))
        loss(real, fake).sum().backward()
        assert all(x.grad.isfinite() for x in (real, fake))
    for loss in set(train_gan.GENERATOR_LOSSES.values()):
        fake = torch.tensor([far], requires_grad=True)
        loss(fake).sum().backward()
        assert loss(fake).isfinite() and fake.grad.isfinite()


@pytest.mark.parametrize("name", train_gan.DISCRIMINATOR_LOSSES)
def test_both_sides_of_every_game_pull_apart(name):
    """D wants logits of real images up and of fake ones down; G wants those of its images up."""
    real, fake = (torch.tensor([0.3], dtype=torch.float64, requires_grad=True) for _ in range(2))
    train_gan.DISCRIMINATOR_LOSSES[name](real, fake).sum().backward()
    assert real.grad < 0 < fake.grad
    fake = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    train_gan.GENERATOR_LOSSES[name](fake).sum().backward()
    assert fake.grad < 0


@pytest.mark.parametrize("name", train_gan.DISCRIMINATOR_LOSSES)
def test_the_script_uses_labels_in_cross_entropies_alone(name):
    real, fake = logits()
    hard = train_gan.discriminator_loss(train_gan.Config(loss=name), real, fake)
    smooth = train_gan.Config(loss=name, real_label=(0.9, 0.9), fake_label=(0.1, 0.1))
    entropy = name in ("minimax", "non-saturating")
    assert torch.equal(train_gan.discriminator_loss(smooth, real, fake), hard) != entropy


def test_smoothed_labels_of_real_and_of_generated_images_are_those_of_their_flags():
    real, fake = logits()
    config = train_gan.Config(real_label=(0.9, 0.9), fake_label=(0.2, 0.2))
    entropy = lambda given, label: (
        -(label * given.sigmoid().log() + (1 - label) * (1 - given.sigmoid()).log())
    )
    expected = entropy(real, 0.9) + entropy(fake, 0.2)
    assert largest(train_gan.discriminator_loss(config, real, fake), expected) < 1e-9


def test_random_labels_lie_between_both_ends():
    drawn = train_gan.targets(torch.zeros(10_000), (0.8, 1.0))
    assert 0.8 <= drawn.min() < 0.801 and 0.999 < drawn.max() <= 1
    assert abs(drawn.mean() - 0.9) < 5 * 0.2 / 12**0.5 / 100  # five standard errors
    assert train_gan.targets(torch.zeros(3), (0.9, 0.9)) == 0.9


# ---- penalties


def bowl() -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """A quadratic D(x) = x'Ax / 2 + b'x with A + A' and b: its gradient is (A + A')x / 2 + b."""
    A, b = torch.randn(30, 30, dtype=torch.float64), torch.randn(30, dtype=torch.float64)

    def discriminator(images: Tensor) -> Tensor:
        x = images.flatten(1)
        return ((x @ A) * x).sum(1) / 2 + x @ b

    return discriminator, A + A.T, b


def test_r1_is_the_squared_gradient_at_real_images_and_trains_d():
    discriminator, twice, b = bowl()
    real = torch.randn(3, 1, 5, 6, dtype=torch.float64)  # H != W
    gradient = real.flatten(1) @ twice / 2 + b
    found = adversarial.r1_penalty(discriminator, real)
    assert found.shape == (3,) and largest(found, gradient.square().sum(1)) < 1e-9
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    penalty = adversarial.r1_penalty(lambda x: scale * discriminator(x), real).sum()
    penalty.backward()  # d (scale^2 g^2) / d scale
    assert scale.grad.item() == pytest.approx(2 * 1.5 * found.sum().item(), rel=1e-12)
    assert not real.requires_grad


def test_the_gradient_penalty_is_taken_between_real_and_fake():
    discriminator, twice, b = bowl()
    real, fake = torch.randn(2, 3, 1, 5, 6, dtype=torch.float64)
    torch.manual_seed(5)
    found = adversarial.gradient_penalty(discriminator, real, fake)
    torch.manual_seed(5)
    share = torch.rand(3, 1, 1, 1, dtype=torch.float64)  # one for each image
    between = ((1 - share) * real + share * fake).flatten(1)
    expected = ((between @ twice / 2 + b).norm(dim=1) - 1).square()
    assert found.shape == (3,) and largest(found, expected) < 1e-9


def test_the_gradient_penalty_survives_a_flat_discriminator():
    slope = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 3, 3, 2, 2, dtype=torch.float64)
    penalty = adversarial.gradient_penalty(lambda x: x.flatten(1) @ slope, real, fake)
    penalty.mean().backward()
    assert largest(penalty, torch.ones(3)) < 1e-5 and slope.grad.isfinite().all()


def test_lazy_penalties_weigh_as_much_on_average():
    discriminator, _, _ = bowl()
    real, fake = torch.randn(2, 3, 1, 5, 6, dtype=torch.float64)
    config = train_gan.Config(r1_gamma=2.0, gradient_penalty=10.0, penalty_every=4)
    torch.manual_seed(1)
    judge = lambda images, told: discriminator(images)
    values = [train_gan.penalties(config, judge, real, fake, None, step) for step in (1, 2, 3, 4)]
    torch.manual_seed(1)
    once = adversarial.r1_penalty(discriminator, real).mean()
    once = once + 10 * adversarial.gradient_penalty(discriminator, real, fake).mean()
    assert values[:3] == [0, 0, 0] and values[3].item() == pytest.approx(4 * once.item(), rel=1e-12)
    assert train_gan.penalties(train_gan.Config(), judge, real, fake, None, 4) == 0


def test_learning_rates_fall_along_half_a_cosine():
    config = train_gan.Config(
        size=32, width=0.0625, lr_generator=8e-4, lr_discriminator=3e-4, lr_decay="cosine"
    )
    both = players.build_players(config, devices.Device(torch.device("cpu")))
    optimizers = both.for_generator, both.for_discriminator
    rates = lambda: [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    assert rates() == [8e-4, 3e-4]
    for network, optimizer in zip(both, optimizers):  # each player's own
        of_optimizer = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert of_optimizer == {id(p) for p in network.parameters()}
    for share_done, share in ((0.0, 1.0), (0.5, 0.5), (0.75, (1 - 0.5**0.5) / 2), (1.0, 0.0)):
        players.set_learning_rates(config, both, share_done)
        assert rates() == pytest.approx([share * 8e-4, share * 3e-4], abs=1e-18)
    players.set_learning_rates(dataclasses.replace(config, lr_decay="none"), both, 0.9)
    assert rates() == [8e-4, 3e-4]


# ---- what D sees


@pytest.mark.parametrize("policy", [*augmentation.POLICIES, "all"])
def test_augmentation_keeps_shapes_and_lets_gradients_through(policy):
    policies = augmentation.POLICIES if policy == "all" else (policy,)
    images = (2 * torch.rand(3, 3, 16, 24) - 1).requires_grad_()  # B = 3, H != W
    changed = augmentation.augment(images, policies)
    assert changed.shape == images.shape and changed.dtype == images.dtype
    assert not torch.equal(changed, images)
    changed.sum().backward()
    assert (images.grad.abs().sum((1, 2, 3)) > 0).all() and images.grad.isfinite().all()
    assert torch.equal(augmentation.augment(images, ()), images)


def test_color_shifts_and_scales_as_it_says():
    image = torch.rand(1, 3, 4, 6, dtype=torch.float64) - 0.5
    changed = augmentation.color(image.expand(4000, -1, -1, -1))
    shift = changed.mean((1, 2, 3)) - image.mean()  # saturation and contrast keep the mean
    assert abs(shift.mean()) < 5 / 12**0.5 / 4000**0.5 and 0.49 < shift.max() <= 0.5 >= -shift.min() > 0.49
    centred = lambda x: x - x.mean((1, 2, 3), keepdim=True)
    grey = lambda x: x.mean(1, keepdim=True)
    contrast = grey(centred(changed)).flatten(1).norm(dim=1) / grey(centred(image)).norm()
    assert 0.5 <= contrast.min() < 0.51 and 1.49 < contrast.max() <= 1.5
    color = (changed - grey(changed)).flatten(1).norm(dim=1) / (image - grey(image)).norm()
    saturation = color / contrast
    assert 0 <= saturation.min() < 0.01 and 1.99 < saturation.max() <= 2


def test_translation_moves_whole_pixels_and_fills_with_grey():
    image = torch.rand(1, 2, 16, 24) + 1
    moved = augmentation.translation(image.expand(2000, -1, -1, -1))
    padded = F.pad(image[0], (3, 3, 2, 2))  # an eighth of 24 and of 16
    windows = {(i, j): padded[:, i : i + 16, j : j + 24] for i in range(5) for j in range(7)}
    counts = {place: (moved == window).all((1, 2, 3)).sum().item() for place, window in windows.items()}
    assert sum(counts.values()) == 2000
    assert min(counts.values()) > 20 and max(counts.values()) < 110  # 57 expected, five sd 37


def test_cutout_erases_one_rectangle_of_half_the_sides():
    changed = augmentation.cutout(torch.ones(3000, 2, 16, 24))
    erased = changed == 0
    assert ((changed == 1) | erased).all() and torch.equal(erased[:, 0], erased[:, 1])
    rows, columns = erased[:, 0].any(2).sum(1), erased[:, 0].any(1).sum(1)
    assert torch.equal(erased[:, 0].sum((1, 2)), rows * columns)  # a full rectangle
    assert rows.max() == 8 and columns.max() == 12 and rows.min() == 4 and columns.min() == 6  # cut by edges
    everywhere = erased[:, 0].double().mean(0)
    assert everywhere.min() > 0.05  # no pixel is safe


@pytest.mark.parametrize("side", [5, 6, 7, 8])
def test_cutout_erases_every_pixel_as_often_as_its_mirror_image(side):
    """Also where half the side is odd: the places of the square are symmetric about the middle."""
    erased = (augmentation.cutout(torch.ones(20_000, 1, side, side)) == 0)[:, 0].any(2).double()
    counts = erased.mean(0)
    assert (counts - counts.flip(0)).abs().max() < 0.04  # five sd of a difference of shares: at most 0.035
    assert erased.sum(1).max() == round(side / 2)


def test_every_image_has_its_own_change_and_equal_sets_equal_distributions():
    """The same images as real and as fake: what D sees has the same mean, within chance."""
    images = (2 * torch.rand(2000, 3, 8, 8, dtype=torch.float64) - 1) * 0.5
    one, two = (augmentation.augment(images) for _ in range(2))
    assert (one != two).flatten(1).any(1).all()
    means = [seen.mean((1, 2, 3)) for seen in (one, two)]
    error = sum(mean.var() / len(mean) for mean in means) ** 0.5
    assert abs(means[0].mean() - means[1].mean()) < 5 * error


def test_noise_on_all_images_fades_to_nothing():
    config, images = train_gan.Config(instance_noise=0.4), torch.zeros(20, 3, 32, 32)
    for share_done, expected in ((0.0, 0.4), (0.5, 0.2)):
        assert train_gan.augmented(config, images, share_done).std().item() == pytest.approx(
            expected, rel=0.03
        )
    assert torch.equal(train_gan.augmented(config, images, 1.0), images)
    assert torch.equal(train_gan.augmented(train_gan.Config(), images, 0.0), images)


# ---- latents


def test_latents_are_normal_and_shares_uniform():
    noise = BatchNoise(20_000, devices.Device(torch.device("cpu")), seed=0)
    normal, uniform = noise.normal(2), noise.uniform(2)
    assert normal.shape == uniform.shape == (20_000, 2)
    for drawn, moments in ((normal, (0, 1, 0, 3)), (uniform, (1 / 2, 1 / 3, 1 / 4, 1 / 5))):
        found = [drawn.double().pow(k).mean().item() for k in (1, 2, 3, 4)]
        assert found == pytest.approx(moments, abs=0.25)
        assert found[:2] == pytest.approx(moments[:2], abs=0.03)
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1


def test_processes_share_the_latents_and_images_of_one():
    place = lambda rank, of: devices.Device(torch.device("cpu"), "fp32", rank, of)
    whole, first, second = (BatchNoise(6, place(*where), seed=3) for where in ((0, 1), (0, 2), (1, 2)))
    for draw in ("normal", "uniform"):
        z = getattr(whole, draw)(5)
        assert z.shape == (6, 5) and z.unique(dim=0).shape == z.shape
        assert torch.equal(z[0::2], getattr(first, draw)(5))
        assert torch.equal(z[1::2], getattr(second, draw)(5))
    images = ImageSet(torch.randint(256, (12, 3, 4, 4), dtype=torch.uint8), "a", "train", "a test")
    alone, half = (Batches(images, 6, place(*where), seed=3) for where in ((0, 1), (1, 2)))
    assert torch.equal(next(iter(alone)).images[1::2], next(iter(half)).images)
    state = whole.state_dict()
    z = whole.normal(5)
    whole.load_state_dict(state)
    assert torch.equal(whole.normal(5), z)
