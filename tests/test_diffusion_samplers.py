"""Samplers of hw4_diffusion: equal to diffusers' step by step, and measured on a world of Gaussians, where
the exact denoiser is known and every sampler's output distribution can be computed."""

import math
from itertools import pairwise

from common.errors import InputError

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from hw4_diffusion import diffusion, samplers, schedule

THEIRS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
CURVED = [("linear", False), ("cosine", False), ("linear", True)]
MEAN, STD = 0.4, 0.3
"""Of the world: x_0 ~ N(MEAN, STD^2)."""


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(x: torch.Tensor, t: int) -> torch.Tensor:
    """Says something odd, but always the same, of x and t."""
    return torch.sin(3 * x + t / 300) * (0.5 + t / 2000)


def denoiser(path: schedule.Schedule, prediction: str) -> diffusion.Denoise:
    return lambda x, t: diffusion.image_and_noise(prediction, network(x, t), x, *path.pair(t))


def compare(theirs, path: schedule.Schedule, run, *, time=lambda t: t, tolerance: float, **step) -> None:
    """Every step of `run`, a sampler of ours, beside theirs from the same x_t and with the same noise."""
    x, generator = randn(4, 1, 3, 3), torch.Generator().manual_seed(5)
    noise = lambda like: torch.randn(like.shape, dtype=like.dtype, generator=generator)
    times = schedule.sampling_times(path, len(theirs.timesteps))
    ours = list(run(times, x, noise))
    assert [s for s, _ in ours] == times[1:]
    generator.manual_seed(5)
    if step.pop("draws", False):
        step["generator"] = generator
    takes_noise = step.pop("takes_noise", False)
    for t, (_, got) in zip(theirs.timesteps.tolist(), ours, strict=True):
        if takes_noise:
            step["variance_noise"] = noise(x)
        x = theirs.step(network(x, t + 1), t, x, **step).prev_sample  # their time t is our t + 1
        assert (got - x).abs().max() < tolerance * max(1, x.abs().max().item())
        x = got


def in_float64(theirs, path: schedule.Schedule):
    """Their scheduler with our coefficients, so that only the steps differ: theirs are float32."""
    theirs.alphas_cumprod = path.alpha[1:].square()
    return theirs


# ---- against diffusers


def kind(prediction: str) -> str:
    return {"x0": "sample", "v": "v_prediction"}.get(prediction, prediction)


@pytest.mark.parametrize(("name", "zero"), CURVED)
@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_ddim_is_that_of_diffusers(name, zero, prediction, eta):
    if zero and prediction == "epsilon":
        return
    path = schedule.build(name, 1000, zero_terminal_snr=zero)
    theirs = DDIMScheduler(
        1000, beta_schedule=THEIRS[name], clip_sample=False, timestep_spacing="trailing",
        prediction_type=kind(prediction), rescale_betas_zero_snr=zero,
    )  # fmt: skip
    theirs.set_timesteps(20)
    run = lambda times, x, noise: samplers.ddim(denoiser(path, prediction), path, times, x, eta, noise)
    if prediction == "epsilon":  # as it comes
        compare(theirs, path, run, tolerance=1e-5, eta=eta, draws=True)
    compare(in_float64(theirs, path), path, run, tolerance=1e-9, eta=eta, draws=True)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_ancestral_sampling_is_that_of_diffusers(name):
    path = schedule.build(name, 1000)
    theirs = DDPMScheduler(1000, beta_schedule=THEIRS[name], clip_sample=False, timestep_spacing="trailing")
    theirs.set_timesteps(25)
    run = lambda times, x, noise: samplers.ancestral(denoiser(path, "epsilon"), path, times, x, noise)
    compare(theirs, path, run, tolerance=1e-5, draws=True)
    compare(in_float64(theirs, path), path, run, tolerance=1e-9, draws=True)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize("sampler", ["dpm-solver++", "sde-dpm-solver++"])
def test_dpm_solver_is_that_of_diffusers(name, prediction, sampler):
    path, guess = schedule.build(name, 1000), kind(prediction)
    theirs = DPMSolverMultistepScheduler(
        1000, beta_schedule=THEIRS[name], timestep_spacing="trailing", solver_order=2,
        algorithm_type=sampler.replace("dpm-solver", "dpmsolver"), prediction_type=guess,
        final_sigmas_type="zero", lower_order_final=True,
    )  # fmt: skip
    theirs.set_timesteps(20)
    run = lambda times, x, noise: samplers.sample(
        sampler, denoiser(path, prediction), path, times, x, randn=noise
    )
    compare(theirs, path, run, tolerance=1e-5, takes_noise=sampler.startswith("sde"))


def test_euler_is_that_of_diffusers():
    path, theirs = schedule.build("flow", 1000), FlowMatchEulerDiscreteScheduler(1000)
    times = schedule.sampling_times(path, 20)
    theirs.set_timesteps(sigmas=[t / 1000 for t in times[:-1]])
    x = randn(4, 1, 3, 3).float()
    ours = list(samplers.euler(denoiser(path, "flow"), path, times, x))
    for t, time, (_, got) in zip(times, theirs.timesteps, ours):
        x = theirs.step(network(x, t), time, x).prev_sample
        assert (got - x).abs().max() < 1e-5
        x = got


# ---- the world of Gaussians


def exact(path: schedule.Schedule) -> diffusion.Denoise:
    """The mean of x_0 given x_t, and of the noise."""

    def denoise(x: torch.Tensor, t: int):
        alpha, sigma = path.pair(t)
        total = (alpha * STD) ** 2 + sigma**2
        return MEAN + alpha * STD**2 / total * (x - alpha * MEAN), sigma / total * (x - alpha * MEAN)

    return denoise


def drawn_from(name: str, path: schedule.Schedule, times: list[int], eta: float = 0.0) -> tuple[float, float]:
    """Mean and standard deviation of x_s at the last of `times` when the first x_t is drawn from q(x_t).

    Every step is affine in x and in the noise it adds, so x_s is mean + a z + sum of c_k z_k, to rounding:
    row 0 carries the mean, row 1 one standard deviation of x_t, row 1 + k one of the k-th noise."""
    mean, std = truth(path, times[0])
    x = torch.full((len(times) + 1, 1), mean, dtype=torch.float64)
    x[1] += std
    rows = iter(range(2, len(times) + 1))

    def noise(like: torch.Tensor) -> torch.Tensor:
        one = torch.zeros_like(like)
        one[next(rows)] = 1
        return one

    end = samplers.last(samplers.sample(name, exact(path), path, times, x, eta=eta, randn=noise))
    return end[0].item(), (end[1:] - end[0]).norm().item()


def truth(path: schedule.Schedule, t: int) -> tuple[float, float]:
    """Mean and standard deviation of q(x_t)."""
    alpha, sigma = path.pair(t)
    return alpha * MEAN, math.hypot(alpha * STD, sigma)


def errors(name: str, path: schedule.Schedule, times: list[int], eta: float) -> tuple[float, float]:
    """Of mean and standard deviation, as shares of the true standard deviation."""
    (mean, std), (true_mean, true_std) = drawn_from(name, path, times, eta), truth(path, times[-1])
    return abs(mean - true_mean) / true_std, abs(std / true_std - 1)


CASES = [("ancestral", 0.0, 1), ("ddim", 0.0, 1), ("ddim", 0.5, 1), ("ddim", 1.0, 1),
         ("dpm-solver++", 0.0, 2), ("sde-dpm-solver++", 0.0, 2), ("heun", 0.0, 2),
         ("euler", 0.0, 1)]  # fmt: skip
"""Sampler, eta, order of its error in the step size."""


@pytest.mark.parametrize(("name", "eta", "order"), CASES)
@pytest.mark.parametrize("path_name", schedule.NAMES)
def test_the_error_falls_with_the_step_size_in_the_order_of_the_sampler(name, eta, order, path_name):
    """Between two times at which steps are small by every measure: from 0.8 T to 0.2 T."""
    if name == "euler" and path_name != "flow":
        return
    path, found = schedule.build(path_name, 8000), []
    for steps in (50, 100, 200, 400):
        times = [6400 - 4800 * k // steps for k in range(steps + 1)]
        found.append(errors(name, path, times, eta)[1])
    assert found[-1] > 1e-9  # an error, not rounding
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(found)]
    assert orders[-1] == pytest.approx(order, abs=0.12)
    assert abs(orders[-1] - order) <= abs(orders[0] - order) + 0.02


@pytest.mark.parametrize(("name", "eta", "order"), CASES)
@pytest.mark.parametrize(("path_name", "zero"), [*CURVED, ("cosine", True), ("flow", False)])
def test_every_sampler_draws_the_truth(name, eta, order, path_name, zero):
    """From noise to images: mean and standard deviation come near those of x_0, with more steps nearer."""
    if name == "euler" and path_name != "flow":
        return
    path = schedule.build(path_name, 1000, zero_terminal_snr=zero)
    few, many = (max(errors(name, path, schedule.sampling_times(path, steps), eta)) for steps in (10, 200))
    assert few < 0.65 and many < few / 4
    assert many < (0.06 if order == 1 else 0.011)


@pytest.mark.parametrize("name", ["ddim", "dpm-solver++", "heun"])
def test_ten_steps_by_log_snr_are_enough(name):
    path = schedule.build("linear", 1000)
    by = {spacing: max(errors(name, path, schedule.sampling_times(path, 10, spacing), 0.0))
          for spacing in ("time", "log-snr")}  # fmt: skip
    assert by["log-snr"] < by["time"] and by["log-snr"] < 0.25


@pytest.mark.parametrize("name", samplers.NAMES)
def test_one_step_is_the_mean_image(name):
    path = schedule.build("flow", 100)
    x = randn(3, 1, 2, 2)
    got = samplers.last(samplers.sample(name, exact(path), path, [100, 0], x))
    assert (got - exact(path)(x, 100)[0]).abs().max() < 1e-12


def test_a_sampler_is_called_by_its_name_with_its_eta_and_noise():
    path = schedule.build("cosine", 1000)
    denoise, times, x = denoiser(path, "epsilon"), schedule.sampling_times(path, 4), randn(2, 1, 3, 3)
    noise = lambda like: torch.full_like(like, 0.3)
    by_name = lambda name, **more: samplers.last(samplers.sample(name, denoise, path, times, x, **more))
    for eta in (0.0, 0.5):
        expected = samplers.last(samplers.ddim(denoise, path, times, x, eta, noise))
        assert torch.equal(by_name("ddim", eta=eta, randn=noise), expected)
    assert not torch.equal(by_name("ddim", randn=noise), by_name("ddim", eta=0.5, randn=noise))
    expected = samplers.last(samplers.ancestral(denoise, path, times, x, noise))
    assert torch.equal(by_name("ancestral", randn=noise), expected)


@pytest.mark.parametrize("name", samplers.NAMES)
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_evaluations_are_counted(name, steps):
    path, calls = schedule.build("flow", 100), []

    def counted(x, t):
        calls.append(t)
        return exact(path)(x, t)

    samplers.last(
        samplers.sample(name, counted, path, schedule.sampling_times(path, steps), randn(2, 1, 2, 2))
    )
    assert len(calls) == samplers.evaluations(name, steps) and min(calls) > 0


# ---- mistakes


@pytest.mark.parametrize(("name", "eta", "message"), [
    ("euler", 0.0, "--sampler euler: .*--schedule flow"),
    ("heun", 0.5, "--eta 0.5: only --sampler ddim"),
])  # fmt: skip
def test_a_sampler_that_does_not_fit(name, eta, message):
    with pytest.raises(InputError, match=message):
        samplers.check(name, schedule.build("linear", 10), eta)
    samplers.check("euler", schedule.build("flow", 10))
    samplers.check("ddim", schedule.build("linear", 10), 0.5)


# ---- encoding and inpainting


@pytest.mark.parametrize(("path_name", "zero"), [*CURVED, ("flow", False)])
def test_an_image_is_encoded_as_the_noise_that_draws_it(path_name, zero):
    """The flow of a Gaussian world is known: (x_t - mean_t) / std_t stays what it is."""
    path = schedule.build(path_name, 1000, zero_terminal_snr=zero)
    times = schedule.sampling_times(path, 500)
    x0 = MEAN + STD * randn(50, 1)
    z = samplers.encode(exact(path), path, times[::-1], x0)
    mean, std = truth(path, 1000)
    assert ((z - mean) / std - (x0 - MEAN) / STD).abs().max() < 0.1
    back = samplers.last(samplers.ddim(exact(path), path, times, z, 0.0, torch.randn_like))
    assert (back - x0).abs().max() < 0.03


def test_what_is_known_stays_and_the_rest_comes_to_fit():
    """Two equal numbers from N(MEAN, STD^2): known is the first; the second must be drawn equal to it."""
    path = schedule.build("cosine", 1000)

    def denoise(x: torch.Tensor, t: int):  # both x are the same x_0 under two noises
        alpha, sigma = path.pair(t)
        mean_x = x.mean(1, keepdim=True)
        x0 = MEAN + 2 * alpha * STD**2 / (2 * (alpha * STD) ** 2 + sigma**2) * (mean_x - alpha * MEAN)
        x0 = x0.expand_as(x)
        return x0, diffusion.noise_in(x, x0, alpha, sigma)

    generator = torch.Generator().manual_seed(0)
    noise = lambda like: torch.randn(like.shape, dtype=like.dtype, generator=generator)
    known = (MEAN + STD * randn(400, 1)).expand(400, 2).clone()
    known[:, 1] = 9  # never looked at
    mask = torch.tensor([1.0, 0.0], dtype=torch.float64)
    times = schedule.sampling_times(path, 200)
    apart = {}
    for repeats in (1, 10):
        got = samplers.inpaint(denoise, path, times, known, mask, noise, repeats=repeats)
        assert torch.equal(got[:, 0], known[:, 0])
        apart[repeats] = (got[:, 1] - known[:, 0]).std().item()
    assert apart[10] < 0.1 * STD and apart[10] < 0.7 * apart[1]
