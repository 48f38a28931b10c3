"""Plant bugs one at a time and count those that turn a test red: how much the tests hold.

pip install -r benchmarks/planted_bugs.txt
python benchmarks/planted_bugs.py --sample 15                           # every file of planted_bugs.toml
python benchmarks/planted_bugs.py --file common/adversarial.py common/noise.py
python benchmarks/planted_bugs.py --again planted_bugs.json             # what survived, once more

planted_bugs.toml names the tests of each file, and the bugs that change nothing a test could see, each with
the reason.  Of these tests run those that enter the function with the bug; with --again the others too.
Bugs are planted in copies of the tree under the temporary folder; the working tree is only read.
Left alone: annotations, docstrings, messages, figures, defaults of flags.  Needs fork: Linux or macOS.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import connection
from pathlib import Path

import tyro
from bug_operators import OPERATORS, code
from bug_trials import EVERY, Chosen, Entered, Trial, copy_of_tree, plant
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from parso.tree import NodeOrLeaf

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = {"print", "say", "warn", "InputError", "ValueError", "RuntimeError", "TypeError"}
MESSAGES |= {"save_grid", "save_curves"}
"""Calls whose arguments are left alone."""
FIGURES = ("save_figures", "save_*_figure", "draw_*", "*_name")
"""Functions that are left alone everywhere; planted_bugs.toml names more."""
NEVER = {"import_name", "import_from", "raise_stmt", "decorator", "fstring", "assert_stmt"}
"""Parts of the syntax that are left alone."""
LEFT_ALONE = {
    "device",
    "dtype",
    "seed",
    "title",
    "label",
    "xlabel",
    "ylabel",
    "row_titles",
    "column_titles",
    "desc",
}
"""Keyword arguments that are left alone."""


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
    again: tuple[Path, ...] = ()
    """JSON files of this script: plant only what survived there, and print the score of the whole."""
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
    source: str = ""
    """The whole changed file; not written out."""
    outcome: str = ""
    """killed, survived or equivalent; empty while it waits."""
    by: str = ""
    """The first red test, or why the bug is equivalent."""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}  {self.kind}:  {self.was}  ->  {self.now}"


def main(config: Config) -> int:
    held = tomllib.loads((ROOT / "benchmarks" / "planted_bugs.toml").read_text(encoding="utf-8"))
    earlier = [Bug(**bug) for path in config.again for bug in json.loads(path.read_text(encoding="utf-8"))]
    files = config.file or tuple(dict.fromkeys(bug.file for bug in earlier)) or tuple(held["tests"])
    bugs: list[Bug] = []
    for file in files:
        planted = planted_again(file, held, earlier) if config.again else newly_planted(file, held, config)
        bugs += planted
        try_all([bug for bug in planted if not bug.outcome], held["tests"][file], config)
        config.out.write_text(json.dumps([written(bug) for bug in bugs], indent=1), encoding="utf-8")
        print(table_row(file, planted), flush=True)
    print(table_row("all", bugs))
    print(*(bug.name for bug in bugs if bug.outcome == "survived"), sep="\n")
    return int(any(bug.outcome == "survived" for bug in bugs))


# ---- which bugs


def newly_planted(file: str, held: dict, config: Config) -> list[Bug]:
    """The bugs of a file that the flags ask for; those no test can see have their reason."""
    planted = [bug for bug in every_bug(file, held) if not config.line or bug.line in config.line]
    if config.sample is not None:
        planted = random.Random(f"{config.seed} {file}").sample(planted, min(config.sample, len(planted)))
    return mark_equivalent(planted, held)


def planted_again(file: str, held: dict, earlier: list[Bug]) -> list[Bug]:
    """Earlier results of a file, each survivor to be tried again; without those whose line is no more."""
    known = [bug for bug in earlier if bug.file == file]
    survivors = {(bug.was, bug.now) for bug in known if bug.outcome == "survived"}
    again = [bug for bug in every_bug(file, held) if (bug.was, bug.now) in survivors] if survivors else []
    return [bug for bug in known if bug.outcome != "survived"] + mark_equivalent(again, held)


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
    """Whether a node belongs to an annotation, message, import, flag, or a function named in `skipped`."""
    if node.type == "simple_stmt" and any(f"{name}(" in code(node).split("\n")[0] for name in MESSAGES):
        return True
    while (parent := node.parent) is not None:
        if is_left_alone_in(node, parent, skipped):
            return True
        node = parent
    return False


def is_left_alone_in(  # noqa: PLR0911  a line for each kind of parent
    node: NodeOrLeaf, parent: NodeOrLeaf, skipped: list[str]
) -> bool:
    """The same as far as the parent tells."""
    match parent.type:
        case "annassign":
            return node is parent.children[1]
        case "tfpdef":
            return node is parent.children[-1]
        case "funcdef":
            named = any(fnmatch.fnmatch(parent.name.value, name) for name in skipped)
            return named or node is parent.annotation
        case "expr_stmt":
            return (
                is_field(parent) or "Annotated[" in code(parent)[:60] or code(parent.children[0]) == "CHUNK"
            )
        case "param":
            return parent.name.value == "chunk"  # how much is in memory at once changes no result
        case "atom_expr" | "power":
            is_call = node.type == "trailer" and code(node)[0] == "("
            return is_call and node.get_previous_leaf().value in MESSAGES
    return (
        parent.type in NEVER
        or (parent.type == "parameters" and node.type == "operator")  # the * before keyword arguments
        or (parent.type == "if_stmt" and code(parent.children[1]).startswith("__name__"))
        or (parent.type == "argument" and code(parent.children[0]) in LEFT_ALONE)
        or (parent.type == "simple_stmt" and node.type == "string")  # a docstring
    )


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


def mark_equivalent(bugs: list[Bug], held: dict) -> list[Bug]:
    """Give the bugs that no test can see their reason."""
    listed = held.get("equivalent", [])
    reasons = {(each["file"], each["was"], now): each["why"] for each in listed for now in each["now"]}
    for bug in bugs:
        if reason := reasons.get((bug.file, bug.was, bug.now)):
            bug.outcome, bug.by = "equivalent", reason
    return bugs


# ---- trying them


def try_all(waiting: list[Bug], tests: list[str], config: Config) -> None:
    """Run the tests on every bug, several at a time."""
    if not waiting:
        return
    with tempfile.TemporaryDirectory(prefix="planted_bugs_") as folder:
        clean = copy_of_tree(ROOT, Path(folder) / "clean")
        first = Trial(
            clean, tests, 4 * config.timeout_s, Entered(clean / waiting[0].file), keep_bytecode=True
        )
        red = first.result()
        shutil.rmtree(clean / "temporary")
        if red is not None:
            raise SystemExit(f"red before any bug is planted: {red}")
        functions = functions_of(clean / waiting[0].file)
        running: list[tuple[Bug, Trial]] = []
        while waiting or running:
            while waiting and len(running) < config.workers:
                bug = waiting.pop(0)
                tree = Path(folder) / f"{bug.line}-{len(waiting)}"
                shutil.copytree(clean, tree, copy_function=os.link, symlinks=True)
                plant(tree / bug.file, bug.source)
                chosen = Chosen(who_enters(bug.line, functions, first.entered), rest=bool(config.again))
                running.append((bug, Trial(tree, tests, config.timeout_s, chosen)))
            connection.wait([trial.process.sentinel for _, trial in running], timeout=1)
            for bug, trial in [each for each in running if each[1].is_over()]:
                running.remove((bug, trial))
                red = trial.result()
                bug.outcome, bug.by, bug.seconds = ("killed" if red else "survived"), red or "", trial.seconds
                shutil.rmtree(trial.tree, ignore_errors=True)


def functions_of(path: Path) -> list[range]:
    """The lines of every function and method of a file, with its decorators."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        range(min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno + 1)
        for node in nodes
        if isinstance(node, kinds)
    ]


def who_enters(line: int, functions: list[range], entered: dict[int, set[str]]) -> tuple[str, ...]:
    """Beginnings of the names of the tests that enter the function around a line; outside of one, of all."""
    around = next((lines for lines in functions if line in lines), None)  # the outermost comes first
    if around is None:
        return (EVERY,)
    return tuple(set().union(*(names for start, names in entered.items() if start in around)))


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
