"""Checks of theory/{en,ru}/stylegan.md on projection: W and W+, noise, perceptual and identity losses."""

from types import SimpleNamespace

from common.metrics import identity
from common.metrics.perceptual import Perceptual, pixel_error

import torch
import torch.nn.functional as F
from torch import nn

from hw3_stylegan_sampling import projection, train_encoder
from pretrained import train_identity
from theory.checks.draws import Z, normal
from theory.printed import printed
from theory.tags import verifies


class Linear(nn.Module):
    """A generator of L layers whose image, of N = 3 S^2 numbers, is a sum of Jacobians times styles."""

    def __init__(self, layers: int, dimensions: int, side: int):
        super().__init__()
        self.layers, self.w_dim, self.z_dim = layers, dimensions, dimensions
        self.shape = SimpleNamespace(classes=0)
        self.register_buffer("w_mean", torch.zeros(dimensions, dtype=torch.float64))
        self.register_buffer("jacobians", normal(3 * side**2, layers, dimensions) / (3 * side**2) ** 0.5)
        self.side, self.synthesis = side, _Synthesis(self)

    def mapping(self, z, labels=None):
        return 0 * z.double()


class _Synthesis:
    def __init__(self, linear: Linear):
        self.linear = linear

    def modules(self):
        return []

    def __call__(self, ws, noise_mode):
        pixels = torch.einsum("nld,bld->bn", self.linear.jacobians, ws)
        return pixels.view(-1, 3, self.linear.side, self.linear.side)


@verifies("stylegan.28")
def test_w_plus_explains_as_many_times_more_as_there_are_layers():
    in_w, in_w_plus = printed(r"""
        \frac{\mathbb{E} \min_{\delta} \lVert r - J \delta \rVert^2}{\mathbb{E} \lVert r \rVert^2} = «in_w» ,
        \qquad
        \frac{\mathbb{E} \min_{\delta_1, \dots, \delta_L} \lVert r - \sum_l J_l \delta_l \rVert^2}{\mathbb{E}
        \lVert r \rVert^2} = «in_w_plus»
        \tag{stylegan.28}
    """)
    D, L, side, count = 4, 3, 4, 400
    N = 3 * side**2
    generator, targets = Linear(L, D, side), normal(count, 3, side, side)
    squared = lambda images, others: (images - others).square().sum((1, 2, 3))
    for space, share in (("w", in_w(D=D, N=N)), ("w+", in_w_plus(D=D, L=L, N=N))):
        recipe = projection.Recipe(space, 150, 0.2, pixels=0, wander=0)
        *_, last = projection.project(generator, targets, squared, recipe)
        left = last.distances / N
        assert abs(left.mean() - share) < Z * left.std() / count**0.5 + 1e-3  # Adam stops near the minimum
    D, L, N = 128, 10, 3 * 64**2
    assert round(in_w(D=D, N=N).item(), 3) == 0.990 and round(in_w_plus(D=D, L=L, N=N).item(), 3) == 0.896


@verifies("stylegan.29")
def test_an_edit_differs_by_no_more_than_the_distance_from_w_allows():
    """The image (a v)^2 / 2 + b v: its Jacobian changes by |a|^2 for a unit along a, and so the bound is
    reached."""
    (nearest,) = printed(r"""
        \bigl\lVert [g(v + n) - g(v)] - [g(w + n) - g(w)] \bigr\rVert
        \le M \, \lVert v - w \rVert \, \lVert n \rVert ,
        \qquad
        \min_{w} \frac{1}{L} \sum_{l=1}^{L} \lVert v_l - w \rVert^2 = «nearest»
        \tag{stylegan.29}
    """)
    L, D = 5, 3
    v, n, a, b = normal(L, D), normal(L, D), normal(L, D), normal(L, D)
    w = v.mean(0).expand(L, D)
    g = lambda ws: (a * ws).sum().square() / 2 + (b * ws).sum()
    difference = lambda n: ((g(v + n) - g(v)) - (g(w + n) - g(w))).abs()
    bound = lambda v, n: a.norm() ** 2 * (v - w).norm() * n.norm()
    assert 0 < difference(n) <= bound(v, n)
    v = w + 0.7 * a
    assert torch.isclose(difference(2 * a), bound(v, 2 * a))
    v = normal(L, D)
    found = nearest(v=v.T, vbar=v.mean(0), L=L)
    least = torch.linalg.lstsq(torch.eye(D, dtype=torch.float64).repeat(L, 1), v.flatten()[:, None])[0][:, 0]
    assert torch.isclose((v - least).square().sum(1).mean(), found)
    assert torch.isclose(train_encoder.offsets(v[None], torch.ones(())) * D, found)


@verifies("stylegan.30")
def test_noise_costs_what_chance_makes_and_a_picture_its_weight():
    (expected,) = printed(r"""
        R = \sum_{k=0}^{K} \sum_{a} \Bigl( \frac{1}{S_k^2} \sum_{i} n_i \, n_{i + a} \Bigr)^2 ,
        \qquad
        n \sim \mathcal{N}(0, I) : \; \mathbb{E} \, R = «expected»
        \tag{stylegan.30}
    """)
    costs = torch.stack([projection.correlation(normal(1, 1, 32, 32, seed=seed)) for seed in range(400)])
    assert abs(costs.mean() - expected(K=2, S=32)) < Z * costs.std() / 400**0.5  # 32, 16 and 8
    assert round(expected(K=3, S=64).item(), 5) == 0.00065
    halves = torch.ones(1, 1, 64, 64, dtype=torch.float64)
    halves[..., 32:] = -1
    assert round(projection.correlation(halves).item(), 1) == 6.5


@verifies("stylegan.31")
def test_with_two_persons_the_margin_asks_for_an_angle_between_them():
    (of_two,) = printed(r"""
        \ell = - \log \frac{e^{s \cos(\theta_y + m)}}{e^{s \cos(\theta_y + m)}
        + \sum_{j \ne y} e^{s \cos \theta_j}} ,
        \qquad
        \text{two persons} : \; \ell_1 = «of_two»
        \tag{stylegan.31}
    """)
    s, m = 7.0, 0.4
    loss = train_identity.ArcFace(2, 2, s, m).double()
    apart = torch.tensor(1.3, dtype=torch.float64)
    loss.centres.data = torch.stack(
        [torch.tensor([1.0, 0.0]).double(), torch.stack([apart.cos(), apart.sin()])]
    )
    for place in (0.1, 0.3, (1.3 - m) / 2, 0.8):
        angle = torch.tensor(place, dtype=torch.float64)
        picture = torch.stack([angle.cos(), angle.sin()])[None]
        found = loss(picture, torch.tensor([0]))
        assert torch.allclose(found, of_two(s=s, m=m, theta_1=angle, theta_2=apart - angle), atol=1e-5)
    # at the edge of the wedge, theta_1 + m = theta_2, both are equally likely
    edge = torch.tensor((1.3 - m) / 2)
    assert torch.isclose(of_two(s=s, m=m, theta_1=edge, theta_2=1.3 - edge), torch.tensor(2.0).double().log())
    persons = torch.randint(6, (20,))
    many = train_identity.ArcFace(6, 4, s, m).double()
    pictures = F.normalize(normal(20, 4), dim=1)
    angles = (pictures @ F.normalize(many.centres, dim=1).T).acos()
    logits = s * (angles + m * F.one_hot(persons, 6)).cos()
    expected = -(logits.exp()[torch.arange(20), persons] / logits.exp().sum(1)).log()
    before_the_turn = angles[torch.arange(20), persons] + m < torch.pi
    assert before_the_turn.sum() > 10
    assert torch.allclose(many(pictures, persons)[before_the_turn], expected[before_the_turn], atol=1e-5)


@verifies("stylegan.32")
def test_the_identity_loss_is_half_the_squared_distance_of_directions():
    (half,) = printed(r"""
        \cos \theta = e^\top f , \qquad 1 - \cos \theta = «half»
        \tag{stylegan.32}
    """)
    e, f = F.normalize(normal(8, 5), dim=1), F.normalize(normal(8, 5, seed=1), dim=1)
    found = torch.stack([half(**{"e": one, "f": other}) for one, other in zip(e, f)])
    assert torch.allclose(1 - identity.similarity(e, f), found)


@verifies("stylegan.33")
def test_the_perceptual_distance_is_pixels_and_angles_of_activations():
    (by_angle,) = printed(r"""
        d(x, y) = \overline{\lvert x - y \rvert}
            + \sum_{k} \frac{1}{P_k} \sum_{p} \bigl\lVert \hat a_{k, p}(x) - \hat a_{k, p}(y) \bigr\rVert^2 ,
        \qquad
        \lVert \hat a - \hat b \rVert^2 = «by_angle»
        \tag{stylegan.33}
    """)
    net = Perceptual()
    x, y = (torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1).unbind(0)
    expected, ours, theirs = pixel_error("l1", x, y).double(), x, y
    with torch.no_grad():
        for stage in net.stages:
            ours, theirs = stage(ours), stage(theirs)
            cosines = F.cosine_similarity(ours.double(), theirs.double(), dim=1)  # (B, H, W)
            places = by_angle(a=0, b=0, angle=lambda a, b, cosines=cosines: cosines.acos())
            expected = expected + places.mean((1, 2))
        assert torch.allclose(net(x, y).double(), expected, atol=1e-5)


@verifies("stylegan.34")
def test_the_best_encoder_answers_with_the_conditional_mean():
    """w = x + u with u = 1 or -1 by chance: E[w | x] = x, and 1 remains."""
    printed(r"""
        \mathbb{E} \, \lVert f(x) - w \rVert^2 = \mathbb{E} \, \lVert f(x) - \mathbb{E}[w \mid x] \rVert^2
            + \mathbb{E} \, \lVert w - \mathbb{E}[w \mid x] \rVert^2
        \tag{stylegan.34}
    """)
    x, u = normal(100_000), 2 * torch.randint(2, (100_000,)).double() - 1
    w, f = x + u, 0.8 * x + 0.1
    error = lambda one, other: train_encoder.styles_error(
        one[:, None, None], other[:, None, None], torch.ones(())
    )
    left = error(f, w) - error(f, x) - error(w, x)  # -2 (f - x) u, whose mean is 0
    assert abs(left.mean()) < Z * left.std() / len(x) ** 0.5
    assert error(w, x).mean() == 1 < error(f, w).mean()
