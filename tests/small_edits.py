"""Three persons to edit, two pictures each, in a generator of random weights; no two pictures are alike."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from common import figures
from common.data import avatars
from common.metrics import identity

import torch

from hw3_stylegan_sampling import edits, projected, projections
from hw3_stylegan_sampling.networks import Architecture, Generator
from hw3_stylegan_sampling.train_stylegan import ATTRIBUTES

OPTIONS = tuple(map(len, ATTRIBUTES["avatars"].values()))
SHAPE = Architecture(
    size=64, channels=(4, 4, 4, 4, 4), z_dim=5 + len(OPTIONS), w_dim=40, options=OPTIONS, noise=False
)
NAMES = ("anna", "anna-turned", "bob", "bob-turned", "carl", "carl-turned")
FACES = [0, 0, 2, 2, 4, 4]
"""First pictures of anna, bob, carl: each in the last picture of the two others."""
PICTURES = [3, 5, 1, 5, 1, 3]
FUNCTION = "lambda images: images[:, :, :4, :4].flatten(1)"
NET = identity.Identity("first pixels", eval(FUNCTION), torch.device("cpu"))


def make_generator() -> Generator:
    """One whose z chooses the attributes of avatars."""
    torch.manual_seed(0)
    one = Generator(SHAPE).eval().requires_grad_(False)
    for block in one.synthesis.blocks:
        block.to_image.weight.data *= 0.2  # images about in [-1, 1]
    one.estimate_w_mean(200)
    return one


def make_trio(generator: Generator, folder: Path) -> projected.Projected:
    """The pictures in a folder as project.py leaves it."""
    torch.manual_seed(1)
    for name in NAMES:
        image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
        figures.save_png(folder / name / "target.png", image)
        ws = torch.randn(1, generator.layers, generator.w_dim)
        projections.write(folder / name / "projected_w.npz", ws, generator)
    return projected.load(folder, generator)


def same(images: torch.Tensor, others: torch.Tensor) -> bool:
    """Whether uint8 images are equal, but for what rounding makes of another batch."""
    return images.shape == others.shape and (images.int() - others.int()).abs().max().item() <= 1


def answers(count: int) -> dict[str, torch.Tensor]:
    """An option of every choice for each of `count` portraits, of two neighbours another one."""
    return {name: torch.arange(count) % len(options) for name, options in avatars.CHOICES.items()}


def told(count: int) -> dict[str, torch.Tensor]:
    """What so many pictures were drawn with."""
    return answers(count) | {name: torch.arange(count).double() for name in avatars.TURNS}


class Recording:
    """Judges that remember what was wanted of which images."""

    def __init__(self):
        self.seen = []
        self.reader = SimpleNamespace(read=lambda images: SimpleNamespace(answers=answers(len(images))))

    def measure(self, images, wanted):
        self.seen.append((images, wanted))
        return {"similarity": torch.zeros(len(images))}


def remember_optimisations(monkeypatch) -> list[SimpleNamespace]:
    """The arguments of every optimised_swap from now on, which gives back what it began with."""
    kept = []

    def spy(generator, start, targets, target_ws, source, embed, distance, recipe, spaces=None):
        kept.append(SimpleNamespace(start=start, targets=targets, source=source, recipe=recipe))
        return iter([edits.Swap(start, targets, {"identity": torch.zeros(len(start))})])

    monkeypatch.setattr(edits, "optimised_swap", spy)
    return kept
