"""What one invented student hands in: texts, code, pictures, each item of the rubric in a few ways."""

from __future__ import annotations

import base64
import io
import json
import random

import numpy as np
from PIL import Image
from student_phrases import CODE, DRAWN, ITEMS, PICTURES, SAYS, SIZES, VALUES

NUMBERS = {"hw1": 1, "hw2": 2, "hw3": 3, "hw4": 4, "lab8": 8}


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
