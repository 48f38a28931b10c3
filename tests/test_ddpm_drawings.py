"""sample_ddpm.py: what its flags mean to the sampler, and which class each picture is of."""

from common import command_line, data, figures
from common.errors import warn

import pytest
import torch
from small_diffusion import untrained

from hw4_diffusion import sample_ddpm, samplers
from hw4_diffusion.schedule import sampling_times


def flags(*words: str) -> sample_ddpm.Config:
    return command_line.parse(sample_ddpm.Config, ["--model", "any", *words])


def same(one, other, x) -> bool:
    """Whether two denoisers say the same of x at one time."""
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one(x, 9), other(x, 9)))


def test_the_sampler_gets_what_the_flags_say(monkeypatch):
    given = {}
    monkeypatch.setattr(samplers, "sample", lambda *values, **named: given.update(named, values=values))
    model, x, labels = untrained(), torch.randn(2, 1, 16, 16), torch.tensor([4, 7])
    words = ["--sampler", "ddim", "--eta", "0.5", "--guidance", "3", "--steps", "4", "--spacing", "log-snr"]
    one = flags(*words)
    sample_ddpm.run(one, model, x, labels)
    name, denoise, _, times, start = given["values"]
    assert name == "ddim" and given["eta"] == 0.5 and start is x
    assert times == sampling_times(model.schedule, 4, "log-snr") != sampling_times(model.schedule, 4)
    assert same(denoise, model.denoiser(labels, 3.0), x)


def test_a_row_of_pictures_is_of_one_class():
    labels, rows = sample_ddpm.ordered(flags("--classes", "2", "5"), untrained(), 3)
    assert labels.tolist() == [2, 2, 2, 5, 5, 5] and rows == 2
    assert sample_ddpm.ordered(flags("--count", "6"), untrained(classes=0), 1) == (None, 6)


@pytest.mark.parametrize(("classes", "words", "idle"), [
    (10, ["--show", "process", "--count", "3"], ["--count 3"]),
    (0, ["--show", "process", "--count", "3"], []),
    (0, ["--show", "inpainting", "--count", "3"], ["--count 3"]),
    (10, ["--show", "reconstruction", "--sampler", "ddim", "--eta", "0.5"], ["--sampler ddim", "--eta 0.5"]),
    (10, ["--sampler", "ddim", "--eta", "0.5", "--steps", "4"], []),
    (10, ["--checkpoint", "previous"], ["--checkpoint previous"]),
])  # fmt: skip
def test_a_word_where_a_flag_does_nothing(classes, words, idle, capsys):
    warn.cache_clear()  # a word is said once a process
    sample_ddpm.check(flags(*words), with_classes=classes > 0)
    said = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("warning: ").split(": does nothing")[0] for line in said] == idle


@pytest.mark.parametrize("classes", [0, 10])
def test_a_script_asks_its_model_for_classes(classes, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(sample_ddpm.models, "load", lambda *_: untrained(classes=classes))
    monkeypatch.setattr(sample_ddpm, "check", lambda config, with_classes: asked.append(with_classes))
    sample_ddpm.main(flags("--show", "schedule", "--device", "cpu", "--outdir", str(tmp_path)))
    assert asked == [classes > 0]


def test_rows_and_columns_are_called_what_they_show(tmp_path, monkeypatch):
    said = {}
    monkeypatch.setattr(figures, "save_grid", lambda path, *_, **titles: said.update({path.stem: titles}))
    one = flags("--classes", "7", "3", "--steps", "3", "--count", "1", "--outdir", str(tmp_path))
    for draw in (sample_ddpm.draw_samples, sample_ddpm.draw_process):
        draw(one, untrained(), torch.device("cpu"))
    assert said["samples"]["row_titles"] == said["process"]["row_titles"] == ("7", "3")
    assert said["process"]["column_titles"] == ["t = 40", "t = 27", "t = 13", "t = 0"]


@pytest.mark.parametrize("show", ["inpainting", "reconstruction"])
def test_test_images_are_drawn_with_their_own_class(show, tmp_path, monkeypatch):
    """The upper half stays and `--repeats` steps are taken; a reconstruction goes to the noise and back."""
    model, given, shown = untrained(), [], []

    def inpaint(denoise, schedule, times, known, mask, *, repeats):
        given.append((denoise, known, mask, repeats, times))
        return known

    def encode(denoise, schedule, times, x0):
        given.append((denoise, x0, None, 2, times[::-1]))
        return x0

    monkeypatch.setattr(samplers, "inpaint", inpaint)
    monkeypatch.setattr(samplers, "encode", encode)
    monkeypatch.setattr(figures, "save_grid", lambda path, images, *_, **__: shown.append(images))
    one = flags(
        "--repeats", "2", "--steps", "4", "--guidance", "2.5", "--spacing", "log-snr", "--data-dir",
        str(tmp_path), "--outdir", str(tmp_path),
    )  # fmt: skip
    draw = {"inpainting": sample_ddpm.draw_inpainting, "reconstruction": sample_ddpm.draw_reconstruction}
    draw[show](one, model, torch.device("cpu"))
    ((denoise, x, mask, repeats, times),) = given
    real = data.load("digits", "test", size=16, data_dir=tmp_path).take(slice(0, sample_ddpm.COLUMNS))
    each, clip = len(x) // len(real), show == "inpainting"
    assert torch.equal(x, data.to_model_range(real.images).repeat(each, 1, 1, 1))
    assert same(denoise, model.denoiser(real.labels.repeat(each), 2.5, clip=clip), x)
    assert repeats == 2 and times == sampling_times(model.schedule, 4, "log-snr")
    rows = shown[0].unflatten(0, (-1, len(real)))
    assert torch.equal(rows[0], real.images)
    if mask is None:
        assert torch.equal(rows[1], data.to_uint8(data.to_model_range(real.images) / 2))
    else:
        assert each == 3 and mask[:8].min() == 1 and mask[8:].max() == 0
        assert torch.equal(rows[1, :, :, :8], real.images[:, :, :8])
        assert torch.equal(rows[1, :, :, 8:], data.to_uint8(torch.zeros(len(real), 1, 8, 16)))
