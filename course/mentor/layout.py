"""Where a student's homework really lies: on a branch, in a folder, on a pull request, under a name close
to the one that was asked for.

Every place that fits is found; the student's own branch for it goes before a folder on the default branch,
and that before a copy carried along on the branch of another homework. Among places of one kind the newest
counts. What the words for "homework" are is data (rubric.toml).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from rapidfuzz.distance import OSA

from course.mentor.objects import File, Objects, Tree, Unreadable, shown
from course.mentor.repositories import Mirror, Reference

BRANCH, FOLDER, TITLE, CARRIED, PULL = "branch", "folder", "title", "carried folder", "pull request"
ORDER = [BRANCH, FOLDER, TITLE, PULL, CARRIED]
"""From the place a homework is most likely meant to be read at to the least."""
MOST_FOLDER_DEPTH, MOST_TREES = 3, 60
NUMBERED = re.compile(r"(?P<word>[^\W\d_]+)[\W_]*0*(?P<number>\d{1,2})(?!\d)")
NUMBER_FIRST = re.compile(
    r"(?<!\d)0*(?P<number>\d{1,2})[\W_]*(?:st|nd|rd|th|ая|е|я)?[\W_]*(?P<word>[^\W\d_]+)"
)
README = re.compile(r"readme[^/.]*(\.(md|markdown|txt|rst|mdown))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Names:
    """How people call the works: a word with the work's number, or a name that is one work's alone."""

    words: tuple[str, ...]
    """Words that stand beside a number: homework, hw, дз."""
    numbers: dict[str, int]
    """Work (hw1): its number."""
    aliases: dict[str, tuple[str, ...]]

    def work(self, name: str) -> str | None:
        """The work that a branch, a folder or a title names, a typo in a long word forgiven; None for
        none."""
        plain = unicodedata.normalize("NFKC", name.replace("№", " ")).casefold().replace("ё", "е")
        for pattern in (NUMBERED, NUMBER_FIRST):
            for match in pattern.finditer(plain):
                work = next(
                    (work for work, number in self.numbers.items() if number == int(match["number"])), None
                )
                if work and any(alike(match["word"], word) for word in self.words):
                    return work
        words = set(re.split(r"[\W_]+", plain))
        return next((work for work, names in self.aliases.items() if words & set(names)), None)


@dataclass
class Submission:
    """One work as it was handed in."""

    work: str
    reference: Reference
    folder: str
    """What all of its paths begin with: empty, or `hw1/`."""
    how: str
    files: list[File] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    """All of its branch, since a page may show a picture of another folder."""
    readmes: list[File] = field(default_factory=list)
    """The deepest first: one on top may be a copy of the main page."""
    others: list[str] = field(default_factory=list)
    """Other places where this work was found too."""
    changed: float = 0.0
    """When the last commit that touched it was committed, in seconds; known where it was found in two
    places."""

    @property
    def place(self) -> str:
        return shown(f"{self.reference.name}:{self.folder}" if self.folder else self.reference.name)


def alike(word: str, wanted: str) -> bool:
    """The same word, or one slip away from it if it is long enough to be sure (`homewrok`)."""
    return word == wanted or (len(wanted) >= 6 and OSA.distance(word, wanted, score_cutoff=1) <= 1)


def find(
    mirror: Mirror,
    objects: Objects,
    names: Names,
    changed: Callable[[str, str], float],
    title: Callable[[File], str],
) -> tuple[dict[str, Submission], Tree | None, list[str]]:
    """Work: its submission; the tree of the default branch; what could not be looked at.

    changed  (commit, folder) -> time of the last commit that touched the folder
    title    a README -> its first heading
    """
    trees, notes = _trees(mirror, objects)
    default = next((each for each in trees if each.name == mirror.head), None) or next(
        (each for each in trees if each.name in ("main", "master")), None
    )
    found: list[Submission] = []
    for reference, tree in trees.items():
        found += _in_tree(reference, tree, names, reference == default, title)
    found = _without_copies(found)
    by_work: dict[str, Submission] = {}
    for work in names.numbers:
        places = [each for each in found if each.work == work]
        if not places:
            continue
        for place in places if len(places) > 1 else ():
            place.changed = changed(place.reference.commit, place.folder)
        places.sort(key=lambda place: (ORDER.index(place.how), -place.changed))
        by_work[work] = best = places[0]
        best.others = [f"{each.place} ({each.how})" for each in places[1:8]]
        newer = [each.place for each in places[1:] if each.changed > best.changed]
        if newer:
            best.others.insert(0, f"newer than this one: {newer[0]}")
        best.tree = trees[best.reference]
        best.readmes = _readmes(best, best.tree, names, title, trees.get(default))
    return by_work, trees.get(default), notes


def _trees(mirror: Mirror, objects: Objects) -> tuple[dict[Reference, Tree], list[str]]:
    """The trees of the references, each commit once; branches before what copies them."""
    kinds = ("branch", "remote branch", "pull request")
    references = sorted(mirror.references, key=lambda each: (kinds.index(each.kind), each.name))
    found, notes, commits = {}, [], set()
    branches = {each.name for each in references if each.kind == "branch"}
    for reference in references:
        short = reference.name.split("/", 1)[-1]
        copy = reference.kind == "remote branch" and short in branches
        if copy or (reference.kind == "pull request" and reference.commit in commits):
            continue
        if len(found) >= MOST_TREES:
            notes.append(f"only {MOST_TREES} of {len(references)} branches are looked at")
            break
        commits.add(reference.commit)
        try:
            found[reference] = objects.tree(reference.commit)
            notes += [f"{shown(reference.name)}: {note}" for note in found[reference].notes]
        except Unreadable as error:
            notes.append(f"{shown(reference.name)}: {error}")
    return found, notes


def _in_tree(
    reference: Reference, tree: Tree, names: Names, default: bool, title: Callable[[File], str]
) -> list[Submission]:
    """The works that one branch holds, by its own name, by its folders, or by what its README is called."""
    folders = _folders(tree, names)
    own = names.work(reference.name) if reference.kind != "pull request" else None
    found = []
    if own:
        inside = [folder for folder, work in folders.items() if work == own]
        if inside:
            found += [Submission(own, reference, folder, BRANCH) for folder in inside]
        else:
            found.append(Submission(own, reference, "", BRANCH))
    kind = FOLDER if default else PULL if reference.kind == "pull request" else CARRIED
    found += [Submission(work, reference, folder, kind) for folder, work in folders.items() if work != own]
    if not own and not folders and (default or reference.kind == "pull request"):
        top = next((file for file in tree.files if "/" not in file.path and README.match(file.path)), None)
        if top is not None and (work := names.work(title(top))):
            found.append(Submission(work, reference, "", TITLE if default else PULL))
    for submission in found:
        others = tuple(folder for folder, work in folders.items() if work != submission.work)
        submission.files = [
            file
            for file in tree.files
            if file.path.startswith(submission.folder)
            and (submission.folder or not file.path.startswith(others))
        ]
    return found


def _folders(tree: Tree, names: Names) -> dict[str, str]:
    """Folder (with its slash): the work its name says; folders inside such a folder belong to it."""
    found: dict[str, str] = {}
    for file in tree.files:
        parts = file.path.split("/")[:-1]
        for depth in range(min(len(parts), MOST_FOLDER_DEPTH)):
            folder = "/".join(parts[: depth + 1]) + "/"
            if folder in found:
                break
            if work := names.work(parts[depth]):
                found[folder] = work
                break
    return found


def _without_copies(found: list[Submission]) -> list[Submission]:
    """Without the places whose files are the very same as those of a better place."""
    seen, kept = set(), []
    for submission in sorted(found, key=lambda each: ORDER.index(each.how)):
        content = (
            submission.work,
            tuple(sorted((file.path.removeprefix(submission.folder), file.id) for file in submission.files)),
        )
        if content not in seen:
            seen.add(content)
            kept.append(submission)
    return kept


def _readmes(
    submission: Submission, tree: Tree, names: Names, title: Callable[[File], str], default: Tree | None
) -> list[File]:
    """The pages of a submission: its own, and the branch's top one unless that is of something else."""
    other_branch = default is not None and default is not tree
    main_pages = {file.id for file in default.files if README.match(file.path)} if other_branch else set()
    own = [file for file in submission.files if README.match(file.path.rsplit("/", 1)[-1])]
    own = [file for file in own if file.path.removeprefix(submission.folder).count("/") <= 2]
    if submission.folder and submission.how == BRANCH:
        own += [file for file in tree.files if "/" not in file.path and README.match(file.path)]
    kept = []
    for file in own:
        top = "/" not in file.path
        named = names.work(title(file))
        copied = top and submission.how == BRANCH and file.id in main_pages and named != submission.work
        other = top and len(own) > 1 and named not in (None, submission.work)
        if file.kind == "file" and not copied and not other:
            kept.append(file)
    return sorted(kept, key=lambda file: -file.path.count("/"))
