"""VAE: every equation against torch.distributions, a closed form or Monte Carlo; models; mistakes."""

import shlex
from typing import get_args

from common import command_line, figures, latent_space
from common.data import digits
from common.errors import InputError

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Normal,
    kl_divergence,
)

from hw1_bayes_and_autoencoders import train_vae, vae, vae_measures


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def gaussians(count: int = 5, dimension: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, dimension).double(), torch.randn(count, dimension).double()


# ---- equations


def test_kl_equals_torchs_and_a_monte_carlo_mean():
    mu, log_variance = gaussians()
    kl = latent_space.kl_to_standard_normal(mu, log_variance)
    q, p = Normal(mu, (log_variance / 2).exp()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    assert (kl - kl_divergence(q, p)).abs().max() < 1e-14
    z = q.sample((200_000,))
    values = q.log_prob(z) - p.log_prob(z)
    assert ((values.mean(0) - kl).abs() < 5 * values.std(0) / 200_000**0.5).all()  # five standard errors
    assert (latent_space.kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)) == 0).all()


def test_likelihoods_equal_torchs():
    pixels, logits = torch.rand(3, 2, 5, 7).double(), torch.randn(3, 2, 5, 7).double()
    black_white = pixels.round()
    expected = Bernoulli(logits=logits).log_prob(black_white).sum((1, 2, 3))
    assert (vae.bernoulli_log_likelihood(black_white, logits) - expected).abs().max() < 1e-12
    expected = Normal(logits, 0.3).log_prob(pixels).sum((1, 2, 3))
    assert (vae.gaussian_log_likelihood(pixels, logits, 0.3**2) - expected).abs().max() < 1e-12


def test_a_grey_level_costs_what_its_binarised_images_cost_on_average():
    pixels, logits = torch.rand(1, 1, 2, 2).double(), torch.randn(1, 1, 2, 2).double()
    drawn = torch.bernoulli(pixels.expand(100_000, -1, -1, -1))
    values = vae.bernoulli_log_likelihood(drawn, logits.expand_as(drawn))
    expected = vae.bernoulli_log_likelihood(pixels, logits)
    assert abs(values.mean() - expected) < 5 * values.std() / 100_000**0.5


def test_the_optimal_variance_is_the_best_one():
    pixels, mean = torch.rand(4, 1, 3, 5).double(), torch.rand(4, 1, 3, 5).double()
    best = vae.optimal_variance(pixels, mean)
    total = lambda variance: vae.gaussian_log_likelihood(pixels, mean, variance).sum()
    assert total(best) > max(total(best * 1.01), total(best * 0.99))
    log_variance = best.log().requires_grad_()
    total(log_variance.exp()).backward()
    assert abs(log_variance.grad) < 1e-12


def test_reparameterised_gradients_are_those_of_the_closed_form():
    """E z^2 = mu^2 + sigma^2, so d/d mu = 2 mu and d/d ln sigma^2 = sigma^2."""
    mu = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    log_variance = torch.tensor([-0.4], dtype=torch.float64, requires_grad=True)
    noise = torch.randn(400_000, 1, dtype=torch.float64)
    noise = torch.cat([noise, -noise])  # antithetic: the odd moments are exact
    latent_space.reparameterise(mu, log_variance, noise).square().mean().backward()
    assert abs(mu.grad - 2 * mu) < 1e-12
    assert abs(log_variance.grad - log_variance.exp()) < 0.01  # 5 standard errors of E noise^2 are 0.008


def test_free_bits_stop_the_push_below_the_floor():
    mu, log_variance = torch.randn(8, 3, requires_grad=True), torch.zeros(8, 3)
    scale = torch.tensor([2.0, 0.1, 0.0])  # KL of about 2, 0.005 and 0 nats
    kl = latent_space.kl_to_standard_normal(mu * scale, log_variance)
    value = vae.free_bits(kl, 0.5)
    assert value.item() == pytest.approx(kl[:, 0].mean().item() + 1.0, rel=1e-6)
    value.backward()
    assert (mu.grad[:, 0] != 0).all() and (mu.grad[:, 1:] == 0).all()
    assert vae.free_bits(kl, 0.0).item() == pytest.approx(kl.sum(1).mean().item(), rel=1e-6)


def test_the_objective_weighs_the_kl_by_beta():
    terms = {"reconstruction": torch.tensor([10.0, 20.0]), "kl": torch.tensor([[1.0, 2.0], [3.0, 0.0]])}
    assert vae.objective(terms).item() == 18.0
    assert vae.objective(terms, beta=5.0).item() == 30.0
    assert vae.objective(terms).item() == -vae.elbo(-terms["reconstruction"], terms["kl"]).mean().item()


def test_slerp_keeps_length_ends_and_speed():
    start, end = torch.randn(2, 4, 9, dtype=torch.float64)
    start, end = 3 * start / start.norm(dim=1, keepdim=True), 3 * end / end.norm(dim=1, keepdim=True)
    assert (latent_space.slerp(start, end, 0.0) - start).abs().max() < 1e-12
    assert (latent_space.slerp(start, end, 1.0) - end).abs().max() < 1e-12
    way = torch.stack(
        [latent_space.slerp(start, end, share) for share in torch.linspace(0, 1, 11, dtype=torch.float64)]
    )
    assert (way.norm(dim=2) - 3).abs().max() < 1e-12
    steps = (way[1:] - way[:-1]).norm(dim=2)
    assert (steps - steps[0]).abs().max() < 1e-12  # equal shares are equal angles
    assert (latent_space.slerp(start, end, 0.3) - latent_space.slerp(end, start, 0.7)).abs().max() < 1e-12
    parallel = latent_space.slerp(start, 2 * start, 0.5)
    assert (parallel - 1.5 * start).abs().max() < 1e-12
    assert latent_space.slerp(torch.zeros(3), torch.ones(3), 0.5).isfinite().all()


def test_a_comparison_of_single_seeds_says_so():
    row = {
        "model": "vae", "seeds": 1, "latent_dimensions": 2, "eval/active_dimensions": 2, "fd_prior": 9.0,
        "fd_mixture": 3.0, "eval/posterior_gap_nats": 1.0, "eval/marginal_kl_nats": 1.0,
        "eval/mixture_gain_nats": 1.0,
    }  # fmt: skip
    assert vae_measures.conclusions([row], "fd")[-1].endswith("(a single seed: not yet a finding).")
    several = row | {"seeds": 3, "fd_prior_sd": 0.1, "fd_mixture_sd": 0.1}
    assert vae_measures.conclusions([several], "fd")[-1].endswith("from 9.0 to 3.0 with the same weights.")
    few_draws = several | {"eval/posterior_gap_nats": -0.1}
    assert ": at least 0.0 nats that the ELBO misses" in vae_measures.conclusions([few_draws], "fd")[0]
    scattered = several | {"fd_prior_sd": 9.0}
    assert not any("from 9.0" in line for line in vae_measures.conclusions([scattered], "fd"))


# ---- models


@pytest.mark.parametrize("arch", ["mlp", "conv", "residual"])
def test_encoders_and_decoders_are_no_linear_functions(arch):
    torch.manual_seed(0)
    model, nothing = vae.build(arch, (1, 16, 16), 4).double(), torch.zeros(3, 0)
    for network, x in ((model.encoder, torch.randn(3, 1, 16, 16)), (model.decoder, torch.randn(3, 4))):
        with torch.no_grad():
            up, middle, down = (network(factor * x.double(), nothing) for factor in (1, 0, -1))
        assert (up + down - 2 * middle).abs().max() > 0.05 * (up - down).abs().max()


@pytest.mark.parametrize(
    ("arch", "shape"),
    [
        ("mlp", (1, 5, 9)),
        ("mlp", (3, 8, 8)),
        ("conv", (1, 28, 28)),
        ("conv", (3, 13, 22)),
        ("residual", (3, 8, 20)),
    ],
)
@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("likelihood", get_args(vae.Likelihood))
def test_shapes_and_gradients(arch, shape, classes, likelihood):
    model = vae.build(arch, shape, 6, classes=classes, likelihood=likelihood)
    x, labels = 2 * torch.rand(3, *shape) - 1, torch.tensor([0, 3, 1]) if classes else None
    terms = model(x, labels)
    assert terms["reconstruction"].shape == (3,) and terms["kl"].shape == (3, 6)
    vae.objective(terms).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    images = model.eval().images(torch.randn(3, 6), labels)
    assert images.shape == x.shape and images.min() >= -1 and images.max() <= 1
    assert torch.equal(model.reconstruct(x, labels), model.reconstruct(x, labels))


def test_the_class_reaches_encoder_and_decoder():
    for arch in ("mlp", "conv", "residual"):
        model = vae.build(arch, (1, 8, 8), 2, classes=3)
        x, zero, one = torch.rand(1, 1, 8, 8), torch.tensor([0]), torch.tensor([1])
        assert not torch.equal(model.encode(x, zero)[0], model.encode(x, one)[0])
        assert not torch.equal(model.decode(torch.zeros(1, 2), zero), model.decode(torch.zeros(1, 2), one))


@pytest.mark.parametrize(
    ("arch", "likelihood"), [("mlp", "bernoulli"), ("conv", "bernoulli"), ("residual", "gaussian")]
)
def test_one_batch_can_be_learnt_by_heart(arch, likelihood):
    model = vae.build(arch, (1, 28, 28), 16, likelihood=likelihood, sigma=0.05)
    x = 2 * (digits.draw_set("train", 28, 8, 0).images.float() / 255) - 1
    error = lambda: ((model.reconstruct(x) - x) / 2).square().mean().item()
    before = error()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(150):
        loss = vae.objective(model(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert error() < 0.1 * before


def test_the_running_sigma_follows_the_error():
    model = vae.build("mlp", (1, 6, 6), 2, likelihood="gaussian-optimal")
    x = 2 * torch.rand(64, 1, 6, 6) - 1
    with torch.no_grad():
        for _ in range(1500):
            model(x)
        mu, log_variance = model.encode(x)
        mean = model.pixel_mean(model.decode(latent_space.reparameterise(mu, log_variance)))
    error = ((x + 1) / 2 - mean).square().mean().item()
    assert model.pixel_log_variance.exp().item() == pytest.approx(error, rel=0.1)
    held = model.pixel_log_variance.item()
    model.eval()(x)
    assert model.pixel_log_variance.item() == held


# ---- mistakes


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 10], "class 10 is outside"), ([-1], "class -1 is outside")]
)
def test_a_class_outside_the_models_is_one_line(labels, message):
    with pytest.raises(InputError, match=f"--classes: {message} the model's 0 to 9"):
        vae.check_labels(torch.tensor(labels), 10, "--classes")


def test_a_conditional_model_needs_labels():
    with pytest.raises(InputError, match="no class labels"):
        vae.check_labels(None, 10, "--data avatars")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--latent 0", "--latent 0: must be greater than or equal to 1"),
        ("--beta -1", "--beta -1.0: must be greater than or equal to 0"),
        ("--ema 1", "--ema 1.0: must be less than 1"),
        ("--warmup-epochs nan", "--warmup-epochs nan: must be a finite number"),
        ("--latent 100000000", "--latent 100000000: must be less than"),
        ("--size 0", "--size 0: must be greater than or equal to 1"),
        ("--data ''", "--data: an empty value"),
        ("--sigma 0", "--sigma 0.0: must be greater"),
        ("--binarise --likelihood gaussian", "--binarise: .* bernoulli"),
        ("--size 5", "--data digits: cannot draw .* images of 5 pixels"),
    ],
)
def test_flags_no_run_can_have(flags, message):
    with pytest.raises(InputError, match=message):
        train_vae.main(command_line.parse(train_vae.Config, ["--device", "cpu", *shlex.split(flags)]))


def test_images_without_classes_do_not_train_a_cvae(tmp_path):
    for number in range(3):
        figures.save_png(tmp_path / "train" / f"{number}.png", torch.zeros(3, 8, 8, dtype=torch.uint8))
    config = train_vae.Config(data=str(tmp_path), conditional=True, size=8, outdir=tmp_path, device="cpu")
    with pytest.raises(InputError, match="--conditional: no class labels"):
        train_vae.main(config)


@pytest.mark.parametrize(("arch", "shape"), [("conv", (1, 7, 28)), ("residual", (1, 28, 30))])
def test_sizes_an_architecture_cannot_halve(arch, shape):
    with pytest.raises(InputError, match=f"--arch {arch}"):
        vae.build(arch, shape, 2)
