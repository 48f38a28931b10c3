"""Fine-tune several subjects with several seeds in every way, and compare: means and spreads in one table.

python hw4_diffusion/fine_tuning_study.py                                  # three persons, three seeds
python hw4_diffusion/fine_tuning_study.py --subjects drawn1 --seeds 0 --max_train_steps 100
python hw4_diffusion/fine_tuning_study.py --subjects drawn2 --parts runs/hw4/0001-fine-tuning-study
python hw4_diffusion/fine_tuning_study.py --resume runs/hw4/0001-fine-tuning-study

For each subject and seed: DreamBooth, the same without prior preservation, the same without captions, LoRA of
each rank, and compare.py on five prompts, whose first sheets are copied.  A finished training is
not repeated by a resumed study.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from common import command_line, devices, runs, seeds, text_table
from common.errors import InputError
from common.flags import Count, CountOrZero, Flags, Folder, Seed
from common.metrics.identity import IdentityName
from common.text_table import Column

from hw4_diffusion import compare, drawing, dreambooth, pipelines, train_lora
from hw4_diffusion.subjects import Subject

COLUMNS = (Column("model", "model"), Column("runs", "seeds"), *compare.COLUMNS[1:])

VARIANTS = {
    "without-prior": ("U-Net without prior preservation", {"with_prior_preservation": False}),
    "one-prompt": ("U-Net, one prompt for all pictures", {"instance_captions": False}),
}
"""Trainings of the U-Net that differ from the first in one thing."""
NEVER = 10**9
"""Steps between images of the validation prompt: the last step draws some anyway."""


@dataclass(frozen=True)
class Config(Flags):
    """Flags of fine_tuning_study.py."""

    pretrained_model_name_or_path: pipelines.Model = "avatars"
    """Model to start from."""
    subjects: tuple[Subject, ...] = ("drawn1", "drawn2", "drawn3")
    """Subjects to teach."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Seeds of the trainings and of the images."""
    rank: tuple[train_lora.Rank, ...] = (2, 8, 32)
    """Ranks of LoRA."""
    seeds_of_variants: CountOrZero = 1
    """So many of the seeds, the first ones, also train without prior preservation, and without captions."""
    max_train_steps: Count | None = None
    """Updates of each training; each script's own number if left out."""
    num_class_images: Count = 1000
    """Images for prior preservation."""
    class_images: CountOrZero = 400
    """Images without the token, of each model, to see what became of the class."""
    images: Count = 4
    """Images of each prompt."""
    controlnet: pipelines.Model | None = None
    """Run directory of train_controlnet.py: every model draws along edges too."""
    identity: IdentityName = "avatars"
    """Net that recognises people: a shipped one's name, a .safetensors file, a .py file with load(device)."""
    num_inference_steps: drawing.Steps = 20
    """Steps of the sampler."""
    parts: tuple[Folder, ...] = ()
    """Other runs of this script, on other machines perhaps, whose numbers the table takes too."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    device: str = "auto"
    """Device: auto, cpu, mps, cuda or cuda:N."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""
    resume: Folder | None = None
    """Run directory to continue; its config.json then gives the other flags' defaults."""


def main(config: Config) -> Path:
    if not config.subjects or not config.seeds:
        raise InputError("--subjects, --seeds: name at least one of each")
    device = devices.start(config.device, processes="one")
    with runs.start("hw4", "fine-tuning-study", config, device) as run:
        rows = [row for part in config.parts for row in runs.read_json(part / "summary.json")["rows_of_runs"]]
        for subject in config.subjects:
            for seed in config.seeds:
                run.say(f"{subject}, seed {seed}")
                rows += compared(config, subject, seed, run.folder / f"{Path(subject).name}-seed{seed}")
                write(run, rows)
    return run.folder


def compared(config: Config, subject: str, seed: int, folder: Path) -> list[dict]:
    """The rows of compare.py for one subject and seed, after the trainings that are still to be done."""
    same = ("pretrained_model_name_or_path", "device", "num_inference_steps", "data_dir")
    shared = {name: getattr(config, name) for name in same} | {"seed": seed}
    tuning = shared | {
        "instance_data_dir": subject, "validation_steps": NEVER, "checkpoints_total_limit": 1,
        "with_prior_preservation": True, "num_class_images": config.num_class_images,
    }  # fmt: skip
    tuning |= {"max_train_steps": config.max_train_steps} if config.max_train_steps else {}
    comparing = {"subject": subject, "seeds": config.images, "class_images": config.class_images,
                 "identity": config.identity}  # fmt: skip
    once = lambda name, script, flags: finished(folder / name, script, flags)
    unet = once("with-prior", dreambooth, tuning)
    loras = tuple(once(f"rank{rank}", train_lora, tuning | {"rank": (rank,)}) for rank in config.rank)
    main_table = once("compare", compare, shared | comparing | {
        "unet": unet, "lora": loras, "controlnet": config.controlnet})  # fmt: skip
    for sheet in (main_table / "samples").glob(f"*-seed{seed}.png"):  # one of each kind
        shutil.copyfile(sheet, folder.parent / f"{folder.name}-{sheet.name.split('-')[0]}.png")
    rows = runs.read_json(main_table / "summary.json")["rows"]
    variants = VARIANTS if seed in config.seeds[: config.seeds_of_variants] else {}
    for name, (model, flags) in variants.items():
        variant = once(name, dreambooth, tuning | flags)
        table = once(f"compare-{name}", compare, shared | comparing | {"unet": variant})
        (row,) = (row for row in runs.read_json(table / "summary.json")["rows"] if row["model"] == "U-Net")
        rows.append(row | {"model": model})
    return [row | {"seed": f"{Path(subject).name}-{seed}"} for row in rows]


def finished(folder: Path, script, flags: dict) -> Path:
    """The run of a script in `folder`: the finished one there, one continued, or a new one."""
    known = sorted((folder / "hw4").glob("[0-9]*-*"))
    if known and (known[-1] / "summary.json").is_file():
        return known[-1]
    model = flags["pretrained_model_name_or_path"]  # decides the defaults
    defaults = script.Config(pretrained_model_name_or_path=model).preset()
    config = dataclasses.replace(defaults, **flags, outdir=folder)
    if known and any((known[-1] / "checkpoints").glob("*.pt")):
        config = dataclasses.replace(config, resume=known[-1])
    done = script.main(config)
    return done[0] if isinstance(done, list) else done


def write(run: runs.Run, rows: list[dict]) -> None:
    """table.md and summary.json of the runs so far."""
    try:
        merged = seeds.over_seeds(rows, ["model"])
    except InputError as error:
        raise InputError(f"--parts: {error}") from error
    table = text_table.markdown(COLUMNS, merged)
    runs.write_text_atomic(run.folder / "table.md", table)
    run.say(table)
    numbers = {
        f"{row['model']}: {name}": value
        for row in merged for name, value in row.items() if isinstance(value, (int, float))
    }  # fmt: skip
    sheets = sorted(path.name for path in run.folder.glob("*.png"))
    run.summary(numbers, rows=merged, rows_of_runs=rows, figures=sheets)


if __name__ == "__main__":
    command_line.run(main, Config)
