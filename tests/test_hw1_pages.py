"""The commands of homework 1's pages can be given, and find the runs that the commands before them make."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

from common import command_line

import pytest

from hw1_bayes_and_autoencoders import (
    bayes_pixels,
    bayes_styles,
    eval_autoencoder,
    eval_vae,
    train_autoencoder,
    train_vae,
)

SCRIPTS = {
    Path(module.__file__).name: module
    for module in (bayes_pixels, bayes_styles, eval_autoencoder, eval_vae, train_autoencoder, train_vae)
}
FOLDER = Path(train_vae.__file__).parent
PAGES = {name: (FOLDER / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")}
TEXTS = PAGES | {name: module.__doc__ for name, module in SCRIPTS.items()}


def commands(text: str) -> list[list[str]]:
    """Script and flags of every line that starts one of the scripts anew, in order."""
    text = text.replace("\\\n", " ")
    lines = re.findall(rf"^python {FOLDER.name}/((?:{'|'.join(SCRIPTS)}).*)$", text, re.M)
    return [shlex.split(line, comments=True) for line in lines if "--resume" not in line]


def parsed(command: list[str]):
    """The Config that a command asks for."""
    script, *flags = command
    return command_line.parse(SCRIPTS[script].Config, flags)


@pytest.mark.parametrize(
    "command", sorted({shlex.join(command) for text in TEXTS.values() for command in commands(text)})
)
def test_commands_of_the_pages_can_be_given(command):
    parsed(shlex.split(command))


def test_both_languages_give_the_same_commands():
    english, russian = (
        [command for command in commands(page) if "--ask" not in command] for page in PAGES.values()
    )
    assert english == russian
    assert len(english) > 15


@pytest.mark.parametrize("page", PAGES)
def test_what_is_evaluated_was_trained_before(page):
    """`runs/hw1/*-vae-mlp-mnist` is a run of a command above it, and never a run of an evaluation."""
    made = []
    for command in commands(PAGES[page]):
        config = parsed(command)
        if command[0].startswith("train_"):
            made.append(f"runs/hw1/0001-{config.run_name}")
        if command[0].startswith("eval_"):
            (pattern,) = map(str, config.run_dirs)
            assert any(fnmatch(folder, pattern) for folder in made), pattern
            assert not any(
                fnmatch(f"runs/hw1/0002-eval-{kind}-{data}", pattern)
                for kind in ("vae", "autoencoder")
                for data in ("wells", "digits", "mnist", "fashion-mnist")
            ), pattern


@pytest.mark.parametrize(
    "flag", ["--warmup-epochs", "--free-bits", "--binarise", "--memory-items", "--patch"]
)
@pytest.mark.parametrize("page", PAGES)
def test_flags_for_exercises_have_one(page, flag):
    assert f"`{flag}" in PAGES[page]
