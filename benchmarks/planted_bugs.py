"""Plant bugs one at a time and count those that turn a test red: how much the tests hold.

pip install -r benchmarks/planted_bugs.txt
python benchmarks/planted_bugs.py --sample 15                           # every file of planted_bugs.toml
python benchmarks/planted_bugs.py --file common/adversarial.py hw1_bayes_and_autoencoders/train_vae.py
python benchmarks/planted_bugs.py --again planted_bugs.json             # what survived, after a test was written

planted_bugs.toml names the tests of each file, and the bugs that change nothing a test could see, each with the
reason.  Bugs are planted in copies of the tree under the temporary folder; the working tree is only read.
Left alone: annotations, docstrings, messages, figures, defaults of flags.  Needs fork: Linux or macOS.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import connection
from pathlib import Path

import pytest
import torch  # noqa: F401  imported once: each bug is tried in a fork of this process
import tyro
from bug_operators import OPERATORS, code
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from parso.tree import NodeOrLeaf

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = {"print", "say", "warn", "InputError", "ValueError", "RuntimeError", "TypeError", "save_grid", "save_curves"}
"""Calls whose arguments are left alone."""
FIGURES = ("save_figures", "save_*_figure", "draw_*", "*_name")
"""Functions that are left alone everywhere; planted_bugs.toml names more."""
WORDING = {"device", "dtype", "title", "ylabel", "xlabel", "label", "row_titles", "column_titles", "description", "desc"}
"""Keyword arguments that are left alone."""
MEMORY = 8 * 2**30
"""Bytes a bug may allocate."""


@dataclass(frozen=True)
class Config:
    """Flags of planted_bugs.py."""

    file: tuple[str, ...] = ()
    """Files to plant bugs in; default: all of planted_bugs.toml."""
    sample: int | None = None
    """Bugs planted in each file, drawn at random; default: all."""
    seed: int = 0
    """Seed of the sample."""
    line: tuple[int, ...] = ()
    """Only bugs on these lines."""
    again: Path | None = None
    """A JSON file of this script: plant only what survived there."""
    timeout_s: float = 600.0
    """Seconds of the tests after which a bug counts as found."""
    workers: int = os.cpu_count() or 1
    """Bugs tried at the same time."""
    out: Path = Path("planted_bugs.json")
    """Where every bug is written."""


@dataclass
class Bug:
    """One planted bug."""

    file: str
    line: int
    kind: str
    was: str
    now: str
    source: str
    """The whole changed file; not written out."""
    outcome: str = ""
    """killed, survived or equivalent."""
    by: str = ""
    """The first red test, or why the bug is equivalent."""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}  {self.kind}:  {self.was}  ->  {self.now}"


def main(config: Config) -> int:
    held = tomllib.loads((ROOT / "benchmarks" / "planted_bugs.toml").read_text(encoding="utf-8"))
    survivors = survivors_of(config.again) if config.again else None
    files = config.file or (tuple({file: 0 for file, *_ in survivors}) if config.again else tuple(held["tests"]))
    bugs: list[Bug] = []
    for file in files:
        planted = [bug for bug in every_bug(file, held) if not config.line or bug.line in config.line]
        if survivors is not None:
            planted = [bug for bug in planted if (bug.file, bug.was, bug.now) in survivors]
        elif config.sample is not None:
            planted = random.Random(f"{config.seed} {file}").sample(planted, min(config.sample, len(planted)))
        mark_equivalent(planted, held.get("equivalent", []))
        bugs += planted
        try_all(planted, tests_of(file, held), config)
        config.out.write_text(json.dumps([written(bug) for bug in bugs], indent=1), encoding="utf-8")
        print(table_row(file, planted), flush=True)
    print(table_row("all", bugs))
    print(*(bug.name for bug in bugs if bug.outcome == "survived"), sep="\n")
    return int(any(bug.outcome == "survived" for bug in bugs))


# ---- which bugs


def every_bug(file: str, held: dict) -> Iterator[Bug]:
    """All bugs that the operators can plant in a file, in the order of its lines."""
    source = (ROOT / file).read_text(encoding="utf-8")
    skipped = held.get("skipped", {}).get(file, []) + list(FIGURES)
    original, seen, bugs = ast.dump(ast.parse(source)), set(), []
    for kind, operators in OPERATORS.items():
        for operator in operators:
            nodes = [node for node in ast_nodes(get_ast(source)) for _ in operator.mutation_positions(node)]
            for occurrence, node in enumerate(nodes):
                if is_left_alone(node, skipped):
                    continue
                changed = mutate_code(source, operator, occurrence)
                if changed in seen or not is_another_program(changed, original):
                    continue
                seen.add(changed)
                bugs.append(Bug(file, node.start_pos[0], kind, *differing_lines(source, changed), changed))
    yield from sorted(bugs, key=lambda bug: bug.line)


def is_left_alone(node: NodeOrLeaf, skipped: list[str]) -> bool:
    """Whether a node belongs to an annotation, a message, an import, a flag or a function named in `skipped`."""
    if node.type == "simple_stmt" and any(f"{name}(" in code(node).split("\n")[0] for name in MESSAGES):
        return True
    while (parent := node.parent) is not None:
        if parent.type in {"import_name", "import_from", "raise_stmt", "decorator", "fstring", "assert_stmt"}:
            return True
        if parent.type in {"annassign", "tfpdef"} and node is parent.children[-1 if parent.type == "tfpdef" else 1]:
            return True
        if parent.type == "funcdef":
            if node is parent.annotation or any(fnmatch.fnmatch(parent.name.value, name) for name in skipped):
                return True
        if parent.type == "expr_stmt" and (is_field(parent) or "Annotated[" in code(parent)[:60]):
            return True
        if parent.type == "if_stmt" and code(parent.children[1]).startswith("__name__"):
            return True
        if parent.type == "argument" and code(parent.children[0]) in WORDING:
            return True
        if parent.type in {"atom_expr", "power"} and node.type == "trailer":
            called = node.get_previous_leaf()
            if node.children[0].value == "(" and called.value in MESSAGES:
                return True
        if node.type == "string" and parent.type == "simple_stmt":
            return True
        node = parent
    return False


def is_field(statement: NodeOrLeaf) -> bool:
    """Whether a statement declares a field of a class: its default is a choice, not an equation."""
    has_type = len(statement.children) > 1 and statement.children[1].type == "annassign"
    block = statement.parent.parent
    return has_type and block.type == "suite" and block.parent.type == "classdef"


def is_another_program(changed: str | None, original: str) -> bool:
    """Whether a changed file is valid Python and not the same program written otherwise."""
    try:
        return changed is not None and ast.dump(ast.parse(changed)) != original
    except SyntaxError:
        return False


def differing_lines(before: str, after: str) -> tuple[str, str]:
    """What a change took away and what it put there, without the white space around."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return tuple(" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")


def mark_equivalent(bugs: list[Bug], equivalent: list[dict]) -> None:
    """Give the bugs that no test can see their reason."""
    reasons = {(each["file"], each["was"], now): each["why"] for each in equivalent for now in each["now"]}
    for bug in bugs:
        if reason := reasons.get((bug.file, bug.was, bug.now)):
            bug.outcome, bug.by = "equivalent", reason


def tests_of(file: str, held: dict) -> list[str]:
    return held["tests"][file]


def survivors_of(path: Path) -> dict[tuple[str, str, str], None]:
    """(file, was, now) of the survivors in a result of this script, in order."""
    bugs = json.loads(path.read_text(encoding="utf-8"))
    return {(bug["file"], bug["was"], bug["now"]): None for bug in bugs if bug["outcome"] == "survived"}


# ---- trying them


def try_all(bugs: list[Bug], tests: list[str], config: Config) -> None:
    """Run the tests on every bug that is not known to be equivalent, several at a time."""
    waiting = [bug for bug in bugs if not bug.outcome]
    if not waiting:
        return
    with tempfile.TemporaryDirectory(prefix="planted_bugs_") as folder:
        clean = copy_of_tree(Path(folder) / "clean")
        red = Trial(clean, tests, config.timeout_s).result()
        if red is not None:
            raise SystemExit(f"red before any bug is planted: {red}")
        running: list[tuple[Bug, Trial]] = []
        while waiting or running:
            while waiting and len(running) < config.workers:
                bug = waiting.pop(0)
                tree = Path(folder) / f"{bug.line}-{len(waiting)}"
                shutil.copytree(clean, tree, copy_function=os.link, symlinks=True)
                (tree / bug.file).unlink()  # the link only
                (tree / bug.file).write_text(bug.source, encoding="utf-8")
                running.append((bug, Trial(tree, tests, config.timeout_s)))
            connection.wait([trial.process.sentinel for _, trial in running], timeout=1)
            for bug, trial in [each for each in running if each[1].is_over()]:
                running.remove((bug, trial))
                red = trial.result()
                bug.outcome, bug.by, bug.seconds = ("killed" if red else "survived"), red or "", trial.seconds
                shutil.rmtree(trial.tree, ignore_errors=True)


def copy_of_tree(folder: Path) -> Path:
    """The files of the working tree that git knows or would take, copied into a new folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


class Trial:
    """The tests of one copy of the tree, in a process group of their own."""

    def __init__(self, tree: Path, tests: list[str], limit: float):
        self.tree, self.started, self.limit = tree, time.monotonic(), limit
        fork = multiprocessing.get_context("fork")
        self.answer, end = fork.Pipe(duplex=False)
        self.process = fork.Process(target=run_tests, args=(tree, tests, end))
        self.process.start()
        end.close()

    def is_over(self) -> bool:
        return not self.process.is_alive() or time.monotonic() - self.started > self.limit

    def result(self) -> str | None:
        """Name of the first red test; None where all are green."""
        self.process.join(max(0, self.started + self.limit - time.monotonic()))
        late = self.process.is_alive()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # and what the tests started
        except ProcessLookupError:
            pass
        self.process.join()
        self.seconds = time.monotonic() - self.started
        if late:
            return "time limit"
        return self.answer.recv() if self.answer.poll() else "process ended"


class FirstRed:
    """A plugin of pytest that keeps the name of the first test that failed."""

    name: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.name is None:
            self.name = f"import of {report.nodeid}"


def run_tests(tree: Path, tests: list[str], answer: connection.Connection) -> None:
    """In a forked process: run the tests of `tree` up to the first red one and send its name."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.chdir(tree)
    sys.path[:] = [str(tree), *(place for place in sys.path if Path(place) != ROOT / "benchmarks")]
    os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1", TMPDIR=str(tree))
    sys.dont_write_bytecode = True
    tempfile.tempdir = None
    with open(tree / "pytest.log", "w", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    first = FirstRed()
    flags = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={tree / 'pytest'}"]
    status = pytest.main([*flags, *tests], plugins=[first])
    answer.send(None if status == pytest.ExitCode.OK else first.name or f"pytest: {status!r}")


# ---- the result


def written(bug: Bug) -> dict:
    return {name: value for name, value in asdict(bug).items() if name != "source"}


def table_row(file: str, bugs: list[Bug]) -> str:
    """killed / planted without the equivalent ones, and the seconds."""
    count = Counter(bug.outcome for bug in bugs)
    real = len(bugs) - count["equivalent"]
    share = f"{count['killed'] / real:4.0%}" if real else "   -"
    seconds = sum(bug.seconds for bug in bugs)
    return (
        f"{file:52} {share}  killed {count['killed']:3} of {real:3}, equivalent {count['equivalent']:2}, "
        f"survived {count['survived']:2}, {seconds:5.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, description=__doc__)))
