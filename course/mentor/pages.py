"""The page a mentor goes through a group with: one HTML file that asks for nothing from anywhere.

Everything a student wrote passes Jinja's escaping; scripts and styles are admitted by their digests alone,
and pictures only as the thumbnails that were drawn here.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from common import atomic

import jinja2
from markupsafe import Markup

from course.mentor import history, said
from course.mentor.points import WorkPoints
from course.mentor.tables import Everything

NOT_ON_TIME = (history.LATE, history.UNCLEAR, history.NOT_ACCEPTED)
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
        "changed": "changed",
        "points": "points",
        "changes": "Changes since the last run",
        "shared": "Shared by two students",
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
        "absent": "Nothing was found.",
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
        "changed": "изменились",
        "points": "баллы",
        "changes": "Что изменилось с прошлого раза",
        "shared": "Общее у двух студентов",
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
        "absent": "Ничего не найдено.",
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
    environment.filters["points"] = lambda value: said.points(value, language)
    return environment.get_template("page.html").render(
        language=language,
        words=WORDS[language],
        title=getattr(everything.course.title, language),
        style=Markup(style),  # ours, and no student's
        script=Markup(script),
        policy=_policy(style, script),
        students=[_student(everything, student, language) for student in everything.assessed],
        changes=everything.changed,
        pairs=everything.alike,
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
    flags = {
        "to_mark": any(work.value is not None and not work.marked for work in result.works.values()),
        "late": any(work.status in NOT_ON_TIME for work in result.works.values()),
        "unread": bool(each.get("trouble")) or any(work["unread"] for work in works),
        "remarks": any(work["remarks"] for work in works),
        "changed": any(line.startswith(f"{student}: ") for line in everything.changed),
    }
    who = f"{each['student']['last_name']} {each['student']['first_name']}".strip()
    return {
        "id": student,
        "name": who or student,
        "source": each["student"]["source"],
        "trouble": each.get("trouble", ""),
        "notes": each.get("notes", []),
        "flags": [name for name, holds in flags.items() if holds],
        "main": _items(each["main"], everything, language),
        "works": works,
        "result": result,
        "pairs": [pair for pair in everything.alike if student in (pair["first"], pair["second"])],
    }


def _work(everything: Everything, student: str, name: str, work: WorkPoints, language: str) -> dict:
    found = everything.assessed[student]["works"].get(name)
    titles = {part.id: getattr(part.title, language) for part in everything.rubric.works[name].parts}
    items = _items(found["items"], everything, language) if found else []
    return {
        "id": name,
        "title": getattr(everything.work(name).title, language),
        "points": work,
        "parts": [(titles[part.id], part) for part in work.parts],
        "found": found,
        "rows": items,
        "gallery": [picture for picture in found["gallery"] if picture["jpeg"]] if found else [],
        "remarks": [*(found["dates"]["notes"] if found["dates"] else []), *found["remarks"]] if found else [],
        "unread": [item for item in items if item["status"] == "unreadable"],
    }


def _items(items: dict[str, dict], everything: Everything, language: str) -> list[dict]:
    return [
        {"title": getattr(everything.rubric.items[name].title, language), "id": name, **found}
        for name, found in items.items()
    ]
