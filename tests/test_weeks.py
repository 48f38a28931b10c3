"""What `python3 -m course run` starts, as data: scripts exist, take their flags, follow what they need."""

import importlib

from common.command_line import parse

import pytest
from course_copy import ROOT

from course.weeks import SCRIPTS
from course.weeks.run import chosen

COMMANDS = [
    pytest.param(script, full, id=f"{script.name}-{'full' if full else 'short'}")
    for script in SCRIPTS
    for full in (False, True)
    if script.arguments(full) is not None
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_script_exists(script):
    assert (ROOT / script.file).is_file()


@pytest.mark.parametrize(("script", "full"), COMMANDS)
def test_each_script_takes_the_flags_it_is_given(script, full):
    module = importlib.import_module(script.file.removesuffix(".py").replace("/", "."))
    arguments = [word.format(**{name: f"runs/{name}" for name in script.needs(full)})
                 for word in script.arguments(full)]  # fmt: skip
    parse(module.Config, [*arguments, "--outdir", "runs"])


@pytest.mark.parametrize("full", [False, True])
def test_scripts_follow_those_they_need(full):
    seen = set()
    for script in chosen(SCRIPTS, None, full):
        assert script.name not in seen
        assert seen >= set(script.needs(full))
        seen.add(script.name)
