"""Checks of theory/{en,ru}/latent_diffusion.md: losses of the autoencoder, scale of latents, loss on them."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from hw4_diffusion import diffusion, schedule, small_pipeline, train_text_to_image
from hw4_diffusion.captioned_latents import CaptionedLatents
from hw4_diffusion.small_pipeline import Denoiser, Description
from theory.checks.draws import normal
from theory.printed import printed
from theory.tags import verifies


@verifies("latent_diffusion.1")
def test_the_autoencoders_loss():
    printed(r"""
        L = \sum_i e(x_i - \hat x_i) + \lambda_{\mathrm{p}} \, d(x, \hat x) - \lambda_{\mathrm{a}} \,
        \ell(\hat x) + \beta \, \mathrm{KL}\bigl( \mathcal{N}(\mu, \mathrm{diag}(s^2)) \,\Vert\,
        \mathcal{N}(0, I) \bigr) ,
        \qquad
        \hat x = g(\mu + s \odot \varepsilon)
        \tag{latent_diffusion.1}
    """)
    torch.manual_seed(0)
    network = small_pipeline.Autoencoder(small_pipeline.build_autoencoder(Description(size=16))).double()
    x, eps = normal(3, 3, 16, 16).tanh(), normal(3, 4, 4, 4, seed=1)
    with torch.no_grad():
        decoded, parameters = network(x, eps)
        mean, logvar = parameters.chunk(2, 1)
        again = network.both.decode(mean + (0.5 * logvar).exp() * eps).sample
    torch.testing.assert_close(decoded, again)
    kl = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum((1, 2, 3))
    nats = train_text_to_image.nats_of_a_number(parameters)
    torch.testing.assert_close(nats * 64, kl)
    d = sum(
        (x.diff(dim=dim) - decoded.diff(dim=dim)).square().sum((1, 2, 3)) * 16 / 15 for dim in (2, 3)
    )  # its 240 numbers of 256 are averaged, and summed
    beta, edge_weight = 1e-3, 0.7
    loss = (x - decoded).square().sum((1, 2, 3)) + edge_weight * d + beta * kl
    error = train_text_to_image.reconstruction_error(x, decoded, edge_weight)
    torch.testing.assert_close(768 * (error + beta * 64 / 768 * nats), loss)


def test_the_weight_that_makes_two_gradients_equally_long():
    layer = nn.Linear(4, 3).double()
    torch.manual_seed(0)
    features, goal, judge = normal(5, 4), normal(5, 3, seed=1), normal(3, seed=2)
    gradient = lambda value: torch.autograd.grad(value, layer.weight, retain_graph=True)[0]
    decoded = layer(features)
    first, second = (decoded - goal).abs().sum(), (decoded * judge).sin().sum()
    weight = gradient(first).norm() / gradient(second).norm()
    assert gradient(weight.detach() * second).norm().item() == pytest.approx(gradient(first).norm().item())


@pytest.mark.parametrize(("beta", "h"), [(1e-3, 1.0), (0.2, 0.5), (0.5, 0.2)])
def test_a_tiny_kl_sets_how_fine_a_latent_may_write(beta, h):
    """Least over k and s, found by descent; k = 0 and s = 1 where the dimension dies."""
    k, log_s = (torch.tensor(start, dtype=torch.float64, requires_grad=True) for start in (0.5, -0.5))
    optimizer = torch.optim.LBFGS([k, log_s], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def loss() -> Tensor:
        variance = (2 * log_s).exp()
        total = k**2 + variance
        return h / 2 * variance / total + beta / 2 * (total - 1 - variance.log())

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    expected = (1 - beta / h, beta / h) if beta < h else (0.0, 1.0)
    assert (k.item() ** 2, math.exp(2 * log_s.item())) == pytest.approx(expected, abs=1e-4)
    if beta < h:  # what is written: mutual information of u and k u + s eps
        variance = math.exp(2 * log_s.item())
        rate = 0.5 * math.log2(1 + k.item() ** 2 / variance)
        assert rate == pytest.approx(0.5 * math.log2(h / beta), abs=1e-3)
    assert 0.5 * math.log2(1e6) == pytest.approx(10, abs=0.05)


def test_the_best_linear_guess_of_a_latent_errs_by_the_share_of_its_noise():
    k, s = 0.8, 0.3
    gain = k / (k**2 + s**2)
    assert (1 - gain * k) ** 2 + gain**2 * s**2 == pytest.approx(s**2 / (k**2 + s**2))


@verifies("latent_diffusion.2")
def test_latents_have_variance_one():
    (scaled,) = printed(r"""
        z_0 = «scaled» ,
        \qquad
        \kappa = \frac{1}{\mathrm{std}(z)} ,
        \qquad
        \hat x = g \Bigl( \frac{z_0}{\kappa} \Bigr)
        \tag{latent_diffusion.2}
    """)
    latents = 5.5 * normal(40, 4, 8, 8)
    tokens = torch.zeros(1, 40, 3, dtype=torch.int16)
    known = CaptionedLatents(latents, tokens, empty=tokens[0, :1])
    z0 = known.scaled(torch.arange(40))
    torch.testing.assert_close(z0, scaled(kappa=known.scaling_factor, z=latents))
    assert z0.std().item() == pytest.approx(1) and known.scaling_factor == pytest.approx(1 / latents.std())
    kappa, alpha = 0.18215, schedule_of_stable_diffusion()
    assert round(1 / kappa, 1) == 5.5 and round(1 / kappa**2, 1) == 30.1
    ratio = alpha**2 / (1 - alpha**2)
    assert (round(alpha, 3), round(ratio, 4), round(ratio / kappa**2, 2)) == (0.068, 0.0047, 0.14)


def schedule_of_stable_diffusion() -> float:
    """Share of the image that is left at its last step."""
    betas = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000, dtype=torch.float64).square()
    return (1 - betas).prod().sqrt().item()


@verifies("latent_diffusion.3")
def test_the_loss_on_latents_is_the_simple_loss_with_a_prompt():
    printed(r"""
        L = \mathbb{E}_{z_0, \, c, \, \varepsilon, \, t} \, \lVert \varepsilon -
        \hat\varepsilon(\alpha_t z_0 + \sigma_t \varepsilon, \, t, \, \tau(c)) \rVert^2
        \tag{latent_diffusion.3}
    """)
    torch.manual_seed(0)
    known = Description()
    tokenizer = small_pipeline.build_tokenizer(known)
    denoiser = Denoiser(small_pipeline.build_text_encoder(known, tokenizer), small_pipeline.build_unet(known))
    denoiser = denoiser.double().eval()
    steps = schedule.build("linear", 1000)
    z0, eps, t = normal(2, 4, 16, 16), normal(2, 4, 16, 16, seed=1), torch.tensor([300, 800])
    told = tokenizer(["a portrait of a person with red hair", ""], padding="max_length", return_tensors="pt")
    alpha, sigma = (values[t, None, None, None] for values in (steps.alpha, steps.sigma))
    with torch.no_grad():
        output = denoiser(diffusion.noised(z0, eps, alpha, sigma), t, told.input_ids)
        vectors = denoiser.text_encoder(told.input_ids).last_hidden_state
        alone = [denoiser.unet(alpha[i] * z0[i : i + 1] + sigma[i] * eps[i : i + 1], t[i : i + 1],
                               vectors[i : i + 1]).sample for i in range(2)]  # fmt: skip
    expected = torch.stack([(eps[i] - alone[i][0]).square().sum() for i in range(2)])
    torch.testing.assert_close(diffusion.squared_error(output, eps) * 4 * 16 * 16, expected)
