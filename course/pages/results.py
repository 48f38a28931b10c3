"""`python3 -m course results`: keep the numbers and figures of a run, and write the tables of the pages from
them.

    python3 -m course results runs/course-0007     # keep what the scripts of this `course run` measured
    python3 -m course results                      # only write the tables again
    python3 -m course results --check              # exit status 1 if a page is not what the results say

What is kept lies in HOMEWORK/results/SCRIPT/: summary.json, env.json, config.json and the figures the summary
names.  A page marks the place of a table with `<!-- table: NAME -->` and `<!-- end of table -->`; the tables
are described in course/pages/, one file a homework."""

import argparse
import json
import os
import re
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path

from PIL import Image

from course.pages import FIGURES, TABLES
from course.pages.tables import markdown
from course.weeks import SCRIPTS

ROOT = Path(__file__).resolve().parents[2]
LARGE_FIGURE, LARGEST_FIGURE = 300_000, 500_000
"""Bytes: a figure above the first is stored with 256 colours; one still above the second does not belong into
git."""
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """Exit status 0; 1 when something is missing, too large or, with --check, not up to date."""
    parser = argparse.ArgumentParser(prog="python3 -m course results", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, help="a folder of `course run`, such as runs/course-0007"
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; say which pages are not up to date"
    )
    options = parser.parse_args(arguments)
    try:
        if options.folder is not None:
            keep(options.folder)
            for draw in FIGURES:
                draw(ROOT)
        stale = [page for page in pages() if not write_tables(page, options.check)]
    except ValueError as error:
        print(f"course results: {error}", file=sys.stderr)
        return 1
    for page in stale:
        print(
            f"course results: {page.relative_to(ROOT)} is not what the results say; "
            "run `python3 -m course results`",
            file=sys.stderr,
        )
    return 1 if stale else 0


def keep(folder: Path) -> None:
    """Copy the summaries and figures of the scripts that `course run` ran into the homeworks' folders."""
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: no results.json of `course run` there ({error})") from error
    scripts = {script.name: script for script in SCRIPTS}
    for result in results["scripts"]:
        if result["status"] != "ok":
            print(f"{result['name']}: {result['status']}, not kept")
            continue
        script = scripts[result["name"]]
        target = ROOT / Path(script.file).parent / "results" / script.name
        keep_one(ROOT / result["run_directory"], target, figures=script.keeps_figures)


def keep_one(source: Path, target: Path, figures: tuple[str, ...]) -> None:
    """Copy one run's summary, flags, environment and those figures of its summary that fit a pattern."""
    summary = json.loads((source / "summary.json").read_text(encoding="utf-8"))
    wanted = [name for name in summary.get("figures", []) if any(fnmatch(name, one) for one in figures)]
    files = ["summary.json", "env.json", "config.json", *wanted]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in files:
        if name.endswith(".json"):
            kept = without_root(json.loads((source / name).read_text(encoding="utf-8")))
            text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
            (target / name).write_text(text, encoding="utf-8")
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
        if name.endswith(".png") and (target / name).stat().st_size > LARGE_FIGURE:
            with Image.open(source / name) as image:
                image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
                    target / name, optimize=True
                )
        if (target / name).stat().st_size > LARGEST_FIGURE:
            raise ValueError(f"{source / name}: larger than {LARGEST_FIGURE // 1000} kB; make it smaller")
    print(f"kept {target.relative_to(ROOT)}")


def without_root(value):
    """JSON without the path of this clone in its texts: a file inside has one name in every clone."""
    if isinstance(value, dict):
        return {key: without_root(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_root(one) for one in value]
    return value.replace(f"{ROOT}{os.sep}", "") if isinstance(value, str) else value


def pages() -> list[Path]:
    """All Markdown pages of the course that mark a table."""
    found = [path for pattern in ("*.md", "*/*.md", "*/*/*.md") for path in ROOT.glob(pattern)]
    return sorted(
        path
        for path in found
        if ".venv" not in path.parts and MARKED.search(path.read_text(encoding="utf-8"))
    )


def write_tables(page: Path, check: bool) -> bool:
    """Put every table of a page in its place; returns False if `check` and the page would change."""
    language = "ru" if page.name.endswith(".ru.md") or page.parent.name == "ru" else "en"
    text = page.read_text(encoding="utf-8")

    def table(found: re.Match) -> str:
        if found[2] not in TABLES:
            raise ValueError(
                f"{page.relative_to(ROOT)}: unknown table {found[2]}; there are {', '.join(TABLES)}"
            )
        return f"{found[1]}{markdown(TABLES[found[2]], language, ROOT)}{found[3]}"

    new = MARKED.sub(table, text)
    if new != text and not check:
        page.write_text(new, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return new == text or not check
