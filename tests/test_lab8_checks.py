"""The checks of lab 8: the course's own solution is right, and typical mistakes are told by name."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from wrong_solutions import verdicts, words

from course.checks import lab8_adapter as right
from course.checks.questions import RIGHT


@pytest.mark.parametrize("seed", [0, 1, 8])
def test_the_courses_own_solution_is_right(seed):
    found = verdicts("lab8", seed)
    assert [f"{each.question.title}: {each.words}" for each in found if each.status != RIGHT] == []


def way_up(*, kernel=4, padding=1, output_padding=0, end=nn.Tanh, steps=4):
    def built(size, width, latent):
        side = size // 2**steps
        layers = [nn.Linear(latent, 8 * width * side * side), nn.Unflatten(1, (8 * width, side, side))]
        channels = [8 * width, 4 * width, 2 * width, width, 3][-steps - 1 :]
        layers = layers if steps == 4 else [
            nn.Linear(latent, channels[0] * side * side), nn.Unflatten(1, (channels[0], side, side))
        ]  # fmt: skip
        for a, b in zip(channels, channels[1:]):  # noqa: RUF007
            up = nn.ConvTranspose2d(a, b, kernel, 2, padding, output_padding)
            layers += [nn.BatchNorm2d(a), nn.ReLU(), up]
        return nn.Sequential(*layers, end())

    return built


def without(kind, built, places=slice(None)):
    """The network with activations of a kind taken out."""

    def made(*given):
        network = built(*given)
        for place in [i for i, layer in enumerate(network) if isinstance(layer, kind)][places]:
            network[place] = nn.Identity()
        return network

    return made


class Detached(nn.Module):
    """An autoencoder whose encoder learns nothing."""

    def __init__(self, size, width, latent):
        super().__init__()
        self.model = right.autoencoder(size, width, latent)

    def encode(self, images):
        return self.model.encode(images)

    def forward(self, images):
        return self.model.decoder(self.encode(images).detach()), torch.zeros(len(images))


def without_end(start, end, count, way):
    shares = torch.arange(count)[:, None] / count
    return torch.lerp(start.expand(count, -1), end.expand(count, -1), shares)


def one_step(
    *, d_loss=lambda real, fake: softplus(-real) + softplus(fake), g_loss=lambda fake: softplus(-fake),
    clear=True, detached=False, old_discriminator=False, mean=torch.mean, half=2, factor=True, square=True,
):  # fmt: skip
    """Both players' step as a student writes it, with a mistake."""

    def step(generator, discriminator, for_generator, for_discriminator, real, z, gamma, every):
        before = copy.deepcopy(discriminator)
        fake = generator(z)
        loss = mean(d_loss(discriminator(real), discriminator(fake.detach())))
        if gamma:
            images = real.clone().requires_grad_()
            (slope,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=square)
            penalty = slope.flatten(1).square().sum(1).mean()
            loss = loss + (every if factor else 1) * gamma / half * penalty
        if clear:
            for_discriminator.zero_grad()
        loss.backward()
        for_discriminator.step()
        shown = fake.detach() if detached else fake
        loss = mean(g_loss((before if old_discriminator else discriminator)(shown)))
        if clear:
            for_generator.zero_grad()
        if loss.requires_grad and not detached:
            loss.backward()
        for_generator.step()

    return step


MISTAKES = [
    ("one_step", one_step(clear=False), "", "the discriminator's gradients are not cleared"),
    ("one_step", one_step(detached=True), "", "the generator: it does not move"),
    ("one_step", one_step(old_discriminator=True), "", "D's step comes first"),
    ("one_step", one_step(mean=torch.sum), "", "the discriminator: its losses are added up"),
    ("one_step", one_step(g_loss=lambda fake: -softplus(fake)), "", "this is the minimax loss"),
    ("one_step", one_step(g_loss=softplus), "", "the generator: "),
    ("one_step", one_step(g_loss=lambda fake: -softplus(-fake)), "", "less real: the sign is wrong"),
    ("one_step", one_step(d_loss=lambda real, fake: softplus(-real)), "", "only real images count"),
    ("one_step", one_step(d_loss=lambda real, fake: softplus(real) + softplus(-fake)), "", "are exchanged"),
    (
        "one_step",
        one_step(d_loss=lambda real, fake: (softplus(-real) + softplus(fake)) / 2),
        "",
        "halves of its loss are averaged",
    ),
    ("one_step", one_step(half=1), "", "gamma is multiplied without its 1/2"),
    ("one_step", one_step(factor=False), "", "counts 4 times as much: the factor is missing"),
    ("one_step", one_step(square=False), "", "no gradient of it reaches the weights"),
    ("way_down", lambda s, w, o, n: right.way_down(s, w, o, True), "", "was not asked for"),
    ("way_down", lambda s, w, o, n: right.way_down(s, w, o, False), "", "batch normalisation is missing"),
    ("way_down", lambda s, w, o, n: right.way_down(s, 2 * w, o, n), "", "parameters at width 4"),
    ("autoencoder", Detached, "", "parameters get no gradient"),
    (
        "losses",
        lambda model, size, beta, e, kl: right.losses("vae", size, 1.0, e, kl),
        "",
        "beta is left out",
    ),
    ("losses", lambda model, size, beta, e, kl: e + beta * kl, "", "leave the KL out"),
    ("losses", lambda model, size, beta, e, kl: e.mean(), "", "one value for each image"),
    ("way_up", way_up(end=nn.Sigmoid), "", "a ReLU or a sigmoid ends the network"),
    ("way_up", way_up(end=nn.Identity), "", "end with tanh"),
    ("way_up", way_up(kernel=3, output_padding=1), "", "a checkerboard"),
    ("way_up", way_up(steps=3), "", "four transposed convolutions are expected, found 3"),
    ("way_down", without(nn.LeakyReLU, right.way_down), "", "4 of 5 layers have no activation before them"),
    ("way_down", without(nn.LeakyReLU, right.way_down, slice(2, 3)), "", "1 of 5 layers have no activation"),
    ("way_up", without(nn.ReLU, right.way_up), "", "4 of 5 layers have no activation before them"),
    ("way_up", without(nn.ReLU, right.way_up, slice(1)), "", "1 of 5 layers have no activation"),
    ("doubling", lambda a, b, kind: None, "", "the function returns None; is a return missing?"),
    ("doubling", lambda a, b, kind: nn.Upsample(scale_factor=2), "", "expected shape (2, 6, 8, 10)"),
    ("doubling", lambda a, b, kind: right.doubling(a, b, "transposed"), "", "becomes a checkerboard"),
    ("slerp", torch.lerp, "", "this is the straight line"),
    ("slerp", lambda a, b, share: right.slerp(b, a, share), "", "the ends are exchanged"),
    ("walk", without_end, "", "the end is never reached"),
    ("walk", lambda a, b, count, way: right.walk(b, a, count, way), "", "from the end to the start"),
    ("there_and_back", lambda x: torch.cat([x, x.flip(0)]), "", "both ends are shown twice"),
    ("there_and_back", lambda x: torch.cat([x, x[:-1].flip(0)]), "", "the first frame is shown twice"),
    ("there_and_back", lambda x: torch.cat([x, x[1:].flip(0)]), "", "the last frame is shown twice"),
]


@pytest.mark.parametrize(("function", "wrong", "call", "said"), MISTAKES)
def test_a_typical_mistake_is_told_by_its_name(function, wrong, call, said):
    assert said in words("lab8", function, wrong, call)


def test_other_activations_are_right_too():
    def bent(built, kind):
        def made(*given):
            network = built(*given)
            for place, layer in enumerate(network):
                if isinstance(layer, (nn.ReLU, nn.LeakyReLU)):
                    network[place] = kind()
            return network

        return made

    for kind in (nn.ReLU, nn.ELU, nn.GELU, nn.SiLU):
        assert set(words("lab8", "way_down", bent(right.way_down, kind)).split(" | ")) == {""}
        assert set(words("lab8", "way_up", bent(right.way_up, kind)).split(" | ")) == {""}


def test_a_step_written_otherwise_is_right():
    found = verdicts("lab8", only="one_step", one_step=one_step())
    assert [each.words for each in found if each.status != RIGHT] == [] and len(found) == 3
