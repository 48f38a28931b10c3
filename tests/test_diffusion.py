"""Schedules, predictions, losses, bound and guidance of hw4_diffusion: closed forms, and diffusers."""

import math
from itertools import pairwise

from common.errors import InputError

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from hw4_diffusion import diffusion, schedule
from hw4_diffusion.diffusion import PREDICTIONS

EVERY = [*((name, zero) for name in ("linear", "cosine") for zero in (False, True)), ("flow", False)]
THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- schedules


@pytest.mark.parametrize(("name", "zero"), EVERY[:-1])
def test_coefficients_are_those_of_diffusers(name, zero):
    theirs = DDPMScheduler(1000, beta_schedule=THEIRS[name], rescale_betas_zero_snr=zero)
    ours = schedule.build(name, 1000, zero_terminal_snr=zero)
    assert ours.steps == 1000
    assert (ours.alpha[1:].square() - theirs.alphas_cumprod).abs().max() < 1e-6
    assert (ours.beta - theirs.betas).abs().max() < 1e-5
    snr = compute_snr(theirs, torch.arange(999))
    # theirs is float32: digits of 1 - alpha_bar are lost where alpha_bar is near 1
    assert (ours.log_snr[1:-1].exp() / snr - 1).abs().max() < 5e-3


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("steps", [7, 1000])
def test_a_schedule_goes_from_the_image_to_noise(name, zero, steps):
    path = schedule.build(name, steps, zero_terminal_snr=zero)
    assert path.pair(0) == (1, 0)
    assert (path.alpha.diff() < 0).all() and (path.sigma.diff() > 0).all()
    assert path.preserves_variance == (name != "flow") and path.is_straight == (name == "flow")
    assert path.ends_in_noise == (zero or name == "flow")
    assert path.pair(steps)[1] > 0.98
    if zero:
        assert path.pair(1)[0] == pytest.approx(schedule.build(name, steps).pair(1)[0], abs=1e-12)
    if path.ends_in_noise:
        assert path.pair(steps) == (0, 1) and path.log_snr[-1] == -torch.inf


def test_betas_of_the_papers():
    linear = schedule.linear_betas(1000)
    assert linear[0].item() == pytest.approx(1e-4) and linear[-1].item() == pytest.approx(0.02)
    assert schedule.linear_betas(100)[-1].item() == pytest.approx(0.2)
    cosine = schedule.build("cosine", 1000)
    halfway = (math.cos(0.508 / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    assert cosine.alpha[500].item() ** 2 == pytest.approx(halfway, abs=1e-12)


def test_a_batch_has_each_image_at_its_own_time():
    path, images = schedule.build("cosine", 10), torch.zeros(3, 1, 4, 5)
    alpha, sigma = path.at(torch.tensor([1, 10, 4]), images)
    assert alpha.shape == (3, 1, 1, 1) and alpha.dtype == torch.float32
    assert alpha.flatten().tolist() == pytest.approx([path.alpha[t].item() for t in (1, 10, 4)])
    assert sigma.flatten().tolist() == pytest.approx([path.sigma[t].item() for t in (1, 10, 4)])


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("spacing", ["time", "log-snr"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 37, 99, 100])
def test_sampling_times_fall_from_the_last_to_0(name, zero, spacing, steps):
    path = schedule.build(name, 100, zero_terminal_snr=zero)
    times = schedule.sampling_times(path, steps, spacing)
    assert len(times) == steps + 1 and times[0] == 100 and times[-1] == 0
    assert all(s < t for t, s in pairwise(times))
    if spacing == "log-snr" and steps > 1:
        assert times[-2] == 1


def test_times_are_spaced_as_asked():
    path = schedule.build("linear", 1000)
    assert schedule.sampling_times(path, 4) == [1000, 750, 500, 250, 0]
    assert schedule.sampling_times(schedule.build("linear", 10), 3) == [10, 7, 3, 0]  # 6.67 and 3.33
    half = path.log_snr[schedule.sampling_times(path, 11, "log-snr")[:-1]]
    assert (half.diff() / half.diff().mean() - 1).abs().max() < 0.06  # the earliest times lie far apart


@pytest.mark.parametrize("steps", [0, 101])
def test_more_steps_than_the_schedule_has(steps):
    with pytest.raises(InputError, match=f"--steps {steps}: .* 100 times"):
        schedule.sampling_times(schedule.build("linear", 100), steps)


# ---- noising and what a network may predict


@pytest.mark.parametrize(("name", "zero"), EVERY)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_predictions_give_image_and_noise_back(name, zero, prediction):
    path = schedule.build(name, 50, zero_terminal_snr=zero)
    x0, eps = randn(3, 2, 4, 5), randn(3, 2, 4, 5, seed=1)
    for t in range(1, 50 if prediction == "epsilon" else 51):
        alpha, sigma = path.pair(t)
        x_t = diffusion.noised(x0, eps, alpha, sigma)
        output = diffusion.target(prediction, x0, eps, alpha, sigma)
        image, noise = diffusion.image_and_noise(prediction, output, x_t, alpha, sigma)
        assert (image - x0).abs().max() < 1e-10 and (noise - eps).abs().max() < 1e-10
        for other in PREDICTIONS:  # and one from the other
            wanted = diffusion.target(other, x0, eps, alpha, sigma)
            assert (diffusion.target(other, image, noise, alpha, sigma) - wanted).abs().max() < 1e-9


def test_v_is_that_of_diffusers():
    theirs = DDPMScheduler(1000, beta_schedule="linear")
    x0, eps, t = randn(4, 1, 3, 3).float(), randn(4, 1, 3, 3, seed=1).float(), torch.tensor([0, 10, 500, 999])
    alpha, sigma = schedule.build("linear", 1000).at(t + 1, x0)
    assert (diffusion.target("v", x0, eps, alpha, sigma) - theirs.get_velocity(x0, eps, t)).abs().max() < 1e-5
    assert (diffusion.noised(x0, eps, alpha, sigma) - theirs.add_noise(x0, eps, t)).abs().max() < 1e-5


def test_the_score_is_the_gradient_of_the_log_density():
    """x_0 ~ N(0.5, 0.3^2): the mean noise in x_t is known, and so is the density of x_t."""
    alpha, sigma, x = 0.8, 0.6, randn(5).requires_grad_()
    variance = (alpha * 0.3) ** 2 + sigma**2
    mean_noise = sigma / variance * (x - alpha * 0.5)
    log_density = -((x - alpha * 0.5) ** 2) / (2 * variance)
    (gradient,) = torch.autograd.grad(log_density.sum(), x)
    assert (diffusion.score(mean_noise.detach(), sigma) - gradient).abs().max() < 1e-12


@pytest.mark.parametrize(("name", "zero"), EVERY)
def test_the_posterior_is_bayes_rule(name, zero):
    """q(x_s | x_t, x_0) from the product of q(x_t | x_s) and q(x_s | x_0), completed squares by hand."""
    path = schedule.build(name, 40, zero_terminal_snr=zero)
    x_t, x0 = randn(6), randn(6, seed=1)
    for t, s in [(40, 39), (40, 3), (20, 10), (2, 1)]:
        (a_t, s_t), (a_s, s_s) = path.pair(t), path.pair(s)
        ratio = a_t / a_s
        between = s_t**2 - ratio**2 * s_s**2  # x_t = ratio x_s + N(0, between)
        assert diffusion.step_variance(a_t, s_t, a_s, s_s) == pytest.approx(between)
        precision = ratio**2 / between + 1 / s_s**2
        mean, variance = diffusion.posterior(x_t, x0, a_t, s_t, a_s, s_s)
        assert variance == pytest.approx(1 / precision, rel=1e-9)
        assert (mean - (ratio * x_t / between + a_s * x0 / s_s**2) / precision).abs().max() < 1e-9


def test_steps_are_the_betas():
    path = schedule.build("cosine", 30)
    got = [diffusion.step_variance(*path.pair(t), *path.pair(t - 1)) for t in range(1, 31)]
    assert got == pytest.approx(path.beta.tolist())


# ---- losses


def test_the_simple_loss_is_a_mean_for_each_image():
    output, wanted = randn(3, 2, 4, 5), randn(3, 2, 4, 5, seed=1)
    loss = diffusion.squared_error(output, wanted)
    assert loss.shape == (3,)
    assert loss[1].item() == pytest.approx(((output[1] - wanted[1]) ** 2).sum().item() / 40)


@pytest.mark.parametrize("name", schedule.NAMES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weights_one_loss_whatever_is_predicted(name, prediction):
    """min(SNR, gamma) times the squared error of the image that the output means."""
    t = torch.tensor([1, 20, 45])
    alpha, sigma = schedule.build(name, 50).at(t, randn(3, 1, 4, 5))
    x0, eps = randn(3, 1, 4, 5), randn(3, 1, 4, 5, seed=1)
    x_t = diffusion.noised(x0, eps, alpha, sigma)
    wanted = diffusion.target(prediction, x0, eps, alpha, sigma)
    output = wanted + randn(3, 1, 4, 5, seed=2)
    guess, _ = diffusion.image_and_noise(prediction, output, x_t, alpha, sigma)
    weight = diffusion.min_snr_weight(prediction, alpha, sigma, gamma=3.0).flatten()
    got = weight * diffusion.squared_error(output, wanted)
    snr = (alpha / sigma).flatten() ** 2
    expected = snr.clamp_max(3) * ((guess - x0) ** 2).flatten(1).mean(1)
    assert (got / expected - 1).abs().max() < 1e-9


def test_min_snr_weights_of_the_paper():
    """min(SNR, 5) / SNR for eps and min(SNR, 5) / (SNR + 1) for v (Hang et al. 2023)."""
    alpha, sigma = schedule.build("linear", 1000).at(torch.tensor([5, 400, 900]), randn(3, 1, 1, 1))
    snr = (alpha / sigma) ** 2
    assert torch.allclose(diffusion.min_snr_weight("epsilon", alpha, sigma), snr.clamp_max(5) / snr)
    assert torch.allclose(diffusion.min_snr_weight("v", alpha, sigma), snr.clamp_max(5) / (snr + 1))


# ---- the bound


def test_the_terms_are_kullback_leibler_divergences():
    from torch.distributions import Normal, kl_divergence

    path = schedule.build("linear", 100)
    x0, guess, x_t = randn(2, 1, 3, 3).clamp(-1, 1), randn(2, 1, 3, 3, seed=1), randn(2, 1, 3, 3, seed=2)
    alpha, sigma = path.pair(100)
    expected = kl_divergence(Normal(alpha * x0, sigma), Normal(0, torch.ones_like(x0))).flatten(1).sum(1)
    assert (diffusion.prior_kl(x0, alpha, sigma) - expected).abs().max() < 1e-10
    for t, s in [(100, 99), (60, 20), (2, 1)]:
        truth = diffusion.posterior(x_t, x0, *path.pair(t), *path.pair(s))
        model = diffusion.posterior(x_t, guess, *path.pair(t), *path.pair(s))
        std = math.sqrt(truth[1])
        expected = kl_divergence(Normal(truth[0], std), Normal(model[0], std)).flatten(1).sum(1)
        snr = [(path.alpha[time] / path.sigma[time]).item() ** 2 for time in (s, t)]
        assert (diffusion.denoising_kl(x0, guess, *snr) / expected - 1).abs().max() < 1e-8


def test_grey_levels_have_probabilities():
    levels = (torch.arange(256).double() / 127.5 - 1)[:, None, None, None]  # as images of one pixel
    for mean, std in [(0.1, 0.003), (-0.97, 0.2), (1.3, 0.05)]:
        nats = diffusion.decoder_nats(levels, torch.full_like(levels, mean), std)
        assert (-nats).exp().sum().item() == pytest.approx(1, abs=1e-9)
    at = lambda x, mean: diffusion.decoder_nats(
        torch.full((1, 1, 1, 1), x, dtype=torch.float64), torch.full((1, 1, 1, 1), mean).double(), 0.1
    ).item()  # fmt: skip
    assert at(levels[100].item(), 1.5) == pytest.approx(at(-levels[100].item(), -1.5))
    # far in the tail the mass is still a number, the density times the width
    z, density = (
        (levels[100].item() - 1.5) / 0.1,
        lambda z: -z * z / 2 - math.log(math.sqrt(2 * math.pi) * 0.1),
    )
    assert at(levels[100].item(), 1.5) == pytest.approx(-density(z) - math.log(2 / 255), abs=0.1)


def test_the_bound_of_a_gaussian_comes_near_its_entropy():
    """One pixel from N(0, 0.25^2), rounded to grey levels, and the exact denoiser: with many times the bound
    is the entropy of the levels, with few it is larger."""
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    mass = (
        -diffusion.decoder_nats(levels[:, None, None, None], torch.zeros(256, 1, 1, 1).double(), 0.25)
    ).exp()
    entropy = -(mass * mass.log()).sum().item()
    x0 = levels[torch.multinomial(mass, 40_000, replacement=True, generator=torch.Generator().manual_seed(0))]
    generator = torch.Generator().manual_seed(1)
    noise = lambda like: torch.randn(like.shape, dtype=like.dtype, generator=generator)
    alpha_bar = torch.linspace(9, -9, 2000, dtype=torch.float64).sigmoid()  # log-SNR at equal steps
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar])
    path, found = schedule.Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt()), {}
    for steps in (10, 2000):
        denoise = gaussian_denoiser(path, 0.0, 0.25)
        times = schedule.sampling_times(path, steps)
        terms = diffusion.bound_terms(denoise, path, x0[:, None, None, None], times, noise)
        assert terms.shape == (40_000, steps + 1)
        found[steps] = terms.sum(1).mean().item()
    assert entropy - 0.01 < found[2000] < entropy + 0.03  # the standard error is 0.005
    assert found[10] > entropy + 0.05
    assert diffusion.bits_per_dimension(torch.tensor(8 * math.log(2)), 4).item() == pytest.approx(2)


def gaussian_denoiser(path: schedule.Schedule, mean: float, std: float) -> diffusion.Denoise:
    """The mean of x_0 given x_t, and of the noise, for x_0 ~ N(mean, std^2)."""

    def denoise(x: torch.Tensor, t: int):
        alpha, sigma = path.pair(t)
        total = (alpha * std) ** 2 + sigma**2
        return mean + alpha * std**2 / total * (x - alpha * mean), sigma / total * (x - alpha * mean)

    return denoise


# ---- guidance


def test_guidance_enlarges_what_the_class_changes():
    one, other = randn(3, 1, 2, 2), randn(3, 1, 2, 2, seed=1)
    assert torch.equal(diffusion.guided(one, other, 0.0), other)
    assert torch.allclose(diffusion.guided(one, other, 1.0), one)
    assert torch.allclose(diffusion.guided(one, other, 3.0), one + 2 * (one - other))


def test_classes_are_dropped_by_chance():
    labels, chance = torch.tensor([3, 1, 0, 2]), torch.tensor([0.05, 0.1, 0.95, 0.0])
    assert diffusion.without_class(labels, chance, 0.1, 4).tolist() == [4, 1, 0, 4]
    assert diffusion.without_class(labels, chance, 0.0, 4).tolist() == labels.tolist()


def test_the_last_term_of_the_bound_is_of_the_image_at_its_own_scale():
    """x_1 / alpha is the image with noise of sigma / alpha: with few steps far from sigma."""
    path, x0 = schedule.build("flow", 4), torch.rand(2, 1, 3, 3).double().mul(255).round() / 127.5 - 1
    guess = (x0 + 0.05 * randn(2, 1, 3, 3)).clamp(-1, 1)
    terms = diffusion.bound_terms(lambda x, t: (guess, x), path, x0, [4, 1, 0], torch.zeros_like)
    assert path.pair(1) == (0.75, 0.25)
    assert torch.allclose(terms[:, 0], diffusion.decoder_nats(x0, guess, 1 / 3))
