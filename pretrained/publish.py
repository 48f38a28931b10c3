"""Put a trained generator among the shipped ones, with a card beside it.

python pretrained/publish.py ddpm-mnist runs/hw4/0001-ddpm-mnist --evaluation runs/hw4/0004-eval-ddpm-mnist
python pretrained/publish.py stylegan-avatars runs/hw3/0001-stylegan-avatars --evaluation runs/hw3/0002-eval
python pretrained/publish.py encoder-avatars runs/hw3/0003-encoder-avatars --evaluation runs/hw3/0004-project

The card says what the weights were made from, by which command, where and how long, and what the evaluation
measured of them; all of it comes from the two run directories.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from common import atomic, command_line, data, runs
from common.environment import ROOT
from common.errors import InputError
from common.flags import Flags, Folder, Name
from common.metrics import extractors

import tyro
from safetensors import SafetensorError, safe_open

from pretrained.card_command import command_of

CARD = """# {name}.safetensors

{what}

- Data: {data}
- Command: `{command}`
- Training: seed {seed}, {steps:,} steps of {batch_size} images, {minutes:.0f} min, {device}, {precision}
- Size: {parameters:,} parameters in {format}, {bytes:,} bytes
- SHA-256: `{sha256}`

| measured on test images | value |
|---|---|
{numbers}

{n_test:,} test images; `{evaluated}` measured them. {closing}
"""
OF_GENERATORS = """Means over several seeds of the latents,
`_sd` their standard deviation; other extractors' distances cannot be compared with these."""
OF_DIFFUSION = """Drawn by {sampler} in {steps} steps with guidance {guidance:g}, in {precision}.
`_of_training_images` is the distance of training images
to test images, the floor of a generator's; other extractors' distances cannot be compared with these."""
OF_ENCODERS = """`encoder_wplus` is the optimiser that begins where the
encoder points. Trained and measured by one identity network, which therefore flatters it."""


FORMATS = {"F16": "float16", "F32": "float32"}


class Kind(NamedTuple):
    """One kind of trained model: how a run of it is recognised, and what its card begins with."""

    prefix: str
    """How the names of the shipped ones begin; scripts call them by what follows."""
    weights: str
    """The file of its averaged weights in a run directory."""
    module: str
    """The script that trains it."""
    what: str
    measured: str = "eval/"
    """How the names of an evaluation's numbers begin that the card has."""
    closing: str = OF_GENERATORS


KINDS = (
    Kind(
        "stylegan-",
        "generator.safetensors",
        "hw3_stylegan_sampling.train_stylegan",
        "A StyleGAN2 generator, averaged weights: `sample.py --network {called}` of homework 3 draws.",
    ),
    Kind(
        "ddpm-",
        "model.safetensors",
        "hw4_diffusion.train_ddpm",
        "A diffusion model, averaged weights: `sample_ddpm.py --model {called}` of homework 4 draws.",
        closing=OF_DIFFUSION,
    ),
    Kind(
        "encoder-",
        "encoder.safetensors",
        "hw3_stylegan_sampling.train_encoder",
        "An encoder of images into the styles W+ of `stylegan-{called}.safetensors`: `project.py --encoder "
        "{called}`\nof homework 3 asks it.",
        "encoder",
        OF_ENCODERS,
    ),
)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of publish.py."""

    name: Annotated[Name, tyro.conf.Positional]
    """What the file will be called: ddpm-mnist, stylegan-avatars."""
    run_dir: Annotated[Folder, tyro.conf.Positional]
    """A finished run of train_stylegan.py, train_encoder.py or train_ddpm.py."""
    evaluation: Folder
    """Run directory of its evaluation."""
    outdir: Path = ROOT / "pretrained"
    """Where the weights and the card go."""


def main(config: Config) -> Path:
    kind, summary = kind_of(config.run_dir), runs.read_json(config.run_dir / "summary.json")
    evaluation = runs.read_json(config.evaluation / "summary.json")
    evaluated = json.dumps(runs.read_json(config.evaluation / "config.json"), ensure_ascii=False)
    if config.run_dir.name not in evaluated:
        raise InputError(f"{config.evaluation}: not an evaluation of {config.run_dir}; name the one that is")
    if not config.name.startswith(kind.prefix):
        raise InputError(f"{config.name}: scripts look for {kind.prefix}...; give a name that begins so")
    text = card(config, kind, summary, evaluation)  # before the weights: nothing is shipped without one
    weights = config.outdir / f"{config.name}.safetensors"
    advice = "free some space or choose another --outdir"
    atomic.copy(config.run_dir / kind.weights, weights, advice=advice)
    runs.write_text_atomic(weights.with_suffix(".md"), text)
    print(f"{weights}\n{text}")
    return weights


def kind_of(run_dir: Path) -> Kind:
    """InputError where the run has no such weights."""
    for kind in KINDS:
        if (run_dir / kind.weights).is_file():
            return kind
    files = " or ".join(kind.weights for kind in KINDS)
    raise InputError(
        f"{run_dir}: no {files} there; name a finished run of train_stylegan.py, train_encoder.py or "
        "train_ddpm.py"
    )


def card(config: Config, kind: Kind, summary: dict, evaluation: dict) -> str:
    """The page beside the weights."""
    weights = config.run_dir / kind.weights
    trained = command_line.config_from_run(importlib.import_module(kind.module).Config, config.run_dir)
    environment = runs.read_json(config.run_dir / "env.json")
    flags = runs.read_json(config.evaluation / "config.json")
    flags["guidance"] = evaluation.get("chosen_guidance", 1.0)
    n_test = evaluation.get("n_test") or evaluation.get("n")
    numbers = [
        f"| {name} | {value:.4g} |"
        for name, value in evaluation.get("metrics", {}).items()
        if name.startswith(kind.measured) and isinstance(value, float) and "seconds" not in name
    ]
    if not (numbers and n_test):
        raise InputError(
            f"{config.evaluation}/summary.json: no {kind.measured}... of test images; name a finished "
            "evaluation"
        )
    return CARD.format(
        name=config.name,
        what=kind.what.format(called=config.name.removeprefix(kind.prefix)),
        data=source(trained),
        command=command_of(f"{kind.module.replace('.', '/')}.py", trained),
        seed=trained.seed,
        steps=summary["steps"],
        batch_size=trained.batch_size,
        minutes=summary["minutes"],
        device=summary["device"],
        precision=environment["precision"],
        parameters=summary.get("generator_parameters") or summary["parameters"],
        format=" and ".join(number_formats(weights)),
        bytes=weights.stat().st_size,
        sha256=extractors.file_sha256(weights),
        numbers="\n".join(numbers),
        n_test=n_test,
        closing=kind.closing.format(**flags),
        evaluated=Path(runs.read_json(config.evaluation / "env.json")["command"].split()[1]).name,
    )


def number_formats(weights: Path) -> list[str]:
    """Of the tensors in a file; InputError where it is damaged."""
    try:
        with safe_open(weights, framework="pt") as file:
            found = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise InputError(f"{weights}: not readable as .safetensors ({error}); train again") from error
    return sorted(FORMATS.get(one, one) for one in found)


def source(trained: Any) -> str:
    """Where the images come from; InputError for a folder of someone's own."""
    if trained.data not in data.NAMES:
        raise InputError(f"{trained.data}: only models of the course's image sets are shipped")
    if trained.data in data.DRAWN:
        return f"{trained.data}, drawn by common/data/{trained.data}.py: {trained.train_images:,} images"
    return f"{trained.data}, from its published files, the training split"


if __name__ == "__main__":
    command_line.run(main, Config)
