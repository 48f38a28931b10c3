"""Checks of theory/{en,ru}/stylegan.md: linear directions in W, and what a swap keeps."""

import torch

from hw3_stylegan_sampling import directions, edits
from hw3_stylegan_sampling.directions import Subspaces
from hw3_stylegan_sampling.networks import Architecture, Generator
from hw3_stylegan_sampling.train_stylegan import ATTRIBUTES
from theory.checks.draws import Z, normal
from theory.printed import printed
from theory.tags import verifies

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2, noise=False)


def generator(shape: Architecture = SMALL) -> Generator:
    torch.manual_seed(0)
    return Generator(shape).double().requires_grad_(False)


@verifies("stylegan.35")
def test_principal_axes_are_those_of_the_covariance_of_w():
    printed(r"""
        n_1 = \arg \max_{\lVert n \rVert = 1} \mathrm{Var} ( n^\top w )
        = \arg \max_{\lVert n \rVert = 1} n^\top \Sigma \, n ,
        \qquad
        \Sigma \, n_k = \sigma_k^2 \, n_k
        \tag{stylegan.35}
    """)
    network = generator()
    network.mapping.forward = lambda z, labels=None: z.double() @ network.mixing  # w of a known covariance
    network.mixing = normal(6, 7)
    axes, spread = directions.principal_axes(network, 6, samples=5000)
    w = directions.ways.normal(network, 5000, torch.Generator().manual_seed(0)).double() @ network.mixing
    covariance = torch.cov(w.T)
    torch.testing.assert_close(covariance @ axes.T, axes.T * spread**2, rtol=0, atol=1e-9)
    torch.testing.assert_close(axes @ axes.T, torch.eye(6).double(), rtol=0, atol=1e-9)
    for other in torch.nn.functional.normalize(normal(200, 7, seed=1), dim=1):
        assert (w @ other).var() <= spread[0] ** 2 + 1e-9


@verifies("stylegan.36")
def test_closed_form_directions_change_the_styles_most():
    printed(r"""
        n_1 = \arg \max_{\lVert n \rVert = 1} \lVert A n \rVert^2 ,
        \qquad
        A^\top A \, n_k = \mu_k \, n_k
        \tag{stylegan.36}
    """)
    network = generator()
    first, second, third = (
        network.synthesis.blocks[0].second,
        *(getattr(network.synthesis.blocks[1], name) for name in ("first", "second")),
    )
    w = normal(1, 7, seed=2)

    def changed(chosen, n):
        return sum((layer.affine(w + 0.3 * n) - layer.affine(w)).square().sum() / 0.09 for layer in chosen)

    for layers, chosen in ((None, (first, second, third)), ((1, 2), (second, third))):
        axes, answers = directions.closed_form(network, 3, layers)
        for axis, answer in zip(axes, answers):
            torch.testing.assert_close(changed(chosen, axis), answer**2)
        for other in torch.nn.functional.normalize(normal(200, 7, seed=1), dim=1):
            assert changed(chosen, other) <= answers[0] ** 2 + 1e-9


@verifies("stylegan.37")
def test_the_mean_of_pairs_forgets_what_is_peculiar():
    printed(r"""
        \hat d = \frac{1}{M} \sum_{i=1}^{M} ( w_i^a - w_i^b ) ,
        \qquad
        \mathbb{E} \, \lVert \hat d - d \rVert^2 = \frac{\mathrm{Tr} \, C}{M} ,
        \qquad
        w' = w + \lambda \, \hat d
        \tag{stylegan.37}
    """)
    torch.manual_seed(0)
    options = tuple(map(len, ATTRIBUTES["avatars"].values()))
    shape = Architecture(size=8, channels=(6, 5), z_dim=5 + len(options), w_dim=7, options=options)
    network = Generator(shape).requires_grad_(False)
    pairs = lambda count, seed: directions.paired(network, "expression", 2, 0, count=count, seed=seed)
    exact = pairs(200_000, 9)
    single = torch.stack([pairs(1, seed) for seed in range(600)])
    trace = (single - exact).square().sum(1).mean()
    for M in (4, 25):
        found = torch.stack([pairs(M, seed) for seed in range(600)])
        ratio = (found - exact).square().sum(1).mean() / (trace / M)
        assert abs(ratio - 1) < Z * 2 / 600**0.5
    ws = normal(3, 4, 7)
    moved = edits.moved(ws, exact.double(), -1.5, [1, 3])
    torch.testing.assert_close(moved[:, [1, 3]], ws[:, [1, 3]] - 1.5 * exact.double())
    assert torch.equal(moved[:, [0, 2]], ws[:, [0, 2]])


@verifies("stylegan.38")
def test_a_regressed_direction_moves_as_w_move():
    printed(r"""
        d = \frac{\mathrm{Cov} (w, y)}{\mathrm{Var} (y)} ,
        \qquad
        \mathbb{E} ( w \mid y ) = \bar w + d \, ( y - \bar y )
        \tag{stylegan.38}
    """)
    N = 200_000
    mixing = normal(4, 5)
    both = normal(N, 4, seed=1) @ mixing + 2  # four numbers of w and y, jointly normal
    w, y = both[:, :4], both[:, 4]
    covariance = mixing.T @ mixing
    d = covariance[:4, 4] / covariance[4, 4]
    found = directions.regressed(w, y)
    torch.testing.assert_close(found, d, rtol=0, atol=0.02)
    near = (y - 3.0).abs() < 0.1
    rest = (covariance[:4, :4].diagonal().max() / near.sum()) ** 0.5
    torch.testing.assert_close(w[near].mean(0), 2 + d * (3.0 - 2), rtol=0, atol=(Z * rest + 0.02).item())
    torch.testing.assert_close(found, torch.linalg.lstsq((y - y.mean())[:, None], w - w.mean(0)).solution[0])


def spaces(monkeypatch, ridge: float = 0.0) -> Subspaces:
    monkeypatch.setattr(directions, "RIDGE", ridge)
    root = normal(9, 9, seed=3)
    return Subspaces({"hair": normal(2, 9, seed=4), "turn": normal(1, 9, seed=5)}, root @ root.T)


@verifies("stylegan.39")
def test_a_swap_keeps_the_properties_of_the_target(monkeypatch):
    printed(r"""
        \Pi = B \, ( B^\top \Sigma^{-1} B )^{-1} B^\top \Sigma^{-1} ,
        \qquad
        w' = w_t + ( I - \Pi ) ( w_s - w_t ) ,
        \qquad
        \Pi \, ( w' - w_t ) = 0
        \tag{stylegan.39}
    """)
    known = spaces(monkeypatch)
    B, inverse = torch.cat(list(known.bases.values())).T, torch.linalg.inv(known.within)
    projection = B @ torch.linalg.inv(B.T @ inverse @ B) @ B.T @ inverse
    torch.testing.assert_close(projection @ projection, projection)
    target, source = normal(2, 4, 9, seed=6), normal(2, 4, 9, seed=7)
    swapped = edits.swapped(target, source, known, known.bases)
    torch.testing.assert_close(swapped, target + (source - target) @ (torch.eye(9) - projection).T)
    torch.testing.assert_close(known.components(swapped - target, known.bases), torch.zeros(2, 4, 9).double())
    # the parts add up, and what is purely of one property is taken for nothing else
    hair, turn = (known.components(source - target, [name]) for name in ("hair", "turn"))
    torch.testing.assert_close(hair + turn, known.components(source - target, known.bases))
    move = torch.tensor([1.5, -2]).double() @ known.bases["hair"]
    torch.testing.assert_close(known.components(move, ["hair"]), move)
    torch.testing.assert_close(known.components(move, ["turn"]), torch.zeros(9).double())
    styled = edits.transferred(target, target + move, known, ["hair"], 0.5)
    torch.testing.assert_close(styled, target + move / 2)


@verifies("stylegan.40")
def test_the_terms_of_a_swap_hold_what_they_are_for(monkeypatch):
    printed(r"""
        L(w) = \lambda_{\mathrm{id}} \, \bigl( 1 - \cos ( e(x) , e_s ) \bigr)
        + \lambda_p \, D ( x_t , \, x_t + m \odot ( x - x_t ) )
        + \lambda_c \, \lVert M ( x - x_t ) \rVert_1
        + \lambda_k \, \lVert \Pi \, ( w - w_t ) \rVert^2 + \lambda_n \, \lVert w - w_0 \rVert^2
        \tag{stylegan.40}
    """)
    network = generator()
    known = Subspaces({"hair": normal(2, 7, seed=4)}, torch.eye(7).double())
    w_t, w_s = normal(2, 4, 7, seed=1), normal(2, 4, 7, seed=2)
    start = edits.swapped(w_t, w_s, known, known.bases)
    targets = network.synthesis(w_t, "const")
    embed = lambda images: torch.nn.functional.normalize(images.flatten(1)[:, 90:96], dim=1)
    source = embed(network.synthesis(w_s, "const"))
    distance = lambda images, others: (images - others).square().mean((1, 2, 3))
    swap = lambda steps, **weights: list(
        edits.optimised_swap(
            network, start, targets, w_t, source, embed, distance, edits.SwapRecipe(steps, **weights), known
        )
    )
    first = swap(1)[0].terms
    assert first["kept"].max() < 1e-12 and first["near"].max() == 0
    images = network.synthesis(start, "const")
    window = 1 - edits.face_window(targets)
    torch.testing.assert_close(first["identity"], 1 - (embed(images) * source).sum(1))
    torch.testing.assert_close(first["perceptual"], (window * (images - targets)).square().mean((1, 2, 3)))
    torch.testing.assert_close(first["colour"], edits.coarse_colour(targets, images, window))
    nothing = dict.fromkeys(("identity", "perceptual", "colour", "kept", "near"), 0.0)
    for name in ("identity", "perceptual", "colour"):
        last = swap(80, learning_rate=0.02, **{**nothing, name: 1.0})[-1]
        assert (last.terms[name] < 0.5 * first[name]).all(), name
        held = swap(80, learning_rate=0.02, **{**nothing, name: 1.0, "near": 1e4, "kept": 1e4})[-1].terms
        assert held["near"].max() < 0.1 * last.terms["near"].min()
        assert held["kept"].max() < 0.1 * last.terms["kept"].max()
