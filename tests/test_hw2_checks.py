"""The checks of homework 2: the course's own solution is right, and typical mistakes are told by name."""

from __future__ import annotations

from common import augmentation

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wrong_solutions import verdicts, words

from course.checks import hw2_adapter as right
from course.checks.questions import RIGHT


@pytest.mark.parametrize("seed", [0, 1, 20240324])
def test_the_courses_own_solution_is_right(seed):
    found = verdicts("hw2", seed)
    assert [f"{each.question.title}: {each.words}" for each in found if each.status != RIGHT] == []


class Block(nn.Module):
    """The block as a student writes it; subclasses get one thing wrong."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1)
        self.up_right = nn.ConvTranspose2d(half, half, 4, 2, 1)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1)
        self.conv3 = nn.Conv2d(half, half, 3, padding=1)
        self.up_left = nn.ConvTranspose2d(half, half, 4, 2, 1)

    def right(self, x):
        return self.conv3(F.relu(self.conv2(self.up_right(F.relu(self.conv1(x))))))

    def forward(self, x):
        left, right = torch.chunk(x, 2, 1)
        return self.up_left(left) + self.right(right)


class ReluAfterEnlarging(Block):
    def right(self, x):
        return self.conv3(F.relu(self.conv2(F.relu(self.up_right(self.conv1(x))))))


class NoReluBetween(Block):
    def right(self, x):
        return self.conv3(self.conv2(self.up_right(F.relu(self.conv1(x)))))


class ReluOfTheSum(Block):
    def forward(self, x):
        return F.relu(super().forward(x))


class Joined(Block):
    def forward(self, x):
        left, right = torch.chunk(x, 2, 1)
        return torch.cat([self.up_left(left), self.right(right)], 1)


class Exchanged(Block):
    def forward(self, x):
        right, left = torch.chunk(x, 2, 1)
        return self.up_left(left) + self.right(right)


class OneHalf(Block):
    def forward(self, x):
        left, _ = torch.chunk(x, 2, 1)
        return self.up_left(left) + self.right(left)


class Leaky(Block):
    def right(self, x):
        bend = lambda y: F.leaky_relu(y, 0.2)
        return self.conv3(bend(self.conv2(self.up_right(bend(self.conv1(x))))))


class NoPadding(Block):
    def __init__(self, channels):
        super().__init__(channels)
        self.conv2 = nn.Conv2d(channels // 2, channels // 2, 3)

    def forward(self, x):
        left, right = torch.chunk(x, 2, 1)
        return self.up_left(left)[:, :, 1:-1, 1:-1] + self.right(right)


class OneConvolutionLess(Block):
    def __init__(self, channels):
        super().__init__(channels)
        del self.conv3

    def right(self, x):
        return F.relu(self.conv2(self.up_right(F.relu(self.conv1(x)))))


class Unused(Block):
    def right(self, x):
        return self.conv3(F.relu(self.conv3(self.up_right(F.relu(self.conv1(x))))))


def test_a_block_written_otherwise_is_right():
    """Other names, the right half first."""
    found = [
        each
        for call in ("cspup_block", "cspup_gradients")
        for each in verdicts("hw2", only=call, cspup_block=Block)
    ]
    assert [each.words for each in found] == ["", ""]


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (ReluAfterEnlarging, "the right half goes through ReLU before it is enlarged; yours after"),
        (NoReluBetween, "a ReLU is missing between the two 3x3 convolutions"),
        (ReluOfTheSum, "none follows the sum of both halves"),
        (Joined, "the halves are to be added; yours are joined along the channels"),
        (Exchanged, "the halves are exchanged"),
        (OneHalf, "both halves read the first half of the channels"),
        (Leaky, "the activation is a leaky ReLU"),
        (NoPadding, "expected shape (2, 4, 10, 14)"),
        (OneConvolutionLess, "1 of 3x3"),
    ],
)
def test_what_is_wrong_with_a_block_is_said(block, said):
    assert said in words("hw2", "cspup_block", block)


def test_parts_of_a_block_that_are_never_used():
    assert "the second half of the input's channels" in words(
        "hw2", "cspup_block", OneHalf, "cspup_gradients"
    )
    assert "2 of 10 parameters get no gradient" in words("hw2", "cspup_block", Unused, "cspup_gradients")


# ---- the generator


class Generator(nn.Module):
    """The homework's generator; `of` changes what comes out."""

    def __init__(self, size, width, latent, output, of=lambda x: x):
        super().__init__()
        self.inner, self.of = right.cspup_generator(size, width, latent, output), of

    def forward(self, z):
        return self.of(self.inner(z))


class OneNumber(Generator):
    def forward(self, z):
        return super().forward(torch.ones_like(z) * z.mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s, w, d, o: Generator(s, w, d, o, lambda x: x[:, :, ::2, ::2]), "an enlarging is missing"),
        (lambda s, w, d, o: Generator(s, w, d, o, lambda x: x.relu()), "there is a ReLU before tanh"),
        (lambda s, w, d, o: Generator(s, w, d, o, lambda x: 3 * x), "tanh ends in [-1, 1]"),
        (lambda s, w, d, o: Generator(s, w, d, "tanh"), "ReLU at the end cuts off at black"),
        (
            lambda s, w, d, o: Generator(s, w, d, o, lambda x: x + 0.1 * torch.randn(1)),
            "another image the second",
        ),
        (lambda s, w, d, o: Generator(s, 2 * w, d, o), "parameters, found"),
        (
            lambda s, w, d, o: Generator(s, w, d, o, lambda x: x.mean(0, keepdim=True).expand_as(x)),
            "no z changes",
        ),
        (OneNumber, "of the 6 directions of z only 1 change the image"),
    ],
)
def test_what_is_wrong_with_a_generator_is_said(wrong, said):
    assert said in words("hw2", "cspup_generator", wrong)


def test_an_enlarging_without_its_padding():
    assert "a 4x4 kernel with stride 2 needs padding 1" in words(
        "hw2", "upsample", lambda channels, kind: nn.ConvTranspose2d(channels, channels, 4, 2)
    )


# ---- losses and penalties


def loss(kind, function):
    """A wrong loss of one kind, the others right."""
    return lambda which, *logits: (
        function(*logits) if which == kind else right.discriminator_loss(which, *logits)
    )


def of_generator(kind, function):
    return lambda which, fake: function(fake) if which == kind else right.generator_loss(which, fake)


def softplus_both(first, second):
    return F.softplus(first) + F.softplus(second)


def of_weight(changed):
    """Penalties with another weight of WGAN-GP's."""
    return lambda *given, gradient_penalty=0.0: right.penalty_of_step(
        *given, gradient_penalty=changed(gradient_penalty)
    )


def gradient(judge, images, create=True):
    images = images.detach().requires_grad_()
    return torch.autograd.grad(judge(images).sum(), images, create_graph=create)[0].flatten(1)


@pytest.mark.parametrize(
    ("function", "wrong", "said"),
    [
        (
            "discriminator_loss",
            loss("cross-entropy", lambda r, f: F.softplus(r) + F.softplus(-f)),
            "are exchanged",
        ),
        (
            "discriminator_loss",
            loss("cross-entropy", lambda r, f: softplus_both(-r.sigmoid(), f.sigmoid())),
            "a sigmoid is applied before a loss that expects logits",
        ),
        (
            "discriminator_loss",
            loss("cross-entropy", lambda r, f: (F.softplus(-r) + F.softplus(f)).mean()),
            "the mean over the batch",
        ),
        (
            "discriminator_loss",
            loss("cross-entropy", lambda r, f: (F.softplus(-r) + F.softplus(f)) / 2),
            "averaged",
        ),
        (
            "discriminator_loss",
            loss("hinge", lambda r, f: F.relu(1 + r) + F.relu(1 - f)),
            "the signs are exchanged",
        ),
        ("discriminator_loss", loss("wasserstein", lambda r, f: r - f), "the sign"),
        (
            "discriminator_loss",
            loss("least-squares", lambda r, f: (r - 1) ** 2 + f**2),
            "the factor 1/2 is missing",
        ),
        (
            "generator_loss",
            of_generator("non-saturating", lambda f: -F.softplus(f)),
            "this is the minimax loss",
        ),
        ("generator_loss", of_generator("non-saturating", F.softplus), "this makes it small"),
        ("generator_loss", of_generator("minimax", lambda f: F.softplus(-f)), "does not saturate"),
        ("generator_loss", of_generator("linear", lambda f: F.relu(1 - f)), "the generator has no hinge"),
        (
            "smoothed_discriminator_loss",
            lambda r, f, a, b: a * F.softplus(-r) + (1 - b) * F.softplus(f),
            "the other class gets the rest",
        ),
        (
            "smoothed_labels",
            lambda like, low, high: torch.full_like(like, (low + high) / 2),
            "draw one for each",
        ),
        ("instance_noise", lambda x, s, share: x + s * torch.randn_like(x), "expected 0.25"),
        ("r1_penalty", lambda d, x: gradient(d, x).square().mean(1), "the mean over pixels is taken"),
        ("r1_penalty", lambda d, x: gradient(d, x).norm(dim=1), "the root is taken"),
        (
            "r1_penalty",
            lambda d, x: gradient(d, x, create=False).square().sum(1),
            "create_graph=True is missing",
        ),
        (
            "gradient_penalty",
            lambda d, x, y: (gradient(d, x).square().sum(1) - 1) ** 2,
            "the root is missing",
        ),
        (
            "gradient_penalty",
            lambda d, x, y: (gradient(d, x).norm(dim=1) - 1) ** 2,
            "draw one for each image",
        ),
        (
            "gradient_penalty",
            lambda d, x, y: (gradient(d, x + torch.rand_like(x) * (y - x)).norm(dim=1) - 1) ** 2,
            "one share of the way for all pixels",
        ),
        (
            "penalty_of_step",
            lambda d, x, y, step, gamma, every, weight=0: (
                0.0 if step % every else gamma / 2 * right.r1_penalty(d, x).mean()
            ),
            "counts 4 times as much",
        ),
        (
            "penalty_of_step",
            lambda d, x, y, step, gamma, every, weight=0: (
                0.0 if step % every else every * gamma * right.r1_penalty(d, x).mean()
            ),
            "without its 1/2",
        ),
        (
            "penalty_of_step",
            lambda d, x, y, step, gamma, every, weight=0: every * gamma / 2 * right.r1_penalty(d, x).mean(),
            "expected 0",
        ),
        ("penalty_of_step", of_weight(lambda weight: 0), "it is left out"),
        ("penalty_of_step", of_weight(lambda weight: -7 * weight), "expected"),
        ("penalty_of_step", of_weight(lambda weight: -weight), "the sign is wrong"),
        ("penalty_of_step", of_weight(lambda weight: weight / 2), "its weight is halved"),
    ],
)
def test_a_wrong_loss_or_penalty_is_told_by_its_name(function, wrong, said):
    assert said in words("hw2", function, wrong)


# ---- steps


def step(*, clear=True, detach=True, stuck=False, both=False, sign=1):
    """A step of each player as a student writes it, with a mistake."""

    def one_step(generator, discriminator, for_generator, for_discriminator, real):
        fake = generator(torch.randn(len(real), generator.latent))
        for optimiser in (for_generator, for_discriminator) if clear else ():
            optimiser.zero_grad()
        shown = fake.detach() if detach else fake
        d_loss = F.softplus(-discriminator(real)) + F.softplus(discriminator(shown))
        (sign * d_loss.mean()).backward(retain_graph=not detach)
        for_discriminator.step()
        if both:
            with torch.no_grad():
                generator.layer.bias.add_(0.1)
        for_generator.zero_grad() if clear and detach else None
        (sign * F.softplus(-discriminator(fake.detach() if stuck else fake)).mean()).backward()
        for_generator.step()

    return one_step


def test_a_step_written_otherwise_is_right():
    assert words("hw2", "one_step", step()) == " |  | "


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (step(clear=False), "gradients are not cleared"),
        (step(stuck=True), "its images are detached in its own step"),
        (step(both=True), "the generator moves with a learning rate of 0"),
        (step(sign=-1), "the sign is wrong"),
    ],
)
def test_a_wrong_step_is_told(wrong, said):
    assert said in words("hw2", "one_step", wrong)


def step_with(*, penalty=1, of_real=True, of_fake=True, of_generator=True, mean=torch.mean):
    """A step with what the hypotheses add, as a student writes it, with a mistake."""

    def one_step(
        generator, discriminator, for_generator, for_discriminator, real,
        r1_gamma=0.0, gradient_penalty=0.0, instance_noise=0.0, augment=(),
    ):  # fmt: skip
        def seen(images, wanted):
            images = images + instance_noise * torch.randn_like(images) if wanted else images
            return augmentation.augment(images, augment) if wanted else images

        fake, real = generator(torch.randn(len(real), generator.latent)), seen(real, of_real)
        shown = seen(fake.detach(), of_fake)
        loss = mean(F.softplus(-discriminator(real)) + F.softplus(discriminator(shown)))
        if r1_gamma:
            loss = loss + penalty * r1_gamma / 2 * mean(right.r1_penalty(discriminator, real))
        if gradient_penalty:
            found = right.gradient_penalty(discriminator, real, shown)
            loss = loss + penalty * gradient_penalty * mean(found)
        for_discriminator.zero_grad()
        loss.backward()
        for_discriminator.step()
        for_generator.zero_grad()
        mean(F.softplus(-discriminator(seen(fake, of_generator)))).backward()
        for_generator.step()

    return one_step


@pytest.mark.parametrize("mean", [torch.mean, torch.sum])
def test_a_step_with_what_hypotheses_add_may_be_written_otherwise(mean):
    for call in ("step_with_penalty", "seen_in_step"):
        assert words("hw2", "one_step", step_with(mean=mean), call) == " | "


@pytest.mark.parametrize(
    ("wrong", "call", "said"),
    [
        (step_with(penalty=0), "step_with_penalty", ["add it to D's loss"] * 2),
        (step_with(penalty=-7), "step_with_penalty", ["the wrong way"] * 2),
        (
            step_with(of_real=False),
            "seen_in_step",
            [f"{what} is missing on what D sees: real images" for what in ("instance noise", "augmentation")],
        ),
        (step_with(of_fake=False), "seen_in_step", ["generated images in its own step"] * 2),
        (step_with(of_generator=False), "seen_in_step", ["in the generator's step"] * 2),
    ],
)
def test_what_hypotheses_add_reaches_the_step(wrong, call, said):
    for part, expected in zip(words("hw2", "one_step", wrong, call).split(" | "), said, strict=True):
        assert expected in part
