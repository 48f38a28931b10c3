"""The page a mentor goes through a group with: one HTML file that asks for nothing from anywhere.

Everything a student wrote passes Jinja's escaping; scripts and styles are admitted by their digests alone,
and pictures only as the thumbnails that were drawn here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

from common import atomic

import jinja2
from markupsafe import Markup

from course.mentor import history, said
from course.mentor.points import WorkPoints
from course.mentor.tables import Everything

NOT_ON_TIME = (history.LATE, history.UNCLEAR, history.NOT_ACCEPTED)
FLAGS = ("to_mark", "late", "unread", "remarks", "shared", "changed")
ADDRESS = re.compile(r"https://[\w.-]+(?::\d+)?/[\w./~-]*", re.ASCII)
"""Of a repository, as far as it may become a link."""
FOLDER = Path(__file__).resolve().parent / "html"
WORDS = {
    "en": {
        "students": "Students",
        "filter": "Filter by name",
        "all": "all",
        "to_mark": "to mark",
        "late": "late",
        "unread": "could not be read",
        "remarks": "with remarks",
        "shared": "like another's",
        "changed": "changed",
        "points": "points",
        "changes": "Changes since the last run",
        "alike": "Like another student's",
        "here": "this student",
        "main": "Main page",
        "help": "j k: next, previous student · / filter · d dark or light",
        "part": "part",
        "suggested": "suggested",
        "mark": "mark",
        "asked": "asked for",
        "status": "status",
        "where": "where",
        "note": "note",
        "look": "To look at",
        "found": "Asked for: {} of {} found",
        "missing": "missing",
        "marks": "Lines for marks.toml",
        "pictures": "Pictures",
        "up_to": "up to",
        "not_read": "What was not read",
    },
    "ru": {
        "students": "Студенты",
        "filter": "Искать по имени",
        "all": "все",
        "to_mark": "не оценены",
        "late": "после срока",
        "unread": "не прочитаны",
        "remarks": "с замечаниями",
        "shared": "похожи на чужие",
        "changed": "изменились",
        "points": "баллы",
        "changes": "Что изменилось с прошлого раза",
        "alike": "Похоже на работу другого студента",
        "here": "этот студент",
        "main": "Главная страница",
        "help": "j k: следующий и предыдущий студент · / поиск · d тёмная или светлая",
        "part": "часть",
        "suggested": "предложено",
        "mark": "оценка",
        "asked": "что требуется",
        "status": "состояние",
        "where": "где",
        "note": "примечание",
        "look": "На что посмотреть",
        "found": "Что требуется: есть {} из {}",
        "missing": "нет",
        "marks": "Строки для marks.toml",
        "pictures": "Картинки",
        "up_to": "до",
        "not_read": "Что не прочитано",
    },
}


def write(everything: Everything, path: Path, language: str) -> None:
    """index.html in one of the two languages."""
    with atomic.replacing(path, advice="name another folder by --out") as beside:
        beside.write_text(render(everything, language), encoding="utf-8", errors="xmlcharrefreplace")


def render(everything: Everything, language: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    environment.filters["line"] = lambda text: said.line(text, language)
    environment.filters["word"] = lambda text: said.word(text, language)
    environment.filters["change"] = lambda text: said.change(text, language)
    environment.filters["points"] = lambda value: said.points(value, language)
    students = [_student(everything, student, language) for student in everything.assessed]
    return environment.get_template("page.html").render(
        language=language,
        words=WORDS[language],
        title=getattr(everything.course.title, language),
        style=Markup(style),  # ours, and no student's
        script=Markup(script),
        policy=_policy(style, script),
        students=students,
        counts={flag: sum(flag in each["flags"] for each in students) for flag in FLAGS}
        | {"all": len(students)},
        names={each["id"]: each["name"] for each in students},
        changes=everything.changed,
    )


def _policy(style: str, script: str) -> str:
    """What a browser may do with the page: our script and style, pictures that the page holds, nothing
    else."""
    admitted = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    return f"default-src 'none'; img-src data:; {admitted}; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    """As a content security policy names a script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _student(everything: Everything, student: str, language: str) -> dict:
    """One student as the template takes it."""
    each, result = everything.assessed[student], everything.results[student]
    works = [_work(everything, student, name, work, language) for name, work in result.works.items()]
    pairs = [_pair(pair, student) for pair in everything.alike if student in (pair["first"], pair["second"])]
    flags = {
        "to_mark": any(work.value is not None and not work.marked for work in result.works.values()),
        "late": any(work.status in NOT_ON_TIME for work in result.works.values()),
        "unread": bool(each.get("trouble")) or any(work["unread"] for work in works),
        "remarks": any(work["remarks"] for work in works),
        "shared": bool(pairs),
        "changed": any(line.startswith(f"{student}: ") for line in everything.changed),
    }
    source = each["student"]["source"]
    absent: dict[str, list[str]] = {}
    for work in works:
        if not work["shown"]:
            absent.setdefault(work["points"].status, []).append(f"{work['id']}. {work['title']}")
    return {
        "id": student,
        "name": _name(everything, student),
        "source": source,
        "link": source if ADDRESS.fullmatch(source) else "",
        "absent": absent,
        "state": "marked" if result.final else "suggested",
        "trouble": each.get("trouble", ""),
        "notes": each.get("notes", []),
        "flags": [name for name, holds in flags.items() if holds],
        "main": _items(each["main"], everything, language),
        "works": works,
        "result": result,
        "pairs": pairs,
    }


def _name(everything: Everything, student: str) -> str:
    who = everything.assessed[student]["student"]
    return f"{who['last_name']} {who['first_name']}".strip() or student


def _pair(pair: dict, student: str) -> dict:
    """What a student shares with another, the student's own on the left."""
    own, theirs = ("first", "second") if pair["first"] == student else ("second", "first")
    sides = [
        {name: pair.get(f"{side}_{name}", "") for name in ("place", "text", "jpeg")} for side in (own, theirs)
    ]
    return {**pair, "other": pair[theirs], "sides": sides}


def _work(everything: Everything, student: str, name: str, work: WorkPoints, language: str) -> dict:
    found = everything.assessed[student]["works"].get(name)
    titles = {part.id: getattr(part.title, language) for part in everything.rubric.works[name].parts}
    items = _items(found["items"], everything, language) if found else []
    return {
        "id": name,
        "title": getattr(everything.work(name).title, language),
        "points": work,
        "parts": [(titles[part.id], part) for part in work.parts],
        "shown": found is not None or work.value is not None,
        "found": found,
        "rows": items,
        "missing": everything.missing(found["items"], language) if found else [],
        "marks": _marks(student, name, work),
        "gallery": [picture for picture in found["gallery"] if picture["jpeg"]] if found else [],
        "remarks": [*(found["dates"]["notes"] if found["dates"] else []), *found["remarks"]] if found else [],
        "unread": [item for item in items if item["status"] == "unreadable"],
    }


def _marks(student: str, name: str, work: WorkPoints) -> str:
    """What to write into marks.toml to give what is suggested; the marks that are there stay as they are."""
    who = student if re.fullmatch(r"[\w-]+", student, re.ASCII) else json.dumps(student, ensure_ascii=False)
    return "\n".join([f"[{who}.{name}]", *(f"{part.id} = {part.value:g}" for part in work.parts)])


def _items(items: dict[str, dict], everything: Everything, language: str) -> list[dict]:
    return [
        {"title": getattr(everything.rubric.items[name].title, language), "id": name, **found}
        for name, found in items.items()
    ]
