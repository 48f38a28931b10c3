"""Questions of homework 4 on diffusion without a network."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, each, named, same

PAGE = "a-linear-diffusion-model"


def linear(made: Maker, draw: np.random.Generator) -> None:
    components(made, draw)
    z, c = draw.normal(0, 1, (7, 2)), np.eye(3)[draw.integers(0, 3, 7)]
    phi, plain = features(z, c), np.concatenate([c, z], 1)
    products = (c[:, :, None] * z[:, None]).reshape(7, -1)
    made.ask(
        "what the denoiser is linear in, with products",
        "linear_features",
        [z, c, 1],
        same(
            phi,
            {
                "the products are missing": plain,
                "the latent by itself is missing: it is multiplied with 1 first": np.concatenate(
                    [c, products], 1
                ),
                "the caption is missing": phi[:, 3:],
                "the order is caption, latent, products: yours begins with the latent": np.concatenate(
                    [z, c, products], 1
                ),
            },
        ),
        PAGE,
    )
    made.ask(
        "the same without products",
        "linear_features",
        [z, c, 0],
        same(plain, {"there are products though none were asked for": phi, "the caption is missing": z}),
        PAGE,
    )
    equations(made, z, c)
    a = draw.normal(0, 1, (9, 5))
    left, right, penalty = a.T @ a / 9, draw.normal(0, 1, (5, 2)), 0.3
    made.ask(
        "ridge regression",
        "ridge",
        [left, right, penalty],
        same(
            np.linalg.solve(left + penalty * np.eye(5), right),
            {
                "the penalty is left out": np.linalg.solve(left, right),
                "the penalty is added to every entry: it belongs to the diagonal": np.linalg.solve(
                    left + penalty, right
                ),
                "the penalty is squared": np.linalg.solve(left + penalty**2 * np.eye(5), right),
                "the penalty is subtracted": np.linalg.solve(left - penalty * np.eye(5), right),
            },
            tolerance=1e-6,
        ),
        PAGE,
    )


def features(z: np.ndarray, c: np.ndarray) -> np.ndarray:
    multipliers = np.concatenate([np.ones((len(z), 1)), c], 1)
    return np.concatenate([c, (multipliers[:, :, None] * z[:, None]).reshape(len(z), -1)], 1)


def components(made: Maker, draw: np.random.Generator) -> None:
    images = draw.integers(0, 256, (4, 1, 2, 3), dtype=np.uint8)
    mean, variance = draw.uniform(-1, 1, 6), np.array([3.0, 1.5])
    basis = np.linalg.qr(draw.normal(0, 1, (6, 2)))[0].T
    x, unit = images.reshape(4, 6) / 127.5 - 1, np.sqrt(variance.mean())
    read = "autoencoders.md#the-best-linear-autoencoder-is-pca"
    made.ask(
        "an image as its components",
        "encode",
        [images, mean, basis, variance],
        same(
            (x - mean) @ basis.T / unit,
            {
                "the mean image is not subtracted": x @ basis.T / unit,
                "the unit is missing: latents are divided by it, so that their variance is 1": (x - mean)
                @ basis.T,
                "the unit is multiplied: latents are divided by it": (x - mean) @ basis.T * unit,
                "each component is divided by its own deviation: one unit serves all": (x - mean)
                @ basis.T
                / np.sqrt(variance),
                "pixels are taken from 0 to 1: they lie in [-1, 1]": ((x + 1) / 2 - mean) @ basis.T / unit,
            },
        ),
        read,
    )
    z = draw.normal(0, 1, (4, 2))
    made.ask(
        "components as an image",
        "decode",
        [z, mean, basis, variance, [1, 2, 3]],
        same(
            (mean + unit * z @ basis).reshape(4, 1, 2, 3),
            {
                "the mean image is not added": (unit * z @ basis).reshape(4, 1, 2, 3),
                "the unit is missing: latents are multiplied with it on the way back": (
                    mean + z @ basis
                ).reshape(4, 1, 2, 3),
                "the unit divides: latents are multiplied with it on the way back": (
                    mean + z @ basis / unit
                ).reshape(4, 1, 2, 3),
                "images are (N, C, H, W): reshape them": mean + unit * z @ basis,
            },
        ),
        read,
    )


def equations(made: Maker, z: np.ndarray, c: np.ndarray) -> None:
    """E phi phi' and E phi z' over images and all noise."""
    alpha, sigma = 0.8, 0.6

    def right(*, of_noise: float = sigma**2, signal: float = alpha, block: bool = True) -> tuple:
        phi = features(signal * z, c)
        multipliers = np.concatenate([np.ones((len(z), 1)), c], 1)
        share = multipliers.T @ multipliers / len(z)
        left = phi.T @ phi / len(z)
        left[3:, 3:] += of_noise * np.kron(share if block else np.eye(len(share)), np.eye(2))
        return left, phi.T @ z / len(z)

    left, of_latents = right()
    made.ask(
        "both sides of the normal equations",
        "normal_equations",
        [z, c, 1, alpha, sigma],
        each(
            named(
                "left side",
                same(
                    left,
                    {
                        "the noise is missing: it adds sigma^2 where the latent enters": right(of_noise=0.0)[
                            0
                        ],
                        "sigma is added: it is sigma^2": right(of_noise=sigma)[0],
                        "the latent is not scaled by alpha": right(signal=1.0)[0],
                        "the noise is added to the diagonal: products share it, E m m' times sigma^2": right(
                            block=False
                        )[0],
                        "sums over images: take means": 7 * left,
                    },
                    tolerance=1e-6,
                ),
            ),
            named(
                "right side",
                same(
                    of_latents,
                    {
                        "the latent in phi is not scaled by alpha": right(signal=1.0)[1],
                        "the clean latent is the target: it is not scaled by alpha": alpha * of_latents,
                        "sums over images: take means": 7 * of_latents,
                    },
                    tolerance=1e-6,
                ),
            ),
        ),
        PAGE,
    )
