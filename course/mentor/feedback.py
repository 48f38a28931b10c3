"""A page for each student, in English and in Russian: what was found, what was not, and what to look at."""

from __future__ import annotations

import re
from pathlib import Path

from common import atomic

from course.mentor import evidence, said
from course.mentor.points import WorkPoints
from course.mentor.tables import Everything

TEXT = {
    "en": {
        "title": "Feedback for {}",
        "points": "**{} of {} points**",
        "open": " (up to {} once what could not be read has been looked at)",
        "suggested": "Suggested by the rubric from what was found; your mentor decides.",
        "marked": "Marked by your mentor.",
        "absent": "Not handed in: no branch or folder for it was found.",
        "trouble": "The repository could not be read: {}.",
        "where": "Read at `{}`",
        "others": "also found: {}",
        "asked": "asked for",
        "status": "status",
        "place": "where",
        "remarks": "To look at",
        "total": "Total: {} points, {} ({}).",
        "so_far": "So far: {} points; by the scale of the course {} ({}).",
        "missing": "Missing: {}.",
        "mentor": "From your mentor: {}",
        "main": "The main page",
    },
    "ru": {
        "title": "Отзыв о работах: {}",
        "points": "**{} из {} баллов**",
        "open": " (до {}, когда посмотрят то, что не удалось прочитать)",
        "suggested": "Предложено по критериям из того, что найдено; решает ментор.",
        "marked": "Оценено ментором.",
        "absent": "Не сдано: ни ветки, ни папки с этой работой не нашлось.",
        "trouble": "Репозиторий не удалось прочитать: {}.",
        "where": "Прочитано в `{}`",
        "others": "найдено также: {}",
        "asked": "что требуется",
        "status": "состояние",
        "place": "где",
        "remarks": "На что посмотреть",
        "total": "Итого: {} баллов, {} ({}).",
        "so_far": "Пока набрано баллов: {}; по шкале курса это {} ({}).",
        "missing": "Не найдено: {}.",
        "mentor": "От ментора: {}",
        "main": "Главная страница",
    },
}


def write(everything: Everything, out: Path) -> None:
    """feedback/ID.en.md and feedback/ID.ru.md for every student."""
    for student in everything.assessed:
        for language in TEXT:
            path = out / "feedback" / f"{student}.{language}.md"
            with atomic.replacing(path, advice="name another folder by --out") as beside:
                text = page(everything, student, language)
                beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def page(everything: Everything, student: str, language: str) -> str:
    """One student's page in Markdown; what the student wrote cannot format or link anything in it."""
    text, each, result = TEXT[language], everything.assessed[student], everything.results[student]
    who = f"{each['student']['last_name']} {each['student']['first_name']}".strip() or student
    lines = [f"# {text['title'].format(plain(who))}", ""]
    if each.get("trouble"):
        lines += [text["trouble"].format(plain(said.line(each["trouble"], language))), ""]
    if result.note:
        lines += [text["mentor"].format(plain(result.note)), ""]
    if result.known:
        lines += [
            text["total" if result.final else "so_far"].format(
                said.points(result.total, language), result.letter, result.mark
            ),
            *(plain(said.line(rule, language)) for rule in result.rules),
            "",
        ]
    if each["main"]:
        lines += [f"## {text['main']}", "", *_items(each["main"], everything, language, set()), ""]
    for name, work in result.works.items():
        title = getattr(everything.work(name).title, language)
        lines += [f"## {name}. {title}", "", *_work(everything, student, name, work, language), ""]
    return "\n".join(lines)


def _work(everything: Everything, student: str, name: str, work: WorkPoints, language: str) -> list[str]:
    text, found = TEXT[language], everything.assessed[student]["works"].get(name)
    if work.value is None and found is None:
        trouble = everything.assessed[student].get("trouble")
        return [said.word(work.status, language) if trouble else text["absent"]]
    lines = [_points(work, language), ""]
    if work.note:
        lines += [text["mentor"].format(plain(work.note)), ""]
    for part in work.parts:
        wanted = next(each for each in everything.rubric.works[name].parts if each.id == part.id)
        of = [said.points(value, language) for value in (part.value, part.most)]
        lines.append(f"- {getattr(wanted.title, language)}: {' / '.join(of)}")
    if found is None:
        return lines
    place = f"{text['where'].format(code(found['place']))}, {said.word(work.status, language)}"
    if found["others"]:
        place += "; " + text["others"].format(
            ", ".join(plain(said.line(other, language)) for other in found["others"])
        )
    optional = {item for item, each in everything.rubric.items.items() if each.optional}
    lines += ["", f"{place}."]
    if missing := everything.missing(found["items"], language):
        lines += ["", text["missing"].format("; ".join(missing))]
    lines += ["", *_items(found["items"], everything, language, optional)]
    notes = [*(found["dates"]["notes"] if found["dates"] else []), *found["remarks"]]
    if notes:
        lines += ["", f"{text['remarks']}:", "", *(f"- {plain(said.line(note, language))}" for note in notes)]
    return lines


def _points(work: WorkPoints, language: str) -> str:
    text = TEXT[language]
    line = text["points"].format(said.points(work.value, language), said.points(work.most, language))
    if work.high is not None and work.value is not None and work.high > work.value:
        line += text["open"].format(said.points(work.high, language))
    return f"{line}. {text['marked' if work.marked else 'suggested']}"


def _items(items: dict[str, dict], everything: Everything, language: str, optional: set[str]) -> list[str]:
    """A table of what was asked for; what is optional only where it is there."""
    text = TEXT[language]
    rows = [f"| {text['asked']} | {text['status']} | {text['place']} |", "|---|---|---|"]
    for item, found in items.items():
        if item in optional and found["status"] == evidence.MISSING:
            continue
        where = ", ".join(f"`{code(place)}`" for place in found["places"][:3])
        note = plain(said.line(found["note"], language))
        details = " — ".join(filter(None, [where, note]))
        title = getattr(everything.rubric.items[item].title, language)
        rows.append(f"| {title} | {said.word(found['status'], language)} | {details} |")
    return rows


def plain(text: str) -> str:
    """A student's words as words: nothing in them is Markdown or HTML."""
    escaped = re.sub(r"([\\`*_\[\]<>|&~!@])", r"\\\1", text)
    return escaped.replace("://", "\\://").replace("www.", "www\\.")  # or it would become a link


def code(text: str) -> str:
    """What may stand between backticks in a table."""
    return text.replace("`", "'").replace("|", "¦")
