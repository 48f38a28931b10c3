"""Train a small network whose features measure generated images (common/metrics/extractors.py).

python pretrained/train_extractor.py --data digits                            # one core: about 1 min
python pretrained/train_extractor.py --data mnist --data-dir DIR                             # 2.5 min
python pretrained/train_extractor.py --data fashion-mnist --data-dir DIR --epochs 12           # 4 min
python pretrained/train_extractor.py --data avatars --features 128 --epochs 15                 # 4 min
python pretrained/train_extractor.py --data creatures --features 128 --epochs 12               # 3 min
python pretrained/train_extractor.py --resume runs/metrics/0001-mnist

The run directory gets the weights and their card.  The weights are those of the epoch with the fewest errors
on the validation split; the test split is looked at once, at the end, through the written file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from common import atomic, checkpoints, command_line, data, devices, flags, resumable, runs, schedules
from common.data import Batches, ImageSet, avatars
from common.errors import InputError
from common.metrics import extractors
from common.metrics.extractors import Architecture, Extractor, Network

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from pretrained import extractor_card

LAYERS = {
    28: ((16, 1), (32, 2), (48, 1), (64, 2), (64, 2)),
    64: ((24, 2), (48, 1), (48, 2), (96, 1), (96, 2), (64, 2)),
}
"""Channels and stride of the convolutions for each size of image; the last leaves 4 x 4 pixels."""
Shift = Annotated[int, Interval(ge=0, le=16)]
"""Pixels; beyond half of a digit's 28 nothing of it is left in the picture."""
COUNTS = {"creatures": {"train": 10_000, "val": 1_000, "test": 2_000}}
"""Images of each split, where the set itself is too small to learn from but more of it can be drawn."""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_extractor.py."""

    data: Literal["digits", "mnist", "fashion-mnist", "avatars", "creatures"] = "digits"
    """Image set to learn from."""
    features: flags.Dimensions = 96
    """Width of the layer whose activations are the features."""
    epochs: flags.Count = 8
    """Passes over the training split."""
    batch_size: flags.Count = 100
    """Images per step."""
    lr: flags.LearningRate = 3e-3
    """Peak of the one-cycle schedule of AdamW's learning rate."""
    weight_decay: flags.NonNegative = 0.05
    """Weight decay of AdamW."""
    dropout: flags.Decay = 0.3
    """Share of the features that the heads do not see while training."""
    shift: Shift = 2
    """Training images are moved by up to so many pixels."""
    publish: bool = False
    """Copy the weights and the card to `pretrained/`."""
    precision: flags.Precision = "bf16"
    """Number format of the forward pass while training; features are always computed in fp32."""

    @property
    def mirror(self) -> bool:
        """Whether a mirrored image has the same answers: portraits and creatures do, digits do not."""
        return self.data in ("avatars", "creatures")


def main(config: Config) -> Path:
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, val = load_split(config, "train"), load_split(config, "val")
    network = device.prepare(build_network(config, train), channels_last=True)
    answers = truth(questions(config, train), train)
    answers = {name: values.to(device.torch) for name, values in answers.items()}
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    steps = config.epochs * len(batches)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    schedule = schedules.one_cycle(optimizer, config.lr, steps)
    dropout, averages = nn.Dropout(config.dropout), runs.Averages()
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule, "averages": averages}
    parts |= {"batches": batches, "validation": val}
    with resumable.start("metrics", config.data, config, device, **parts) as (run, saver, done):
        check_length(config, schedule.total_steps, len(batches))
        for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
            with device.autocast():
                features = network(augmented(batch.images, config.shift, config.mirror))  # (B, D)
                logits = network.logits(dropout(features))
            index = batch.index.to(device.torch)
            losses = cross_entropy(logits, {name: values[index] for name, values in answers.items()})  # (B,)
            loss = losses.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averages.add({"cross_entropy_nats": losses})
            if step % len(batches) == 0:
                errors = error_rates(network, val, device)
                report(run, step, step // len(batches), errors, averages.take(device))
                saver.save_if_best(step, sum(errors.values()) / len(errors))
            saver.save_if_due(step, loss)
        saver.save(steps)
        finish(config, run, network, (train, val, load_split(config, "test")))
    return run.folder


def load_split(config: Config, split: str) -> ImageSet:
    """The images of one split."""
    count = COUNTS.get(config.data, {}).get(split)
    return data.load(config.data, split, count=count, data_dir=config.data_dir)


def questions(config: Config, image_set: ImageSet) -> dict[str, tuple[str, ...]]:
    """What the heads tell apart: styles and expression of avatars, the class of anything else, and the parts
    of creatures.

    Not their pattern: a few cells of a second colour, often under the belly.  With it this network stayed at
    26 % of four options, at best a burden to the other heads."""
    if config.data == "creatures":
        return {name: options for name, options in image_set.options.items() if name != "pattern"}
    if config.data == "avatars":
        return {name: image_set.options[name] for name in (*avatars.STYLE_OPTIONS, "expression")}
    return {"label": image_set.class_names}


def truth(heads: dict, image_set: ImageSet) -> dict[str, Tensor]:
    """The right answers, int64 (N,) for each head."""
    return {name: image_set.labels if name == "label" else image_set.attributes[name] for name in heads}


def build_network(config: Config, image_set: ImageSet) -> Network:
    """The untrained network of this run."""
    layers = LAYERS[image_set.shape[-1]]
    return Network(
        Architecture(image_set.shape, layers, config.features, questions(config, image_set)), normalised=True
    )


def augmented(images: Tensor, shift: int, mirror: bool) -> Tensor:
    """Each image (B, C, H, W) moved by its own -shift ... shift pixels; half of them mirrored if that is
    allowed.  What comes in at a border repeats it."""
    B, _, H, W = images.shape
    padded = F.pad(images, (shift,) * 4, mode="replicate")
    windows = padded.unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2 shift + 1, 2 shift + 1, H, W), a view
    dy, dx = torch.randint(2 * shift + 1, (2, B), device=images.device)
    moved = windows[torch.arange(B, device=images.device), :, dy, dx]  # (B, C, H, W)
    if mirror:
        flip = torch.rand(B, 1, 1, 1, device=images.device) < 0.5
        moved = torch.where(flip, moved.flip(-1), moved)
    return moved.contiguous(memory_format=torch.channels_last)


def cross_entropy(logits: dict[str, Tensor], answers: dict[str, Tensor]) -> Tensor:
    """Sum over the heads, in nats, (B,)."""
    return sum(F.cross_entropy(logits[name].float(), answers[name], reduction="none") for name in logits)


@torch.inference_mode()
def error_rates(network: Network, image_set: ImageSet, device: devices.Device) -> dict[str, float]:
    """Share of wrong answers of each head."""
    network.eval()
    answers, wrong = truth(network.architecture.heads, image_set), {}
    for batch in Batches(image_set, 500, device.torch, shuffle=False):
        with device.autocast():
            logits = network.logits(network(batch.images.contiguous(memory_format=torch.channels_last)))
        for name, values in logits.items():
            missed = (values.argmax(1).cpu() != answers[name][batch.index]).sum().item()
            wrong[name] = wrong.get(name, 0) + missed
    network.train()
    return {name: count / len(image_set) for name, count in wrong.items()}


def report(run: runs.Run, step: int, epoch: int, errors: dict[str, float], means: dict[str, float]) -> None:
    """Log the error rates on the validation split and the means since the last epoch."""
    numbers = {f"val/error_{name}": error for name, error in errors.items()} | means
    run.log(step, {"epoch": epoch, **numbers})
    run.say(f"epoch {epoch}: " + ", ".join(f"{name} {value:.4f}" for name, value in numbers.items()))


def check_length(config: Config, scheduled: int, epoch_steps: int) -> None:
    """InputError for a resumed run whose schedule was laid out for another number of epochs."""
    if scheduled != config.epochs * epoch_steps:
        epochs = scheduled // epoch_steps
        raise InputError(f"--epochs {config.epochs}: the schedule of this run is laid out for {epochs}")


def finish(config: Config, run: runs.Run, network: Network, sets: tuple[ImageSet, ...]) -> None:
    """Weights, card and summary.json from the best epoch."""
    best = checkpoints.read(run.checkpoints_dir / "best.pt")
    checkpoints.load_parts(run.checkpoints_dir / "best.pt", best, network=network)
    weights, card = run.folder / f"{config.data}.safetensors", run.folder / f"{config.data}.md"
    extractors.write_extractor(weights, network.cpu())
    extractor = extractors.read_extractor(weights)
    train, val, test = sets
    numbers = {f"val/accuracy_{name}": value for name, value in accuracy(extractor, val).items()}
    numbers |= {f"test/accuracy_{name}": value for name, value in accuracy(extractor, test).items()}
    numbers |= floors(extractor, train, test)
    run.summary(
        numbers,
        n_val=len(val),
        n_test=len(test),
        seed=config.seed,
        epoch=best["step"] // (len(train) // config.batch_size),
    )
    summary = runs.read_json(run.folder / "summary.json")
    runs.write_text_atomic(card, extractor_card.write(config, extractor, weights, sets, summary))
    run.say(card.read_text(encoding="utf-8"))
    if config.publish:
        for path in (weights, card):
            atomic.copy(path, extractors.FOLDER / path.name, advice="copy it from the run directory yourself")


def accuracy(extractor: Extractor, image_set: ImageSet) -> dict[str, float]:
    """Share of right answers of each head."""
    predicted = extractors.predictions_of(image_set, extractor)
    answers = truth(extractor.options, image_set)
    return {name: (predicted[name] == answers[name]).double().mean().item() for name in predicted}


def floors(extractor: Extractor, train: ImageSet, test: ImageSet) -> dict[str, float]:
    """The distance of real images: N training images from the N test images, and the halves of the test split
    from each other."""
    N, half = min(len(train), len(test)), len(test) // 2
    mixed = test.images[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    name = lambda count: extractors.metric_name(extractor.name, count)
    return {
        f"{name(N)}_train": extractors.frechet(extractor, train.images[:N], test.take(slice(0, N))),
        f"{name(half)}_halves": extractors.frechet(extractor, mixed[:half], mixed[half : 2 * half]),
    }


if __name__ == "__main__":
    command_line.run(main, Config)
