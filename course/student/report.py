"""`python3 -m course report RUN ...`: what runs measured and drew, written into a homework's README.

    python3 -m course report runs/hw2/0003-gan-base-avatars
    python3 -m course report runs/hw2/0003-... runs/hw2/0004-... --lang ru --readme ~/my/README.md

The first run (or --baseline) fills the sections on data set and results; every other run is an experiment,
compared with it.  A run is a run directory of these scripts, or a folder with TensorBoard's event files.
Only what stands between `<!-- course report: ... -->` and `<!-- end of course report -->` is written; all
other bytes of the README stay as they are.  Pictures go into report/ beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from common import atomic
from common.errors import InputError

from course.student import sections
from course.student.here import here
from course.student.start import template
from course.student.trained_run import TrainedRun, read

BEGIN = re.compile(r"<!-- course report: (?P<name>[^\n]+?) -->")
END = "<!-- end of course report -->"
HEADINGS = {
    name: re.compile(rf"^#{{1,4}} .*(?:{words}).*$", re.IGNORECASE | re.MULTILINE)
    for name, words in (
        ("data set", "data ?set|набор данных|данные|датасет"),
        ("results", "results?|результат"),
        ("experiments", "experiments?|эксперимент"),
    )
}
NEW = {
    "en": {
        "title": "Homework",
        "data set": "## Data set",
        "results": "## Results",
        "experiments": "## Experiments",
        "goal": "Goal",
        "idea": "Idea",
        "conclusion": "Conclusion",
    },
    "ru": {
        "title": "Домашнее задание",
        "data set": "## Набор данных",
        "results": "## Результаты",
        "experiments": "## Эксперименты",
        "goal": "Цель",
        "idea": "Идея",
        "conclusion": "Вывод",
    },
}


def main(arguments: list[str]) -> int:
    """Exit status 1 where something cannot be read or written; the README is then as it was."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course report", description="Write what runs measured and drew into a README."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories, or TensorBoard's")
    parser.add_argument("--baseline", type=Path, metavar="RUN", help="default: the first run")
    parser.add_argument("--readme", type=Path, help="default: README.md of the current folder")
    parser.add_argument("--lang", choices=("en", "ru"), default="en")
    options = parser.parse_args(arguments)
    try:
        trained = [read(Path(os.path.expanduser(folder))) for folder in options.runs]
        baseline = read(Path(os.path.expanduser(options.baseline))) if options.baseline else trained[0]
        runs = [run for run in trained if run.folder != baseline.folder]
        readme = Path(os.path.expanduser(options.readme or here() / "README.md")).absolute()
        write(readme, [baseline, *runs], options.lang)
    except (InputError, OSError, UnicodeDecodeError) as error:
        print(f"course report: {error}", file=sys.stderr)
        return 1
    print(f"{readme}: {len(runs) + 1} runs")
    return 0


def write(readme: Path, runs: list[TrainedRun], language: str) -> None:
    """Fill the README's marked places; the first run is the baseline.  InputError where a mark is broken."""
    new = template("homework", language).replace("{title}", NEW[language]["title"])
    try:
        text = readme.read_bytes().decode("utf-8") if readme.exists() else new
    except UnicodeDecodeError as error:
        raise InputError(
            f"{readme}: not UTF-8 (byte {error.start}); save it as UTF-8 in your editor"
        ) from error
    check_marks(text, readme)
    newline = "\r\n" if "\r\n" in text else "\n"
    baseline, pictures = runs[0], sections.Pictures(readme.parent / "report", readme)
    results = [part(baseline, pictures, language) for part in (sections.curves, sections.outputs)]
    text = with_part(text, "data set", sections.data_set(baseline, pictures, language), language, newline)
    results.append(sections.metric_table(baseline, language))
    text = with_part(text, "results", "\n".join(results), language, newline)
    for run in runs[1:]:
        said = sections.experiment(run, baseline, pictures, language)
        text = with_part(text, f"experiment {run.name}", said, language, newline)
    with atomic.replacing(readme, advice="free some space, or name another --readme") as beside:
        beside.write_bytes(text.encode("utf-8"))


def check_marks(text: str, readme: Path) -> None:
    """InputError naming the line of the first mark that has no partner or comes twice."""
    opened, seen = None, set()
    for number, line in enumerate(text.splitlines(), 1):
        found, ends = BEGIN.search(line), END in line
        if found and (opened or found["name"] in seen):
            why = "begins before another one ends" if opened else "comes twice"
            raise InputError(f"{readme}:{number}: the part {found['name']!r} {why}; mend the marks by hand")
        if ends and not opened:
            raise InputError(f"{readme}:{number}: a part ends that never began; mend the marks by hand")
        if found:
            opened = (number, found["name"])
            seen.add(found["name"])
        if ends:
            opened = None
    if opened:
        raise InputError(f"{readme}:{opened[0]}: the part {opened[1]!r} never ends; add {END}")


def with_part(text: str, name: str, content: str, language: str, newline: str) -> str:
    """The text with what stands between the marks of `name` replaced; new marks where there are none."""
    block = f"<!-- course report: {name} -->\n{content.strip()}\n{END}".replace("\n", newline)
    marked = re.compile(rf"<!-- course report: {re.escape(name)} -->.*?{re.escape(END)}", re.DOTALL)
    if marked.search(text):
        return marked.sub(lambda _: block, text, count=1)
    section = "experiments" if name.startswith("experiment ") else name
    if section == "experiments":
        words = NEW[language]
        lines = [f"### {name.removeprefix('experiment ')}", ""]
        lines += [f"- *{words['goal']}*: ", f"- *{words['idea']}*: ", "", block, ""]
        block = newline.join([*lines, f"- *{words['conclusion']}*: "])
    return at_end_of_section(text, section, block, language, newline)


def at_end_of_section(text: str, section: str, block: str, language: str, newline: str) -> str:
    """The text with `block` as the last thing under the heading of a section, which is added if missing."""
    heading = HEADINGS[section].search(text)
    if heading is None:
        gap = "" if not text or text.endswith(newline * 2) else newline * (1 if text.endswith(newline) else 2)
        return f"{text}{gap}{NEW[language][section]}{newline}{newline}{block}{newline}"
    level = len(heading[0]) - len(heading[0].lstrip("#"))
    after = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(text, heading.end())
    end = after.start() if after else len(text)
    before = text[:end].rstrip("\r\n")
    return f"{before}{newline}{newline}{block}{newline}" + (newline + text[end:] if after else "")
