"""The study: every hypothesis at one budget, several seeds, one table.  Theory: theory/en/gan.md.

python hw2_gan/compare_hypotheses.py                                 # all, three seeds: hours on two cores
python hw2_gan/compare_hypotheses.py --hypotheses base 3 6 --seeds 0 --budget 0.1
python hw2_gan/compare_hypotheses.py --resume runs/hw2/0001-study-avatars

Each training is a process of train_gan.py, several at a time; a study that was stopped goes on with --resume,
trainings included.  When a training ends, its generator is measured on test images, with its last weights and
with their average.
Makes table.md, summary.json, outcomes.png, curves over steps, samples of the same latents.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common import command_line, devices, flags, resumable, runs
from common.errors import InputError
from common.metrics import samples

from annotated_types import Interval, Len

from hw2_gan import eval_gan, gan_data, gan_figures, hypotheses, networks, study_table
from hw2_gan import train_gan as training
from hw2_gan.gan_flags import check as check_training

TRAINING_FLAGS = ("data", "size", "width", "precision", "device", "measure_images")
"""The study's flags that are flags of every training."""
EQUAL_STEPS = ("base", "3")
"""The table also compares all hypotheses after as many steps as these are trained for."""


@dataclass(frozen=True)
class Config(flags.Flags):
    """Flags of compare_hypotheses.py."""

    hypotheses: tuple[str, ...] = ()
    """Entries of hypotheses.toml or parts.toml, compared in this order; none given: all of the former."""
    seeds: Annotated[tuple[flags.Seed, ...], Len(1)] = (0, 1, 2)
    """Seeds: each hypothesis is trained once with each."""
    budget: Annotated[float, Interval(gt=0, le=1000)] = 1.0
    """Factor of the epochs of every hypothesis: 1 is 5 for the base run and 20 for hypotheses 0 to 5."""
    data: flags.Data = "avatars"
    """Images to learn from: avatars, celeba, creatures, or a folder of images."""
    size: networks.Size = 64
    """Side of the images in pixels."""
    width: flags.WidthFactor = 0.25
    """Factor of the channels of all networks."""
    precision: flags.Precision = "bf16"
    """Number format of the trainings' forward passes."""
    measure_images: flags.SeveralImages = 2000
    """Generated and validation images compared after every epoch of a training."""
    samples: flags.SeveralImages = 10_000
    """Images generated, and real ones, for the numbers of the table."""
    jobs: Annotated[int, Interval(ge=1, le=64)] = 2
    """Trainings at a time; CPU threads are shared out among them."""
    device: str = "auto"
    """Device to train on: auto, cpu, mps, cuda or cuda:N."""
    data_dir: flags.Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""
    resume: Path | None = None
    """Run directory of a study to go on with."""

    @property
    def names(self) -> tuple[str, ...]:
        """The hypotheses of this study."""
        return self.hypotheses or tuple(hypotheses.entries(hypotheses.FILE, {}))


def main(config: Config) -> Path:
    check(config)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # as Ctrl-C: see train_all
    device = devices.start(config.device)
    one = training.Config(**shared_flags(config), data_dir=config.data_dir)
    # drawn or decoded once, before several processes do
    train, validation = gan_data.load_split(one, "train"), gan_data.validation_images(one)
    test = gan_data.test_images(one, config.samples)
    real = samples.reference_of(test, device.torch)
    with runs.start("hw2", f"study-{Path(config.data).name}", config, device) as run:
        resumable.require_same_images(run, train, validation, test)
        train_all(config, run, real)
        report(config, run, real, len(train))
    return run.folder


# ---- trainings


@dataclass(frozen=True)
class Training:
    """One hypothesis with one seed."""

    hypothesis: str
    seed: int
    folder: Path | None
    """Its run directory, if it was started before."""

    @property
    def finished(self) -> bool:
        return self.folder is not None and (self.folder / "summary.json").is_file()


def train_all(config: Config, run: runs.Run, real: samples.Reference) -> None:
    """Train what is not finished, `jobs` at a time, and measure each as it ends.

    The longest begin first, so that none is left alone at the end.  InputError naming the log of a training
    that failed."""
    waiting = [one for one in trainings(config, run.folder) if not one.finished]
    waiting.sort(key=lambda one: epochs(config, one.hypothesis), reverse=True)
    running: list[subprocess.Popen] = []
    measuring = threading.Lock()  # one at a time: the trainings have the cores

    def train_and_measure(one: Training) -> tuple[Path, int]:
        log, status = train_one(config, run, one, running)
        if status == 0:
            with measuring:
                measure(config, run, found(run.folder)[one.hypothesis, one.seed], real)
        return log, status

    with ThreadPoolExecutor(config.jobs) as pool:
        try:
            failed = [log for log, status in pool.map(train_and_measure, waiting) if status]
        except BaseException:  # stopped: the trainings write a checkpoint and stop too
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise
    if failed:
        raise InputError(f"{failed[0]}: a training failed, see there; then go on with --resume {run.folder}")


def train_one(
    config: Config, run: runs.Run, one: Training, running: list[subprocess.Popen]
) -> tuple[Path, int]:
    """Train to the end in a process, which is added to `running`; returns its log and its exit status."""
    log = run.folder / "logs" / f"{one.hypothesis}-{one.seed}.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, training.__file__, *arguments(config, run.folder, one)]
    threads = max(1, (os.cpu_count() or 1) // config.jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        running.append(process)
        status = process.wait()
    outcome = {0: "trained", 130: "stopped", 143: "stopped", -signal.SIGTERM: "stopped"}
    run.say(f"hypothesis {one.hypothesis}, seed {one.seed}: {outcome.get(status, 'FAILED')}")
    return log, status


def trainings(config: Config, study: Path) -> list[Training]:
    """All of the study, with the run directories that are there already."""
    started = found(study)
    wanted = [(name, seed) for seed in config.seeds for name in config.names]
    return [started.get(which, Training(*which, None)) for which in wanted]


def found(study: Path) -> dict[tuple[str, int], Training]:
    """The trainings that have a run directory, by hypothesis and seed."""
    started = {}
    for path in sorted(study.glob("hw2/*/config.json")):
        trained = runs.read_json(path)
        which = trained["hypothesis"], trained["seed"]
        started[which] = Training(*which, path.parent)
    return started


def arguments(config: Config, study: Path, one: Training) -> list[str]:
    """Command line of one training: from its start, or from its last checkpoint."""
    if one.folder is not None and (one.folder / "checkpoints" / "last.pt").is_file():
        moved = {"data": config.data, "data_dir": config.data_dir, "device": config.device}
        return ["--resume", str(one.folder), *words(moved)]
    values = {
        "hypothesis": one.hypothesis,
        "seed": one.seed,
        "epochs": epochs(config, one.hypothesis),
        "outdir": study,
        **shared_flags(config),
    }
    return words({**values, "data_dir": config.data_dir})


def words(values: dict[str, object]) -> list[str]:
    """Flags as words of a command line, without those that are None."""
    given = {name: value for name, value in values.items() if value is not None}
    return [word for name, value in given.items() for word in (command_line.flag(name), str(value))]


def shared_flags(config: Config) -> dict[str, object]:
    """What every training of the study is given."""
    return {name: getattr(config, name) for name in TRAINING_FLAGS}


def epochs(config: Config, name: str) -> int:
    """Epochs of a hypothesis in this study."""
    return max(1, round(config.budget * hypotheses.configuration(training.Config, name).epochs))


def steps(config: Config, name: str, images: int) -> int:
    """Updates of a hypothesis in this study, when there are so many training images."""
    planned = hypotheses.configuration(training.Config, name)
    return epochs(config, name) * (images // planned.batch_size // planned.discriminator_steps)


def check(config: Config) -> None:
    """InputError for a study that cannot be."""
    for flag, values in (("--hypotheses", config.hypotheses), ("--seeds", config.seeds)):
        if len(set(values)) < len(values):
            raise InputError(f"{flag} {' '.join(map(str, values))}: name each once")
    for name in config.names:
        planned = hypotheses.configuration(training.Config, name)
        try:
            check_training(replace(planned, **shared_flags(config)))
        except InputError as error:
            raise InputError(f"--hypotheses {name}: {error}, or name other hypotheses") from error


# ---- numbers


def measure(config: Config, run: runs.Run, one: Training, real: samples.Reference) -> dict:
    """One trained generator on test images: its last weights (`raw_...`) and their average (`ema_...`).

    Kept beside the training, so that a resumed study does not measure again."""
    kept = one.folder / f"test-{real.count}.json"
    if kept.is_file():
        return runs.read_json(kept)
    trained = eval_gan.training_config(one.folder, config.data_dir)
    generator = lambda weights: eval_gan.load_networks(trained, one.folder, weights)[0]
    versions = {weights: run.device.prepare(generator(weights)) for weights in ("raw", "ema")}
    z = samples.latents(real.count, versions["raw"].latent, seed=0)
    numbers, images = samples.measure_versions(versions, z, real, run.device.torch)
    if trained.conditional and real.extractor is not None:
        features, ordered = real.features_of(images["ema"]), versions["ema"].labels(z)
        numbers |= {
            f"ema_{name}": value for name, value in eval_gan.obeyed(trained, ordered, features, real).items()
        }
    summary = runs.read_json(one.folder / "summary.json")
    row = {
        "hypothesis": one.hypothesis,
        "seed": one.seed,
        "steps": summary["steps"],
        "collapsed_epochs": len(summary["collapsed_at_steps"]),
        "minutes": summary["minutes"],
        **{name.removeprefix("val/"): value for name, value in numbers.items()},
    }
    runs.write_json(kept, row)
    return row


# ---- table and figures


def report(config: Config, run: runs.Run, real: samples.Reference, images: int) -> None:
    """Measure what was trained on so many `images`; figures, table and summary.json."""
    done = trainings(config, run.folder)
    rows = [measure(config, run, one, real) for one in done]
    models = study_table.over_seeds(rows)
    curves = gan_figures.curves_of(
        {
            name: [runs.read_metrics(one.folder) for one in done if one.hypothesis == name]
            for name in config.names
        }
    )
    distance = real.name or ""
    for reference in EQUAL_STEPS if distance else ():
        reached = study_table.after(steps(config, reference, images), curves)
        for model in models:
            model[f"after_steps_of_{reference}"] = reached.get(model["hypothesis"])
    gan_figures.save_study(run.folder / "curves.png", curves)
    gan_figures.save_outcomes(run.folder / "outcomes.png", rows, distance)
    save_samples(config, run.folder / "samples.png", done[: len(config.names)])  # those of the first seed
    text = study_table.markdown(models, distance, real.count)
    runs.write_text_atomic(run.folder / "table.md", text)
    run.say(text)
    run.summary(
        {
            f"{model['hypothesis']}: {key}": value
            for model in models
            for key, value in model.items()
            if isinstance(value, float)
        },
        rows=rows,
        models=models,
        curves=curves,
        distance=distance,
        n_test=real.count,
        seeds=list(config.seeds),
        figures=["curves.png", "outcomes.png", "samples.png"],
    )
    run.say(f"see {run.folder}: table.md, outcomes.png, curves.png, samples.png")


def save_samples(config: Config, path: Path, shown: Sequence[Training]) -> None:
    """Samples of the same latents, a row for each training."""
    rows = []
    for one in shown:
        trained = eval_gan.training_config(one.folder, config.data_dir)
        generator, _ = eval_gan.load_networks(trained, one.folder)
        z = samples.latents(12, generator.latent, seed=0)
        rows.append((one.hypothesis, samples.decode(generator, z)))
    gan_figures.save_side_by_side(path, rows)


if __name__ == "__main__":
    command_line.run(main, Config)
