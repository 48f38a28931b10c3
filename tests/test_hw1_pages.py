"""The commands of homework 1's pages can be given, and find the runs that the commands before them make."""

import shlex
from fnmatch import fnmatch

import pytest
from page_commands import PageCommands

from hw1_bayes_and_autoencoders import (
    bayes_pixels,
    bayes_styles,
    eval_autoencoder,
    eval_vae,
    train_autoencoder,
    train_vae,
)

COMMANDS = PageCommands(bayes_pixels, bayes_styles, eval_autoencoder, eval_vae, train_autoencoder, train_vae)
PAGES = COMMANDS.pages


@pytest.mark.parametrize("command", COMMANDS.everywhere())
def test_commands_of_the_pages_can_be_given(command):
    COMMANDS.parsed(shlex.split(command))


def test_both_languages_give_the_same_commands():
    english, russian = (
        [command for command in COMMANDS.found(page) if "--ask" not in command] for page in PAGES.values()
    )
    assert english == russian
    assert len(english) > 15


@pytest.mark.parametrize("page", PAGES)
def test_what_is_evaluated_was_trained_before(page):
    """`runs/hw1/*-vae-mlp-mnist` is a run of a command above it, and never a run of an evaluation."""
    made = []
    for command in COMMANDS.found(PAGES[page]):
        config = COMMANDS.parsed(command)
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
