"""Checks of theory/{en,ru}/autoencoders.md, errors and scores, against hw1_bayes_and_autoencoders.

Identities and gradients in float64; Monte Carlo by z-scores, |z| < 4.5, with fixed seeds.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hw1_bayes_and_autoencoders import anomaly_scores, autoencoders
from theory.checks.draws import Z, normal
from theory.printed import printed
from theory.tags import verifies


@verifies("ae.1")
def test_training_loss_is_the_squared_norm_of_the_residual_over_4_d():
    (loss,) = printed(r"L(f, g) = «loss» \tag{ae.1}")
    torch.manual_seed(0)
    model = autoencoders.build("conv", channels=3, size=16, latent=5).double().eval()
    x = normal(3, 3, 16, 16).tanh()
    residual = (x - model.reconstruct(x)).flatten(1)
    # [-1, 1] is twice as long as [0, 1], so squares there are 4 times as large
    expected = residual.square().sum(1) / (4 * residual.shape[1])
    torch.testing.assert_close(model(x, x)["mse"], expected, rtol=1e-12, atol=0)
    by_pixel = autoencoders.squared_error(x, model.reconstruct(x))
    torch.testing.assert_close(by_pixel.mean((1, 2)), expected, rtol=1e-12, atol=0)
    through = lambda image: model.reconstruct(image.view(1, 3, 16, 16)).flatten()
    whole = loss(N=3, x=x.flatten(1).T, f=lambda image: image, g=through)
    torch.testing.assert_close(4 * residual.shape[1] * model(x, x)["mse"].mean(), whole)


def data_away_from_origin() -> torch.Tensor:
    """(300, 7) with unequal variances, correlations and a mean of 3."""
    return normal(300, 7) * torch.tensor([5.0, 3, 2, 1.2, 0.7, 0.4, 0.2]) @ normal(7, 7, seed=1) / 3 + 3


def spectrum(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues of the covariance in descending order, and the eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    return values.flip(0), vectors.flip(1)


def linear_autoencoder(d: int) -> autoencoders.Autoencoder:
    """7 pixels in a row -> d numbers -> 7 pixels."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(7, d))
    decoder = nn.Sequential(nn.Linear(d, 7), nn.Unflatten(1, (1, 1, 7)))
    return autoencoders.Autoencoder(encoder, decoder).double()


def training_loss(model: autoencoders.Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """What is trained on, times 4 D: the mean squared norm of the residual."""
    images = x[:, None, None]
    return 4 * 7 * model(images, images)["mse"].mean()


def mean_error(x: torch.Tensor, reconstruction: torch.Tensor) -> torch.Tensor:
    return (x - reconstruction).square().sum(1).mean()


@verifies("ae.2")
@pytest.mark.parametrize("d", [1, 3, 6])
def test_pca_error_is_the_sum_of_discarded_eigenvalues_and_nothing_of_that_rank_beats_it(d):
    (discarded,) = printed(r"""
        \min_{\mathrm{rank}\, A \le d, \; b} \; \frac{1}{N} \sum_{n=1}^{N} \lVert x_n - A x_n - b \rVert^2 =
        «discarded»
        \tag{ae.2}
    """)
    x = data_away_from_origin()
    values, vectors = spectrum(x)
    bound, mean, basis = values[d:].sum(), x.mean(0), vectors[:, :d]
    model = linear_autoencoder(d)
    model.load_state_dict(
        {"encoder.1.weight": basis.T, "encoder.1.bias": -mean @ basis,
         "decoder.0.weight": basis, "decoder.0.bias": mean}
    )  # fmt: skip
    error = training_loss(model, x)
    torch.testing.assert_close(error, bound, rtol=1e-10, atol=1e-12)
    # other subspaces with their best affine decoder, and nonlinear encoders before one
    for seed in range(50):
        for code in (x @ normal(7, d, seed=seed), (x @ normal(7, d, seed=seed) / 5).tanh()):
            inputs = torch.cat([code, torch.ones(len(x), 1)], 1)
            assert mean_error(x, inputs @ torch.linalg.lstsq(inputs, x).solution) > bound
    without_bias = torch.linalg.eigvalsh(x.T @ x / len(x)).flip(0)[d:].sum()
    assert without_bias > bound
    torch.testing.assert_close(error, discarded(d=d, D=7, lambda_=values), rtol=1e-10, atol=1e-12)


@verifies("ae.2")
def test_a_trained_linear_autoencoder_spans_the_principal_subspace_but_not_the_axes():
    x, d = data_away_from_origin(), 2
    values, vectors = spectrum(x)
    torch.manual_seed(0)
    model = linear_autoencoder(d)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=2000, line_search_fn="strong_wolfe",
        tolerance_grad=1e-11, tolerance_change=1e-15,
    )  # fmt: skip

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = training_loss(model, x)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() == pytest.approx(values[d:].sum().item(), rel=1e-8)  # no other local minimum
    weight = model.decoder[0].weight.detach()
    learned = torch.linalg.qr(weight).Q
    cosines = torch.linalg.svdvals(learned.T @ vectors[:, :d])
    assert cosines.min() > 1 - 1e-6
    columns = F.normalize(weight, dim=0)
    on_axes = (columns.T @ vectors[:, :d]).abs().amax(1)
    assert on_axes.min() < 0.9  # the columns are not the principal axes,
    assert (columns[:, 0] @ columns[:, 1]).abs() > 1e-3  # nor orthogonal


@verifies("ae.3")
def test_squared_error_is_a_gaussian_likelihood_and_the_best_variance_is_the_mse():
    (nats,) = printed(r"- \ln \mathcal{N}(x; \hat x, \sigma^2 I) = «nats» \tag{ae.3}")
    x, reconstruction = normal(1, 1, 28, 28), normal(1, 1, 28, 28, seed=1)
    mse = autoencoders.squared_error(x, reconstruction).mean()  # in squared grey levels of [0, 1]
    levels, means = ((image.flatten() + 1) / 2 for image in (x, reconstruction))

    def closed(variance: torch.Tensor) -> torch.Tensor:
        return 784 / 2 * (mse / variance + (2 * math.pi * variance).log())

    variance = torch.tensor(0.3, dtype=torch.float64)
    reference = -torch.distributions.Normal(means, variance.sqrt()).log_prob(levels).sum()
    torch.testing.assert_close(closed(variance), reference, rtol=1e-12, atol=0)
    as_printed = nats(x=levels, xhat=means, sigma=variance.sqrt(), D=784)
    torch.testing.assert_close(closed(variance), as_printed, rtol=1e-12, atol=0)
    best = mse.log().requires_grad_()
    assert abs(torch.autograd.grad(closed(best.exp()), best)[0]) < 1e-9
    assert 784 / 2 * math.log(2 * math.pi * 0.1**2) == pytest.approx(-1085, abs=0.5)


@verifies("ae.11")
def test_the_best_denoiser_is_the_conditional_expectation():
    """Gaussian pixels in a row, the middle painted over: E[x | rest] in closed form; nothing beats it."""
    printed(r"""
        \mathop{\mathrm{arg\,min}}_{h} \; \mathbb{E} \, \lVert x - h(\tilde x) \rVert^2 = \mathbb{E} [ x
        \mid \tilde x ] ,
        \qquad \tilde x = x \text{ outside random patches, one grey level inside each}
        \tag{ae.11}
    """)
    d, n, hidden = 8, 40_000, slice(3, 5)
    place = torch.arange(d, dtype=torch.float64)
    covariance = torch.exp(-(place[:, None] - place).abs() / 4)
    x = normal(n, d) @ torch.linalg.cholesky(covariance).T
    known = [i for i in range(d) if i not in range(d)[hidden]]
    gain = covariance[hidden][:, known] @ torch.linalg.inv(covariance[known][:, known])
    expected = x[:, known] @ gain.T
    error = lambda h: (x[:, hidden] - h).square().sum(1)
    best = error(expected)
    exact = (covariance[hidden, hidden] - gain @ covariance[known][:, hidden]).trace()
    assert abs(best.mean() - exact) < Z * best.std() / n**0.5
    for seed in range(5):  # any other function of the rest costs its squared distance on top, as derived
        other = expected + 0.3 * torch.tanh(x[:, known] @ normal(len(known), 2, seed=seed + 1))
        excess = error(other) - best - (other - expected).square().sum(1)
        assert abs(excess.mean()) < Z * excess.std() / n**0.5 and error(other).mean() > best.mean()


@verifies("ae.11")
def test_patches_are_painted_with_one_level_and_leave_the_rest_alone():
    torch.manual_seed(0)
    x = torch.rand(300, 3, 32, 48) * 0.5 + 2  # levels that no patch has
    spoilt = autoencoders.with_patches(x, 1)
    painted = spoilt[:, 0] < 2
    everywhere = painted[:, None].expand_as(x)
    assert torch.equal(spoilt < 2, everywhere) and torch.equal(spoilt[~everywhere], x[~everywhere])
    for image, mask in zip(spoilt[:50, 0], painted[:50]):
        assert image[mask].unique().numel() <= 1
    area = painted.double().mean()  # a side is uniform on [1/16, 1/4]; borders cut some of it off
    assert 0.6 * (5 / 32) ** 2 < area < (5 / 32) ** 2


@verifies("ae.4")
def test_weighted_score_is_the_likelihood_of_a_diagonal_gaussian_up_to_a_constant():
    nats, weighted_mean = printed(r"- \ln p(r) = «nats» , \qquad s(x) = «weighted_mean» \tag{ae.4}")
    residual = (normal(40, 6, 9) * normal(6, 9, seed=1).exp())[:, None]  # (N, 1, H, W)
    variance = anomaly_scores.usual_error(residual, window=1, floor=0)
    scores = anomaly_scores.score("weighted", residual, variance, patch=1)
    assert scores.mean().item() == pytest.approx(1, abs=1e-12)
    d = 6 * 9
    closed = d / 2 * scores + 0.5 * (2 * math.pi * variance).log().sum()
    reference = -torch.distributions.Normal(0, variance.sqrt()).log_prob(residual).sum((1, 2, 3))
    torch.testing.assert_close(closed, reference, rtol=1e-12, atol=0)
    rim_and_floor = torch.tensor([[[[20.0, 20.0]]]])
    weighted = anomaly_scores.score("weighted", rim_and_floor, torch.tensor([[20.0**2, 2.0**2]]), patch=1)
    assert weighted.item() == pytest.approx((1 + 100) / 2)
    symbols = {"D": d, "r": residual.flatten(1), "sigma": variance.sqrt().flatten()}
    torch.testing.assert_close(scores, weighted_mean(**symbols))
    torch.testing.assert_close(reference, nats(s=lambda x: scores, x=0, **symbols))


@verifies("ae.4")
def test_weighted_score_of_gaussian_residuals_has_mean_1_and_variance_2_over_d():
    variance = normal(5, 8, seed=1).exp()
    residual = normal(20_000, 1, 5, 8) * variance.sqrt()
    scores = anomaly_scores.score("weighted", residual, variance, patch=1)
    d, n = 40, len(scores)
    assert abs(scores.mean() - 1) < Z * math.sqrt(2 / d / n)
    assert abs(scores.var() - 2 / d) < Z * 2 / d * math.sqrt(
        (2 + 12 / d) / n
    )  # chi-squared: kurtosis 3 + 12/d


@verifies("ae.5")
def test_largest_patch_is_the_maximum_over_all_squares():
    printed(r"""
        s_{\mathrm{patch}}(x) = \max_{P} \; \frac{1}{\lvert P \rvert} \sum_{j \in P} r_j^2
        \tag{ae.5}
    """)
    maps = normal(3, 7, 11).square()
    brute = [
        max(image[i : i + 4, j : j + 4].mean() for i in range(7 - 4 + 1) for j in range(11 - 4 + 1))
        for image in maps
    ]
    torch.testing.assert_close(anomaly_scores.largest_patch(maps, 4), torch.stack(brute), rtol=1e-12, atol=0)


@verifies("ae.5")
def test_a_small_spill_stands_out_in_its_patch_by_the_square_root_of_d_over_m():
    side, patch, n = 32, 4, 4000
    d, m = side**2, patch**2
    clean = normal(n, side, side).square()
    fluctuation = {
        k: means.std().item()
        for k, means in ((d, clean.mean((1, 2))), (m, clean[:, :patch, :patch].mean((1, 2))))
    }
    for k, deviation in fluctuation.items():  # sigma^2 sqrt(2 / k)
        relative = math.sqrt((2 + 12 / k) / (4 * n))  # standard error of a standard deviation, relative
        assert abs(deviation / math.sqrt(2 / k) - 1) < Z * relative
    added = 2.0**2  # a = 2 sigma
    gain = (added / fluctuation[m]) / (added * m / d / fluctuation[d])
    assert gain == pytest.approx(math.sqrt(d / m), rel=0.1)
    spilled = clean[:400].clone()
    spilled[:, 8 : 8 + patch, 12 : 12 + patch] += added
    auc = lambda score: (score(spilled)[:, None] > score(clean[400:])).double().mean()
    assert (
        auc(lambda maps: anomaly_scores.largest_patch(maps, patch))
        > auc(lambda maps: maps.mean((1, 2))) + 0.1
    )


@verifies("ae.10")
def test_the_signed_patch_mean_orders_patches_as_the_likelihood_ratio_does_and_finds_faint_spills_best():
    printed(r"s_{\mathrm{bright}}(x) = \max_{P} \frac{1}{m} \sum_{j \in P} ( x_j - \hat x_j ) \tag{ae.10}")
    side, patch, a, n = 16, 5, 0.5, 2000
    clean = normal(2 * n, side, side)
    spilled, clean = clean[:n].clone(), clean[n:]
    spilled[:, 6 : 6 + patch, 3 : 3 + patch] += a
    for one in (clean[:50], spilled[:50]):  # on one patch: an increasing function of each other
        r = one[:, 6 : 6 + patch, 3 : 3 + patch].flatten(1)
        ratio = (r.square() - (r - a).square()).sum(1) / 2
        torch.testing.assert_close(ratio, patch**2 * a * (r.mean(1) - a / 2), rtol=1e-10, atol=1e-10)
    moved = anomaly_scores.brightest_patch(spilled[:, 6 : 6 + patch, 3 : 3 + patch], patch)
    assert abs(moved.mean().item() - a) < Z / patch / math.sqrt(n)  # standard deviation 1 / sqrt(m) of each
    auc = lambda score: (score(spilled)[:, None] > score(clean)).double().mean()
    signed = auc(lambda r: anomaly_scores.brightest_patch(r, patch))
    assert signed > auc(lambda r: anomaly_scores.largest_patch(r.square(), patch)) + 0.1
