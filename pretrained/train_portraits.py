"""Train the network that reads turn, traits and choices off drawn portraits (common/metrics/portraits.py).

python pretrained/train_portraits.py                        # one core: see pretrained/portraits.md
python pretrained/train_portraits.py --resume runs/metrics/0001-portraits

Every training image shows another person.  The run directory gets the weights and their card; the test split
is looked at once, at the end, through the written file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common import atomic, command_line, data, devices, flags, resumable, runs, schedules
from common.data import Batches, ImageSet, avatars
from common.metrics import extractors, portraits
from common.metrics.extractors import Network
from common.metrics.portraits import HEADS, Reader

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrained.card_command import command_of
from pretrained.train_extractor import augmented

CARD = """# portraits.safetensors

A small convolutional network that reads off a drawn portrait how the head is turned, the person's traits, the
style, the expression and the background. It judges edited portraits (homework 3) and is no part of any loss.

- Images: 3 × 64 × 64, uint8 or float in [-1, 1]
- Data: {count:,} portraits, each of another person of the training split, drawn with seed {seed}
- Command: `{command}`
- Training: {minutes:.1f} min on a shared machine, {device}; at random blurred, noisy and moved by a pixel
- Size: {parameters:,} parameters in float16, {bytes:,} bytes
- SHA-256: `{sha256}`

| on the {N:,} portraits of the test split | value |
|---|---|
{rows}

A person is recognised where the traits that were read are nearest to the person's own among those of 100
people, each trait in units of its error. One portrait hides a good deal: under sunglasses no eyes are seen.
"""


@dataclass(frozen=True)
class Config(flags.TrainingFlags):
    """Flags of train_portraits.py."""

    train_images: flags.Images = 40_000
    """Portraits to learn from."""
    epochs: flags.Count = 6
    """Passes over them."""
    features: flags.Dimensions = 192
    """Width of the layer before the answers."""
    batch_size: flags.Count = 100
    """Images per step."""
    lr: flags.LearningRate = 3e-3
    """Peak of the one-cycle schedule of AdamW's learning rate."""
    numbers_weight: flags.NonNegative = 20.0
    """Weight of the squared errors of turn and traits beside the cross-entropies."""
    publish: bool = False
    """Copy the weights and the card to `pretrained/`."""
    precision: flags.Precision = "bf16"
    """Number format of the forward pass while training; evaluation is always in fp32."""


def main(config: Config) -> Path:
    device = devices.start(config.device, precision=config.precision, seed=config.seed)
    train, val = portraits_of_many(config), data.load("avatars", "val", data_dir=config.data_dir)
    architecture = portraits.architecture(train.shape[-1], config.features)
    network = device.prepare(Network(architecture, normalised=True), channels_last=True)
    answers = {name: values.to(device.torch) for name, values in truth(train).items()}
    batches = Batches(train, config.batch_size, device, drop_last=True, seed=config.seed)
    steps = config.epochs * len(batches)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = schedules.one_cycle(optimizer, config.lr, steps)
    averages = runs.Averages()
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule, "averages": averages}
    with resumable.start(
        "metrics", "portraits", config, device, **parts, batches=batches, validation=val
    ) as (run, saver, done):
        for step, batch in zip(run.progress(done + 1, steps), batches.forever()):
            with device.autocast():
                logits = network.logits(network(spoilt(augmented(batch.images, 1, mirror=False))))
            index = batch.index.to(device.torch)
            losses = errors_of(logits, {name: values[index] for name, values in answers.items()}, config)
            loss = losses.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            averages.add({"loss": losses})
            if step % len(batches) == 0:
                report(run, step, network, val, averages.take(device, "train/"))
            saver.save_if_due(step, loss)
        saver.save(steps)
        finish(config, run, network, val)
    return run.folder


def portraits_of_many(config: Config) -> ImageSet:
    """As many portraits as asked for, each of a person of its own."""
    draws = torch.Generator().manual_seed(config.seed)
    attributes = avatars.sample_attributes(config.train_images, draws)
    source = f"drawn by common/data/avatars.py, version {avatars.VERSION}, a person each, seed {config.seed}"
    return ImageSet(
        avatars.draw(attributes), "avatars", "train", source, attributes=attributes, options=avatars.CHOICES
    )


def truth(images: ImageSet) -> dict[str, Tensor]:
    """What the network should put out: numbers in [-1, 1] and options, by the names of HEADS."""
    turns = [images.attributes[name] / largest for name, largest in avatars.TURNS.items()]
    traits = 2 * avatars.identity(images.attributes["person"]).float() - 1
    choices = {name: images.attributes[name] for name in avatars.CHOICES}
    return {"turn": torch.stack(turns, 1), "traits": traits, **choices}


def spoilt(images: Tensor) -> Tensor:
    """Each image (B, C, H, W) blurred by its own amount, and with its own amount of noise: generated ones are
    not as clean as drawn ones."""
    blur, noise = torch.rand(2, len(images), 1, 1, 1, device=images.device)
    blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return images + 0.7 * blur * (blurred - images) + 0.08 * noise * torch.randn_like(images)


def errors_of(logits: dict[str, Tensor], answers: dict[str, Tensor], config: Config) -> Tensor:
    """Cross-entropies in nats and weighted squared errors, added up: (B,)."""
    total = 0.0
    for name, values in answers.items():
        if name in avatars.CHOICES:
            total = total + F.cross_entropy(logits[name].float(), values, reduction="none")
        else:
            total = total + config.numbers_weight * (logits[name].float() - values).square().mean(1)
    return total


@torch.inference_mode()
def answered(network: Network, images: ImageSet, device: torch.device) -> dict[str, Tensor]:
    """What the network puts out for clean images, on the CPU."""
    network.eval()
    parts = []
    for batch in Batches(images, 500, device, shuffle=False):
        parts.append(network.logits(network(batch.images.contiguous(memory_format=torch.channels_last))))
    network.train()
    return {name: torch.cat([part[name].float().cpu() for part in parts]) for name in HEADS}


def error_sizes(network: Network, images: ImageSet, device: torch.device) -> dict[str, list[float]]:
    """Root mean square errors: of yaw and tilt in degrees, of each trait."""
    read = portraits.numbers_of(answered(network, images, device))
    true = portraits.numbers_of(truth(images))
    return {name: (read[name] - true[name]).square().mean(0).sqrt().tolist() for name in read}


def report(run: runs.Run, step: int, network: Network, val: ImageSet, means: dict[str, float]) -> None:
    """Log the errors on the validation split."""
    errors = error_sizes(network, val, run.device.torch)
    numbers = {"val/yaw_degrees": errors["turn"][0], "val/tilt_degrees": errors["turn"][1]}
    numbers["val/trait"] = sum(errors["traits"]) / len(errors["traits"])
    run.log(step, numbers | means)
    run.say(", ".join(f"{name} {value:.4f}" for name, value in (numbers | means).items()))


def measured(reader: Reader, images: ImageSet) -> dict[str, float]:
    """What the card says, of the written network."""
    reading = reader.read(images.images)
    true = portraits.numbers_of(truth(images))
    numbers = {}
    for column, name in enumerate(portraits.TURNS):
        off = (reading.turn - true["turn"])[:, column].abs()
        numbers |= {f"mean error of {name}, degrees": off.mean().item(),
                    f"95 % of errors of {name} below, degrees": off.quantile(0.95).item()}  # fmt: skip
    for name, answers in reading.answers.items():
        right = (answers == images.attributes[name]).double().mean().item()
        numbers[f"right answers, {name}, %"] = 100 * right
    people, who = images.attributes["person"].unique(return_inverse=True)
    people, shown = people[:100], who < 100
    found = reader.nearest_person(reading.traits[shown], people)
    numbers["people recognised among 100, %"] = 100 * (found == who[shown]).double().mean().item()
    return numbers


def finish(config: Config, run: runs.Run, network: Network, val: ImageSet) -> None:
    """Weights, card and summary.json."""
    weights, card = run.folder / "portraits.safetensors", run.folder / "portraits.md"
    errors = error_sizes(network, val, run.device.torch)
    portraits.write_reader(weights, network.cpu(), errors)
    reader = portraits.load_reader(path=weights)
    test = data.load("avatars", "test", data_dir=config.data_dir)
    numbers = measured(reader, test)
    run.summary(
        {f"test/{name}": value for name, value in numbers.items()}, n_test=len(test), seed=config.seed
    )
    summary = runs.read_json(run.folder / "summary.json")
    rows = [f"| {name} | {value:.2f} |" for name, value in numbers.items()]
    rows += [f"| error of {name}, root mean square | {error:.3f} |"
             for name, error in zip(avatars.TRAITS, errors["traits"])]  # fmt: skip
    text = CARD.format(
        count=config.train_images,
        seed=config.seed,
        command=command_of("pretrained/train_portraits.py", config),
        minutes=summary["minutes"],
        device=summary["device"],
        parameters=sum(tensor.numel() for tensor in reader.extractor.network.parameters()),
        bytes=weights.stat().st_size,
        sha256=extractors.file_sha256(weights),
        N=len(test),
        rows="\n".join(rows),
    )
    runs.write_text_atomic(card, text)
    run.say(text)
    if config.publish:
        for path in (weights, card):
            atomic.copy(path, extractors.FOLDER / path.name, advice="copy it from the run directory yourself")


if __name__ == "__main__":
    command_line.run(main, Config)
