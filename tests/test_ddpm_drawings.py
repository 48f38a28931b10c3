"""sample_ddpm.py: what its flags mean to the sampler, and which class each picture is of."""

from pathlib import Path

from common import command_line

import pytest
import torch
from small_diffusion import untrained

from hw4_diffusion import sample_ddpm, samplers


def flags(*words: str) -> sample_ddpm.Config:
    return command_line.parse(sample_ddpm.Config, ["--model", "any", *words])


def same(one, other, x) -> bool:
    """Whether two denoisers say the same of x at one time."""
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one(x, 9), other(x, 9)))


def test_the_sampler_gets_what_the_flags_say(monkeypatch):
    given = {}
    monkeypatch.setattr(samplers, "sample", lambda *values, **named: given.update(named, values=values))
    model, x, labels = untrained(), torch.randn(2, 1, 16, 16), torch.tensor([4, 7])
    one = flags("--sampler", "ddim", "--eta", "0.5", "--guidance", "3", "--steps", "4")
    sample_ddpm.run(one, model, x, labels)
    name, denoise, _, times, start = given["values"]
    assert name == "ddim" and given["eta"] == 0.5 and len(times) == 5 and start is x
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
    sample_ddpm.check(flags(*words), untrained(classes=classes))
    said = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("warning: ").split(": does nothing")[0] for line in said] == idle


@pytest.mark.parametrize("show", ["inpainting", "reconstruction"])
def test_test_images_are_drawn_with_their_own_class(show, tmp_path, monkeypatch):
    """The upper half stays and `--repeats` steps are taken; a reconstruction goes to the noise and back."""
    model, given = untrained(), []

    def inpaint(denoise, schedule, times, known, mask, *, repeats):
        given.append((denoise, known, mask, repeats, times))
        return known

    def encode(denoise, schedule, times, x0):
        given.append((denoise, x0, None, 2, times[::-1]))
        return x0

    monkeypatch.setattr(samplers, "inpaint", inpaint)
    monkeypatch.setattr(samplers, "encode", encode)
    one = flags("--repeats", "2", "--steps", "4", "--data-dir", str(tmp_path), "--outdir", str(tmp_path))
    draw = {"inpainting": sample_ddpm.draw_inpainting, "reconstruction": sample_ddpm.draw_reconstruction}
    draw[show](one, model, torch.device("cpu"))
    ((denoise, x, mask, repeats, times),) = given
    _, labels = sample_ddpm.test_images(one, model, sample_ddpm.COLUMNS)
    clip = show == "inpainting"
    assert same(denoise, model.denoiser(labels.repeat(len(x) // len(labels)), clip=clip), x)
    assert repeats == 2 and times == sample_ddpm.sampling_times(model.schedule, 4)
    if mask is not None:
        assert len(x) == 3 * sample_ddpm.COLUMNS and mask[:8].min() == 1 and mask[8:].max() == 0
    assert list(Path(tmp_path).glob("*.png"))
