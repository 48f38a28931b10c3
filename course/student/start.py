"""`python3 -m course start hw2 DIR`: a student's own repository, the homework's starter code on a branch.

    main          README.md (name, subject, task, data set), .gitignore
    homework_2    the starter code, README.md with the sections that are asked for, requirements.txt

Where the course is installed, the repository gets a .venv that borrows its packages.  The same command for
another homework adds its branch.  A file that is there is never overwritten, and a branch that is there is
left as it is.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from course import branch_pages, branches, install
from course.branches import BranchError, File, Homework, Repository
from course.command_line import ROOT

TEMPLATES = Path(__file__).with_name("templates")
PAGES = {"en": "README.md", "ru": "README.ru.md"}
IGNORED = ".venv/\n__pycache__/\n*.egg-info/\n.pytest_cache/\n.ruff_cache/\n/data/\n/runs/\nwandb/\n"


def main(arguments: list[str]) -> int:
    """Exit status 1 where nothing could be begun, 2 for a homework that is unknown."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course start", description="Begin a homework in a repository of your own."
    )
    parser.add_argument("homework", help="such as hw2")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder, or your repository")
    parser.add_argument("--lang", choices=("en", "ru"), default="en", help="language of the READMEs")
    options = parser.parse_args(arguments)
    course = Repository(ROOT)
    try:
        source = course.say("rev-parse", "HEAD")
        known = {homework.name: homework for homework in branches.homeworks(course.files(source))}
        if options.homework not in known:
            there = ", ".join(known)
            print(f"course start: {options.homework}: no such homework; there are {there}", file=sys.stderr)
            return 2
        start(
            course,
            source,
            known[options.homework],
            Path(os.path.expanduser(options.folder)).absolute(),
            options.lang,
        )
    except (BranchError, OSError) as error:
        print(f"course start: {error}", file=sys.stderr)
        return 1
    return 0


def start(course: Repository, source: str, homework: Homework, folder: Path, language: str) -> None:
    """Begin `homework` in `folder`, say how to go on.  BranchError, OSError: nothing of `folder` changed."""
    refuse_place(course, folder)
    own = Repository(folder)
    if not (folder / ".git").exists() or not own.say("rev-list", "--max-count=1", "--all"):
        if folder.is_dir() and any(path.name != ".git" for path in folder.iterdir()):
            raise BranchError(
                f"{folder}: not empty, and no repository with a commit; name a new folder, or your repository"
            )
        check_name(own if folder.is_dir() else course)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".git").exists():
            own.git("init", "--quiet", "--initial-branch", "main")
        first_commit(own, language)
        print(f"{folder}: a new repository with README.md; write your name and subject there")
    check_name(own)
    if own.say("status", "--porcelain", "--untracked-files=no"):
        raise BranchError(f"{folder}: there are changes that no commit has; commit them first")
    if own.say("for-each-ref", f"refs/heads/{homework.branch}"):
        raise BranchError(f"{folder}: the branch {homework.branch} is there already; it stays as it is")
    starter = branches.make(course, source, homework, starter=True)
    bring(course, starter, own)
    parent = own.say("rev-parse", "HEAD")
    tree = own.tree(with_template(own, starter, homework, language))
    message = f"Start of {homework.branch}\n"
    commit = own.say("commit-tree", tree, "-p", parent, given=message.encode())
    own.git("switch", "--quiet", "--create", homework.branch, commit)
    print(
        f"{folder}: branch {homework.branch}; the tasks are the lines with NotImplementedError in "
        f"{homework.folder}/ and common/; the homework's page is {homework.folder}/README.md"
    )
    print(about_packages(course.root, folder, homework))
    leave = "deactivate, " if os.environ.get("VIRTUAL_ENV") else ""
    print(f"next: {leave}cd {shlex.quote(str(folder))}, then python3 -m course tasks {homework.name}")


def about_packages(root: Path, folder: Path, homework: Homework) -> str:
    """Let the repository borrow the packages of the course, where they are installed, and say so."""
    own, lender = folder / ".venv", install.environment_of(root)
    if lender and not own.exists():
        install.lend_packages(lender, own)
    if (own / install.LENDER).is_file():
        lender = (own / install.LENDER).read_text(encoding="utf-8")
        return (
            f"{own}: borrows the packages of {lender}; while that is there, nothing large is downloaded again"
        )
    if own.exists():
        return f"{own}: there already; it stays as it is"
    return (
        f"{folder}: the first python3 -m course check {homework.name} there installs the packages into "
        f".venv, which takes a few minutes; tasks needs none"
    )


def refuse_place(course: Repository, folder: Path) -> None:
    """BranchError where `folder` is a file, belongs to a clone of the course or to another repository."""
    there = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise BranchError(f"{there}: a file; name a new folder, or your repository")
    top = work_tree(there)
    if top is None:
        return
    if top == work_tree(course.root) or first_commits(course, "HEAD") & first_commits(
        Repository(top), "--branches"
    ):
        raise BranchError(
            f"{folder}: {top} is a clone of the course; name a folder of your own outside of it"
        )
    if top != folder.resolve():
        raise BranchError(
            f"{folder}: inside the repository {top}; name {top} or a folder outside of it "
            f"(or make this one a repository of its own first: git init {shlex.quote(str(folder))})"
        )


def work_tree(folder: Path) -> Path | None:
    """The top of the work tree that `folder` is in."""
    try:
        return Path(
            os.fsdecode(Repository(folder).git("rev-parse", "--show-toplevel").rstrip(b"\n"))
        ).resolve()
    except BranchError:
        return None


def first_commits(repository: Repository, of: str) -> set[str]:
    """The commits without parents that those of `of` go back to: every clone has the same."""
    return set(repository.say("rev-list", "--max-parents=0", of).split())


def check_name(repository: Repository) -> None:
    """BranchError unless git knows who commits."""
    folder = repository.root if repository.root.is_dir() else Path.cwd()
    for name in ("user.name", "user.email"):
        known = subprocess.run(
            ["git", "-C", str(folder), "config", name], capture_output=True, check=False, text=True
        )
        if not known.stdout.strip():
            raise BranchError(f'git does not know your {name}; git config --global {name} "..." tells it')


def first_commit(own: Repository, language: str) -> None:
    """README and .gitignore on main."""
    (own.root / "README.md").write_text(template("front_page", language), encoding="utf-8")
    (own.root / ".gitignore").write_text(IGNORED, encoding="utf-8")
    own.git("add", "README.md", ".gitignore")
    own.git("commit", "--quiet", "--message", "Start of the course")


def bring(course: Repository, commit: str, own: Repository) -> None:
    """Copy a commit with all its files from one repository into the other, which gets no link to it."""
    pack = course.git("pack-objects", "--quiet", "--revs", "--stdout", given=f"{commit}\n".encode())
    own.git("unpack-objects", "-q", given=pack)


def with_template(own: Repository, starter: str, homework: Homework, language: str) -> list[File]:
    """The starter code's files, the student's README in the place of the homework's page."""
    files = {file.path: file for file in own.files(starter)}
    title = own.text(files[PAGES[language]]).split("\n")[0]
    for page in PAGES.values():
        files.pop(page, None)
    pages = {path: own.text(file) for path, file in files.items() if path.endswith(".md")}
    pages["README.md"] = template("homework", language).replace("{title}", title.removeprefix("# "))
    mended = branch_pages.without_dead_links(pages, {*files, *pages})
    return [
        *(file for path, file in files.items() if path not in pages),
        *(File("100644", own.add(text), path) for path, text in mended.items()),
    ]


def template(name: str, language: str) -> str:
    return (TEMPLATES / f"{name}.{language}.md").read_text(encoding="utf-8")
