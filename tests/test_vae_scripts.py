"""Training and evaluating VAEs from the command line: artefacts, exact resume, two processes, mistakes."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

from common import checkpoints

import imageio.v3 as imageio
import pytest
import torch

SCRIPTS = Path(__file__).resolve().parent.parent / "hw1_bayes_and_autoencoders"
FLAGS = ["--batch-size", "500", "--device", "cpu", "--checkpoint-seconds", "0"]
CVAE = ["--conditional", "--latent", "2", "--ema", "0.9", "--warmup-epochs", "1", "--lr-decay", "cosine"]


def start(script: str, *arguments, status: int = 0, launcher: tuple[str, ...] = ()) -> str:
    command = [sys.executable, *launcher, SCRIPTS / script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory) -> Path:
    """A CVAE with a latent plane and every extra, and a beta-VAE that collapses."""
    outdir = tmp_path_factory.mktemp("runs")
    start("train_vae.py", *FLAGS, *CVAE, "--epochs", 2, "--outdir", outdir)
    output = start("train_vae.py", *FLAGS, "--epochs", 1, "--beta", 500, "--seed", 1, "--outdir", outdir)
    assert "warning: epoch 1: " in output and "latent dimensions carry less than 0.01 nats" in output
    return outdir / "hw1"


def parts(run_dir: Path) -> dict:
    return checkpoints.read(run_dir / "checkpoints" / "last.pt")["parts"]


def test_training_leaves_its_numbers_and_pictures(runs_dir):
    run_dir = runs_dir / "0001-cvae-mlp-digits"
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["metrics"]["val/mse"] < 0.2 and len(summary["kl_per_dimension_nats"]) == 2
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["train/beta"] for line in lines] == [1.0, 1.0] and len(
        lines[0]["val/kl_per_dimension_nats"]
    ) == 2
    assert all((run_dir / name).stat().st_size > 1000 for name in summary["figures"])


def test_stopped_and_resumed_it_ends_with_the_same_bits(runs_dir, tmp_path):
    command = [SCRIPTS / "train_vae.py", *FLAGS, *CVAE, "--epochs", "2", "--outdir", tmp_path]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list(tmp_path.glob("hw1/*/checkpoints/last.pt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.terminate()
    assert b"continue with --resume" in process.communicate()[0]
    run_dir = tmp_path / "hw1" / "0001-cvae-mlp-digits"
    assert checkpoints.read(run_dir / "checkpoints" / "last.pt")["step"] < 80
    start("train_vae.py", "--resume", run_dir)
    one, two = parts(run_dir), parts(runs_dir / "0001-cvae-mlp-digits")
    for part in ("model", "ema"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one[part])


def test_two_processes_train_one_model(tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    output = start("train_vae.py", *FLAGS, *CVAE, "--epochs", 1, "--outdir", tmp_path, launcher=torchrun)
    assert output.count("run directory") == 1
    (run_dir,) = (tmp_path / "hw1").iterdir()
    assert all(value.isfinite().all() for value in parts(run_dir)["model"].values())


def test_evaluation_measures_and_draws(runs_dir, tmp_path):
    flags = ["--samples", 300, "--importance-samples", 5, "--importance-images", 20, "--components", 10]
    models = sorted(runs_dir.iterdir())
    output = start("eval_vae.py", *models, *flags, "--classes", 3, 7, "--outdir", tmp_path)
    (run_dir,) = (tmp_path / "hw1").iterdir()
    summary = json.loads((run_dir / "summary.json").read_text())
    cvae, collapsed = summary["models"]
    assert cvae["model"].startswith("cvae-mlp (latent 2") and collapsed["model"].startswith("beta500-vae-mlp")
    assert collapsed["eval/active_dimensions"] == 0 and cvae["eval/active_dimensions"] == 2
    assert cvae["eval/posterior_gap_nats"] > 0  # on the same images
    sources = ("prior", "mixture", "reconstruction")
    assert all(cvae[f"eval/fd_digits_300_{source}"] > 0 for source in sources)
    assert cvae["eval/fd_digits_300_reconstruction"] < cvae["eval/fd_digits_300_prior"]
    assert (
        0 <= cvae["eval/recognised_percent_worst_class_prior"] <= cvae["eval/recognised_percent_prior"] <= 100
    )
    assert cvae["eval/index_information_nats"] <= math.log(5000) + 1e-3
    assert "| cvae-mlp" in output and (run_dir / "table.md").read_text() in output + "\n"
    folder = run_dir / "figures" / "1-cvae-mlp"
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "samples-prior.png",
        "samples-mixture.png",
        "traversal.png",
        "manifold.png",
        "classes.png",
    }
    gif = imageio.immeta(folder / "interpolation.gif")
    assert gif["loop"] == 0 and gif["duration"] == 80
    assert 20 <= len(imageio.imread(folder / "interpolation.gif")) <= 50


def test_a_wrong_class_stops_the_evaluation_with_one_line(runs_dir, tmp_path):
    run_dir = runs_dir / "0001-cvae-mlp-digits"
    output = start("eval_vae.py", run_dir, "--classes", 12, "--outdir", tmp_path, status=1)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert errors == ["error: --classes: class 12 is outside the model's 0 to 9; use one of those"]
    assert "Traceback" not in output
