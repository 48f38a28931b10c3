"""Questions of homework 1 on variational autoencoders."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, close, difference, same


def variational(made: Maker, draw: np.random.Generator) -> None:
    mu, log_variance, noise = draw.normal(0, 1, (3, 4, 2))
    made.ask(
        "a draw with given noise",
        "reparameterise",
        [mu, log_variance, noise],
        same(
            mu + np.exp(log_variance / 2) * noise,
            {
                "the variance is multiplied: the standard deviation is exp(log-variance / 2)": mu
                + np.exp(log_variance) * noise,
                "the logarithm is multiplied: take exp(log-variance / 2)": mu + log_variance * noise,
                "the noise is left out": mu,
            },
        ),
        "gradients-through-a-random-draw",
    )
    made.ask(
        "gradients through a draw",
        "draws_of_z",
        [mu[:1], log_variance[:1]],
        lambda answer: through_draws(answer, np.exp(log_variance[0] / 2)),
        "gradients-through-a-random-draw",
    )
    kl = 0.5 * (mu**2 + np.exp(log_variance) - 1 - log_variance)
    made.ask(
        "the KL divergence to N(0, 1)",
        "kl_to_standard_normal",
        [mu, log_variance],
        same(
            kl,
            {
                "the factor 1/2 is missing": 2 * kl,
                "the -1 is missing: where mu = 0 and the variance is 1, the divergence is 0": kl + 0.5,
                "the 1/2 belongs to the whole bracket, not to the 1 alone": mu**2
                + np.exp(log_variance)
                - log_variance
                - 0.5,
                "the sign is wrong: a divergence is never negative": -kl,
                "the log-variance is taken for the variance": 0.5
                * (mu**2 + log_variance - 1 - np.log(np.abs(log_variance))),
                "the log-variance is taken for the logarithm of the standard deviation": 0.5
                * (mu**2 + np.exp(2 * log_variance) - 1 - 2 * log_variance),
                "this is summed over dimensions: give one for each": kl.sum(1),
            },
        ),
        "the-kl-of-gaussians",
    )
    likelihoods(made, draw)
    reconstruction, kls = draw.random(5) * 90, draw.random((5, 3))
    total = kls.sum(1).mean()
    made.ask(
        "what is minimised, with beta = 4",
        "vae_objective",
        [reconstruction, kls, 4.0],
        same(
            reconstruction.mean() + 4 * total,
            {
                "beta is left out": reconstruction.mean() + total,
                "beta weighs the reconstruction: it belongs to the KL": 4 * reconstruction.mean() + total,
                "the KL is averaged over the latent dimensions: add them up": reconstruction.mean()
                + 4 * kls.mean(),
                "the KL is subtracted: both terms are minimised": reconstruction.mean() - 4 * total,
                "this is the sum over the batch: take the mean": 5 * (reconstruction.mean() + 4 * total),
            },
        ),
        "the-weight-of-the-kl",
    )
    made.ask(
        "how a class enters",
        "vae_condition",
        [np.array([2, 0, 3]), 4],
        same(
            np.eye(4)[[2, 0, 3]],
            {
                "the number of the class goes in: make it one-hot, classes have no order": np.array(
                    [[2.0], [0], [3]]
                ),
            },
        ),
        "what-one-would-like-to-maximise",
    )
    images = draw.uniform(-1, 1, (4, 1, 8, 8))
    made.ask(
        "encode, draw, decode",
        "vae_terms",
        [images, np.array([0, 1, 0, 1]), 0],
        terms_of_the_bound,
        "the-bound-by-jensen",
    )
    made.ask(
        "the same with classes",
        "vae_terms",
        [images, np.array([0, 1, 0, 1]), 2],
        terms_of_the_bound,
        "the-bound-by-jensen",
    )
    made.ask("one batch is learned by heart", "vae_learns", [np.sign(images)], learned, "the-bound-by-jensen")


def likelihoods(made: Maker, draw: np.random.Generator) -> None:
    x, logits = draw.random((2, 1, 3, 4)), draw.normal(0, 2, (2, 1, 3, 4))
    p = 1 / (1 + np.exp(-logits))
    cross = x * np.log(p) + (1 - x) * np.log(1 - p)
    again = 1 / (1 + np.exp(-p))
    made.ask(
        "the log-likelihood of black and white pixels",
        "bernoulli_log_likelihood",
        [x, logits],
        same(
            cross.sum((1, 2, 3)),
            {
                "the mean over pixels is taken: add them up, or the KL weighs too much": cross.mean(
                    (1, 2, 3)
                ),
                "the sign: this is the cross-entropy, minus the log-likelihood": -cross.sum((1, 2, 3)),
                "the mean over pixels is taken, and the sign is that of the cross-entropy": -cross.mean(
                    (1, 2, 3)
                ),
                "a sigmoid is applied twice": (x * np.log(again) + (1 - x) * np.log(1 - again)).sum(
                    (1, 2, 3)
                ),
                "one number for the whole batch: give one for each image": cross.sum(),
            },
        ),
        "black-and-white-pixels",
    )
    mean, variance = draw.random((2, 1, 3, 4)), 0.04
    squared = ((x - mean) ** 2).sum((1, 2, 3))
    log_p = -0.5 * (squared / variance + 12 * np.log(2 * np.pi * variance))
    made.ask(
        "the log-likelihood of grey pixels",
        "gaussian_log_likelihood",
        [x, mean, variance],
        same(
            log_p,
            {
                "the sign is wrong": -log_p,
                "the normalising constant is missing: without it variances cannot be compared": -0.5
                * squared
                / variance,
                "the normalising constant counts once: it counts for each of the pixels": -0.5
                * (squared / variance + np.log(2 * np.pi * variance)),
                "the variance is squared: it is a variance already": -0.5
                * (squared / variance**2 + 12 * np.log(2 * np.pi * variance**2)),
                "the mean over pixels is taken: add them up": log_p / 12,
            },
        ),
        "grey-pixels",
    )


def through_draws(answer: list[np.ndarray], spread: np.ndarray) -> str | None:
    reached, found = answer
    if found.shape == spread.shape and (found < 1e-6).all():
        return "without given noise nothing is drawn: draw it from N(0, I)"
    if not reached.all():
        which = "mu" if not reached[0] else "the log-variance"
        return f"no gradient reaches {which}: write z = mu + sigma * noise, not a draw of torch.normal"
    worst = np.abs(found / spread - 1).max()
    return f"draws spread {found[0]:.2f} where sigma is {spread[0]:.2f}" if worst > 0.3 else None


def terms_of_the_bound(answer: list[np.ndarray]) -> str | None:
    """Reconstruction of drawn latents, and the KL of each dimension."""
    found, spread, kl, mu, log_variance, at_mean, ours, our_spread = answer
    if found.shape != (4,) or kl.shape != mu.shape:
        return f"expected reconstruction (4,) and kl {mu.shape}, found {found.shape} and {kl.shape}"
    right = 0.5 * (mu**2 + np.exp(log_variance) - 1 - log_variance)
    if words := difference(
        kl, right, {"the kl is negative: it is subtracted from the bound, not from the loss": -right}, 1e-3
    ):
        return f"kl: {words}"
    if close(found, at_mean, 1e-5) and (spread < 1e-5 * np.abs(found).max()).all():
        return "the mean of q goes into the decoder: the bound needs a draw, z = mu + sigma * noise"
    if close(found, -ours, 0.1):
        return "reconstruction: minus the log-likelihood is minimised, yours has the other sign"
    apart = np.abs(found - ours) / (our_spread / np.sqrt(200) + 1e-3 * np.abs(ours) + 1e-6)
    return (
        f"reconstruction: expected about {ours[0]:.4g} nats for the first image, found {found[0]:.4g}"
        if apart.max() > 8
        else None
    )


def learned(answer: list[np.ndarray]) -> str | None:
    first, last, without = (float(each) for each in answer)
    if without:
        return f"{without:.0f} parameters get no gradient: something is detached, or never used"
    if last > 0.8 * first:
        return f"60 steps on one batch took the loss from {first:.4g} to {last:.4g} only"
    return None
