"""Flags of GAN training, what watches it, which weights are measured and kept, looks at samples."""

import json

from common import checkpoints, command_line, data, devices, figures, runs
from common.data import avatars
from common.errors import InputError
from common.metrics import samples

import pytest
import torch
from small_gans import EVERYTHING, config, logged, parts

from hw2_gan import eval_gan, gan_data, networks, players, train_gan
from hw2_gan.monitor import Monitor

# ---- flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"size": 48}, "--size 48: must be 32, 64 or 128"),
        ({"epochs": 0}, "--epochs 0: must be greater than or equal to 1"),
        ({"lr_generator": 0.0}, "--lr-generator 0.0: must be greater than 0"),
        ({"lr_generator": float("nan")}, "--lr-generator nan: must be a finite number"),
        ({"penalty_every": 0}, "--penalty-every 0"),
        ({"discriminator_width": 0.0}, "--discriminator-width 0.0"),
        ({"discriminator_width": 0.3}, "--discriminator-width 0.3: with --width 0.25 .* with 4.8 channels"),
        ({"r1_gamma": -1.0}, "--r1-gamma -1.0: must be greater than or equal to 0"),
        ({"real_label": (1.0, 0.8)}, "--real-label 1 0.8: the lower end comes first"),
        ({"fake_label": (0.0, 1.5)}, "--fake-label 1.5: must be less than or equal to 1"),
        ({"ema": 1.0}, "--ema 1.0: must be less than 1"),
        ({"beta1": 1.0}, "--beta1 1.0: must be less than 1"),
        ({"measure_images": 1}, "--measure-images 1: must be greater than or equal to 2"),
        ({"data": "mnist"}, "--data mnist: grey images; use avatars"),
        ({"data": ""}, "--data : name an image set or a folder"),
    ],
)
def test_flags_no_run_can_have(flags, message):
    with pytest.raises(InputError, match=message):
        train_gan.check(command_line.checked(train_gan.Config(**flags)))


# ---- what watches the training


def monitor(tmp_path, said: list[str], images: int = 20, latent: int = 100) -> Monitor:
    run = runs.Run(tmp_path, devices.Device(torch.device("cpu")))
    run.say = said.append
    return Monitor(run, run.device, avatars.draw_set("val", 32, images, 0), latent)


@pytest.mark.parametrize("threshold", [0.5, 0.65])
def test_the_alarm_is_the_measure_of_collapse(tmp_path, monkeypatch, threshold):
    """What it says after each epoch is what `samples.collapsed` finds of the epochs so far."""
    monkeypatch.setattr(samples, "COLLAPSED", threshold)
    said = []
    watch, diversities = monitor(tmp_path, said), [0.1, 0.6, 0.4, 0.3, 0.7]
    for step, diversity in enumerate(diversities, 1):
        before, state = len(said), samples.collapsed(diversities[: step - 1])[-1:] == [True]
        watch.alarm(step, diversity)
        now = samples.collapsed(diversities[:step])[-1]
        assert (len(said) > before) == (now != state)
        if now != state:
            assert said[-1].startswith(f"step {step}: samples are {100 * diversity:.0f} % as diverse")
            assert ("no longer collapsed" in said[-1]) == (not now)
            assert ("only starting" in said[-1]) == (step == 1)


def test_a_resumed_run_remembers_that_it_was_diverse(tmp_path):
    lines = [{"step": step, "val/raw_diversity": value} for step, value in ((1, 0.1), (2, 0.9))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = []
    monitor(tmp_path, said).alarm(3, 0.2)
    assert said == ["step 3: samples are 20 % as diverse as the data: COLLAPSED"]


# ---- which weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three epochs of 64-pixel avatars, 40 in each split, whose distances are made up: that of the averaged
    weights is lowest after the second epoch, that of the last weights after the first."""
    folder, load = tmp_path_factory.mktemp("weights"), data.load
    flags = {**EVERYTHING, "ema": 0.5, "size": 64, "width": 0.0625, "batch_size": 10, "measure_images": 40}
    made_up = iter([1.0, 5.0, 8.0, 3.0, 9.0, 4.0])  # of the last weights, of the average, ...
    with pytest.MonkeyPatch.context() as everywhere:
        everywhere.setattr(
            data, "load", lambda name, split, **options: load(name, split, **{**options, "count": 40})
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(samples.Reference, "distance", lambda self, features: next(made_up))
            run_dir = train_gan.main(config("avatars", folder, **flags, data_dir=folder / "data"))
        yield run_dir


def test_the_best_epoch_is_that_of_the_averaged_weights(trained):
    assert [line["val/ema_fd_avatars_40"] for line in logged(trained)] == [5.0, 3.0, 4.0]
    best, last = (checkpoints.read(trained / "checkpoints" / f"{name}.pt") for name in ("best", "last"))
    assert (best["step"], last["step"]) == (8, 12)
    summary = json.loads((trained / "summary.json").read_text())
    assert summary["metrics"]["val/ema_fd_avatars_40"] == 4.0  # the last epoch, as it says


def diversity(trained, weights: str, checkpoint: str, seed: int) -> float:
    """Of 40 samples, from the checkpoint's own tensors."""
    one = command_line.config_from_run(train_gan.Config, trained)
    generator = players.build_generator(one).to(memory_format=torch.channels_last)  # as it was trained
    state = parts(trained, checkpoint)
    if weights == "raw":
        generator.load_state_dict(state["generator"])
    else:
        own = {key.removeprefix("module."): value for key, value in state["ema"].items() if "module." in key}
        generator.load_state_dict(own)
        players.recompute_batch_statistics(generator)
    real = samples.Reference(gan_data.load_split(one, "val" if seed else "test", 40).images)
    return real.measure(samples.decode(generator, samples.latents(40, 100, seed)))["diversity"]


def test_every_epoch_logs_the_weights_it_names_with_statistics_of_their_own(trained):
    (*_, line) = logged(trained)
    raw, ema = (diversity(trained, weights, "last", seed=1) for weights in ("raw", "ema"))
    assert line["val/raw_diversity"] == pytest.approx(raw, rel=1e-6)
    assert line["val/ema_diversity"] == pytest.approx(ema, rel=1e-6)
    assert abs(raw - ema) > 1e-4


@pytest.mark.parametrize("weights", ["raw", "ema"])
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_evaluation_measures_the_weights_that_were_asked_for(
    trained, tmp_path, monkeypatch, weights, checkpoint
):
    for drawn in ("save_neighbours", "save_interpolation"):
        monkeypatch.setattr(eval_gan, drawn, lambda *what: None)
    asked = eval_gan.Config(trained, weights, checkpoint, samples=40, device="cpu", outdir=tmp_path)
    summary = json.loads((eval_gan.main(asked) / "summary.json").read_text())
    every = {
        (one, when): diversity(trained, one, when, seed=0)
        for one in ("raw", "ema")
        for when in ("last", "best")
    }
    assert len({round(value, 5) for value in every.values()}) == 4  # no two are alike
    assert summary["metrics"]["eval/diversity"] == pytest.approx(every[weights, checkpoint], rel=1e-6)
    assert summary["weights"] == weights


# ---- looks at samples


def test_the_interpolation_is_a_closed_walk(tmp_path, monkeypatch):
    frames = []
    monkeypatch.setattr(figures, "save_gif", lambda path, images, frame_ms: frames.append(images))
    torch.manual_seed(0)
    generator = networks.CSPupGenerator(32, 0.125, normalisation="batch", output="tanh")
    eval_gan.save_interpolation(tmp_path, generator.train(), 24, seed=0)
    (walk,) = frames
    assert len(walk) == 24
    steps = (walk - walk.float().roll(1, 0)).square().mean((1, 2, 3))  # the last to the first included
    assert steps.max() < 10 * steps.median() and steps.min() > 0


@pytest.mark.parametrize("by", ["pixels", "features"])
def test_copies_are_their_own_nearest_neighbours(tmp_path, monkeypatch, by):
    train = avatars.draw_set("train", 64 if by == "features" else 32, 40, 0)
    drawn = {}
    monkeypatch.setattr(
        figures, "save_grid", lambda path, cells, columns, **titles: drawn.update(cells=cells, **titles)
    )
    eval_gan.save_neighbours(tmp_path / "a.png", train.images[[7, 30]], train, samples.reference_of(train))
    rows = drawn["cells"].unflatten(0, (2, 5))
    assert torch.equal(rows[:, 0], train.images[[7, 30]])
    assert torch.equal(rows[:, 1], rows[:, 0])
    assert not torch.equal(rows[:, 2], rows[:, 0])
    assert drawn["title"].endswith(by)


def test_a_generator_that_copies_is_told_from_one_that_learns():
    train, test = (avatars.draw_set(split, 64, 60, 0) for split in ("train", "test"))
    real = samples.reference_of(test)
    copies = eval_gan.distances(real.features_of(train.images), real, train)
    as_good = eval_gan.distances(real.features, real, train)
    assert copies["nearest_training_ratio"] < 0.01
    assert as_good["nearest_training_ratio"] == 1
    assert as_good["precision"] == as_good["recall"] == 1
    assert {"fd_avatars_60_standard_error", "kid_avatars_60"} <= copies.keys()


@torch.inference_mode()
def test_logits_are_of_the_images_with_their_own_labels():
    torch.manual_seed(0)
    discriminator = networks.DCGANDiscriminator(32, 0.125, normalisation="none", option_counts=(3, 2)).eval()
    images = torch.randint(256, (600, 3, 32, 32), dtype=torch.uint8)
    labels = torch.stack([torch.randint(3, (600,)), torch.randint(2, (600,))], 1)
    found = eval_gan.logits_of(discriminator, images, labels)
    torch.testing.assert_close(found, discriminator(data.to_model_range(images), labels))
    assert not torch.allclose(found, eval_gan.logits_of(discriminator, images, None))
