"""`course notebook --one-page`: a method in about a hundred lines, the homework's own functions on it."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import nbformat
import pytest
import torch
from matplotlib import pyplot
from test_notebook import pictures

from course import branches, tasks
from course.command_line import ROOT
from course.student import notebook, notebook_cells, one_page

TINY = {
    "hw1_bayes_and_autoencoders/train_vae.py": "--steps 2 --batch 8",
    "hw2_gan/train_gan.py": "--steps 2 --batch 8 --width 4",
    "hw4_diffusion/train_ddpm.py": "--steps 2 --batch 4 --width 8 --drawing-steps 2",
}
HOMEWORKS = {"hw1": "hw1_bayes_and_autoencoders", "hw2": "hw2_gan", "hw4": "hw4_diffusion"}
scripts = pytest.mark.parametrize("script", one_page.PAGES)


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", pyplot.close)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return pictures(tmp_path_factory.mktemp("картинки"))


def page(script: str, flags: str = "") -> str:
    return one_page.of_script(script, flags)


def run(tmp_path: Path, text: str, name: str = "__main__") -> dict:
    path = tmp_path / "page.py"
    path.write_text(text, encoding="utf-8")
    return runpy.run_path(str(path), run_name=name)


def convert(*arguments: object) -> int:
    return notebook.main([*map(str, arguments)])


def without_docstring(function: ast.stmt) -> str:
    if ast.get_docstring(function) is not None:
        function.body = function.body[1:]
    return ast.dump(function)


def test_there_is_a_page_of_a_vae_a_gan_and_a_diffusion_model():
    assert TINY.keys() == one_page.PAGES.keys()
    assert all((ROOT / path).is_file() for path in one_page.PAGES.values())


@scripts
def test_a_page_is_short_and_needs_nothing_of_the_homework(script):
    text = page(script)
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert 50 < len(lines) <= 130
    assert max(map(len, text.splitlines())) <= 110 and "# task" not in text and "# end task" not in text
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    ours = [
        node
        for node in imports
        if isinstance(node, ast.ImportFrom) and one_page.OURS.match(f"{node.module}.x")
    ]
    assert [ast.unparse(node) for node in ours] == ["from common import data"]


@scripts
def test_what_stands_on_the_page_is_the_homeworks_own(script):
    on_page = {each.name: each for each in ast.parse(page(script)).body
               if isinstance(each, (ast.FunctionDef, ast.ClassDef))}  # fmt: skip
    sketch = ast.parse((ROOT / one_page.PAGES[script]).read_text(encoding="utf-8"))
    taken = [(node.module, alias.name) for node in sketch.body if isinstance(node, ast.ImportFrom)
             for alias in node.names if one_page.OURS.fullmatch(node.module)]  # fmt: skip
    assert len(taken) >= 2 and any(module.startswith("hw") or "adversarial" in module for module, _ in taken)
    for module, name in taken:
        source = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        (own,) = (each for each in source.body if getattr(each, "name", None) == name)
        assert without_docstring(on_page[name]) == without_docstring(own)


@scripts
def test_it_computes_what_the_homework_does(script, tmp_path, folder):
    """Run, and run with the homework's functions imported: the same losses, bit for bit."""
    flags = f"{TINY[script]} --data '{folder}'"
    sketch = one_page.with_constants((ROOT / one_page.PAGES[script]).read_text(encoding="utf-8"), flags)
    alone, imported = run(tmp_path, page(script, flags)), run(tmp_path, sketch)
    assert alone["losses"] == imported["losses"] and len(alone["losses"]) == 2


def test_the_vae_learns(tmp_path):
    names = run(tmp_path, page("hw1_bayes_and_autoencoders/train_vae.py", "--steps 150"), "page")
    images = torch.rand(64, 1, 1, 1).expand(64, 1, 8, 8).round()
    _, losses = names["train"](images)  # black or white
    assert losses[0] > 40 and losses[-1] < 15


def test_both_players_of_the_gan_learn(tmp_path):
    names = run(tmp_path, page("hw2_gan/train_gan.py", "--steps 40 --width 8 --batch 16"), "page")
    G, losses = names["train"](torch.ones(32, 3, 32, 32))  # white
    torch.manual_seed(0)
    untrained = names["generator"]()
    assert all(not torch.equal(*each) for each in zip(G.parameters(), untrained.parameters()))
    assert losses[0][0] == pytest.approx(1.39, abs=0.1) and losses[-1][0] < 0.8
    assert G.n_averaged == 40, "what draws is the mean of every step's weights"


def test_the_diffusion_model_learns_and_draws_what_it_has_seen(tmp_path):
    flags = "--steps 120 --width 8 --batch 32 --drawing-steps 10"
    names = run(tmp_path, page("hw4_diffusion/train_ddpm.py", flags), "page")
    network, losses = names["train"](torch.ones(32, 1, 8, 8))
    assert losses[0] == pytest.approx(1, abs=0.5) and sum(losses[-20:]) / 20 < 0.3
    assert names["draw"](network, (8, 1, 8, 8)).mean() > 0.5


@scripts
def test_as_a_notebook_and_back_to_a_script_of_its_own(tmp_path, capsys, script):
    out, again = tmp_path / "page.ipynb", tmp_path / "page.py"
    assert convert(ROOT / script, "--one-page", "--out", out) == 0, capsys.readouterr().err
    made = nbformat.read(out, 4)
    nbformat.validate(made)
    assert made.cells[0].source.startswith("# A") and "git" in made.cells[1].source
    words = [cell.source for cell in made.cells if cell.cell_type == "markdown"]
    assert any("eq. (" in text and "From " in text for text in words)
    assert "__name__" not in made.cells[-1].source and made.cells[-1].source.startswith("images = ")
    assert convert(out, "--script", "--out", again) == 0 and again.read_text(encoding="utf-8") == page(script)


@scripts
def test_a_notebook_of_one_page_runs_and_shows_its_pictures(tmp_path, capsys, monkeypatch, folder, script):
    pytest.importorskip("ipykernel")
    pytest.importorskip("nbclient")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    out = tmp_path / "page.ipynb"
    flags = f"{TINY[script]} --data '{folder}'"
    status = convert(ROOT / script, "--one-page", "--out", out, "--flags", flags, "--execute")
    assert status == 0, capsys.readouterr().err
    outputs = [output for cell in nbformat.read(out, 4).cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hw2_gan/train_gan.py", "--one-page", "--script"], "leave one of them out"),
        (["hw3_stylegan_sampling/train_stylegan.py", "--one-page"], "no such page of hw3_stylegan_sampling"),
        (["hw2_gan/train_gan.py", "--one-page", "--flags", "--epochs 3"], "no such constant; it has --data"),
        (["hw2_gan/train_gan.py", "--one-page", "--flags=--steps"], "names and values in turn"),
        (["hw2_gan/train_gan.py", "--one-page", "--flags", "--steps few"], "a whole number from 1 on"),
        (["hw2_gan/train_gan.py", "--one-page", "--flags", "--steps 0"], "a whole number from 1 on"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_one_line(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert convert(ROOT / arguments[0], *arguments[1:]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_without_flags_it_has_a_name_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert convert(ROOT / "hw2_gan/train_gan.py", "--one-page") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["train_gan_on_one_page.ipynb"]


# ---- in starter code


def test_tasks_of_a_page_are_cut_as_those_of_the_homework_and_count_no_points():
    listed = tasks.all_tasks()
    assert not [r for task in listed for r in task.regions if r.path.startswith("course/")]
    said = set()
    for path in one_page.PAGES.values():
        text = (ROOT / path).read_text(encoding="utf-8")
        own = re.search(r"/(hw\d|lab\d)_", path)[1]
        found = tasks.regions(text, path)
        assert {region.task for region in found} <= {task.name for task in listed if task.homework == own}
        cut = tasks.cut(text, path, own)
        assert cut.count("raise NotImplementedError") == len(found)
        said |= {region.task for region in found}
        ast.parse(cut)
    assert said == {"hw2.c", "hw4.b", "hw4.c"}


def test_starter_code_has_the_page_of_its_homework_alone_without_the_solution():
    paths = [
        "README.md",
        "course/branches.toml",
        *one_page.PAGES.values(),
        *(f"{each}/x.py" for each in HOMEWORKS.values()),
    ]
    files = [branches.File("100644", path, path) for path in paths]
    known = branches.homeworks(files)
    for own in known:
        rules = {"main_only": [], "answers": []}
        left = branches.kept(files, known, own, rules, lambda file: "", starter=True)
        pages = [file.path for file in left if file.path.startswith("course/one_page/")]
        assert len(pages) == 1 and own.name in pages[0]
    assert any("course/one_page/x.py".startswith(place) for place in branches.WITH_TASKS)


def test_a_page_of_unwritten_code_says_which_task_is_to_be_written(tmp_path):
    """As in starter code: a function of the homework is cut, and stands so on the page."""
    for path in ("common/adversarial.py", "course/one_page/hw2_gan.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(tasks.cut((ROOT / path).read_text(encoding="utf-8"), path, "hw2"))
    text = one_page.of_script("hw2_gan/train_gan.py", "--steps 1", tmp_path)
    assert text.count('raise NotImplementedError("hw2.c') == 3
    names = run(tmp_path, text, "page")
    with pytest.raises(NotImplementedError, match=r"hw2\.c: one step of the discriminator"):
        names["train"](torch.ones(8, 3, 32, 32))


def test_comments_of_cells_are_those_that_the_script_had():
    cells = notebook_cells.of_script(page("hw4_diffusion/train_ddpm.py"))
    assert notebook_cells.to_script(cells) == page("hw4_diffusion/train_ddpm.py")
    assert sum(cell.of == notebook_cells.COMMENT for cell in cells) > 10
