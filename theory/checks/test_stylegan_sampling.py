"""Checks of the second half of theory/{en,ru}/stylegan.md: ways of sampling, augmentation, memory."""

import itertools
import math
from types import SimpleNamespace

from common import augmentation, devices, latent_space
from common.metrics.frechet import frechet_distance_from_features

import pytest
import torch

from hw3_stylegan_sampling import eval_stylegan, interpolate, ways
from hw3_stylegan_sampling.networks import Architecture, Generator, feature_map_numbers
from theory.checks.draws import Z, normal
from theory.printed import printed
from theory.tags import verifies

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2)
CHOOSING = Architecture(size=8, channels=(6, 5), z_dim=8, w_dim=7, mapping_layers=2, options=(2, 3))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generator(shape: Architecture = SMALL, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return Generator(shape).requires_grad_(False)


class Line:
    """A generator whose image is z, one number: q = N(0, 1).  The log ratio of real images N(m, s^2)."""

    def __init__(self, mean: float, deviation: float):
        self.mean, self.deviation, self.z_dim = mean, deviation, 1
        self.shape, self.w_mean = SimpleNamespace(options=()), torch.zeros(1)
        self.mapping = SimpleNamespace(labels=lambda z: z[:, :0])

    def __call__(self, z, noise_mode="const"):
        return z[:, :, None, None]

    def log_ratio(self, images, labels=None):
        x = images[:, 0, 0, 0]
        return (x**2 - ((x - self.mean) / self.deviation) ** 2) / 2 - math.log(self.deviation)


def judge(mean: float, deviation: float) -> ways.Judge:
    line = Line(mean, deviation)
    return ways.Judge(line, line.log_ratio)


@verifies("stylegan.16")
def test_a_truncated_normal_number_has_that_variance():
    printed(r"""
        p_\tau(z) = \frac{\varphi(z)}{2 \Phi(\tau) - 1} \quad (\lvert z \rvert \le \tau) ,
        \qquad
        \mathrm{Var}(z) = 1 - \frac{2 \tau \, \varphi(\tau)}{2 \Phi(\tau) - 1}
        \tag{stylegan.16}
    """)
    standard = torch.distributions.Normal(0.0, 1.0)
    variance = lambda limit: (
        1
        - 2
        * limit
        * standard.log_prob(torch.tensor(limit)).exp().item()
        / (2 * standard.cdf(torch.tensor(limit)).item() - 1)
    )
    assert variance(1.0) == pytest.approx(0.291, abs=5e-4)
    for limit in (0.5, 1.0, 2.5):
        z = ways.truncated_normal(generator(), 20_000, limit, draws()).double().flatten()
        assert z.abs().max() <= limit
        assert abs(z.square().mean() - variance(limit)) < Z * z.square().std() / len(z) ** 0.5


@verifies("stylegan.17")
def test_truncation_to_centres_shrinks_what_is_within_cells():
    printed(r"""
        w_\psi = c_k + \psi \, (w - c_k) ,
        \qquad
        \mathrm{Cov}(w_\psi) = \mathrm{Cov}(c_k) + \psi^2 \, \mathbb{E} \, \mathrm{Cov}(w \mid k)
        \tag{stylegan.17}
    """)
    covariance = lambda points: torch.cov(points.T, correction=0)
    w = normal(3000, 2) + 8 * torch.tensor([[0.0, 0], [1, 0], [0, 1]]).double().repeat_interleave(1000, 0)
    cells = w.split(1000)
    centres = torch.stack([cell.mean(0) for cell in cells])
    near = ways.towards_nearest(w, centres, 0.6)
    own = torch.cdist(w, centres).argmin(1)
    torch.testing.assert_close(near, centres[own] + 0.6 * (w - centres[own]))
    inside = own == torch.arange(3).repeat_interleave(1000)  # a few points are nearer to another centre
    assert inside.double().mean() > 0.999
    within = torch.stack([covariance(cell) for cell in cells]).mean(0)
    expected = covariance(centres) + 0.36 * within
    assert (covariance(near) - expected).abs().max() < 0.01 * expected.max()
    network, z = generator(CHOOSING), torch.randn(4, 8, generator=draws(2))
    towards = ways.towards_own_mean(network, z, 0.25, draws(3), others=500)
    mean = ways.towards_own_mean(network, z, 0.0, draws(3), others=500)
    torch.testing.assert_close(towards, mean + 0.25 * (network.mapping(z) - mean))


@verifies("stylegan.18")
def test_a_calibrated_discriminator_errs_alike_on_both_sides():
    printed(r"""
        \hat\ell(x) = a \, \ell(x) + b ,
        \qquad
        \mathbb{E}_{x \sim p} \bigl[ 1 - \sigma(\hat\ell(x)) \bigr]
        = \mathbb{E}_{x \sim q} \, \sigma(\hat\ell(x))
        \tag{stylegan.18}
    """)
    line = Line(1.0, 0.8)
    one = ways.Judge(line, lambda images, labels: 4 * line.log_ratio(images) - 3)  # too sure, and biased
    real, z = 1 + 0.8 * torch.randn(4000, 1, generator=draws()), torch.randn(4000, 1, generator=draws(1))
    ways.Judge.calibrate(one, real[:, :, None, None], torch.zeros(4000, 0), z)
    assert (one.scale, one.shift) == pytest.approx((1 / 4, 3 / 4), abs=0.05)
    of_real = one.log_ratio(real[:, :, None, None], None).sigmoid()
    of_fake = one.log_ratio_of(z).sigmoid()
    assert (1 - of_real).mean().item() == pytest.approx(of_fake.mean().item(), rel=1e-3)


@verifies("stylegan.19", "stylegan.20")
def test_what_is_kept_is_distributed_as_the_real_images(monkeypatch):
    printed(r"""
        a(x) = \frac{p(x)}{M \, q(x)} = e^{\ell(x) - \ell_M} ,
        \qquad
        \int q(x) \, a(x) \, dx = \frac{1}{M} ,
        \qquad
        \frac{q(x) \, a(x)}{1 / M} = p(x)
        \tag{stylegan.19}
    """)
    (kept,) = printed(r"""
        F(x) = \ell(x) - \ell_M - \ln \bigl( 1 - e^{\ell(x) - \ell_M} \bigr) ,
        \qquad
        a_\gamma(x) = \sigma \bigl( F(x) - \gamma \bigr) = «kept»
        \tag{stylegan.20}
    """)
    ratio = torch.linspace(-6, -0.01, 50, dtype=torch.float64)
    for gamma in (-2.0, 0.0, math.log(0.25), 3.0):
        expected = kept(r=ratio.exp(), gamma=torch.tensor(gamma).double())
        torch.testing.assert_close(ways.acceptance(ratio, 0.0, gamma), expected)
    assert ways.acceptance(torch.tensor([math.log(0.2)]), 0.0, math.log(0.25)).item() == pytest.approx(0.5)
    # real N(0.6, 0.5^2) against N(0, 1): the largest ratio is where x^2 - ((x - m) / s)^2 is largest
    mean, deviation = 0.6, 0.5
    at = mean / (1 - deviation**2)
    largest = Line(mean, deviation).log_ratio(torch.tensor([[[[at]]]])).exp().item()
    monkeypatch.setattr(ways, "gamma_for", lambda ratio, share: 0.0)
    drawn = ways.rejection(judge(mean, deviation), 6000, 4, draws())
    x = drawn.z[:, 0].double()
    assert abs(x.mean() - mean) < Z * deviation / len(x) ** 0.5
    assert abs(x.var() - deviation**2) < Z * deviation**2 * (2 / len(x)) ** 0.5
    tries = drawn.passes / 2  # geometric, of mean M
    assert abs(tries - largest) < Z * largest / len(x) ** 0.5 + 0.02


@verifies("stylegan.21", "stylegan.22")
def test_langevin_draws_real_images_but_for_the_bias_of_its_steps():
    printed(r"""
        E(z) = \tfrac{1}{2} \lVert z \rVert^2 - \ell(g(z)) ,
        \qquad
        \int \frac{e^{- E(z)}}{(2 \pi)^{D / 2}} \, f(g(z)) \, dz
        = \mathbb{E}_{x \sim q} \, e^{\ell(x)} f(x) = \mathbb{E}_{x \sim p} \, f(x)
        \tag{stylegan.21}
    """)
    (variance,) = printed(r"""
        z' = z - \frac{\eta}{2} \nabla E(z) + \sqrt{\eta} \, \xi ,
        \qquad
        E = \frac{\lambda}{2} z^2 \; \Rightarrow \; \mathrm{Var}(z_\infty) = «variance»
        \tag{stylegan.22}
    """)
    mean, deviation = 0.7, 0.6
    one, z = judge(mean, deviation), torch.linspace(-6, 6, 4001, dtype=torch.float64)
    density = (-ways.energy(one, z[:, None])).exp() / (2 * math.pi) ** 0.5
    integral = lambda f: (density * f).sum().item() * (z[1] - z[0]).item()
    assert integral(torch.ones_like(z)) == pytest.approx(1, abs=1e-6)
    assert integral(z) == pytest.approx(mean, abs=1e-6)
    assert integral((z - mean) ** 2) == pytest.approx(deviation**2, abs=1e-6)
    wide = lambda number: torch.tensor(number, dtype=torch.float64)
    assert variance(lambda_=wide(1.0), eta=wide(0.1)).item() == pytest.approx(1.026, abs=5e-4)
    chains, precision, size = normal(20_000, 1), 4.0, 0.3
    for step in range(40):
        chains = ways.langevin_step(chains, precision * chains, size, normal(20_000, 1, seed=step + 1))
    expected = variance(lambda_=wide(precision), eta=wide(size)).item()
    assert abs(chains.var().item() - expected) < Z * expected * (2 / 20_000) ** 0.5


@verifies("stylegan.23")
def test_truncation_trades_recall_for_precision():
    precision, recall = printed(r"""
        d^2 = (1 - \psi)^2 \, \mathrm{Tr} \, \Sigma ,
        \qquad
        \mathrm{precision} = «precision» ,
        \qquad
        \mathrm{recall} = «recall»
        \tag{stylegan.23}
    """)
    radius, wide = (2 * math.log(10)) ** 0.5, lambda number: torch.tensor(number, dtype=torch.float64)
    shares = lambda psi: [share(r=wide(radius), psi=wide(psi)).item() for share in (precision, recall)]
    assert shares(1.0) == pytest.approx([0.9, 0.9])
    assert shares(0.5) == pytest.approx([0.9999, 0.44], abs=5e-3)
    assert shares(1.5) == pytest.approx([0.64, 0.994], abs=2e-3)
    xi = normal(200_000, 2).norm(dim=1)
    for psi in (0.5, 1.5):
        found = [(xi <= radius / psi).double().mean().item(), (xi <= psi * radius).double().mean().item()]
        assert found == pytest.approx(shares(psi), abs=Z * 0.5 / 200_000**0.5)
    features, other = normal(1500, 2), normal(1500, 2, seed=1)
    real = SimpleNamespace(
        features=features,
        features_of=lambda images: images,
        measure=lambda images, known: {"distance": frechet_distance_from_features(known, features)},
    )
    found = {psi: eval_stylegan.measure(real, psi * other, {}) for psi in (0.5, 1.0, 1.5)}
    for psi, numbers in found.items():
        assert numbers["distance"] == pytest.approx((1 - psi) ** 2 * 2, abs=0.03)
    assert min(found[0.5]["precision"], found[1.0]["precision"]) > found[1.5]["precision"] + 0.02
    assert found[0.5]["recall"] + 0.02 < found[1.0]["recall"] <= found[1.5]["recall"]


@verifies("stylegan.24")
def test_a_line_and_an_arc_in_z_show_the_same_images_at_other_speeds():
    (speed,) = printed(r"""
        \tan \alpha(t) = \frac{t \sin \theta}{1 - t + t \cos \theta} ,
        \qquad
        \alpha'(t) = «speed»
        \tag{stylegan.24}
    """)
    network = generator()
    z = torch.randn(2, 6, generator=draws())
    z[1] *= z[0].norm() / z[1].norm()
    theta = torch.nn.functional.cosine_similarity(z[0], z[1], dim=0).acos()
    t = torch.arange(8) / 8
    alpha = torch.atan2(t * theta.sin(), 1 - t + t * theta.cos())
    arc = latent_space.slerp(z[:1].expand(8, -1), z[1:].expand(8, -1), (alpha / theta)[:, None])
    torch.testing.assert_close(
        interpolate.walk(network, z, 8, "z-linear")[:8], network.mapping(arc), rtol=0, atol=1e-4
    )
    angle, places = torch.tensor(1.1).double(), torch.linspace(0, 1, 2001).double()
    angles = torch.atan2(places * angle.sin(), 1 - places + places * angle.cos())
    slopes = (angles[2:] - angles[:-2]) / (places[2:] - places[:-2])
    torch.testing.assert_close(slopes, speed(t=places[1:-1], theta=angle), rtol=1e-5, atol=0)
    right = torch.tensor(math.pi / 2).double()
    ends_and_middle = speed(t=torch.tensor([0.0, 0.5, 1.0]).double(), theta=right)
    assert ends_and_middle.tolist() == pytest.approx([1, 2, 1])


@verifies("stylegan.25")
def test_feature_maps_are_counted_and_double_with_the_side():
    printed(r"""
        A = B \, b \sum_{k=1}^{K} n_k \, C_k \, S_k^2 ,
        \qquad
        S_k = 2^{k + 1} , \quad C_k = \min \Bigl( 512 , \, \frac{2^{15}}{S_k} \Bigr)
        \tag{stylegan.25}
    """)
    network, counted = generator(), []
    for name, layer in network.named_modules():
        if name.endswith((".first", ".second")):
            layer.register_forward_hook(lambda _, __, out: counted.append(out.numel()))
    network(torch.randn(1, 6, generator=draws()))
    assert sum(counted) == feature_map_numbers(SMALL) and len(counted) == 3
    sides = [2 ** (k + 1) for k in range(1, 10)]
    channels = tuple(min(512, 2**15 // side) for side in sides)
    large = feature_map_numbers(Architecture(size=1024, channels=channels))
    assert round(large / 1e6) == 131 and round(4 * large / 1e6) == 526
    assert 2 * channels[-1] * 1024**2 / large == pytest.approx(0.5, abs=0.02)
    assert round(2 * 512 * 1024**2 * 4 / 1e9, 1) == 4.3


@verifies("stylegan.26")
def test_a_change_from_a_group_can_be_undone_below_probability_one():
    printed(r"""
        p_T = (1 - \pi) \, p + \pi \, P p ,
        \qquad
        P^2 = P \; \Rightarrow \; p = \frac{p_T - \pi \, P p_T}{1 - \pi}
        \tag{stylegan.26}
    """)
    turned = torch.full((4, 4), 0.25, dtype=torch.float64)  # an even rotation of four states
    torch.testing.assert_close(turned @ turned, turned)
    p = torch.tensor([0.7, 0.1, 0.2, 0.0], dtype=torch.float64)
    for chance in (0.1, 0.5, 0.9):
        seen = (1 - chance) * p + chance * turned @ p
        torch.testing.assert_close((seen - chance * turned @ seen) / (1 - chance), p)
    count, chance = 40_000, 0.6
    states = torch.multinomial(p, count, replacement=True, generator=draws()).double()
    torch.manual_seed(1)
    changed = (states + torch.randint(0, 4, (count,))) % 4
    as_images = lambda values: values[:, None, None, None]
    met = augmentation.sometimes(as_images(states), as_images(changed), torch.tensor(chance)).flatten().long()
    expected = (1 - chance) * p + chance * turned @ p
    error = (expected * (1 - expected) / count).sqrt()
    assert ((met.bincount(minlength=4) / count - expected).abs() / error).max() < Z


@verifies("stylegan.27")
def test_the_probability_follows_the_signs_of_real_logits():
    printed(r"""
        \pi' = \pi + \frac{n}{N} \, \mathrm{sign}
        \Bigl( \frac{1}{n} \sum_{i=1}^{n} \mathrm{sign} \, \ell(x_i) - t \Bigr)
        \tag{stylegan.27}
    """)
    here = devices.Device(torch.device("cpu"))
    seen, pi = augmentation.Augmentation(("adaptive",), here), 0.0
    n = 256
    for round_, share in itertools.product(range(3), (0.9, 0.85, 0.78)):
        logits = torch.cat([torch.ones(round(n * share)), -5 * torch.ones(n - round(n * share))])
        mean_sign = logits.sign().mean().item()
        pi = min(max(pi + n / 500_000 * math.copysign(1, mean_sign - 0.6), 0), 0.8)
        for part in logits[torch.randperm(n, generator=draws(round_))].split(32):
            seen.update(part)
        assert seen.probability.item() == pytest.approx(pi, abs=1e-7)
    assert pi > 0 and (1 + 0.6) / 2 == 4 / 5
