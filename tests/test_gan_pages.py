"""The commands of homework 2's pages can be given, and evaluate what the commands before them trained."""

import re
import shlex
from fnmatch import fnmatch
from pathlib import Path

import pytest
from page_commands import PageCommands

from hw2_gan import compare_hypotheses, dirac_gan, eval_gan, networks, train_gan, transposed_convolution
from hw2_gan.gan_flags import check

COMMANDS = PageCommands(compare_hypotheses, dirac_gan, eval_gan, networks, train_gan, transposed_convolution)
PAGES = COMMANDS.pages


@pytest.mark.parametrize("command", COMMANDS.everywhere())
def test_commands_of_the_pages_can_be_given(command):
    config = COMMANDS.parsed(shlex.split(command))
    if isinstance(config, train_gan.Config):
        check(config)
    if isinstance(config, compare_hypotheses.Config):
        compare_hypotheses.check(config)


def test_both_languages_give_the_same_commands():
    english, russian = (COMMANDS.found(page) for page in PAGES.values())
    assert english == russian
    assert len(english) > 10


@pytest.mark.parametrize("page", PAGES)
def test_what_is_evaluated_was_trained_before(page):
    """`runs/hw2/????-gan-base-avatars` is a run of a command above it, and never one of an evaluation."""
    made = []
    for command in COMMANDS.found(PAGES[page]):
        config = COMMANDS.parsed(command)
        if command[0] == "train_gan.py":
            made.append(f"runs/hw2/0001-gan-{config.hypothesis}-{Path(config.data).name}")
        if command[0] == "eval_gan.py":
            assert any(fnmatch(run, str(config.run_dir)) for run in made)
            assert not fnmatch("runs/hw2/0002-eval-gan-base-avatars", str(config.run_dir))


@pytest.mark.parametrize(
    "flag", ["--gradient-penalty", "--discriminator-steps", "--instance-noise", "--augment"]
)
@pytest.mark.parametrize("page", PAGES)
def test_the_tricks_of_the_lecture_have_a_command_each(page, flag):
    assert any(flag in command for command in COMMANDS.found(PAGES[page]))


@pytest.mark.parametrize("page", PAGES)
def test_the_report_stands_apart(page):
    before, report = PAGES[page].split("<!-- report -->\n")
    report, after = report.split("<!-- end of report -->\n")
    assert "<!-- table:" in report
    assert "<!-- table:" not in before + after
    assert not re.search(r"results/(study|eval_gan|hypotheses)", before + after)
