"""The checks of `course check` on students' code: asked in the sandbox, judged here, with a secret seed.

What is written into the sandbox are a submission's Python files and the definitions of its notebooks, as
reading.py's process gave them as text; nothing else of the repository goes in.  What comes out are arrays.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from common import atomic
from common.errors import InputError

from course import tasks
from course.checks import exchange, notebook_code, reports
from course.checks.exchange import Answer, Lost
from course.checks.questions import RIGHT, verdict
from course.mentor import markdown, sandbox
from course.mentor.layout import Submission
from course.mentor.objects import File, Objects, Unreadable, shown
from course.mentor.sandbox import Failed, Limits

MOST_FILES, MOST_FOLDERS, MOST_BYTES, MOST_TOTAL = 300, 20, 1 << 20, 16 << 20
NOT_RUN = re.compile(r"(^|/)(course|tests|theory|benchmarks|\.ipynb_checkpoints|\.?venv|node_modules)/")
CODING = re.compile(r"([ \t\f]*#.*?coding[:=][ \t]*)[-\w.]+")
"""As Python looks for it in the first two lines."""
NOTEBOOK_FOLDER = "notebooks-of-the-submission"
MOST_SAID = 3
"""Wrong answers of a task that are told in a remark."""


# ---- in the process that reads a student's files


def program(submission: Submission, objects: Objects) -> dict[str, str]:
    """Path -> text of what the checks import: Python files of the branch that belong to no other work, and a
    module for each notebook.  What is too large, too much or unreadable is left out."""
    own = {file.path for file in submission.files}
    shared = [file for file in submission.tree.files if file.path in own or _is_shared(file, submission)]
    left, found = MOST_TOTAL, {}
    for file in shared[: 20 * MOST_FILES]:
        if file.kind != "file" or not file.path.endswith((".py", ".ipynb")) or NOT_RUN.search(file.path):
            continue
        if len(found) >= MOST_FILES:
            break
        try:
            content = objects.read(
                file.id, min(left, MOST_TOTAL if file.path.endswith(".ipynb") else MOST_BYTES)
            )
        except Unreadable:
            continue
        left -= len(content)
        path, text = _as_module(file.path, content)
        if path is not None:
            found[path] = text
    return found


def _is_shared(file: File, submission: Submission) -> bool:
    """Files beside a homework's folder on its own branch, such as common/; never a folder of another one."""
    return submission.how == "branch" and not re.match(r"(hw|lab|homework)[_-]?\d", file.path, re.IGNORECASE)


def _as_module(path: str, content: bytes) -> tuple[str | None, str]:
    text = markdown.decoded(content)
    if path.endswith(".py"):
        lines = text.split("\n")
        lines[:2] = [CODING.sub(r"\1utf-8", line) for line in lines[:2]]  # as it will be written
        text = "\n".join(lines)
        return path if path.isprintable() else None, text
    try:
        cells = notebook_code.cells_of_text(text, shown(path))
    except InputError:
        return None, ""
    name = re.sub(r"\W+", "_", path.removesuffix(".ipynb")).strip("_") or "notebook"
    return f"{NOTEBOOK_FOLDER}/notebook_{name}.py", notebook_code.as_module(cells, shown(path))


# ---- in the process that grades


def run_all(assessed: dict[str, dict], out: Path, jobs: int, limits: Limits) -> None:
    """Add `checks` to every work that has code and questions; what did not change is not run again."""
    sandbox.refuse_without()
    seed = secret_seed(out / "secret-seed")
    digest = checks_digest()
    waiting = [
        (student, name, work)
        for student, each in assessed.items()
        for name, work in each["works"].items()
        if work.get("program") and name in reports.homeworks()
    ]
    with ThreadPoolExecutor(max(1, jobs)) as pool:  # each waits for a sandbox
        started = [
            pool.submit(
                _kept_or_run, out / "checks" / f"{student}-{name}.json", name, work, seed, digest, limits
            )
            for student, name, work in waiting
        ]
        try:
            for (student, name, work), future in zip(waiting, started):
                work["checks"] = future.result()
                work["remarks"] = [*work["remarks"], *remarks(work["checks"])]
                print(f"checked {student} {name}: {summary(work['checks'])}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def secret_seed(path: Path) -> int:
    """Drawn once for a folder of grades, so that a second run judges alike; nobody else may read it."""
    if not path.exists():
        with atomic.replacing(path, advice="name another folder by --out") as beside:
            beside.touch(mode=0o600)
            beside.write_text(str(secrets.randbits(48)), encoding="utf-8")
    try:
        return int(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: holds no number; remove it, and start again") from None


def checks_digest() -> str:
    """Changes with every file of the checks."""
    digest = hashlib.sha256()
    for path in sorted(exchange.INSIDE.parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _kept_or_run(path: Path, name: str, work: dict, seed: int, digest: str, limits: Limits) -> dict:
    """The result of an earlier run of the same code, or a new one."""
    code = json.dumps(work["program"], sort_keys=True)
    key = hashlib.sha256(f"{name} {seed} {digest} {code}".encode("utf-8", "surrogatepass")).hexdigest()
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["key"] == key:
            return known["checks"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = check(name, work["program"], seed, limits)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(path, advice="make room and start again") as beside:
        text = json.dumps({"key": key, "checks": found}, ensure_ascii=False)
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    return found


def check(name: str, code: dict[str, str], seed: int, limits: Limits) -> dict:
    """The questions of one work to one student's code, as `course check --json` has them."""
    asked = reports.questions(name, seed)
    calls = [each.call for each in asked]
    files = {path: text.encode("utf-8", "replace") for path, text in code.items()}
    try:
        answers: list[Answer] = sandbox.ask(files, {"work": name}, calls, limits, folders(code))
    except Failed as error:
        answers = [Lost(str(error))] * len(asked)
    verdicts = [verdict(question, answer, name) for question, answer in zip(asked, answers)]
    places = [
        region
        for path, text in code.items()
        for region in tasks.unwritten(text, shown(path, 80))
        if region.homework == name
    ]
    return reports.as_data(name, reports.report(name, verdicts, places))


def folders(code: dict[str, str]) -> list[str]:
    """Where modules are looked for: on top, and in every folder above a script that is no package itself."""
    above = {parent.as_posix() for path in code for parent in PurePosixPath(path).parents}
    plain = [each for each in above if each != "." and f"{each}/__init__.py" not in code]
    return ["", *sorted(plain, key=lambda each: (each.count("/"), each))[:MOST_FOLDERS]]


# ---- what is said of it


def summary(checks: dict) -> str:
    """Points and right answers in one line."""
    asked = [each for task in checks["tasks"] for each in task["checks"]]
    right = sum(each["status"] == RIGHT for each in asked)
    points = sum(task["points"] or 0 for task in checks["tasks"])
    most = sum(task["of"] for task in checks["tasks"] if task["points"] is not None)
    return f"{right} of {len(asked)} checks right, {points:g} of {most} points"


def remarks(checks: dict) -> list[str]:
    """A line for each task that was asked, with the first things that are wrong."""
    found = []
    for task in checks["tasks"]:
        if task["points"] is None:
            continue
        line = f"the code of {task['task']} passes for {task['points']:g} of {task['of']} points"
        wrong = [each for each in task["checks"] if each["status"] != RIGHT]
        said = [shown(f"{each['title']}: {each['words']}", 160) for each in wrong[:MOST_SAID]]
        found.append(line if not said else f"{line}. {' / '.join(said)}")
    return found
