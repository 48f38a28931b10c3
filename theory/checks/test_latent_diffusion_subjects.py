"""Checks of theory/{en,ru}/latent_diffusion.md: DreamBooth, textual inversion, ControlNet."""

import math
from itertools import pairwise

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision

import pytest
import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from hw4_diffusion import diffusion, dreambooth, small_pipeline
from hw4_diffusion.small_pipeline import Description
from hw4_diffusion.train_controlnet import ControlledUNet
from theory.checks.draws import Z, normal, z_score
from theory.printed import printed
from theory.tags import verifies

# ---- DreamBooth


@verifies("latent_diffusion.11")
def test_two_expectations_one_weight():
    (weight,) = printed(r"""
        L = \mathbb{E}_{z_0 \sim \text{subject}} \, \lVert \varepsilon - \hat\varepsilon(z_t, \, t, \,
        \tau(c_{\mathrm{s}})) \rVert^2 + «weight» \, \mathbb{E}_{z_0 \sim p_{\text{old}}(\cdot \mid
        c_{\mathrm{c}})} \, \lVert \varepsilon - \hat\varepsilon(z_t, \, t, \, \tau(c_{\mathrm{c}})) \rVert^2
        \tag{latent_diffusion.11}
    """)
    eps, guess = normal(6, 4, 2, 2), normal(6, 4, 2, 2, seed=1)
    errors = diffusion.squared_error(guess, eps)  # of three photographs, then of three class images
    expected = errors[:3].mean() + weight(lambda_=0.7) * errors[3:].mean()
    torch.testing.assert_close(dreambooth.dreambooth_loss(errors, 0.7), expected)
    torch.testing.assert_close(dreambooth.dreambooth_loss(errors[:3], None), errors[:3].mean())


def test_what_one_step_on_a_photograph_does_to_another_prompt():
    """To first order -2 eta J J' (eps_hat - eps), for a small network told a prompt."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    parameters = dict(network.named_parameters())
    predict = lambda weights, z, c: torch.func.functional_call(network, weights, (torch.cat([z, c]),))
    z, other, eps = normal(3), normal(3, seed=1), normal(3, seed=2)
    subject = normal(3, seed=3)
    jacobian = lambda z, c: torch.cat(
        [part.flatten(1) for part in torch.func.jacrev(predict)(parameters, z, c).values()], 1
    )
    rate, residual = 1e-6, predict(parameters, z, subject) - eps
    moved = []
    for prompt in (subject, subject + 0.1 * normal(3, seed=4), 5 * normal(3, seed=4)):
        loss = lambda weights: (eps - predict(weights, z, subject)).square().sum()
        gradient = torch.func.grad(loss)(parameters)
        after = {name: value - rate * gradient[name] for name, value in parameters.items()}
        change = (predict(after, other, prompt) - predict(parameters, other, prompt)) / rate
        torch.testing.assert_close(
            change, -2 * jacobian(other, prompt) @ jacobian(z, subject).T @ residual, rtol=1e-4, atol=1e-6
        )
        moved.append(change)
    near, far = ((one - moved[0]).norm() / moved[0].norm() for one in moved[1:])
    assert near < 0.1 < far  # a prompt that differs little moves with it


def test_prior_preservation_begins_with_a_gradient_of_zero_in_the_mean():
    """A model that draws N(0, std^2) and predicts its mean exactly: pulled nowhere by its own images, and
    pulled back once it has drifted."""
    alpha, sigma, std = 0.6, 0.8, 0.5
    z0, eps = std * normal(200_000), normal(200_000, seed=1)
    z_t = alpha * z0 + sigma * eps
    best = sigma / (alpha**2 * std**2 + sigma**2)  # E [eps | z_t] = best z_t
    gradient = lambda slope: 2 * (slope * z_t - eps) * z_t
    assert abs(z_score(gradient(best), 0).item()) < Z
    assert z_score(gradient(best + 0.02), 0).item() > Z and z_score(gradient(best - 0.02), 0).item() < -Z
    narrow = 0.5 * z0  # drawn with guidance: another best prediction
    shifted = alpha * narrow + sigma * eps
    assert abs(z_score(2 * (best * shifted - eps) * shifted, 0).item()) > Z


def test_fifteen_images_have_fewer_numbers_than_a_lora_of_rank_two():
    assert (15 * 16_384, 2 * 199_296, round(1000 / 15)) == (245_760, 398_592, 67)


# ---- textual inversion


def test_the_gradient_of_the_table_of_words_goes_to_the_words_of_the_prompt():
    table = nn.Embedding(9, 4).double()
    prompt, weights = torch.tensor([0, 3, 8, 3, 1]), normal(5, 4)
    embedded = table(prompt)
    embedded.retain_grad()
    (embedded * weights).sin().sum().backward()
    expected = sum(
        torch.eye(9, dtype=torch.float64)[token, :, None] * delta
        for token, delta in zip(prompt, embedded.grad)
    )
    torch.testing.assert_close(table.weight.grad, expected)
    assert table.weight.grad.abs().sum(1).bool().tolist() == [row in (0, 1, 3, 8) for row in range(9)]
    before, optimizer = table.weight.clone(), torch.optim.AdamW(table.parameters(), 0.1, weight_decay=0.01)
    optimizer.step()
    torch.testing.assert_close(table.weight[2], before[2] * (1 - 0.1 * 0.01))  # weight decay moves it
    assert 768 * 4 == 3072


# ---- ControlNet


class Joined(nn.Module):
    """A block with a trainable copy between two convolutions that begin at zero, as the page has it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.block, self.copy = (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Tanh()) for _ in range(2))
        self.copy.load_state_dict(self.block.state_dict())
        self.block.requires_grad_(False)
        self.first, self.second = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 1)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        self.features = self.copy(x + self.first(condition))
        if self.features.requires_grad:
            self.features.retain_grad()
        return self.block(x) + self.second(self.features)


@verifies("latent_diffusion.13")
def test_a_layer_of_zeros_learns_and_blocks_what_is_before_it_for_one_step():
    printed(r"""
        \frac{\partial L}{\partial W_2} = G \, h^\top ,
        \qquad
        \frac{\partial L}{\partial b_2} = G ,
        \qquad
        \frac{\partial L}{\partial h} = W_2^\top G
        \tag{latent_diffusion.13}
    """)
    model = Joined().double()
    x, condition, goal = normal(2, 3, 5, 4), normal(2, 2, 5, 4, seed=1), normal(2, 3, 5, 4, seed=2)
    torch.testing.assert_close(model(x, condition), model.block(x))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    moving = []
    for _ in range(2):
        optimizer.zero_grad()
        y = model(x, condition)
        y.retain_grad()
        diffusion.squared_error(y, goal).mean().backward()
        expected = torch.einsum("bohw,bihw->oi", y.grad, model.features)
        torch.testing.assert_close(model.second.weight.grad[:, :, 0, 0], expected)
        torch.testing.assert_close(model.second.bias.grad, y.grad.sum((0, 2, 3)))
        back = torch.einsum("oi,bohw->bihw", model.second.weight[:, :, 0, 0], y.grad)
        torch.testing.assert_close(model.features.grad, back)
        moving.append({name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()})
        optimizer.step()
    assert moving[0] == {"second.weight", "second.bias"}
    assert moving[1] == {name for name, p in model.named_parameters() if p.requires_grad}
    chain = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)).double()
    nn.init.zeros_(chain[0].weight)
    nn.init.zeros_(chain[1].weight)
    diffusion.squared_error(chain(condition), goal).mean().backward()
    assert not any(layer.weight.grad.any() for layer in chain)


@verifies("latent_diffusion.12", "latent_diffusion.13")
def test_a_controlnet_leaves_the_unet_as_it_is_and_learns():
    printed(r"""
        y = F(x; \theta) + Z_2 \bigl( F(x + Z_1(c); \theta_{\mathrm{c}}) \bigr) ,
        \qquad
        Z_k(h) = W_k h + b_k ,
        \qquad
        W_k = 0 , \; b_k = 0 \; \text{at the start}
        \tag{latent_diffusion.12}
    """)
    torch.manual_seed(0)
    unet = small_pipeline.build_unet(Description()).requires_grad_(False)
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 8))
    model = ControlledUNet(unet, controlnet).double()
    z, t, words = normal(1, 4, 16, 16), torch.tensor([500]), normal(1, 6, Description().text_width, seed=1)
    edges = normal(1, 3, 64, 64, seed=2).sigmoid()
    torch.testing.assert_close(model(z, t, words, edges), unet(z, t, words).sample)
    optimizer = torch.optim.SGD(controlnet.parameters(), 0.1)
    moving = []
    for _ in range(2):
        optimizer.zero_grad()
        diffusion.squared_error(model(z, t, words, edges), normal(1, 4, 16, 16, seed=3)).mean().backward()
        moving.append(
            {name for name, p in controlnet.named_parameters() if p.grad is not None and p.grad.any()}
        )
        optimizer.step()
    zeros = ("controlnet_down_blocks.", "controlnet_mid_block.")
    assert moving[0] == {name for name, _ in controlnet.named_parameters() if name.startswith(zeros)}
    entrance = {name for name in moving[1] if name.startswith("controlnet_cond_embedding.conv_out")}
    assert moving[1] > moving[0] and len(entrance) == 2  # the condition is read from the second step on


def flow(size: float, variance: float, step: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Times and losses on the way down from a = b = size, by small steps of the page's equations."""
    a, b, losses = size, size, []
    for _ in range(40_000):
        losses.append(0.5 * (a * a * variance + (a * b - 1) ** 2))
        a, b = a + step * (-a * variance - b * (a * b - 1)), b + step * (-a * (a * b - 1))
    return step * torch.arange(40_000), torch.tensor(losses, dtype=torch.float64)


def test_two_zeros_in_a_row_make_a_plateau_and_a_jump():
    variance = 0.5
    h, c = variance**0.5 * normal(200_000), normal(200_000, seed=1)
    a, b = torch.tensor(0.3).requires_grad_(), torch.tensor(0.7).requires_grad_()
    examples = 0.5 * (a * (h + b * c) - c).square()
    loss = 0.5 * (a**2 * variance + (a * b - 1) ** 2)
    assert abs(z_score(examples.detach(), loss.item()).item()) < Z
    for found, rule in zip(
        torch.autograd.grad(loss, (a, b)), (a * variance + b * (a * b - 1), a * (a * b - 1)), strict=True
    ):
        assert found.item() == pytest.approx(rule.item(), rel=1e-5)
    assert abs(z_score(-c * h, 0).item()) < Z and (c * h).abs().mean() > 0.1  # single gradients at a = b = 0
    growth = (math.sqrt(variance**2 + 4) - variance) / 2
    matrix = torch.tensor([[-variance, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert torch.linalg.eigvalsh(matrix)[1].item() == pytest.approx(growth)
    jumps = []
    for size in (1e-2, 1e-3, 1e-4):
        times, losses = flow(size, variance)
        jumps.append(times[losses < 0.25][0].item())
        assert losses[times < 0.5 * jumps[-1]].min() > 0.45  # half of the time nothing is to be seen
    assert [late - early for early, late in pairwise(jumps)] == pytest.approx(
        [math.log(10) / growth] * 2, rel=0.02
    )
