"""Train the network that tells who is in a picture (common/metrics/identity.py), with ArcFace's margin.

python pretrained/train_identity.py
python pretrained/train_identity.py --sets 3 --steps 8000 --batch-size 512 --precision bf16    # on a GPU
python pretrained/train_identity.py --name judge --seed 1 --first-set 3    # judges what the first one taught
python pretrained/train_identity.py --resume runs/metrics/0001-identity

Every person of the training pictures is a class.  The network is measured on persons that it never saw: how
often a picture is nearest to its own person among 100, and how well a threshold on the cosine tells one
person from two.  The threshold is chosen on the validation people; the test people are looked at once, at the
end, through the written file.  The run directory gets the weights and their card.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from common import atomic, checkpoints, command_line, data, devices, flags, resumable, runs, schedules
from common.data import Batches, ImageSet, avatars
from common.metrics import identity

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from pretrained import identity_card
from pretrained.train_extractor import Shift, augmented

AMONG = 100
"""Persons that a picture is compared with."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_identity.py."""

    name: flags.Name = "avatars"
    """What the network is called: identity-NAME.safetensors."""
    first_set: flags.CountOrZero = 0
    """Seed of the first set of training pictures."""
    sets: Annotated[int, Interval(ge=1, le=100)] = 1
    """Sets of training pictures, each of 2,000 other persons."""
    train_images: flags.Images = 50_000
    """Pictures of each set."""
    steps: flags.Count = 3000
    """Updates."""
    batch_size: flags.SeveralImages = 128
    """Pictures an update: several, which batch normalisation compares."""
    lr: flags.LearningRate = 3e-3
    """Peak of the one-cycle schedule of AdamW's learning rate."""
    weight_decay: flags.NonNegative = 0.05
    """Weight decay of AdamW."""
    scale: flags.Positive = 24.0
    """What cosines are multiplied by before the softmax."""
    margin: Annotated[float, Interval(ge=0, le=math.pi)] = 0.3
    """Angle in radians by which a picture must be nearer to its person than the softmax asks."""
    shift: Shift = 2
    """Training pictures are moved by up to so many pixels."""
    smallest: Annotated[int, Interval(ge=1, le=avatars.DEFAULT_SIZE)] = 32
    """Half of the batches are shrunk to a side between this and their own, and enlarged again."""
    measure_every: flags.Count = 250
    """Steps between measurements on the validation people."""
    publish: bool = False
    """Copy the weights and the card to `pretrained/`."""


class ArcFace(nn.Module):
    """The softmax over the persons of the training pictures, eq. (stylegan.31) (Deng et al. 2019)."""

    def __init__(self, persons: int, embedding: int, scale: float, margin: float):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(persons, embedding) / embedding**0.5)
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: Tensor, persons: Tensor) -> Tensor:  # (B, E), int64 (B,) -> (B,)
        """Cross-entropy in nats, the angle to the right person made larger by the margin."""
        cosines = embeddings @ F.normalize(self.centres, dim=1).T  # (B, P)
        right = cosines.gather(1, persons[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        angle = right.acos() + self.margin
        # beyond pi the cosine would rise again: it goes on falling, in a straight line
        with_margin = torch.where(angle < torch.pi, angle.cos(), torch.pi - 1 - angle)
        return F.cross_entropy(
            self.scale * cosines.scatter(1, persons[:, None], with_margin), persons, reduction="none"
        )


def main(config: Config) -> Path:
    device = devices.start(config.device, precision=config.precision, seed=config.seed, processes="one")
    train, val = training_pictures(config), data.load("avatars", "val", data_dir=config.data_dir)
    persons = train.attributes["person"].unique(return_inverse=True)[1]
    network = device.prepare(identity.IdentityNetwork(identity.Architecture()), channels_last=True)
    margin = ArcFace(int(persons.max()) + 1, network.architecture.embedding, config.scale, config.margin)
    margin = device.prepare(margin)
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    weights = [*network.parameters(), *margin.parameters()]
    optimizer = torch.optim.AdamW(weights, weight_decay=config.weight_decay)
    schedule = schedules.one_cycle(optimizer, config.lr, config.steps)
    averages = runs.Averages()
    parts = {"network": network, "margin": margin, "optimizer": optimizer, "schedule": schedule}
    parts |= {"batches": batches, "averages": averages, "validation": val}
    with resumable.start("metrics", "identity", config, device, **parts) as (run, saver, done):
        for step, batch in zip(run.progress(done + 1, config.steps), batches.forever()):
            images = resampled(augmented(batch.images, config.shift, mirror=False), config.smallest)
            with device.autocast():
                embeddings = network(images)  # (B, E)
            losses = margin(embeddings, persons[batch.index].to(device.torch))  # (B,)
            loss = losses.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averages.add({"arcface_nats": losses})
            if step % config.measure_every == 0 or step == config.steps:
                measured = measure(in_use(network, device), val)
                run.log(step, averages.take(device) | {f"val/{name}": x for name, x in measured.items()})
                run.say(f"step {step}: " + ", ".join(f"{name} {x:.4f}" for name, x in measured.items()))
                saver.save_if_best(step, 1 - measured["first_among_100"])
                network.train()
            saver.save_if_due(step, loss)
        saver.save(config.steps)
        finish(config, run, network, train, val)
    return run.folder


def training_pictures(config: Config) -> ImageSet:
    """The pictures of all sets, one after another; the persons of two seeds differ."""
    sets = [
        data.load("avatars", "train", count=config.train_images, seed=seed, data_dir=config.data_dir)
        for seed in range(config.first_set, config.first_set + config.sets)
    ]
    if len(sets) == 1:
        return sets[0]
    return ImageSet(
        torch.cat([one.images for one in sets]), "avatars", "train",
        f"{sets[0].source} to {config.first_set + config.sets - 1}",
        attributes={"person": torch.cat([one.attributes["person"] for one in sets])},
    )  # fmt: skip


def resampled(images: Tensor, smallest: int) -> Tensor:
    """Every other batch with less detail, as generated pictures have less; (B, 3, S, S)."""
    size = images.shape[-1]
    side = int(torch.randint(min(smallest, size), 2 * size - smallest + 1, ()))
    if side >= size:
        return images
    small = F.interpolate(images, side, mode="bilinear", antialias=True)
    return F.interpolate(small, size, mode="bilinear").contiguous(memory_format=torch.channels_last)


def in_use(network: identity.IdentityNetwork, device: devices.Device) -> identity.Identity:
    """The network as it is now, for measuring."""
    return identity.Identity("", network.eval(), device.torch)


# ---- measured on persons never seen


class Pairs(NamedTuple):
    """Cosines of all pairs of pictures of a set."""

    same: Tensor
    """Of one person."""
    different: Tensor
    """Of two."""


def pairs_of(embeddings: Tensor, persons: Tensor) -> Pairs:  # (N, E), (N,)
    rows, columns = torch.triu_indices(len(persons), len(persons), 1)
    cosines, same = (
        identity.similarity(embeddings[rows], embeddings[columns]),
        persons[rows] == persons[columns],
    )
    return Pairs(cosines[same], cosines[~same])


def threshold_of(pairs: Pairs) -> float:
    """The cosine at which as large a share of equals is refused as of strangers accepted."""
    candidates = pairs.same.sort().values  # at the k-th, k of them are refused
    refused = torch.arange(len(candidates)) / len(candidates)
    accepted = 1 - torch.searchsorted(pairs.different.sort().values, candidates) / len(pairs.different)
    return candidates[(refused - accepted).abs().argmin()].item()


def measure(net: identity.Identity, image_set: ImageSet, threshold: float | None = None) -> dict[str, float]:
    """Recognition among 100, and verification by a threshold, the set's own if none is given."""
    embeddings, persons = identity.embed(net, image_set.images), image_set.attributes["person"]
    pairs = pairs_of(embeddings, persons)
    threshold = threshold_of(pairs) if threshold is None else threshold
    return {
        "first_among_100": first_among(net, embeddings, persons, image_set.split),
        "refused": (pairs.same < threshold).double().mean().item(),
        "accepted": (pairs.different >= threshold).double().mean().item(),
        "threshold": threshold,
    }


def first_among(net: identity.Identity, embeddings: Tensor, persons: Tensor, split: str) -> float:
    """Share of pictures nearest to their own person among 100 of the set's people."""
    people, right = torch.tensor(avatars.people_of(split, 0)), 0
    for some in people.split(AMONG):
        shown = torch.isin(persons, some)
        found = identity.nearest(embeddings[shown], identity.gallery(net, some))
        right += (some[found] == persons[shown]).sum().item()
    return right / len(persons)


def finish(config: Config, run: runs.Run, network: nn.Module, train: ImageSet, val: ImageSet) -> None:
    """Weights, card and summary.json from the best measurement."""
    path, best = run.folder / f"identity-{config.name}.safetensors", run.checkpoints_dir / "best.pt"
    content = checkpoints.read(best)
    checkpoints.load_parts(best, content, network=network)
    network = network.cpu().eval()
    threshold = measure(identity.Identity(config.name, network, torch.device("cpu")), val)["threshold"]
    identity.save(path, network, threshold)
    net, test = identity.read(path), data.load("avatars", "test", data_dir=config.data_dir)
    numbers = {f"val/{name}": x for name, x in measure(net, val, threshold).items()}
    numbers |= {f"test/{name}": x for name, x in measure(net, test, threshold).items()}
    run.summary(numbers, n_val=len(val), n_test=len(test), seed=config.seed, step=content["step"])
    card = path.with_suffix(".md")
    summary = runs.read_json(run.folder / "summary.json")
    runs.write_text_atomic(card, identity_card.write(config, net, path, train, summary))
    run.say(card.read_text(encoding="utf-8"))
    if config.publish:
        for file in (path, card):
            atomic.copy(file, identity.FOLDER / file.name, advice="copy it from the run directory yourself")


if __name__ == "__main__":
    command_line.run(main, Config)
