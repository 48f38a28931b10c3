"""The commands of homework 3's pages can be given, and use what the commands before them made."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

from common import command_line

import pytest

from hw3_stylegan_sampling import (
    align,
    compare_edits,
    compare_sampling,
    eval_stylegan,
    expression_transfer,
    face_swap,
    find_directions,
    interpolate,
    networks,
    nvidia_pickle,
    project,
    sample,
    style_mixing,
    style_transfer,
    train_encoder,
    train_stylegan,
)

SCRIPTS = {
    Path(module.__file__).name: module
    for module in (align, compare_edits, compare_sampling, eval_stylegan, expression_transfer, face_swap,
                   find_directions, interpolate, networks, nvidia_pickle, project, sample, style_mixing,
                   style_transfer, train_encoder, train_stylegan)
}  # fmt: skip
FOLDER = Path(train_stylegan.__file__).parent
PAGES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")}
TEXTS = PAGES | {name: module.__doc__ for name, module in SCRIPTS.items()}


def commands(text: str) -> list[list[str]]:
    """Script and flags of every line that starts one of the scripts anew, in order."""
    lines = re.findall(rf"^(?:python|torchrun .*) {FOLDER.name}/((?:{'|'.join(SCRIPTS)}).*)$", text, re.M)
    return [shlex.split(line, comments=True) for line in lines if "--resume" not in line]


@pytest.mark.parametrize(
    "command", sorted({shlex.join(command) for text in TEXTS.values() for command in commands(text)})
)
def test_commands_of_the_pages_can_be_given(command):
    script, *flags = shlex.split(command)
    config = command_line.parse(SCRIPTS[script].Config, flags)
    for flag in ("seeds", "rows", "cols", "styles"):
        if isinstance(text := getattr(config, flag, None), str):
            assert sample.numbers(text)


def test_both_languages_give_the_same_commands():
    english, russian = (commands(page) for page in PAGES.values())
    assert english == russian and len(english) > 8


@pytest.mark.parametrize("page", PAGES)
def test_what_is_sampled_was_trained_before(page):
    """`runs/hw3/????-stylegan-avatars` is a run of a command above it, and never one of an evaluation; so is
    `runs/hw3/????-project`."""
    makes = {
        "train_stylegan.py": "stylegan-avatars",
        "project.py": "project",
        "train_encoder.py": "encoder-avatars",
    }
    made = set()
    for script, *flags in commands(PAGES[page]):
        made |= {f"runs/hw3/0001-{makes[script]}"} if script in makes else set()
        for run in (flag for flag in flags if flag.startswith("runs/")):
            assert any(fnmatch(one, run) for one in made)
            assert not fnmatch("runs/hw3/0002-eval-stylegan-avatars", run)
            assert not fnmatch("runs/hw3/0002-sampling-avatars", run)


@pytest.mark.parametrize("page", PAGES)
def test_the_report_stands_apart(page):
    before, report = PAGES[page].split("<!-- report -->\n")
    report, after = report.split("<!-- end of report -->\n")
    assert "<!-- table:" in report and "<!-- table:" not in before + after
    assert "results/" not in before + after
