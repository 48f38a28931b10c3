"""Branches of the homeworks: what they hold, that they are made the same again, and that nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course import branch_pages, branches, tasks
from course.command_line import ROOT
from course.student import start

FILES = {
    "README.md": "# The course\n\n[hw1](hw1_first/README.md)\n",
    "LICENSE": "MIT\n",
    "common/losses.py": (
        'def loss(x):\n    """Doc."""\n    # task hw1.a: the loss\n    return x\n    # end task\n\n\n'
        "def other(x):\n    # task hw2.a: the other\n    return -x\n    # end task\n"
    ),
    "course/branches.toml": (
        'main_only = ["tests/test_all.py", "benchmarks/"]\nanswers = ["tests/test_losses.py"]\n'
    ),
    "benchmarks/speed.py": "",
    "course/tasks.toml": '[hw1]\na = { points = 5, title = "a" }\n[hw2]\na = { points = 5, title = "a" }\n',
    "course/weeks/hw1.py": "",
    "course/weeks/hw2.py": "",
    "hw1_first/README.md": (
        "# First\n\n[theory](../theory/en/one.md#one), [second](../hw2_second/README.md), "
        "![curve](results/curve.png)\n\n<!-- report -->\nours: 1.0\n<!-- end of report -->\n\nend\n"
    ),
    "hw1_first/train.py": "from common.losses import loss\n",
    "hw1_first/results/curve.png": "not really a picture",
    "hw2_second/README.md": "# Second\n",
    "hw2_second/README.ru.md": "# Второе\n",
    "hw2_second/train.py": "from common.losses import other\n",
    "lab8_third/train.py": "",
    "tests/test_all.py": "",
    "tests/test_losses.py": "from common.losses import loss\n",
    "tests/test_first.py": "from hw1_first import train\n",
    "tests/second_nets.py": "from hw2_second import train\n",
    "tests/test_second.py": "from second_nets import train\n",
    "theory/en/one.md": "# One\n\n[code](../../hw1_first/train.py), [other](../../hw2_second/train.py)\n",
}


def git(folder: Path, *arguments: str) -> str:
    names = {f"GIT_{who}_{what}": "me" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", "-C", folder, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **names},
    )
    return done.stdout.strip()


@pytest.fixture
def course(tmp_path, monkeypatch) -> Path:
    """A small course in a repository of its own, in a folder with a space and Cyrillic letters."""
    root = tmp_path / "мой курс"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(root))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "one")
    monkeypatch.setattr(branches, "ROOT", root)
    return root


def names(course: Path, branch: str) -> set[str]:
    return set(git(course, "ls-tree", "-r", "--name-only", branch).splitlines())


def show(course: Path, branch: str, path: str) -> str:
    return git(course, "show", f"{branch}:{path}")


def test_a_branch_holds_what_is_shared_and_its_homework(course, capsys):
    index = (course / ".git" / "index").read_bytes()
    assert branches.main([]) == 0
    assert re.fullmatch(
        r"(?:(?:homework_1|homework_2|lab_8)  [0-9a-f]{12}  new\n){3}", capsys.readouterr().out
    )
    shared = {"LICENSE", "common/losses.py", "course/tasks.toml", "theory/en/one.md", "tests/test_losses.py"}
    own = {name for name in FILES if name.startswith("hw1_first/")}
    assert names(course, "homework_1") == {
        *shared, *own, "README.md", "course/weeks/hw1.py", "tests/test_first.py", "course/branches.toml",
    }  # fmt: skip
    assert {"tests/second_nets.py", "tests/test_second.py"} < names(course, "homework_2")
    assert "tests/test_first.py" not in names(course, "homework_2")
    assert (course / ".git" / "index").read_bytes() == index and git(course, "status", "--porcelain") == ""


def test_its_page_is_the_front_page_and_no_link_leads_nowhere(course):
    branches.main(["hw1"])
    page = show(course, "homework_1", "README.md")
    assert "[theory](theory/en/one.md#one), second, ![curve](hw1_first/results/curve.png)" in page
    assert "ours: 1.0" in page
    assert "[code](../../hw1_first/train.py), other" in show(course, "homework_1", "theory/en/one.md")


def test_starter_code_has_no_solution_and_no_answer(course):
    branches.main(["--starter"])
    there = names(course, "starter/homework_1")
    assert not there & {"hw1_first/results/curve.png", "tests/test_first.py", "tests/test_losses.py"}
    code = show(course, "starter/homework_1", "common/losses.py")
    assert 'raise NotImplementedError("hw1.a: the loss")' in code and "return -x" in code
    page = show(course, "starter/homework_1", "README.md")
    assert "ours" not in page and "curve" not in page and page.endswith("end")
    assert git(course, "rev-list", "--count", "starter/homework_1") == "1"
    assert git(course, "cat-file", "-t", "starter/lab_8") == "commit"


def test_the_same_commit_gives_the_same_branches_and_only_changes_move_them(course, capsys):
    branches.main([])
    before = git(course, "rev-parse", "homework_1", "homework_2")
    git(course, "branch", "--delete", "--force", "homework_1")
    branches.main([])
    assert git(course, "rev-parse", "homework_1", "homework_2") == before
    (course / "hw2_second" / "train.py").write_text("changed = 1\n")
    git(course, "commit", "--quiet", "--all", "--message", "two")
    capsys.readouterr()
    branches.main([])
    said = [line.split()[::2] for line in capsys.readouterr().out.splitlines()]
    assert said == [["homework_1", "unchanged"], ["homework_2", "moved"], ["lab_8", "unchanged"]]
    now = git(course, "rev-parse", "homework_1", "homework_2").split()
    assert now[0] == before.split()[0] and now[1] != before.split()[1]


@pytest.mark.parametrize("how", ["a commit on top", "amended", "our words again", "someone's own"])
def test_foreign_commits_are_never_lost(course, capsys, how):
    if how == "someone's own":
        git(course, "branch", "homework_1")
    else:
        branches.main(["hw1"])
        git(course, "switch", "--quiet", "homework_1")
        if how == "our words again":
            git(course, "commit", "--quiet", "--allow-empty", "--reuse-message", "HEAD")
        else:
            (course / "LICENSE").write_text("mine\n")
            amend = ["--amend", "--no-edit"] if how == "amended" else ["--message", "mine"]
            git(course, "commit", "--quiet", "--all", *amend)
        git(course, "switch", "--quiet", "main")
    theirs = git(course, "rev-parse", "homework_1")
    capsys.readouterr()
    assert branches.main(["hw1"]) == 1
    assert "branch homework_1 has commits that this command did not make" in capsys.readouterr().err
    assert git(course, "rev-parse", "homework_1") == theirs


def test_pushing_moves_ours_and_refuses_theirs(course, tmp_path, capsys):
    remote = tmp_path / "remote"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    git(course, "remote", "add", "there", str(remote))
    assert branches.main(["hw1", "--push", "there"]) == 0
    (course / "hw1_first" / "train.py").write_text("changed = 1\n")
    git(course, "commit", "--quiet", "--all", "--message", "two")
    assert branches.main(["hw1", "--push", "there"]) == 0
    assert git(remote, "rev-parse", "homework_1") == git(course, "rev-parse", "homework_1")
    git(course, "push", "--quiet", "--force", "there", "main:homework_1")
    theirs = git(remote, "rev-parse", "homework_1")
    capsys.readouterr()
    assert branches.main(["hw1", "--push", "there"]) == 1
    assert "there has commits on homework_1 that this command did not make" in capsys.readouterr().err
    assert git(remote, "rev-parse", "homework_1") == theirs
    assert (
        branches.main(["hw1", "--push", "nowhere"]) == 1 and "git ls-remote failed" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("change", "arguments", "status", "message"),
    [
        (None, ["hw7"], 2, "hw7: no such homework; there are hw1, hw2, lab8"),
        ("hw1_first/train.py", [], 1, "there are changes that no commit has"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(course, capsys, change, arguments, status, message):
    if change:
        (course / change).write_text("changed = 1\n")
    assert branches.main(arguments) == status and message in capsys.readouterr().err
    assert git(course, "branch", "--list").split() == ["*", "main"]


def test_a_branch_that_is_checked_out_is_not_moved_under_its_files(course, capsys):
    branches.main(["hw1"])
    (course / "LICENSE").write_text("changed\n")
    git(course, "commit", "--quiet", "--all", "--message", "two")
    repository, source = branches.Repository(course), git(course, "rev-parse", "main")
    made = branches.make(repository, source, branches.Homework("hw1", "hw1_first"), starter=False)
    git(course, "switch", "--quiet", "homework_1")
    with pytest.raises(branches.BranchError, match="homework_1 is checked out here"):
        branches.place(repository, "homework_1", made)


# ---- pages


def test_links_in_code_stay_and_folders_count_as_there():
    page = "[a](gone.py)\n```\n[b](gone.py)\n```\n[c](../common/), [d](https://x.org/y), [e](#part)\n"
    page += "# Part\n"
    mended = branch_pages.without_dead_links({"theory/x.md": page}, {"common/data/a.py"})["theory/x.md"]
    assert mended == "a\n```\n[b](gone.py)\n```\n[c](../common/), [d](https://x.org/y), [e](#part)\n# Part\n"


def test_links_to_headings_that_are_not_there_become_their_words():
    pages = {
        "a.md": "# Одно: два\n\n[here](#одно-два), [gone](#three), [b](x/b.md#x), "
        "[not b](x/b.md#y), [b](x/b.md)\n",
        "x/b.md": "# X\n\n[a](../a.md#%D0%BE%D0%B4%D0%BD%D0%BE-%D0%B4%D0%B2%D0%B0), [not a](../a.md#x)\n",
    }
    mended = branch_pages.without_dead_links(pages, {*pages})
    assert mended["a.md"].endswith("[here](#одно-два), gone, [b](x/b.md#x), not b, [b](x/b.md)\n")
    assert mended["x/b.md"].endswith("-%D0%B4%D0%B2%D0%B0), not a\n")


def test_pages_moved_up_keep_anchors_and_html_pictures():
    page = '[a](../theory/x.md#y) <img src="results/a.png" alt="a"> [b](#z) [c](../common/)\n'
    moved = branch_pages.moved_up(page, "hw1_first")
    assert moved == '[a](theory/x.md#y) <img src="hw1_first/results/a.png" alt="a"> [b](#z) [c](common/)\n'


# ---- the course's own


IMPORT_ALL = """
import importlib, pathlib, sys
sys.path[:0] = ["", "tests"]
for path in sorted(pathlib.Path().rglob("*.py")):
    if path.parts[0] not in ("tests", "theory") or path.name.startswith("test_"):
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print("all imported")
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> branches.Repository:
    """The course's last commit in a repository of its own."""
    if subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, check=False
    ).returncode:
        pytest.skip("git reads no commits here: an archive, or another user's folder")
    folder = tmp_path_factory.mktemp("branches") / "clone"
    git(ROOT, "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(folder))
    return branches.Repository(folder)


def of_the_course(repository: branches.Repository) -> list[branches.Homework]:
    return branches.homeworks(repository.files("HEAD"))


def dead_links(repository: branches.Repository, commit: str) -> list[str]:
    """Links of the commit's pages that lead to no file or no heading."""
    texts = {file.path: repository.text(file) if file.path.endswith(".md") else ""
             for file in repository.files(commit)}  # fmt: skip
    pages = {path: text for path, text in texts.items() if path.endswith(".md")}
    mended = branch_pages.without_dead_links(pages, texts)
    return [path for path in pages if mended[path] != pages[path]]


@pytest.mark.parametrize("name", ["hw1", "hw4", "lab8"])
def test_no_link_of_the_course_is_dead_on_a_branch_or_in_a_students_repository(clone, tmp_path, name):
    (own,) = (homework for homework in of_the_course(clone) if homework.name == name)
    student = branches.Repository(tmp_path)
    git(tmp_path, "init", "--quiet")
    for starter in (False, True):
        commit = branches.make(clone, clone.say("rev-parse", "HEAD"), own, starter=starter)
        assert dead_links(clone, commit) == []
    start.bring(clone, commit, student)
    tree = student.tree(start.with_template(student, commit, own, "ru"))
    assert dead_links(student, tree) == []
    page = student.say("show", f"{tree}:course/mentor/README.ru.md")
    assert "](../../README" not in page


@pytest.mark.parametrize("starter", [False, True], ids=["solved", "starter"])
@pytest.mark.parametrize("name", ["hw1", "hw2", "hw3", "hw4", "lab8"])
def test_on_every_branch_of_the_course_all_modules_import(clone, tmp_path, name, starter):
    (own,) = (homework for homework in of_the_course(clone) if homework.name == name)
    commit = branches.make(clone, clone.say("rev-parse", "HEAD"), own, starter=starter)
    git(clone.root, "worktree", "add", "--quiet", "--detach", str(tmp_path / "branch"), commit)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=tmp_path / "branch",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "branch")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("all imported\n"), done.stderr[-2000:]
    assert not [path for path in (tmp_path / "branch").rglob("*") if path.name.startswith(OTHERS[name])]


OTHERS = {
    name: tuple(f"{other}_" for other in ("hw1", "hw2", "hw3", "hw4", "lab8") if other != name)
    for name in ("hw1", "hw2", "hw3", "hw4", "lab8")
}


def test_starter_code_of_the_course_holds_no_region_of_its_homework(clone):
    for own in of_the_course(clone):
        commit = branches.make(clone, clone.say("rev-parse", "HEAD"), own, starter=True)
        for file in clone.files(commit):
            if file.path.endswith(tasks.KINDS) and file.path.startswith(("common/", own.folder)):
                assert not tasks.regions(clone.text(file), file.path)
        solved = [task for task in tasks.all_tasks() if task.homework == own.name]
        paths = {region.path for task in solved for region in task.regions}
        texts = "".join(clone.text(file) for file in clone.files(commit) if file.path in paths)
        assert all(f'"{r.task}: {r.what}"' in texts or f"# {r.task}: {r.what}" in texts
                   for task in solved for r in task.regions)  # fmt: skip


def test_a_starter_branch_cuts_its_own_tasks_of_common_and_keeps_those_of_other_weeks(clone):
    """Week 2 modulates convolutions in a hypothesis, and week 3 asks for them."""
    commit = clone.say("rev-parse", "HEAD")
    on_main = {file.path: clone.text(file) for file in clone.files(commit)
               if file.path.startswith("common/") and file.path.endswith(".py")}  # fmt: skip
    cut_anywhere = set()
    for own in of_the_course(clone):
        solved, starter = (
            {file.path: file for file in clone.files(branches.make(clone, commit, own, starter=is_starter))}
            for is_starter in (False, True)
        )
        for path, text in on_main.items():
            here = {region.what for region in tasks.unwritten(clone.text(starter[path]), path)}
            assert here == {r.what for r in tasks.regions(text, path) if r.homework == own.name}, path
            assert clone.text(solved[path]) == text
            cut_anywhere |= {(own.name, path)} if here else set()
        names: dict = {}
        exec(compile(clone.text(starter["common/modulation.py"]), "modulation.py", "exec"), names)
        weight, style = torch.ones(2, 3, 1, 1), torch.tensor([[2.0, 0, 0]])
        if own.name == "hw3":
            with pytest.raises(NotImplementedError, match=r"^hw3\.a: "):
                names["demodulation"](weight, style)
            with pytest.raises(NotImplementedError, match=r"^hw3\.a: "):
                names["modulated_convolution"](torch.ones(1, 3, 4, 4), weight, style)
        else:
            assert names["demodulation"](weight, style).tolist() == [[0.5, 0.5]]
            assert (names["modulated_convolution"](torch.ones(1, 3, 4, 4), weight, style) == 2).all()
    assert cut_anywhere == {
        ("hw1", "common/latent_space.py"), ("hw1", "common/metrics/detection.py"),
        ("hw2", "common/adversarial.py"), ("hw3", "common/modulation.py"), ("lab8", "common/latent_space.py"),
    }  # fmt: skip


def test_every_homework_of_the_course_has_a_branch_name():
    found = branches.homeworks([branches.File("", "", f"{folder}/x.py") for folder in (
        "hw1_bayes_and_autoencoders", "hw2_gan", "hw3_stylegan_sampling", "hw4_diffusion", "lab8_generative",
        "common", "theory",
    )])  # fmt: skip
    branches_of = [homework.branch for homework in found]
    assert branches_of == ["homework_1", "homework_2", "homework_3", "homework_4", "lab_8"]
    assert {task.homework for task in tasks.all_tasks()} <= {homework.name for homework in found}
