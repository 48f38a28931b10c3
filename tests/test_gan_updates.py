"""Both players' updates, step by step, against the same steps written out anew."""

import ast

from common import adversarial, devices
from common.data import Batches, ImageSet
from common.noise import BatchNoise

import pytest
import torch
import torch.nn.functional as F
import two_processes

from hw2_gan import networks, players, train_gan

CPU = devices.Device(torch.device("cpu"))
PLAIN = {
    **{"size": 32, "width": 0.0625, "output": "tanh", "batch_size": 4, "discriminator_normalisation": "none"},
    **{"lr_generator": 1e-3, "lr_discriminator": 2e-3, "ema": 0.5},
}


@pytest.fixture
def images() -> ImageSet:
    torch.manual_seed(7)
    return ImageSet(torch.randint(256, (24, 3, 32, 32), dtype=torch.uint8), "a", "train", "a test")


def run(config: train_gan.Config, images: ImageSet, steps: int) -> tuple[players.Players, list[dict]]:
    """The players after some steps of train_gan.py, and what it measured."""
    torch.manual_seed(1)
    both = players.build_players(config, CPU)
    batches = Batches(images, config.batch_size, CPU, drop_last=True, seed=config.seed)
    noise = BatchNoise(config.batch_size, CPU, seed=config.seed)
    measured = train_gan.updates(config, both, batches, noise, CPU, range(1, steps + 1))
    return both, [values for _, values in measured]


def gradient_norm(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters()]).norm()


LOSSES = {  # the two losses of each game, written with probabilities and outputs themselves
    "minimax": (
        lambda real, fake: -(real.sigmoid().log() + (1 - fake.sigmoid()).log()),
        lambda fake: (1 - fake.sigmoid()).log(),
    ),
    "non-saturating": (
        lambda real, fake: -(real.sigmoid().log() + (1 - fake.sigmoid()).log()),
        lambda fake: -fake.sigmoid().log(),
    ),
    "least-squares": (
        lambda real, fake: ((real - 1) ** 2 + fake**2) / 2,
        lambda fake: (fake - 1) ** 2 / 2,
    ),
    "hinge": (lambda real, fake: F.relu(1 - real) + F.relu(1 + fake), lambda fake: -fake),
    "wasserstein": (lambda real, fake: fake - real, lambda fake: -fake),
}


@pytest.mark.parametrize("discriminator_steps", [1, 2])
@pytest.mark.parametrize("loss", LOSSES)
def test_two_steps_are_those_of_the_algorithm(images, loss, discriminator_steps):
    """Goodfellow et al. 2014, algorithm 1, but for the fakes of D's last update, which serve G's too."""
    config = train_gan.Config(
        **PLAIN, loss=loss, discriminator_steps=discriminator_steps, r1_gamma=3.0, penalty_every=2
    )
    found, measured = run(config, images, steps=2)

    torch.manual_seed(1)
    expected = players.build_players(config, CPU)
    G, D, mean = expected.generator, expected.discriminator, None
    stream = Batches(images, 4, CPU, drop_last=True, seed=config.seed).forever()
    noise = BatchNoise(4, CPU, seed=config.seed)
    of_d, of_g = LOSSES[loss]
    for step in (1, 2):
        for _ in range(discriminator_steps):
            real, fake = next(stream).images, G(noise.normal(100))
            real_logits, fake_logits = D(real), D(fake.detach())
            loss_of_d = of_d(real_logits, fake_logits).mean()
            if step == 2:  # lazy: every second step, twice as heavy
                loss_of_d = loss_of_d + 2 * 3.0 / 2 * adversarial.r1_penalty(D, real).mean()
            D.zero_grad()
            loss_of_d.backward()
            norms = {"discriminator_gradient_norm": gradient_norm(D)}
            expected.for_discriminator.step()
        loss_of_g = of_g(D(fake)).mean()
        G.zero_grad()
        loss_of_g.backward()
        norms["generator_gradient_norm"] = gradient_norm(G)
        expected.for_generator.step()
        now = [p.detach().clone() for p in G.parameters()]
        mean = now if mean is None else [2 / 11 * old + 9 / 11 * new for old, new in zip(mean, now)]
        assert measured[step - 1]["generator_loss"].mean().item() == pytest.approx(loss_of_g.item(), rel=1e-4)
        said = torch.sigmoid if loss in ("minimax", "non-saturating") else torch.clone
        logged = {"d_real": said(real_logits), "d_fake": said(fake_logits), **norms}
        for name, value in logged.items():
            torch.testing.assert_close(measured[step - 1][name], value.expand(4), rtol=1e-3, atol=1e-4)
    for network, other in ((found.generator, G), (found.discriminator, D)):
        for one, its in zip(network.parameters(), other.parameters()):
            torch.testing.assert_close(one, its, rtol=1e-3, atol=1e-5)
    for one, its in zip(found.ema.module.parameters(), mean):
        torch.testing.assert_close(one, its, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("discriminator_steps", [1, 2])
def test_who_sees_what(images, monkeypatch, discriminator_steps):
    """D sees noised and augmented images only, in both updates; G's update alone reaches G, and leaves D."""
    config = train_gan.Config(
        **{**PLAIN, "discriminator_normalisation": "batch"},
        instance_noise=0.5,
        augment=("color",),
        gradient_penalty=1.0,
        r1_gamma=1.0,
        penalty_every=1,
        discriminator_steps=discriminator_steps,
    )
    shares, judged = [], []
    change, judge = train_gan.augmented, networks.DCGANDiscriminator.forward

    def changing(config, images, share_done):
        shares.append(share_done)
        return change(config, images, share_done) + 1000  # what went through here is told by its size

    def judging(self, images, labels=None):
        trains_d = next(self.parameters()).requires_grad
        judged.append((images.amin().item(), images.requires_grad and images.grad_fn is not None, trains_d))
        return judge(self, images, labels)

    monkeypatch.setattr(train_gan, "augmented", changing)
    monkeypatch.setattr(networks.DCGANDiscriminator, "forward", judging)
    run(config, images, steps=1)
    assert len(judged) == 4 * discriminator_steps + 1  # real, fake, two penalties; then G
    assert all(smallest > 900 for smallest, _, _ in judged)
    *of_d, of_g = judged
    assert not any(reaches_g for _, reaches_g, _ in of_d)
    assert all(trains_d for _, _, trains_d in of_d)
    assert of_g[1]
    assert not of_g[2]
    total = config.epochs * (len(images) // 4 // discriminator_steps)
    assert shares == [1 / total] * (2 * discriminator_steps + 1)


def test_both_players_step_with_the_learning_rates_of_the_moment(images, monkeypatch):
    config = train_gan.Config(**PLAIN, lr_decay="cosine", epochs=1)
    both, _ = run(config, images, steps=6)  # the last of the run
    rates = [optimizer.param_groups[0]["lr"] for optimizer in (both.for_generator, both.for_discriminator)]
    assert rates == pytest.approx([0, 0], abs=1e-12)


RANKS = """
import torch
from common import devices
from hw2_gan import train_gan

device = devices.start("cpu", seed=3)
config = train_gan.Config(instance_noise=1.0, augment=("color", "translation", "cutout"))
images = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
drawn = device.gather([train_gan.augmented(config, images, 0.0).sum().item(),
                       train_gan.targets(torch.zeros(1), (0.0, 1.0)).item()])
if device.is_main:
    print("drawn", drawn)
devices.leave()
"""


def test_processes_draw_noise_and_augmentation_of_their_own(tmp_path):
    """One seed for all would show every process the same changes, batch after batch."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    done = two_processes.start(script)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("drawn"))
    first, second = ast.literal_eval(line.removeprefix("drawn "))
    assert all(one != other for one, other in zip(first, second))
