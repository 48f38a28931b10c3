"""The study: every hypothesis at one budget, several seeds, one table.  Theory: theory/en/gan.md.

python hw2_gan/compare_hypotheses.py                                 # all, three seeds: hours on two cores
python hw2_gan/compare_hypotheses.py --hypotheses base 3 6 --seeds 0 --budget 0.1
python hw2_gan/compare_hypotheses.py --resume runs/hw2/0001-study-avatars

Each training is a process of train_gan.py, several at a time; a study that was stopped goes on with --resume,
trainings included.  When a training ends, its generator is measured on test images, with its last weights and
with their average.
Makes table.md, summary.json, curves over steps, samples of the same latents side by side, and for each
hypothesis its five parts (goal, idea, result, comparison, conclusion) in English and Russian.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common import command_line, devices, runs
from common.errors import InputError
from common.metrics import extractors
from hw2_gan import eval_gan, gan_figures, gan_measures, hypotheses, study_text
from hw2_gan import train_gan as training

TRAINING_FLAGS = ("data", "size", "width", "precision", "device", "measure_images")
"""The study's flags that are flags of every training."""
EQUAL_STEPS = ("base", "3")
"""The table also compares all hypotheses after as many steps as these are trained for."""


@dataclass(frozen=True)
class Config:
    """Flags of compare_hypotheses.py."""

    hypotheses: tuple[str, ...] = tuple(hypotheses.HYPOTHESES)
    """Which ones, in this order."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each hypothesis is trained once with each."""
    budget: float = 1.0
    """Multiplies the epochs of every hypothesis: 1 is 5 for the base run and 20 for the others."""
    data: str = "avatars"
    """avatars, celeba, creatures, or a folder of images."""
    size: int = 64
    """Side of the images: 32, 64 or 128 pixels."""
    width: float = 0.25
    """Multiplies the channels of all networks."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of the trainings."""
    measure_images: int = 2000
    """Generated and validation images compared after every epoch of a training."""
    samples: int = 10_000
    """Images generated, and real ones, for the numbers of the table."""
    jobs: int = 2
    """Trainings at a time; CPU threads are shared out among them."""
    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""
    data_dir: Path | None = None
    """Where image sets lie or are put; default `data/` of the repository."""
    outdir: Path = Path("runs")
    """Parent of the run directories."""
    resume: Path | None = None
    """Run directory of a study to go on with."""


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


def found(study: Path) -> dict[tuple[str, int], Training]:
    """The trainings that have a run directory, by hypothesis and seed."""
    folders = [path.parent for path in sorted(study.glob("hw2/*/config.json"))]
    flags = [runs.read_json(folder / "config.json") for folder in folders]
    return {
        (of["hypothesis"], of["seed"]): Training(of["hypothesis"], of["seed"], folder)
        for of, folder in zip(flags, folders)
    }


def trainings(config: Config, study: Path) -> list[Training]:
    """All of the study, with the run directories that are there already."""
    started = found(study)
    return [
        started.get((name, seed), Training(name, seed, None))
        for seed in config.seeds
        for name in config.hypotheses
    ]


def arguments(config: Config, study: Path, one: Training) -> list[str]:
    """Command line of one training: from its start, or from its last checkpoint."""
    if one.folder is not None and (one.folder / "checkpoints" / "last.pt").is_file():
        return ["--resume", str(one.folder)]
    flags = {
        "hypothesis": one.hypothesis,
        "seed": one.seed,
        "epochs": epochs(config, one.hypothesis),
        "outdir": study,
        **shared_flags(config),
    }
    if config.data_dir is not None:
        flags["data_dir"] = config.data_dir
    return [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def train_all(config: Config, run: runs.Run, real: gan_measures.Reference) -> None:
    """Train what is not finished, `jobs` at a time, and measure each as it ends.

    The longest begin first, so that none is left alone at the end.  InputError naming the log of a training
    that failed."""
    waiting = [one for one in trainings(config, run.folder) if not one.finished]
    waiting.sort(key=lambda one: hypotheses.hypothesis(one.hypothesis).flags()["epochs"], reverse=True)
    running: list[subprocess.Popen] = []
    threads = max(1, (os.cpu_count() or 1) // config.jobs)
    (run.folder / "logs").mkdir(exist_ok=True)
    measuring = threading.Lock()  # one at a time: the trainings have the cores

    def start(one: Training) -> tuple[Path, int]:
        log = run.folder / "logs" / f"{one.hypothesis}-{one.seed}.log"
        command = [sys.executable, training.__file__, *arguments(config, run.folder, one)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with log.open("a", encoding="utf-8") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
            running.append(process)
            status = process.wait()
        outcome = {0: "trained", 130: "stopped", 143: "stopped", -signal.SIGTERM: "stopped"}
        run.say(f"hypothesis {one.hypothesis}, seed {one.seed}: {outcome.get(status, 'FAILED')}")
        if not status:
            with measuring:
                measure(config, found(run.folder)[one.hypothesis, one.seed], real)
        return log, status

    with ThreadPoolExecutor(config.jobs) as pool:
        try:
            failed = [log for log, status in pool.map(start, waiting) if status]
        except BaseException:  # stopped: the trainings write a checkpoint and stop too
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            raise
    if failed:
        raise InputError(f"{failed[0]}: a training failed, see there; then go on with --resume {run.folder}")


def measure(config: Config, one: Training, real: gan_measures.Reference) -> dict:
    """One trained generator on test images: its last weights (`raw_...`) and their average (`ema_...`).

    Kept beside the training, so that a resumed study does not measure again."""
    kept = one.folder / f"test-{real.count}.json"
    if kept.is_file():
        return runs.read_json(kept)
    trained = eval_gan.training_config(one.folder, config.data_dir)
    numbers = {}
    for version in ("raw", "ema"):
        generator, _ = eval_gan.load_networks(trained, one.folder, version)
        drawn = gan_measures.sample(generator.to(real.device), real.count, seed=0, device=real.device)
        measured = gan_measures.measure(drawn, real)
        numbers |= {f"{version}_{name}": value for name, value in measured.items()}
    summary = runs.read_json(one.folder / "summary.json")
    row = {
        "hypothesis": one.hypothesis,
        "seed": one.seed,
        "steps": summary["steps"],
        "collapsed_epochs": len(summary["collapsed_at_steps"]),
        "minutes": summary["minutes"],
        **numbers,
    }
    runs.write_json(kept, row)
    return row


def averaged(rows: Sequence[dict], names: Sequence[str]) -> list[dict]:
    """One row for each hypothesis: means over seeds, and standard deviations as NAME_sd where there are
    several."""
    merged = []
    for hypothesis in names:
        mine = [row for row in rows if row["hypothesis"] == hypothesis]
        means = {"hypothesis": hypothesis, "seeds": len(mine)}
        means["collapsed_seeds"] = [row["seed"] for row in mine if row["collapsed_epochs"]]
        for name in mine[0]:
            if name not in ("hypothesis", "seed"):
                values = [row[name] for row in mine]
                means[name] = statistics.fmean(values)
                if len(values) > 1:
                    means[f"{name}_sd"] = statistics.stdev(values)
        merged.append(means)
    return merged


def shared_flags(config: Config) -> dict[str, object]:
    """What every training of the study is given."""
    return {name: getattr(config, name) for name in TRAINING_FLAGS}


def epochs(config: Config, name: str) -> int:
    """Of a hypothesis in this study."""
    return max(1, round(config.budget * hypotheses.hypothesis(name).flags()["epochs"]))


def steps(config: Config, name: str, images: int) -> int:
    """Updates of a hypothesis in this study, when there are so many training images."""
    flags = training.Config(hypothesis=name).preset()
    return epochs(config, name) * (images // flags.batch_size // flags.discriminator_steps)


def after(end: int, curves: dict[str, list[list[dict]]], name: str) -> dict[str, float]:
    """Hypothesis -> `name` of metrics.jsonl, mean over seeds, at the last epoch that had ended after `end`
    steps (or a hundredth more): everyone after equally many updates.  Without those that had no epoch yet."""
    done = {key: [line for line in seeds[0] if line["step"] <= 1.01 * end] for key, seeds in curves.items()}
    return {
        key: statistics.fmean(lines[len(done[key]) - 1][name] for lines in seeds)
        for key, seeds in curves.items()
        if done[key]
    }


def check(config: Config) -> None:
    """InputError for a study that cannot be."""
    for name in config.hypotheses:
        hypotheses.hypothesis(name)
    if not config.hypotheses or not config.seeds:
        raise InputError("--hypotheses and --seeds: name at least one of each")
    for flag, values in (("hypotheses", config.hypotheses), ("seeds", config.seeds)):
        if len(set(values)) < len(values):
            raise InputError(f"--{flag} {' '.join(map(str, values))}: name each once")
    for name in config.hypotheses:
        try:
            training.check(replace(training.Config(hypothesis=name).preset(), **shared_flags(config)))
        except InputError as error:
            raise InputError(f"--hypotheses {name}: {error}, or name other hypotheses") from error
    if config.budget <= 0 or config.jobs < 1 or config.samples < 2:
        raise InputError(
            f"--budget {config.budget:g} --jobs {config.jobs} --samples {config.samples}: above 0, at least "
            "1, at least 2"
        )


def report(config: Config, run: runs.Run, real: gan_measures.Reference, images: int) -> None:
    """Measure what was trained on so many `images`; figures, text and summary.json."""
    done = trainings(config, run.folder)
    rows = [measure(config, one, real) for one in done]
    models = averaged(rows, config.hypotheses)
    curves = {
        name: [runs.read_metrics(one.folder) for one in done if one.hypothesis == name]
        for name in config.hypotheses
    }
    gan_figures.save_study(run.folder / "curves.png", curves)
    samples = []
    for one in done[: len(config.hypotheses)]:  # those of the first seed
        trained = eval_gan.training_config(one.folder, config.data_dir)
        generator, _ = eval_gan.load_networks(trained, one.folder)
        samples.append((one.hypothesis, gan_measures.sample(generator, 12, seed=0)))
    gan_figures.save_side_by_side(run.folder / "samples.png", samples)
    distance = ""
    if real.extractor is not None:
        distance = extractors.metric_name(real.extractor.name, real.count).removeprefix("eval/")
        on_validation = next(
            key for key in curves[config.hypotheses[0]][0][0] if key.startswith("val/raw_fd")
        )
        for reference in EQUAL_STEPS:
            reached = after(steps(config, reference, images), curves, on_validation)
            for row in models:
                row[f"after_steps_of_{reference}"] = reached.get(row["hypothesis"])
    for language in ("en", "ru"):
        text = study_text.sections(models, distance, language)
        runs.write_text_atomic(run.folder / f"hypotheses.{language}.md", text)
    text = study_text.table(models, distance, real.count)
    runs.write_text_atomic(run.folder / "table.md", text)
    run.say(text)
    numbers = {
        f"{row['hypothesis']}: {key}": value
        for row in models
        for key, value in row.items()
        if isinstance(value, float)
    }
    run.summary(
        numbers,
        rows=rows,
        models=models,
        distance=distance,
        n_test=real.count,
        seeds=list(config.seeds),
        figures=["curves.png", "samples.png"],
    )
    run.say(f"see {run.folder}/hypotheses.en.md, curves.png, samples.png")


def main(config: Config) -> Path:
    check(config)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # as Ctrl-C: see train_all
    device = devices.start(config.device)
    one = training.Config(**shared_flags(config), data_dir=config.data_dir)
    images = len(training.load_split(one, "train"))  # drawn or decoded once, before several processes do
    training.validation_images(one)
    real = gan_measures.reference(eval_gan.test_images(one, config.samples), device.torch)
    name = f"study-{Path(config.data).name}"
    with runs.start("hw2", name, config, device) as run:
        train_all(config, run, real)
        report(config, run, real, images)
    return run.folder


if __name__ == "__main__":
    command_line.run(main, Config)
