"""Put a trained text-to-image pipeline among the shipped models, with a card beside it.

python pretrained/publish_pipeline.py runs/hw4/0002-text-to-image-avatars --evaluation runs/hw4/0003-eval

The card says what the weights were made from, by which commands, where and how long, and what the evaluation
measured of them; all of it comes from the run directories of both stages and of the evaluation.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import atomic, command_line, runs
from common.environment import ROOT
from common.errors import InputError
from common.flags import Flags, Folder, Name
from common.metrics import extractors

import tyro

from hw4_diffusion import train_text_to_image as training
from hw4_diffusion.small_pipeline import PIPELINE
from pretrained.card_command import command_of

CARD = """# {name}

A small Stable Diffusion for cartoon portraits of 64 pixels: a folder that
`diffusers.StableDiffusionPipeline.from_pretrained` opens. `sample_text_to_image.py` of homework 4 draws
with it, and fine-tuning begins from it.

- Data: avatars, drawn by common/data/avatars.py: {train_images:,} portraits with {wordings} captions each
  (common/data/avatar_captions.py); it knows the words of these captions and no others
- Parts: {parts} parameters; float16, {megabytes:.1f} MB

| stage | command | steps × images | minutes | on |
|---|---|---|---|---|
{stages}

Averaged weights, seed {seed}; minutes are those of a machine that did other work at the same time.

| measured | value |
|---|---|
{numbers}

`eval/…`: {n_test:,} test captions in wordings that training did not have, guidance {guidance:g} (chosen on
{n_validation:,} validation captions), {steps} steps. `obeyed_…_percent` is the share of the orders in these
captions that the shipped classifier of portraits sees obeyed, `obeyed_all_percent` the share of images in
which it sees every order obeyed. `autoencoder/…`: test portraits after encoder and decoder, from which the
same classifier reads the attributes; this bounds the former. The Fréchet distance is that of the
[avatars](avatars.md) extractor, and comparable at the same number of images only.

| file | SHA-256 |
|---|---|
{hashes}
"""
LEFT_OUT = ("seconds", "guidance", "diversity", "coverage", "evenness", "valid")
"""Numbers of an evaluation that say nothing about the weights, or that its page explains."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of publish_pipeline.py."""

    run_dir: Annotated[Folder, tyro.conf.Positional]
    """A run of the second stage of train_text_to_image.py."""
    evaluation: Folder
    """Run directory of its evaluation."""
    name: Name = "text-to-image-avatars"
    """What the folder will be called."""
    outdir: Path = ROOT / "pretrained"
    """Where the folder and the card go."""


def main(config: Config) -> Path:
    evaluation = runs.read_json(config.evaluation / "summary.json")
    if evaluation.get("model") != config.run_dir.name:
        raise InputError(f"{config.evaluation}: not an evaluation of {config.run_dir}; name the one that is")
    if not (trained := config.run_dir / PIPELINE).is_dir():
        raise InputError(f"{config.run_dir}: no {PIPELINE}/ there; name a finished run of the second stage")
    folder = config.outdir / config.name
    if folder.exists() and not (folder / "model_index.json").is_file():
        raise InputError(f"{folder}: there already, and no pipeline; choose another --name or --outdir")
    text = card(config, evaluation)  # before the folder: nothing is shipped without one
    with atomic.replacing_folder(folder, advice="free some space or choose another --outdir") as beside:
        shutil.copytree(trained, beside, dirs_exist_ok=True, copy_function=shutil.copyfile)
        for path in beside.glob("*/config.json"):  # diffusers notes where a part was read from
            known = runs.read_json(path)
            known.pop("_name_or_path", None)
            runs.write_json(path, known)
    runs.write_text_atomic(config.outdir / f"{config.name}.md", text)
    print(f"{folder}\n{text}")
    return folder


def card(config: Config, evaluation: dict) -> str:
    """The page beside the folder."""
    second = command_line.config_from_run(training.Config, config.run_dir)
    first_run = (
        second.autoencoder if second.autoencoder.is_dir() else config.run_dir.parent / second.autoencoder.name
    )
    first = command_line.config_from_run(training.Config, first_run)
    stages = [
        stage("autoencoder", first_run, first, first.autoencoder_batch_size),
        stage("text encoder, U-Net", config.run_dir, second, second.batch_size),
    ]
    numbers = {
        name: value for name, value in evaluation["metrics"].items()
        if not any(word in name for word in LEFT_OUT) or name.startswith("autoencoder/")
    }  # fmt: skip
    (measured,) = evaluation["rows"]["test"]
    folder = config.run_dir / PIPELINE
    files = sorted(path for path in folder.rglob("*.safetensors"))
    return CARD.format(
        name=config.name,
        train_images=second.train_images,
        wordings=second.wordings,
        parts=", ".join(f"{part} {count:,}" for part, count in evaluation["parameters"].items()),
        megabytes=evaluation["megabytes"],
        stages="\n".join(stages),
        seed=second.seed,
        numbers="\n".join(f"| {name} | {value:.4g} |" for name, value in numbers.items()),
        n_test=evaluation["n_test"],
        n_validation=evaluation["n_validation"],
        guidance=measured["guidance"],
        steps=measured["steps"],
        hashes="\n".join(
            f"| {path.relative_to(folder)} | `{extractors.file_sha256(path)}` |" for path in files
        ),
    )


def stage(name: str, run_dir: Path, trained: training.Config, batch_size: int) -> str:
    """A row of the table of stages."""
    summary = runs.read_json(run_dir / "summary.json")
    size, where = f"{summary['steps']:,} × {batch_size}", summary["device"]
    command = command_of("hw4_diffusion/train_text_to_image.py", trained, autoencoder="RUN_DIR")
    return f"| {name} | `{command}` | {size} | {summary['minutes']:.1f} | {where} |"


if __name__ == "__main__":
    command_line.run(main, Config)
