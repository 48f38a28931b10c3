"""What is read of a submission: pages, notebooks, pictures, requirements; hostile ones too."""

import base64
import io
import json
import re
import struct
import time
import zlib

import pytest
from PIL import Image
from student_writing import picture

from course.mentor import (
    markdown,
    notebooks,
    pictures,
    requirements_files,
    targets,
)

pytest.importorskip("resource", reason="limits as POSIX has them")


def page(text: str) -> markdown.Page:
    return markdown.read("README.md", text.encode())


# ---- pages


def test_headings_of_every_kind_and_bold_lines_are_sections():
    found = page("# A\n\nx\n\n### B\n\ny\n\n**C**\nz\n\n<h2>D</h2>\n\nw\n\n1. One\n")
    assert [(block.kind, block.section) for block in found.blocks if block.kind == "heading"] == [
        ("heading", "A"), ("heading", "A / B"), ("heading", "A / B / C"), ("heading", "A / D")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("![a](x.png)", "x.png"),
        ('![a](x.png "title")', "x.png"),
        ("![a](my%20images/x.png)", "my%20images/x.png"),
        ("![a](my images/x.png)", "my images/x.png"),
        ("![a](plot (1).png)", "plot (1).png"),
        ("![a](<plot 1.png>)", "plot%201.png"),
        ('<img src="x.png" width=10>', "x.png"),
        ("<p align='center'><IMG SRC='x.png'></p>", "x.png"),
        ("<image src=x.png>", "x.png"),
        ("text ![a][ref]\n\n[ref]: x.png", "x.png"),
        ("| a |\n|---|\n| ![a](x.png) |", "x.png"),
        ("- item ![a](x.png)", "x.png"),
        ("[![a](x.png)](https://e.org)", "x.png"),
    ],
)
def test_pictures_as_people_put_them_into_pages(text, target):
    assert [each.target for each in page(text).pictures] == [target]


@pytest.mark.parametrize(
    "text", ["`![a](x.png)`", "```\n![a](x.png)\n```", "<!-- ![a](x.png) -->", "\\![a](b)"]
)
def test_what_is_no_picture(text):
    assert page(text).pictures == []


@pytest.mark.parametrize(
    ("content", "text"),
    [("Датасет".encode("cp1251"), "Датасет"), ("\ufeffДа".encode(), "Да"), ("Да".encode("utf-16"), "Да")],
)
def test_encodings_that_editors_leave(content, text):
    assert markdown.decoded(content) == text


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 300_000, "![" * 200_000, "`" * 600_000, "*a " * 200_000, "<a " * 200_000, "> " * 100_000),
        *(
            "a\n" * 300_000,
            "|a" * 300_000,
            "<!--" * 100_000,
            "[a](" * 100_000,
            "x" * 10_000_000,
            "- " * 50_000,
        ),
        *("**a**\n" * 50_000, "&" * 500_000, "![a](" + "b" * 500_000 + ".png)"),
        "\n".join(" " * n + "- a" for n in range(2000)),
    ],
    ids=lambda text: repr(text[:6]),
)
def test_pages_that_are_made_to_be_slow_are_given_up(text):
    started = time.process_time()
    found = page(text)
    assert time.process_time() - started < 4 * markdown.SECONDS
    assert len(found.blocks) <= markdown.MOST_BLOCKS


# ---- notebooks


def notebook(*cells: object, **more: object) -> bytes:
    return json.dumps({"cells": list(cells), "nbformat": 4, **more}).encode()


def test_a_notebook_of_every_kind_of_cell():
    png = base64.b64encode(picture(1)).decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Data\n", "text"]},
        {
            "cell_type": "markdown",
            "source": "![a](attachment:x.png)",
            "attachments": {"x.png": {"image/png": png}},
        },
        {
            "cell_type": "code",
            "source": ["x = 1\n", "y"],
            "outputs": [{"text": ["FID ", "4.5"]}, {"data": {"image/png": png, "text/plain": "<Figure>"}}],
        },
    ]
    found = notebooks.read("a.ipynb", notebook(*cells))
    assert [block.kind for block in found.blocks] == ["heading", "text", "code", "output", "output"]
    assert found.blocks[3].text == "FID 4.5"
    assert found.blocks[2].section == "Data", "a heading holds for the cells that follow"
    assert [each.data for each in found.pictures] == [picture(1), picture(1)]
    assert found.notes == []


def test_version_3_of_the_format():
    cells = [{"cell_type": "code", "input": "x", "outputs": [{"png": base64.b64encode(b"p").decode()}]}]
    found = notebooks.read("a.ipynb", json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}).encode())
    assert (found.blocks[0].text, found.pictures[0].data) == ("x", b"p")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"", "not JSON"),
        (b'{"cells": [', "not JSON"),
        (b"[" * 100_000, "not JSON|nested too deeply"),
        (b"[1, 2]", "no notebook"),
        (b'{"cells": 5}', "no notebook"),
        (notebook(1, None, {"cell_type": "code", "source": 5, "outputs": 7}), "damaged: 3"),
        (notebook(*[{"cell_type": "code", "source": ""}] * 5000), "only the first 3000"),
    ],
)
def test_notebooks_that_are_none(content, note):
    assert re.search(note, "; ".join(notebooks.read("a.ipynb", content).notes))


def test_outputs_with_scripts_are_not_taken():
    output = {
        "data": {"text/html": "<script>x</script>", "application/javascript": "x", "image/svg+xml": "<svg/>"}
    }
    found = notebooks.read("a.ipynb", notebook({"cell_type": "code", "source": "x", "outputs": [output]}))
    assert [block.kind for block in found.blocks] == ["code"]
    assert found.pictures == []


# ---- pictures


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_pictures_of_the_common_formats(form):
    found = pictures.look(encoded(Image.effect_noise((80, 60), 90).convert("RGB"), form))
    assert (found.trouble, found.width, found.height, found.format) == ("", 80, 60, form)
    assert Image.open(io.BytesIO(base64.b64decode(found.thumbnail))).format == "JPEG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "F"])
def test_pictures_of_every_mode(mode):
    form = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    content = encoded(Image.new(mode, (40, 30)), form)
    assert pictures.look(content).trouble == ("not a picture" if form == "TIFF" else "")


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "SVG"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * 100, "broken|not a picture"),
        (picture(1)[:200], "broken"),
        (b"%PDF-1.4", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not a picture"),
        (bytes(pictures.MOST_BYTES + 1), "larger than"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_pictures_that_do_not_decode(content, trouble):
    assert re.search(trouble, pictures.look(content).trouble)


@pytest.mark.parametrize("side", [8_000, 12_000, 30_000])
def test_a_bomb_is_told_from_its_header(side):
    chunk = lambda kind, data: (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    content = (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")
    )
    started = time.process_time()
    assert "million pixels" in pictures.look(content).trouble
    assert time.process_time() - started < 2


def test_an_animation_of_many_frames_is_not_walked_through():
    frame = encoded(Image.new("P", (2, 2)), "GIF")
    block = frame[frame.index(b",") : -1]
    content = frame[:-1] + block * 300_000 + b";"
    started = time.process_time()
    found = pictures.look(content)
    assert time.process_time() - started < 5
    assert found.animated


def test_a_plot_is_told_from_a_photograph():
    assert pictures.look(picture(1, "plot")).looks_drawn
    assert not pictures.look(picture(1)).looks_drawn


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("x.png", ["hw1/x.png", "x.png"]),
        ("./x.png", ["hw1/x.png", "x.png"]),
        ("../img/x.png", ["img/x.png"]),
        ("/img/x.png", ["img/x.png"]),
        ("img%2Fx.png", ["hw1/img%2Fx.png", "hw1/img/x.png", "img/x.png"]),
        ("x.png?raw=true", ["hw1/x.png", "hw1/x.png?raw=true", "x.png?raw=true"]),
        ("img\\x.png", ["hw1/img/x.png", "hw1/img\\x.png", "img\\x.png"]),
        ("%D0%B0.png", ["hw1/%D0%B0.png", "hw1/а.png", "а.png"]),
        ("../../../etc/passwd", []),
        ("javascript:alert(1)", []),
    ],
)
def test_what_a_target_means(target, paths):
    assert targets.paths(target, "hw1/README.md", "https://host/me/course", "hw1")[0] == paths


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("https://host/me/course/blob/homework_1/img/x.png?raw=true", "img/x.png"),
        ("https://host/me/course/raw/main/img/x.png", "img/x.png"),
        ("https://raw.host/me/course/homework_1/x.png", "x.png"),
        ("https://host/me/course/-/raw/feature/x.png", "x.png"),
        ("https://host/other/course/blob/homework_1/x.png", None),
        ("https://host/user-attachments/assets/123", None),
        ("//host/x.png", None),
    ],
)
def test_addresses_of_the_same_repository(address, path):
    for source in ("https://host/me/course", "git@host:me/course.git"):
        found, elsewhere = targets.paths(address, "README.md", source, "homework_1")
        assert (found, elsewhere) == ([path] if path else [], True)


# ---- requirements


@pytest.mark.parametrize(
    ("path", "content", "counts", "note"),
    [
        ("requirements.txt", "torch==2.1\nnumpy\n# c\n", (1, 1), ""),
        ("requarements.txt", "torch==2.1\n", (1, 0), "misspelt"),
        ("requirements.txt", "numpy=1.2=py_0\ntorch == 2.1\n", (1, 0), "pip would refuse line 1"),
        ("requirements.txt", "a @ file:///home/me/a.whl\nb==1\n", (1, 0), "another computer"),
        (
            "requirements.txt",
            "-i https://evil.example\n--trusted-host x\nb==1 --hash=sha256:00\n",
            (1, 0),
            "options of pip",
        ),
        ("requirements.txt", "git+https://host/a/b@v1\nhttps://host/x.whl\n", (1, 1), ""),
        ("pyproject.toml", '[project]\ndependencies = ["a==1", "b>=2"]', (1, 1), ""),
        (
            "pyproject.toml",
            '[tool.poetry.dependencies]\npython = "^3.10"\na = "1.2"\nb = {version = "^3"}',
            (1, 1),
            "",
        ),
        ("pyproject.toml", "[[", (0, 0), "damaged"),
        ("poetry.lock", '[[package]]\nname = "a"\nversion = "1"', (1, 0), ""),
        ("uv.lock", '[[package]]\nname = "a"\nversion = "1"', (1, 0), ""),
        ("environment.yml", "dependencies:\n  - python=3.10\n  - pip:\n    - a==1\n    - b\n", (2, 2), ""),
    ],
)
def test_requirements_in_every_file(path, content, counts, note):
    assert requirements_files.is_requirements(path)
    found = requirements_files.read(path, content.encode())
    assert (found.pinned, found.unpinned) == counts
    assert note in "; ".join(found.notes)


def test_a_freeze_of_powershell_is_read():
    assert requirements_files.read("requirements.txt", "a==1\r\nb==2\r\n".encode("utf-16")).pinned == 2


def test_install_cells():
    found = requirements_files.from_cells(
        [("a.ipynb cell 1", "!pip install -q torch==2.1 lpips\n%pip install x==1")]
    )
    assert [(each.pinned, each.unpinned) for each in found] == [(2, 1)]
