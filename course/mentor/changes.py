"""What is different from the last run of `grade`: so that a mentor looks only at that."""

from __future__ import annotations

import json
from pathlib import Path

from common import atomic

from course.mentor.points import Result


def since_last(path: Path, assessed: dict[str, dict], results: dict[str, Result]) -> list[str]:
    """One line for each change; none on the first run."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    now = _summary(assessed, results)
    lines = [f"{student}: no longer in the list" for student in before if student not in now]
    for student, each in now.items():
        was = before.get(student)
        if was is None:
            lines.append(f"{student}: new in the list")
            continue
        lines += [f"{student}: {line}" for line in _differences(was, each)]
    return lines


def _differences(was: dict, now: dict) -> list[str]:
    """Between two summaries of one student."""
    lines = []
    if was["status"] != now["status"]:
        lines.append(f"{was['status']} → {now['status']}")
    for work in sorted({*was["works"], *now["works"]}):
        old, new = was["works"].get(work), now["works"].get(work)
        if old is None:
            lines.append(f"{work}: handed in ({new['place']}, {new['date']})")
        elif new is None:
            lines.append(f"{work}: no longer there")
        elif old != new:
            lines += [f"{work}: {line}" for line in _in_work(old, new)]
    if was["total"] != now["total"]:
        lines.append(f"points {was['total']:g} → {now['total']:g}")
    return lines


def _in_work(old: dict, new: dict) -> list[str]:
    lines = [f"{name} {old[name]} → {new[name]}" for name in ("place", "date") if old[name] != new[name]]
    if old["commit"] != new["commit"]:
        lines.append(f"commit {old['commit'][:8]} → {new['commit'][:8]}")
    for item, status in new["items"].items():
        if old["items"].get(item) != status:
            lines.append(f"{item}: {old['items'].get(item, 'not asked')} → {status}")
    return lines


def keep(path: Path, assessed: dict[str, dict], results: dict[str, Result]) -> None:
    """Remember this run for the next."""
    with atomic.replacing(path, advice="make room and start again") as beside:
        beside.write_text(json.dumps(_summary(assessed, results), ensure_ascii=False), encoding="utf-8")


def _summary(assessed: dict[str, dict], results: dict[str, Result]) -> dict[str, dict]:
    return {
        student: {
            "status": each.get("trouble") or each["status"],
            "total": results[student].total,
            "works": {
                name: {
                    "place": work["place"],
                    "date": work["dates"]["status"] if work["dates"] else "no dates",
                    "commit": work["commit"],
                    "items": {item: found["status"] for item, found in work["items"].items()},
                }
                for name, work in each["works"].items()
            },
        }
        for student, each in assessed.items()
    }
