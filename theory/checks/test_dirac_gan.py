"""Checks of theory/{en,ru}/gan.md: the Dirac-GAN of hw2_gan/dirac_gan.py, why training circles."""

import math

import numpy as np
import pytest
import torch

from hw2_gan import dirac_gan
from theory.checks.draws import Z, normal
from theory.printed import printed
from theory.tags import verifies

CONFIG = dirac_gan.Config()
GAMES = dirac_gan.games(CONFIG)
MINIMAX = GAMES["minimax"]


def with_gamma(name: str, gamma: float) -> dirac_gan.Game:
    game = GAMES[name]
    return dirac_gan.Game(game.discriminator_loss, game.generator_loss, gamma=gamma)


@verifies("gan.11")
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(("name", "slope"), [("minimax", 0.5), ("non-saturating", 0.5), ("Wasserstein", 1)])
def test_field_and_eigenvalues(name, slope, gamma):
    of_theta, of_psi, roots = printed(r"""
        \dot\theta = «of_theta» ,
        \qquad
        \dot\psi = «of_psi» ,
        \qquad
        J = \begin{pmatrix} 0 & f'(0) \\ - f'(0) & - \gamma \end{pmatrix} ,
        \qquad
        \lambda_{1, 2} = «roots»
        \tag{gan.11}
    """)
    game = with_gamma(name, gamma)
    root = np.sqrt(complex(gamma**2 / 4 - slope**2))
    found = np.sort_complex(dirac_gan.eigenvalues(game).astype(complex))
    np.testing.assert_allclose(found, np.sort_complex([-gamma / 2 - root, -gamma / 2 + root]), atol=1e-7)
    theta, psi = 2 * normal(20), 2 * normal(20, seed=1)
    to_theta, to_psi = dirac_gan.vector_field(game, theta, psi)
    fake_slope = torch.ones(20) if name == "Wasserstein" else (psi * theta).sigmoid()
    torch.testing.assert_close(to_psi, -theta * fake_slope - gamma * psi)
    own = 1 - fake_slope if name == "non-saturating" else fake_slope
    torch.testing.assert_close(to_theta, psi * own)
    if gamma == 0:
        inwards = theta * to_theta + psi * to_psi
        u = psi * theta
        expected_drift = -u * (u / 2).tanh() if name == "non-saturating" else torch.zeros(20).double()
        torch.testing.assert_close(inwards, expected_drift)
    f_prime = torch.ones_like if name == "Wasserstein" else torch.sigmoid
    symbols = {"theta": theta, "psi": psi, "gamma": gamma, "fprime": f_prime}
    torch.testing.assert_close(to_psi, of_psi(**symbols))
    if name != "non-saturating":
        torch.testing.assert_close(to_theta, of_theta(**symbols))
    if gamma >= 2 * slope:  # real
        both = [roots(pm=sign, **symbols).item() for sign in (-1, 1)]
        np.testing.assert_allclose(found, both, atol=1e-7)


@verifies("gan.11")
def test_discrete_steps():
    def growth(game: dirac_gan.Game, step: float, alternating: bool) -> float:
        """Factor of the distance per step near the equilibrium."""
        config = dirac_gan.Config(step=step, steps=600, start=(1e-4, 0.0))
        distance = np.linalg.norm(dirac_gan.train(game, config, alternating), axis=1)
        return (distance[300:].max() / distance[:300].max()) ** (1 / 300)

    assert growth(MINIMAX, 0.2, False) == pytest.approx(math.sqrt(1 + 0.1**2), rel=1e-4)
    assert growth(MINIMAX, 0.2, True) == pytest.approx(1, abs=1e-4)
    for gamma in (0.04, 0.06):  # gamma > h f'(0)^2 = 0.05
        factor = math.sqrt(1 - 0.2 * gamma + 0.2**2 / 4)
        assert growth(with_gamma("minimax", gamma), 0.2, False) == pytest.approx(factor, rel=1e-4)
        assert (factor < 1) == (gamma > 0.05)
    radius = np.linalg.norm(dirac_gan.train(GAMES["non-saturating"], CONFIG, False)[-1])
    assert radius == pytest.approx(math.sqrt(2 * CONFIG.step), rel=0.03)
    slow = dirac_gan.Config(step=0.05, steps=4000, start=(0.5, 0.0))  # 1 / r^2 grows by t / 8
    squares = np.square(dirac_gan.train(GAMES["non-saturating"], slow, True)).sum(1)
    assert 1 / squares[-1] - 1 / squares[0] == pytest.approx(4000 * 0.05 / 8, rel=0.05)


@verifies("gan.11", "gan.14")
def test_instance_noise_is_r1_near_the_equilibrium_and_a_gradient_penalty_does_not_converge():
    for noise in (0.5, 1.0):
        noisy = dirac_gan.Game(MINIMAX.discriminator_loss, MINIMAX.generator_loss, noise=noise)
        one, other = dirac_gan.eigenvalues(noisy), dirac_gan.eigenvalues(with_gamma("minimax", noise**2 / 2))
        np.testing.assert_allclose(np.sort_complex(one), np.sort_complex(other), atol=1e-7)
    path = dirac_gan.train(GAMES["Wasserstein + gradient penalty"], CONFIG, alternating=True)
    assert np.linalg.norm(path[200:], axis=1).min() > 1


@verifies("gan.14")
def test_both_points_of_the_dirac_gan_get_independent_noise_of_that_variance():
    game = dirac_gan.Game(MINIMAX.discriminator_loss, MINIMAX.generator_loss, noise=0.7)
    theta, psi = torch.tensor([1.1]).double(), torch.tensor([-0.8]).double()
    exact = dirac_gan.losses(game, theta, psi)
    real, fake = 0.7 * normal(200_000, seed=0), theta + 0.7 * normal(200_000, seed=1)
    drawn = game.discriminator_loss(psi * real, psi * fake), game.generator_loss(psi * fake)
    for expectation, values in zip(exact, drawn):
        assert abs(values.mean() - expectation) < Z * values.std() / math.sqrt(len(values))
