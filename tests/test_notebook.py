"""`course notebook`: scripts as notebooks, run, as HTML, and back to the same script."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

from common import figures
from common.data import creatures

import pytest

from course.command_line import ROOT
from course.student import notebook, notebook_cells
from course.student.notebook_cells import CODE, COMMENT, DOCSTRING, HEADING, MAIN

nbformat = pytest.importorskip("nbformat")
SCRIPTS = sorted(path for path in ROOT.glob("*_*/*.py") if path.parent.name.startswith(("hw", "lab")))
SCRIPT = '''\
"""Draws a line.

python draw.py --length 3     # a second
python draw.py \\\\
    --length 4

That is all.
"""

from __future__ import annotations

import os
import sys

LENGTH = 3
"""Of the line."""
WIDTH = 1
# A remark of its own,
# in two lines.

# ---- drawing


# this stands right above the function
@staticmethod
def line(length):
    """A line."""
    return "-" * length
    # end task


class Config:
    pass


if __name__ == "__main__":
    print(line(LENGTH))
'''


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_script_of_the_course_comes_back_as_it_was(path):
    script = path.read_text(encoding="utf-8")
    cells = notebook_cells.of_script(script)
    assert notebook_cells.to_script(cells) == script
    for cell in cells:
        if cell.is_code:
            ast.parse(cell.text)


def test_what_becomes_a_cell():
    cells = notebook_cells.of_script(SCRIPT)
    assert [cell.of for cell in cells] == [DOCSTRING, CODE, CODE, COMMENT, HEADING, CODE, CODE, MAIN]
    docstring, imports, constants, remark, heading, function, _, end = (cell.text for cell in cells)
    assert docstring.startswith("# Draws a line.\n\n```bash\npython draw.py") and "That is all." in docstring
    assert imports.count("import") == 3 and constants.endswith("WIDTH = 1")
    assert remark == "A remark of its own,\nin two lines." and heading == "## drawing"
    assert function.startswith("# this stands right above") and function.endswith("# end task")
    assert end.startswith("if __name__")
    assert notebook_cells.to_script(cells) == SCRIPT


def convert(*arguments: object) -> int:
    return notebook.main([*map(str, arguments)])


def test_there_and_back_through_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    script, file, again = tmp_path / "draw.py", tmp_path / "x.ipynb", tmp_path / "again.py"
    script.write_text(SCRIPT, encoding="utf-8")
    assert convert(script, "--out", file, "--flags", "--length 5") == 0
    made = nbformat.read(file, as_version=4)
    nbformat.validate(made)
    assert [cell.cell_type for cell in made.cells[:3]] == ["markdown", "code", "code"]
    assert "git" in made.cells[1].source and "'--length 5'" in made.cells[-2].source
    assert convert(file, "--script", "--out", again) == 0 and again.read_text(encoding="utf-8") == SCRIPT

    made.cells[6].source += "\n"
    made.cells.insert(5, nbformat.v4.new_code_cell("mine = 1"))
    made.cells.insert(5, nbformat.v4.new_markdown_cell("my words"))
    nbformat.write(made, file)
    again.unlink()
    assert convert(file, "--script", "--out", again) == 0
    assert "\n\n\n# my words\n" in again.read_text() and "\n\n\nmine = 1\n" in again.read_text()


@pytest.mark.parametrize(
    ("name", "text", "more", "said"),
    [
        ("gone.py", None, [], "gone.py: No such file"),
        ("broken.py", "def f(:", [], "broken.py: not Python"),
        ("x.ipynb", "{", ["--script"], "x.ipynb: no notebook"),
        ("x.ipynb", '{"a": 1}', ["--script"], "x.ipynb: no notebook"),
        ("x.py", "x = 1", ["--out", "there.ipynb"], "there.ipynb: there already"),
        ("letters.py", b"\xff\xfe\xfa", [], "no text in UTF-8"),
    ],
)
def test_what_cannot_be_converted_is_one_line_and_nothing_changes(
    tmp_path, capsys, monkeypatch, name, text, more, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    Path("there.ipynb").write_text("mine")
    if text is not None:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    before = {path.name for path in tmp_path.iterdir()}
    assert convert(name, *more) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == before and Path("there.ipynb").read_text() == "mine"


def test_a_script_of_somewhere_else_is_refused(tmp_path, capsys):
    (tmp_path / "x.py").write_text("x = 1")
    assert convert(tmp_path / "x.py", "--out", tmp_path / "x.ipynb") == 1
    assert "not a script of" in capsys.readouterr().err


@pytest.mark.parametrize("origin", [True, False])
def test_the_first_cell_clones_the_branch_that_is_there(tmp_path, capsys, monkeypatch, origin):
    mine, remote = tmp_path / "mine", tmp_path / "remote.git"

    def git(*arguments: object) -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(mine), *name, *map(str, arguments)], check=True, capture_output=True)

    mine.mkdir()
    git("init", "--initial-branch", "main")
    (mine / "README.md").write_text("mine")
    git("add", "--all")
    git("commit", "--message", "one")
    git("checkout", "-b", "homework_2")
    (mine / "draw.py").write_text(SCRIPT, encoding="utf-8")
    (mine / "requirements.txt").write_text("")
    git("add", "--all")
    git("commit", "--message", "two")
    if origin:
        subprocess.run(["git", "init", "--quiet", "--bare", "-b", "main", str(remote)], check=True)
        git("remote", "add", "origin", remote)
        git("push", "origin", "main", "homework_2")
    monkeypatch.setattr(notebook, "ROOT", mine)
    assert convert(mine / "draw.py", "--out", tmp_path / "x.ipynb", "--flags", "") == 0
    said = capsys.readouterr().err
    cell = next(each for each in nbformat.read(tmp_path / "x.ipynb", 4).cells if "git" in each.source).source
    if not origin:
        assert said.count("\n") == 1 and "no remote `origin`" in said and "REPOSITORY" in said
        return
    assert not said
    (tmp_path / "colab").mkdir()
    cell = cell.replace('"-m", "pip", "install"', '"-c", "0"')  # no index is asked
    subprocess.run([sys.executable, "-c", cell], cwd=tmp_path / "colab", check=True)
    assert (tmp_path / "colab" / "course-files" / "draw.py").is_file()


def test_what_the_first_cell_says_of_the_remote(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet", "--initial-branch", "homework_2"], check=True)
    address = "https://me:secret@example.org/me/gan.git"
    subprocess.run([*git, "remote", "add", "origin", address], check=True)
    assert notebook._repository() == ("https://example.org/me/gan.git", "homework_2")
    assert "origin has no branch homework_2 yet; push it" in capsys.readouterr().err


# ---- run, which needs a kernel


def pictures(folder: Path) -> Path:
    """Small drawn creatures in a folder with splits."""
    for split, count in (("train", 48), ("val", 12), ("test", 12)):
        for i, image in enumerate(creatures.draw_set(split, 48, count, 0).images):
            figures.save_png(folder / split / f"{i:03d}.png", image)
    return folder


TINY = {
    "hw1_bayes_and_autoencoders/train_vae.py": "--data {data} --size 8 --epochs 1 --batch-size 24",
    "hw2_gan/train_gan.py": (
        "--data {data} --size 32 --width 0.125 --epochs 1 --batch-size 24 --measure-images 8 --device cpu"
    ),
    "hw3_stylegan_sampling/train_stylegan.py": (
        "--data {data} --size 8 --channels 8 6 --z-dim 6 --w-dim 7 --steps 2 --batch-size 8 "
        "--measure-every 2 --measure-images 8 --device cpu"
    ),
    "hw4_diffusion/train_ddpm.py": (
        "--data {data} --size 16 --channels 8 8 --steps 2 --batch-size 8 --timesteps 20 --measure-every 2 "
        "--measure-images 12 --device cpu"
    ),
    "lab8_generative/train_autoencoder.py": (
        "--data {data} --size 48 --width 4 --latent 6 --epochs 1 --batch-size 8 --device cpu"
    ),
}


@pytest.mark.parametrize("script", TINY)
def test_a_notebook_of_every_homework_runs_and_keeps_its_figures(tmp_path, capsys, script):
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    flags = TINY[script].format(data=pictures(tmp_path / "картинки")) + f" --outdir {tmp_path / 'runs'}"
    out = tmp_path / "тетрадь.ipynb"
    assert convert(ROOT / script, "--out", out, "--flags", flags, "--execute") == 0, capsys.readouterr().err
    outputs = [output for cell in nbformat.read(out, 4).cells for output in cell.get("outputs", [])]
    assert [kind for output in outputs for kind in output.get("data", {}) if kind == "image/png"]
    assert next((tmp_path / "runs").glob("*/*/summary.json")).is_file()


def test_a_cell_that_fails_is_named_and_the_notebook_so_far_kept(tmp_path, capsys, monkeypatch):
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    pytest.importorskip("nbconvert")
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    script, out = tmp_path / "x.py", tmp_path / "x.ipynb"
    script.write_text("print('so far')\n\n\ndef f():\n    return 1 / 0\n\n\nf()\n")
    assert convert(script, "--out", out, "--execute") == 1
    assert "x.ipynb: a cell failed: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert "so far" in (tmp_path / "x.failed.ipynb").read_text() and not out.exists()
    script.write_text("print(6 * 7)\n")
    assert convert(script, "--out", out, "--execute", "--html") == 0
    assert ">42" in out.with_suffix(".html").read_text().replace("\n", "")
    assert json.loads(out.read_text())["cells"][1]["outputs"][0]["text"] == ["42\n"]
