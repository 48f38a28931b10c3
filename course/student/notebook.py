"""`python3 -m course notebook SCRIPT`: a script as a notebook, for Jupyter, Colab and Kaggle, and back.

    python3 -m course notebook hw2_gan/train_gan.py
    python3 -m course notebook hw2_gan/train_gan.py --flags "--epochs 1" --execute --html
    python3 -m course notebook hw2_gan/train_gan.py --one-page
    python3 -m course notebook train_gan.ipynb --script

The notebook has the script's docstring and headings as text and every function as a cell of its own; the
first cell finds the course, or fetches it where the notebook runs elsewhere; the last ones call main with
flags and show the figures.  --execute runs it with the budget of `course run` unless --flags says otherwise.
With --one-page it is a first meeting with the method in about a hundred lines: a VAE, a GAN or a diffusion
model, with the homework's own functions on the page and without the plumbing; --flags then changes its
constants.  With --script the cells become a script again; what only the notebook has is left out.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from common import atomic
from common.errors import InputError

from course import failures
from course.command_line import ROOT
from course.student import notebook_cells, one_page
from course.student.notebook_cells import ADDED, CODE, DOCSTRING, MAIN, Cell

PASSWORD = re.compile(r"^(https?://)[^/@]*@")
"""Of an address: a token that may stand there belongs into no notebook."""
KEY = "course"
"""Of what a cell's metadata says about the script."""
SET_UP = """\
# Finds the course, or fetches it: Colab and Kaggle start without it.
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = {repository!r}
BRANCH = {branch!r}
here = Path.cwd()
root = next((place for place in (here, *here.parents) if (place / {script!r}).exists()), None)
if root is None:
    root = here / "course-files"
    branch = ["--branch", BRANCH] if BRANCH else []
    subprocess.check_call(["git", "clone", "--quiet", *branch, REPOSITORY, str(root)])
    needs = str(root / "requirements.txt")
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", "-r", needs])
os.chdir(root)
sys.path.insert(0, str(root))
__file__ = str(root / {script!r})"""
START = """\
import shlex
import time

from common import command_line

began = time.time()
config = command_line.parse(Config, shlex.split({flags!r}))
main(config)"""
PICTURES = """\
from IPython.display import Image, display

made = sorted(Path(getattr(config, "outdir", "runs")).rglob("*.png"), key=lambda path: path.stat().st_mtime)
for picture in [path for path in made if path.stat().st_mtime >= began][-12:]:
    print(picture)
    display(Image(str(picture)))"""


def main(arguments: list[str]) -> int:
    """Exit status 1 where something cannot be read, written or run."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course notebook", description=__doc__.partition("\n\n")[0],
        epilog=__doc__.partition("\n\n")[2], formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("file", type=Path, help="a homework's script, or with --script a notebook")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: here, under the same name")
    parser.add_argument("--flags", help="what main is called with; default: those of `course run`")
    parser.add_argument("--execute", action="store_true", help="run it and keep its figures")
    parser.add_argument("--html", action="store_true", help="an HTML page of it, too")
    parser.add_argument(
        "--one-page", action="store_true", help="the method alone: of a VAE, a GAN or a diffusion model"
    )
    parser.add_argument("--script", action="store_true", help="a notebook as a script")
    options = parser.parse_args(arguments)
    try:
        out = convert(options)
    except InputError as error:
        print(f"course notebook: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"course notebook: {failures.explain_os_error(error, ROOT)}", file=sys.stderr)
        return 1
    print(out)
    return 0


def convert(options: argparse.Namespace) -> Path:
    """Write what was asked for; its path."""
    source = Path(os.path.expanduser(options.file))
    if options.one_page and options.script:
        raise InputError("--one-page makes a notebook, and --script a script of one; leave one of them out")
    ending = ".py" if options.script else "_on_one_page.ipynb" if options.one_page else ".ipynb"
    out = Path(os.path.expanduser(options.out or source.stem + ending))
    if out.exists():
        raise InputError(f"{out}: there already; name another file by --out, or move it away")
    if options.script:
        _write(out, notebook_cells.to_script(cells_of(source)))
        return out
    notebook = of_script(source, options.flags, on_one_page=options.one_page)
    if options.execute:
        execute(notebook, out)
    _write(out, _format().writes(notebook) + "\n")
    if options.html:
        _write(out.with_suffix(".html"), as_html(notebook))
    return out


def of_script(script: Path, flags: str | None = None, *, on_one_page: bool = False) -> dict:
    """The notebook of a script of the course, or of its method alone."""
    text = _read(script)
    try:
        cells = notebook_cells.of_script(text)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{script}: not Python: {error}") from None
    place = script.absolute()
    if not place.is_relative_to(ROOT):
        raise InputError(f"{script}: not a script of {ROOT}; name one of a homework's folder")
    name = place.relative_to(ROOT).as_posix()
    if on_one_page:
        cells = notebook_cells.of_script(one_page.of_script(name, flags, ROOT))
    if cells and cells[0].of == DOCSTRING:
        first, rest = cells[:1], cells[1:]
    else:
        first, rest = [], cells
    address, branch = _repository()
    set_up = Cell(ADDED, SET_UP.format(repository=address, branch=branch, script=name))
    if on_one_page:
        return _notebook([*first, set_up, *map(_in_the_open, rest)])
    made = [*first, set_up, *(_started(cell, name, flags) for cell in rest)]
    if any(cell.of == MAIN for cell in made):
        made.append(Cell(ADDED, PICTURES))
    return _notebook(made)


def _in_the_open(cell: Cell) -> Cell:
    """What a script does when it is started, as lines of a cell."""
    if cell.of != MAIN:
        return cell
    lines = textwrap.dedent(cell.text.partition("\n")[2])
    return Cell(MAIN, lines, cell.blank, cell.script)


def _started(cell: Cell, name: str, flags: str | None) -> Cell:
    """The cell that calls main, in the place of the script's last lines."""
    if cell.of != MAIN:
        return cell
    return Cell(
        MAIN, START.format(flags=short_flags(name) if flags is None else flags), cell.blank, cell.script
    )


def short_flags(name: str) -> str:
    """What `course run` gives a script; nothing where it needs another one's run first."""
    from course import weeks

    found = [
        script for script in weeks.SCRIPTS if script.file == name and script.short and not script.needs(False)
    ]
    return found[0].short if found else ""


def _repository() -> tuple[str, str]:
    """Where this repository can be cloned from, without a password, and its current branch; says what is
    missing for it."""
    address = PASSWORD.sub(r"\1", _git("remote", "get-url", "origin"))
    branch = _git("symbolic-ref", "--short", "--quiet", "HEAD")
    if not address:
        said = f"{ROOT} has no remote `origin`: for Colab, write an address into REPOSITORY of the first cell"
        print(f"course notebook: {said}", file=sys.stderr)
    elif branch and not _git("rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}"):
        said = f"origin has no branch {branch} yet; push it before the notebook runs on Colab"
        print(f"course notebook: {said}", file=sys.stderr)
    return address or "the address of your repository", branch


def _git(*arguments: str) -> str:
    """What git says of this repository; nothing where it fails."""
    asked = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _notebook(cells: list[Cell]) -> dict:
    """Cells as Jupyter's format has them."""
    v4 = _format().v4
    made = []
    for number, cell in enumerate(cells):
        known = {"of": cell.of, "blank": cell.blank, **({"script": cell.script} if cell.script else {})}
        kind = v4.new_code_cell if cell.is_code else v4.new_markdown_cell
        made.append(kind(cell.text, metadata={KEY: known}, id=f"cell-{number}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=made, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def cells_of(path: Path) -> list[Cell]:
    """The cells of a notebook file, with what they were made of; a cell of the user's own is code."""
    nbformat = _format()
    try:
        notebook = nbformat.reads(_read(path), as_version=4)
        return [_cell(each) for each in notebook.cells]
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError, TypeError):
        raise InputError(f"{path}: no notebook; save it anew in Jupyter") from None


def _cell(cell: dict) -> Cell:
    known, code = cell.metadata.get(KEY), cell.cell_type == "code"
    if known is None:
        return Cell(CODE if code else notebook_cells.COMMENT, cell.source, 2)
    return Cell(known["of"], cell.source, known["blank"], known.get("script", ""))


def execute(notebook: dict, out: Path) -> None:
    """Run it in the course's folder; InputError naming what failed, the notebook so far kept beside it."""
    nbclient = _library("nbclient")
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        kernel = _library("jupyter_client").AsyncKernelManager(kernel_name="python3")
        if os.name != "nt":  # sockets of the file system: nobody else on the network or the computer
            kernel.transport, kernel.ip = "ipc", os.path.join(sockets, "socket")
        client = nbclient.NotebookClient(
            notebook,
            km=kernel,
            timeout=None,
            startup_timeout=300,
            resources={"metadata": {"path": str(ROOT)}},
        )
        try:
            client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
        except nbclient.exceptions.CellExecutionError as error:
            kept = out.with_suffix(".failed.ipynb")
            _write(kept, _format().writes(notebook) + "\n")
            said = f"{error.ename}: {error.evalue}".splitlines()[0]
            raise InputError(f"{out}: a cell failed: {said}; the notebook so far is {kept}") from None


def as_html(notebook: dict) -> str:
    return _library("nbconvert").HTMLExporter().from_notebook_node(notebook)[0]


def _format():
    return _library("nbformat")


def _library(name: str):
    """Imported when it is needed: Jupyter's libraries take a second."""
    import importlib

    return importlib.import_module(name)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: no text in UTF-8") from None


def _write(path: Path, text: str) -> None:
    with atomic.replacing(path, advice="name another file by --out") as beside:
        beside.write_text(text, encoding="utf-8")
