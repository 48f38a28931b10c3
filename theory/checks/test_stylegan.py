"""Checks of theory/{en,ru}/stylegan.md against hw3_stylegan_sampling, in float64 where not said otherwise."""

import math

from common import adversarial, devices, modulation, resampling
from common.averaged_weights import averaged

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hw3_stylegan_sampling import discriminator, networks, train_stylegan
from hw3_stylegan_sampling.networks import Architecture, Generator
from theory.checks.draws import Z, normal
from theory.printed import printed
from theory.tags import verifies

SMALL = Architecture(size=8, channels=(6, 5), z_dim=6, w_dim=7, mapping_layers=2, mapping_rate=0.01)


def generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return Generator(SMALL).double()


@verifies("stylegan.1")
def test_z_is_brought_to_one_length_before_the_layers():
    printed(r"""
        \hat z = z \, \Bigl( \frac{1}{D} \sum_{k=1}^{D} z_k^2 + \varepsilon \Bigr)^{-1/2} ,
        \qquad
        w = f(\hat z)
        \tag{stylegan.1}
    """)
    example = networks.normalise(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    assert example[0].tolist() == pytest.approx([0.849, 1.131], abs=5e-4)
    z, mapping = normal(3, 6), generator().mapping
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    for layer in mapping.layers:
        weight = layer.weight * 0.01 / layer.weight.shape[1] ** 0.5
        x = 2**0.5 * F.leaky_relu(x @ weight.T + 0.01 * layer.bias, 0.2)
    torch.testing.assert_close(mapping(z), x)
    lengths = normal(20_000, 50).square().sum(1).sqrt()
    assert (lengths.std() / lengths.mean()).item() == pytest.approx(1 / math.sqrt(2 * 50), rel=0.03)


@verifies("stylegan.2")
@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_adam_moves_every_layer_by_the_same_share_of_its_initial_size(rate):
    printed(r"""
        u = \frac{\lambda}{\sqrt{n}} \, v ,
        \qquad
        \frac{\Delta u}{\mathrm{std}(u_0)} = \lambda \, \Delta v
        \tag{stylegan.2}
    """)
    for inputs in (16, 400):
        torch.manual_seed(0)
        layer = networks.Linear(inputs, 300, rate=rate).double()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.5, betas=(0.0, 0.99))
        used = lambda layer=layer: layer(torch.eye(layer.weight.shape[1], dtype=torch.float64)).T.detach()
        before = used()
        assert before.std().item() == pytest.approx(1 / inputs**0.5, rel=0.05)
        (layer(normal(200, inputs)) * normal(200, 300)).sum().backward()
        layer.bias.grad = None  # the weights alone
        optimizer.step()
        moved = (used() - before).abs()
        assert moved.mean().item() == pytest.approx(0.5 * rate / inputs**0.5, rel=1e-3)


@verifies("stylegan.2")
def test_a_convolution_scales_its_weights_by_all_numbers_under_the_kernel():
    layer, x = discriminator.Convolution(7, 4, 3, linear=True).double(), normal(2, 7, 5, 6)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight / 63**0.5, padding=1))


def by_hand(weight: Tensor, style: Tensor, x: Tensor) -> Tensor:
    """Weights of its own for every image: (B, I, H, W) -> (B, O, H, W)."""
    own = weight[None] * style[:, None, :, None, None]
    own = own / (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    return torch.cat([F.conv2d(x[b : b + 1], own[b], padding=1) for b in range(len(x))])


@verifies("stylegan.3", "stylegan.4", "stylegan.5")
def test_scaling_inputs_and_outputs_is_scaling_weights():
    printed(r"w'_{oik} = s_i \, w_{oik} \tag{stylegan.3}")
    printed(r"""
        w''_{oik} = d_o \, w'_{oik} ,
        \qquad
        d_o = \Bigl( \sum_{i, k} (s_i \, w_{oik})^2 + \varepsilon \Bigr)^{-1/2}
        \tag{stylegan.4}
    """)
    printed(r"""
        \sum_i w''_{oi} * x_i = d_o \sum_i w_{oi} * (s_i \, x_i) ,
        \qquad
        d_o^{-2} = \sum_i s_i^2 \, \Bigl( \sum_k w_{oik}^2 \Bigr) + \varepsilon
        \tag{stylegan.5}
    """)
    weight, style, x = normal(7, 5, 3, 3), normal(4, 5, seed=1), normal(4, 5, 6, 3, seed=2)
    d = modulation.demodulation(weight, style)
    torch.testing.assert_close(
        modulation.modulated_convolution(x, weight, style) * d[:, :, None, None], by_hand(weight, style, x)
    )
    ones, styles = torch.ones(1, 2, 1, 1, dtype=torch.float64), torch.tensor([[3.0, 4.0]]).double()
    assert modulation.demodulation(ones, styles).item() == pytest.approx(1 / 5)
    weights_of_a_batch = 16 * nn.Conv2d(512, 512, 3, bias=False, device="meta").weight.numel()
    assert round(weights_of_a_batch / 1e6, 1) == 37.7 and round(4 * weights_of_a_batch / 1e6) == 151


@verifies("stylegan.4", "stylegan.6")
def test_the_variance_of_an_output_is_a_rayleigh_quotient():
    printed(r"""
        \mathrm{Var}(y_o) = \frac{a^\top \Sigma \, a}{a^\top a}
        \in \bigl[ \lambda_{\min}(\Sigma), \, \lambda_{\max}(\Sigma) \bigr]
        \tag{stylegan.6}
    """)
    weight, style = normal(4, 3, 3, 3), normal(1, 3, seed=1)
    mixing = normal(27, 27, seed=2) / 27**0.5
    under_the_kernel = normal(200_000, 27, seed=3) @ mixing.T  # covariance mixing mixing^T
    for covariance, numbers in (
        (torch.eye(27, dtype=torch.float64), normal(200_000, 27, seed=3)),
        (mixing @ mixing.T, under_the_kernel),
    ):
        out = modulation.modulated_convolution(
            numbers.view(-1, 3, 3, 3), weight, style.expand(len(numbers), -1)
        )
        y = out[:, :, 1, 1] * modulation.demodulation(weight, style)
        a = (weight * style[0][:, None, None]).flatten(1)
        expected = torch.einsum("oi,ij,oj->o", a, covariance, a) / a.square().sum(1)
        spectrum = torch.linalg.eigvalsh(covariance)
        assert (expected > spectrum[0] - 1e-9).all() and (expected < spectrum[-1] + 1e-9).all()
        error = expected * (2 / len(numbers)) ** 0.5
        assert ((y.var(0) - expected) / error).abs().max() < Z
    equal, one = torch.ones(1, 1, 3, 3, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    flat = torch.full((1, 1, 3, 3), 2.0, dtype=torch.float64)
    answer = modulation.modulated_convolution(flat, equal, one)[0, 0, 1, 1] * modulation.demodulation(
        equal, one
    )
    assert (answer**2 / 4).item() == pytest.approx(9)  # Var = 9 for numbers that are all the same
    spike = torch.zeros(64, 64, dtype=torch.float64)
    spike[3, 5] = 1e6
    assert spike.std().item() == pytest.approx(1e6 / 64, rel=1e-3)


@verifies("stylegan.7")
def test_the_gain_goes_in_front_of_the_leaky_relu():
    (moment,) = printed(r"""
        y = g \, \rho \bigl( d \, x + \beta \, n + b \bigr)
        = \rho \bigl( g d \, x + g \beta \, n + g b \bigr) ,
        \qquad
        \mathbb{E} \, \rho(\xi)^2 = «moment»
        \tag{stylegan.7}
    """)
    torch.manual_seed(0)
    layer = networks.StyledLayer(5, 4, 8, Architecture(w_dim=7)).double()
    nn.init.constant_(layer.noise_strength, 0.7)
    nn.init.normal_(layer.bias)
    x, w = normal(2, 5, 8, 8), normal(2, 7, seed=1)
    late = by_hand(layer.weight, layer.affine(w), x) + 0.7 * layer.noise + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x, w, "const"), 2**0.5 * F.leaky_relu(late, 0.2))
    values = F.leaky_relu(normal(400_000), 0.2).square()
    expected = moment(alpha=0.2).item()
    assert expected == pytest.approx(0.52)
    assert abs(values.mean().item() - expected) < Z * values.std().item() / len(values) ** 0.5
    assert round(expected**-0.5, 3) == 1.387 and round(networks.GAIN**2 * expected, 2) == 1.04


@verifies("stylegan.8")
def test_the_image_is_the_sum_of_enlarged_parts():
    printed(r"""
        I_k = U I_{k-1} + t_k ,
        \qquad
        I_K = \sum_{k=1}^{K} U^{K-k} \, t_k
        \tag{stylegan.8}
    """)
    torch.manual_seed(0)
    shape = Architecture(size=32, channels=(4, 4, 4, 4), z_dim=3, w_dim=3, mapping_layers=1)
    network, parts = Generator(shape).double(), []
    for block in network.synthesis.blocks:
        block.to_image.register_forward_hook(lambda _, __, out: parts.append(out))
    image, total = network.synthesis(normal(1, 8, 3)), 0
    for times, part in zip((3, 2, 1, 0), parts, strict=True):
        enlarged = part
        for _ in range(times):
            enlarged = resampling.upsample(enlarged)
        total = total + enlarged
    torch.testing.assert_close(image, total)


@verifies("stylegan.9")
def test_two_paths_over_the_root_of_two():
    printed(r"""
        h' = \frac{S h + R(h)}{\sqrt{2}} ,
        \qquad
        \mathrm{Var}(h') = \frac{\mathrm{Var}(S h) + \mathrm{Var}(R(h))}{2} + \mathrm{Cov}(S h, R(h))
        \tag{stylegan.9}
    """)
    torch.manual_seed(0)
    block = discriminator.ResidualBlock(6, 8).double()
    h = normal(5, 6, 16, 16)
    residual, linear = 2**0.5 * block.second(block.first(h)), 2**0.5 * block.skip(h)
    # each path alone, without the root: its own weights say so
    weight = block.skip.weight / 6**0.5
    torch.testing.assert_close(linear, F.conv2d(resampling.blur(h, padding=1, stride=2), weight))
    torch.testing.assert_close(block(h), (linear + residual) / 2**0.5)
    covariance = ((linear - linear.mean()) * (residual - residual.mean())).mean()
    expected = (linear.var(correction=0) + residual.var(correction=0)) / 2 + covariance
    torch.testing.assert_close(block(h).var(correction=0), expected)


@verifies("stylegan.10")
def test_the_filter_answers_to_waves_with_a_cubed_cosine():
    (answer,) = printed(r"""
        H(\omega) = \sum_{k=0}^{3} h_k \, e^{- i \omega (k - 3/2)} = «answer» ,
        \qquad
        X_{\uparrow}(\omega) = 2 \, H(\omega) \, X(2 \omega)
        \tag{stylegan.10}
    """)
    length = 64
    omega = 2 * math.pi * torch.arange(length, dtype=torch.float64) / length
    line = resampling.taps(normal(1))[0, 0].sum(0)  # (4,): one direction
    assert line.tolist() == [1 / 8, 3 / 8, 3 / 8, 1 / 8]
    place = torch.arange(4, dtype=torch.float64) - 1.5
    direct = (line * torch.exp(-1j * omega[:, None] * place)).sum(1)
    torch.testing.assert_close(direct.real, answer(omega=omega))
    assert direct.imag.abs().max() < 1e-12
    # the wave at nu and its mirror image, in the middle of an enlarged row, far from the ends
    for nu in (math.pi / 2, math.pi / 4):
        wave = torch.cos(nu * torch.arange(256, dtype=torch.float64)).expand(1, 1, 8, -1)
        row = resampling.upsample(wave)[0, 0, 8, 128:384]
        spectrum = torch.fft.rfft(row).abs() / 128
        for frequency in (nu / 2, math.pi - nu / 2):
            bin_ = round(frequency * 256 / (2 * math.pi))
            assert spectrum[bin_].item() == pytest.approx(math.cos(frequency / 2) ** 3, abs=1e-9)
        wave = torch.cos(nu * torch.arange(512, dtype=torch.float64)).expand(1, 1, 8, -1)
        blurred = torch.fft.rfft(resampling.blur(wave, padding=2)[0, 0, 4, 128:384]).abs() / 128
        assert blurred[round(nu * 256 / (2 * math.pi))].item() == pytest.approx(
            math.cos(nu / 2) ** 3, abs=1e-9
        )
    shares = [math.cos(3 * math.pi / 8) ** n / math.cos(math.pi / 8) ** n for n in (1, 2, 3)]
    assert shares == pytest.approx([0.414, 0.172, 0.071], abs=5e-4)


@verifies("stylegan.11")
def test_rare_penalties_that_weigh_more_have_the_same_mean():
    printed(r"""
        \frac{1}{k} \sum_{t=1}^{k} \bigl( L_t + [t = k] \, k \gamma R_t \bigr)
        = \frac{1}{k} \sum_{t=1}^{k} L_t + \gamma R_k
        \tag{stylegan.11}
    """)
    torch.manual_seed(0)
    judge, images = discriminator.Discriminator((6, 5)), torch.randn(4, 3, 8, 8)
    config = train_stylegan.Config(r1_every=5, r1_gamma=0.6)
    found = [train_stylegan.r1_penalty(config, judge, images, step) for step in range(1, 6)]
    assert found[:4] == [0.0] * 4
    gamma_r = 0.6 / 2 * adversarial.r1_penalty(judge, images).mean()
    torch.testing.assert_close(found[4] / 5, gamma_r)


@verifies("stylegan.12")
def test_the_penalty_is_the_squared_distance_from_the_mean_length():
    printed(r"""
        R_{\mathrm{path}} = \mathbb{E}_{w, \, y} \bigl( \lVert J^\top y \rVert - a \bigr)^2
        \tag{stylegan.12}
    """)
    network = generator()
    paths = train_stylegan.PathLengths(devices.Device(torch.device("cpu"))).double()
    z = normal(4, 6)
    torch.manual_seed(1)
    lengths = train_stylegan.path_lengths(network, network.styles(z))
    torch.manual_seed(1)
    penalty = paths(network, z)
    torch.testing.assert_close(paths.mean, 0.01 * lengths.detach().mean())
    torch.testing.assert_close(penalty, (lengths - paths.mean).square())
    config = train_stylegan.Config(path_every=4, path_weight=3.0)
    assert train_stylegan.path_penalty(config, paths, network, z, 3) == 0.0
    torch.manual_seed(2)
    in_the_loss = train_stylegan.path_penalty(config, paths, network, z, 8)  # of half the batch
    torch.manual_seed(2)
    lengths = train_stylegan.path_lengths(network, network.styles(z[:2]))
    torch.testing.assert_close(in_the_loss, 4 * 3 * (lengths - paths.mean).square().mean())


@verifies("stylegan.13")
def test_one_gradient_gives_the_length_and_equal_singular_values_the_least_spread():
    printed(r"""
        J^\top y = \nabla_w \langle g(w), \, y \rangle ,
        \qquad
        \mathbb{E}_y \lVert J^\top y \rVert^2 = \lVert J \rVert_{\mathrm{F}}^2 = \sum_i \sigma_i^2 ,
        \qquad
        \frac{\mathrm{Var}_y \lVert J^\top y \rVert^2}{\bigl( \mathbb{E}_y \lVert J^\top y \rVert^2 \bigr)^2}
        = \frac{2 \sum_i \sigma_i^4}{\bigl( \sum_i \sigma_i^2 \bigr)^2} \ge \frac{2}{D}
        \tag{stylegan.13}
    """)
    network = generator()
    ws = network.styles(normal(1, 6)).detach().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda ws: network.synthesis(ws, "none")[0], ws)
    jacobian = jacobian.reshape(3 * 8 * 8, -1)  # (P, L D)
    singular = torch.linalg.svdvals(jacobian)
    layers, side, count = network.layers, 8, 3000
    torch.manual_seed(0)
    with torch.enable_grad():
        many = ws.detach().expand(count, -1, -1).clone().requires_grad_()
        squared = train_stylegan.path_lengths(network, many).detach().square() * layers * side**2
    mean, spread = singular.square().sum(), 2 * singular.pow(4).sum()
    assert abs(squared.mean() - mean) < Z * squared.std() / count**0.5
    of_variance = (squared - squared.mean()).square()
    assert abs(of_variance.mean() - spread) < Z * of_variance.std() / count**0.5
    torch.testing.assert_close(mean, jacobian.square().sum())
    assert spread / mean**2 >= 2 / jacobian.shape[1]
    relative = lambda *values: 2 * sum(v**4 for v in values) / sum(v**2 for v in values) ** 2
    assert relative(3, 1) == pytest.approx(1.64) and relative(2, 2) == pytest.approx(2 / 2)


@verifies("stylegan.14")
def test_truncation_shrinks_the_covariance():
    printed(r"""
        w_\psi = \bar w + \psi \, (w - \bar w) ,
        \qquad
        \mathrm{Cov}(w_\psi) = \psi^2 \, \mathrm{Cov}(w)
        \tag{stylegan.14}
    """)
    network = generator()
    network.estimate_w_mean(1000)
    z = normal(500, 6)
    ws, near = network.styles(z), network.styles(z, psi=0.6, cutoff=2)
    torch.testing.assert_close(near[:, 0], network.w_mean + 0.6 * (ws[:, 0] - network.w_mean))
    torch.testing.assert_close(torch.cov(near[:, 1].T), 0.36 * torch.cov(ws[:, 1].T))
    torch.testing.assert_close(near[:, 2:], ws[:, 2:])
    torch.testing.assert_close(network.styles(0.3 * z), ws, rtol=0, atol=1e-5)  # shrinking z changes nothing


@verifies("stylegan.15")
def test_half_of_the_weights_past_is_forgotten_after_so_many_images():
    (decay,) = printed(r"\beta = «decay» \tag{stylegan.15}")
    beta = decay(B=16, H=10_000).item()
    assert beta == pytest.approx(0.99889, abs=5e-6)
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    ema = averaged(model, beta)
    ema.update_parameters(model)  # the first copies
    nn.init.zeros_(model.weight)
    for _ in range(625):
        ema.update_parameters(model)
    assert ema.module.weight.item() == pytest.approx(0.5, abs=1e-9)
