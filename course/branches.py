"""`python3 -m course branches`: a branch for every homework, made of the current commit.

    python3 -m course branches                      # homework_1, homework_2 ..., lab_8
    python3 -m course branches hw2 --starter        # starter/homework_2, without the solution
    python3 -m course branches --push origin

A branch holds what all weeks share, its homework, and the homework's page as README.  Its one commit has no
parent, so that starter code has no solution in its history; date and author are those of the commit it is
made of: the same commit gives the same branches.  Neither the working tree nor the index is touched.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course import branch_pages, tasks
from course.command_line import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RULES = "course/branches.toml"
WITH_TASKS = ("common/", "course/one_page/")
"""Where lines of tasks stand besides a homework's folder."""
MADE = re.compile(r"^Made-of: [0-9a-f]{40,64}\nTree: (?P<tree>[0-9a-f]{40,64})$", re.MULTILINE)


class BranchError(Exception):
    """Why no branch was made or moved, in one line."""


@dataclass(frozen=True)
class File:
    """One entry of a commit's tree."""

    mode: str
    blob: str
    path: str


@dataclass(frozen=True)
class Homework:
    """One homework's folder and branch."""

    name: str
    """`hw2`."""
    folder: str

    @property
    def branch(self) -> str:
        kind, number = re.fullmatch(r"(\D+)(\d+)", self.name).groups()
        return f"{ {'hw': 'homework'}.get(kind, kind) }_{number}"


class Repository:
    """Git's plumbing in one repository."""

    def __init__(self, root: Path):
        self.root = root

    def git(self, *arguments: str, given: bytes | None = None, **environment: str) -> bytes:
        """What git prints.  Raises BranchError with its last line when it fails."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            input=given,
            capture_output=True,
            env={**os.environ, **environment},
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise BranchError(f"git {arguments[0]} failed: {said[-1]}")
        return done.stdout

    def say(self, *arguments: str, **options) -> str:
        return self.git(*arguments, **options).decode().strip()

    def files(self, commit: str) -> list[File]:
        """Everything in a commit."""
        entries = self.git("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]
        split = (entry.decode("utf-8", "surrogateescape").split("\t", 1) for entry in entries)
        return [File(known.split()[0], known.split()[2], path) for known, path in split]

    def text(self, file: File) -> str:
        return self.git("cat-file", "blob", file.blob).decode("utf-8")

    def add(self, text: str) -> str:
        """The name of a new blob."""
        return self.say("hash-object", "-w", "--stdin", given=text.encode())

    def tree(self, files: list[File]) -> str:
        """The name of a new tree, by way of an index of its own."""
        with tempfile.TemporaryDirectory() as folder:
            lines = b"".join(
                f"{f.mode} {f.blob}\t{f.path}\0".encode("utf-8", "surrogateescape") for f in files
            )
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.git("update-index", "-z", "--add", "--index-info", given=lines, **index)
            return self.say("write-tree", **index)

    def commit(self, tree: str, source: str, title: str) -> str:
        """The name of a commit of `tree` without parents, its author and date those of `source`."""
        known = self.say("show", "-s", "--format=%an%n%ae%n%aI%n%cn%n%ce%n%cI", source).splitlines()
        names = [f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE")]
        message = f"{title}\n\nMade-of: {source}\nTree: {tree}\n"
        return self.say("commit-tree", tree, given=message.encode(), **dict(zip(names, known)))

    def made_here(self, commit: str) -> bool:
        """Whether `commit` is as this command made it: one commit, of the tree its message names."""
        tree, parents, message = self.say("show", "-s", "--format=%T%n%P%n%B", commit).split("\n", 2)
        found = MADE.search(message)
        return not parents and found is not None and found["tree"] == tree


def homeworks(files: list[File]) -> list[Homework]:
    """The homeworks of a commit, by its folders."""
    folders = sorted({PurePosixPath(file.path).parts[0] for file in files})
    return [
        Homework(found[1], folder)
        for folder in folders
        if (found := re.fullmatch(r"((?:hw|lab)\d+)_\w+", folder))
    ]


def kept(
    files: list[File], all_homeworks: list[Homework], own: Homework, rules: dict, text: Callable[[File], str],
    *, starter: bool,
) -> list[File]:  # fmt: skip
    """The files of a branch: not another homework's, nor what cannot work without it.

    A test, check or benchmark that names another homework's folder is left out; so is one that imports what
    was left out.  From starter code also the homework's own tests and kept results, which hold the answers.
    """
    others = [homework for homework in all_homeworks if homework != own]
    folders = [homework.folder for homework in others] + ([own.folder] if starter else [])
    names = "|".join(homework.name for homework in others)
    of_others = re.compile(rf"(?:course/\w+/|tests/test_)(?:{names})(?!\d).*")
    left_out = tuple(rules["main_only"] + (rules["answers"] if starter else []))
    dropped, there = set(), []
    for file in files:
        place = file.path.split("/")[0]
        if file.path.startswith(left_out) or place in {homework.folder for homework in others}:
            dropped.add(file.path)
            continue
        if of_others.match(file.path) or (starter and file.path.startswith(f"{own.folder}/results/")):
            continue
        if is_dependent(file) and any(re.search(rf"\b{folder}\b", text(file)) for folder in folders):
            dropped.add(file.path)
            continue
        there.append(file)
    return without_broken_imports(there, dropped, text)


def is_dependent(file: File) -> bool:
    """Whether a file may speak of homeworks it can do without: tests, checks, benchmarks."""
    return file.path.endswith(".py") and file.path.startswith(("tests/", "theory/checks/", "benchmarks/"))


def without_broken_imports(files: list[File], dropped: set[str], text: Callable[[File], str]) -> list[File]:
    """Leave out what imports a module that was left out, until nothing does."""
    while True:
        gone = {PurePosixPath(path).stem for path in dropped if path.endswith(".py")}
        broken = {
            file.path
            for file in files
            if is_dependent(file)
            and any(re.search(rf"^(?:from|import) (?:tests\.)?{name}\b", text(file), re.M) for name in gone)
        }
        if not broken:
            return files
        files, dropped = [file for file in files if file.path not in broken], broken


def changed(
    files: list[File], own: Homework, repository: Repository, source: list[File], *, starter: bool
) -> list[File]:
    """The branch's files with its README on top, links that lead nowhere as words, and tasks cut."""
    own_pages = {file.path for file in source if file.path.startswith(f"{own.folder}/README")}
    result: list[File] = []
    pages: dict[str, str] = {}
    for file in files:
        if file.path in ("README.md", "README.ru.md"):  # the front page of the whole course
            continue
        if file.path.endswith(".md"):
            text = repository.text(file)
            pages[file.path] = text
            if file.path in own_pages:
                pages[file.path] = text = branch_pages.without_report(text) if starter else text
                pages[PurePosixPath(file.path).name] = branch_pages.moved_up(text, own.folder)
        elif starter and file.path.endswith(tasks.KINDS) and file.path.startswith((*WITH_TASKS, own.folder)):
            new = tasks.cut(repository.text(file), file.path, own.name)
            result.append(File(file.mode, repository.add(new), file.path))
        else:
            result.append(file)
    there = {*pages, *(file.path for file in result)}
    mended = branch_pages.without_dead_links(pages, there)
    return result + [File("100644", repository.add(text), path) for path, text in mended.items()]


def make(repository: Repository, source: str, own: Homework, *, starter: bool) -> str:
    """The commit of one homework's branch."""
    files = repository.files(source)
    by_path = {file.path: file for file in files}
    rules = tomllib.loads(repository.text(by_path[RULES]))
    texts: dict[str, str] = {}

    def text(file: File) -> str:
        if file.path not in texts:
            texts[file.path] = repository.text(file)
        return texts[file.path]

    chosen = kept(files, homeworks(files), own, rules, text, starter=starter)
    tree = repository.tree(changed(chosen, own, repository, files, starter=starter))
    return repository.commit(tree, source, f"{own.branch}: {'starter code' if starter else 'the homework'}")


# ---- where the branches stand


def place(repository: Repository, branch: str, commit: str) -> str:
    """Let `branch` be `commit`, and say what that changed.  BranchError where it has foreign commits."""
    ref = f"refs/heads/{branch}"
    before = repository.say("for-each-ref", "--format=%(objectname)", ref)
    if before and not repository.made_here(before):
        raise BranchError(
            f"branch {branch} has commits that this command did not make; rename it, and start again"
        )
    tree_of = lambda name: repository.say("rev-parse", f"{name}^{{tree}}")
    if before and tree_of(before) == tree_of(commit):
        return f"{branch}  {before[:12]}  unchanged"
    if repository.say("symbolic-ref", "--quiet", "HEAD") == ref:
        raise BranchError(f"branch {branch} is checked out here; check out another one, and start again")
    repository.git("update-ref", ref, commit, before or "0" * len(commit))
    return f"{branch}  {commit[:12]}  {'moved' if before else 'new'}"


def push(repository: Repository, remote: str, branch: str) -> str:
    """Push a branch over what this command pushed before, and say so.  BranchError for foreign commits."""
    ref = f"refs/heads/{branch}"
    there = repository.say("ls-remote", remote, ref).split("\t")[0]
    if there:
        repository.git("fetch", "--quiet", "--no-tags", remote, there)
        if not repository.made_here(there):
            raise BranchError(
                f"{remote} has commits on {branch} that this command did not make; rename that branch there"
            )
    repository.git("push", "--quiet", f"--force-with-lease={ref}:{there}", remote, f"+{ref}:{ref}")
    return f"{branch}  pushed to {remote}"


def main(arguments: list[str]) -> int:
    """Exit status 1 where a branch could not be made, 2 for an unknown homework."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course branches",
        description="A branch for every homework, made of the current commit.",
    )
    parser.add_argument("homeworks", nargs="*", metavar="HOMEWORK", help="such as hw2; default: all of them")
    parser.add_argument("--starter", action="store_true", help="starter/BRANCH: tasks cut, results left out")
    parser.add_argument("--push", metavar="REMOTE", help="push the branches there too")
    options = parser.parse_args(arguments)
    repository = Repository(ROOT)
    try:
        if repository.say("status", "--porcelain", "--untracked-files=no"):
            raise BranchError("there are changes that no commit has; commit or stash them first")
        source = repository.say("rev-parse", "HEAD")
        known = homeworks(repository.files(source))
        names = [homework.name for homework in known]
        if unknown := [name for name in options.homeworks if name not in names]:
            print(
                f"course branches: {unknown[0]}: no such homework; there are {', '.join(names)}",
                file=sys.stderr,
            )
            return 2
        for homework in known:
            if not options.homeworks or homework.name in options.homeworks:
                branch = f"starter/{homework.branch}" if options.starter else homework.branch
                commit = make(repository, source, homework, starter=options.starter)
                print(place(repository, branch, commit), flush=True)
                if options.push:
                    print(push(repository, options.push, branch), flush=True)
    except (BranchError, tasks.TaskError) as error:
        print(f"course branches: {error}", file=sys.stderr)
        return 1
    return 0
