"""When a submission was made, as far as git can tell: dates that authors write themselves, and when it was
first fetched here, which no one can write."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from course.mentor import git
from course.mentor.git import GitError, Limits

MOST_COMMITS = 1000
REBASED_SECONDS = 24 * 3600
"""A commit made so much later than its author wrote it was rebased, amended or picked."""
GIT_EXISTS_SINCE = 1112911993  # 2005-04-07: no commit is older

ON_TIME, LATE, UNCLEAR, NOT_ACCEPTED, NO_DEADLINE = (
    "on time",
    "late",
    "unclear",
    "not accepted",
    "no deadline",
)


@dataclass(frozen=True)
class Commit:
    id: str
    authored: float
    committed: float


@dataclass
class Dates:
    """What a submission's dates say about its deadline."""

    status: str
    first_committed: float
    last_authored: float
    last_committed: float
    first_seen: float | None
    commits: int
    commits_in_time: int
    version_in_time: str | None
    """The newest commit by the deadline, for a mentor who marks that one."""
    notes: list[str] = field(default_factory=list)


def commits(folder: Path, commit: str, inside: str = "") -> list[Commit]:
    """The commits that lead to `commit` and touched the folder `inside`, newest first."""
    arguments = ["log", f"--max-count={MOST_COMMITS}", "--format=%H %at %ct", commit, "--"]
    if inside:
        arguments.append(f":(top,literal){inside.rstrip('/')}")
    printed = git.run(arguments, folder, limits=Limits(seconds=30, file_bytes=1 << 20)).decode(
        "ascii", "replace"
    )
    found = []
    for line in printed.splitlines():
        words = line.split()
        if len(words) == 3:
            found.append(Commit(words[0], *(_seconds(word) for word in words[1:])))
    return found


def _seconds(word: str) -> float:
    """A date as git prints it; broken ones are 0."""
    return float(word) if word.lstrip("-").isdigit() and len(word) < 14 else 0.0


def last_change(folder: Path, commit: str, inside: str) -> float:
    """When the folder was last changed, 0 where that cannot be told."""
    try:
        found = commits(folder, commit, inside)
    except (GitError, ValueError):
        return 0.0
    return found[0].committed if found else 0.0


def judge(
    history: list[Commit],
    deadline: float | None,
    last_push: float | None,
    first_seen: float | None,
    now: float,
) -> Dates:
    """On time, late or unclear, and why."""
    newest = history[0]
    in_time = [each for each in history if deadline is None or each.committed <= deadline]
    dates = Dates(
        status=NO_DEADLINE,
        first_committed=min(each.committed for each in history),
        last_authored=newest.authored,
        last_committed=newest.committed,
        first_seen=first_seen,
        commits=len(history),
        commits_in_time=len(in_time),
        version_in_time=max(in_time, key=lambda each: each.committed).id if in_time else None,
    )
    if newest.committed - newest.authored > REBASED_SECONDS:
        dates.notes.append("committed days after it was written: rebased, amended or picked")
    if any(each.committed > now + 3600 or each.committed < GIT_EXISTS_SINCE for each in history[:50]):
        dates.notes.append(
            "a date in the future or before git existed: the clock of that computer was wrong, or was set"
        )
    seen_by = lambda moment: first_seen is not None and first_seen <= moment
    if last_push is not None and newest.committed > last_push and not seen_by(last_push):
        dates.status = NOT_ACCEPTED
    elif deadline is None:
        dates.status = NO_DEADLINE
    elif seen_by(deadline) or newest.committed <= deadline:
        dates.status = ON_TIME
        if dates.notes and not seen_by(deadline):
            dates.status = UNCLEAR
    elif newest.authored <= deadline:
        dates.status = UNCLEAR
    else:
        dates.status = LATE
    return dates


def end_of_day(day: datetime.date, utc_offset_hours: float) -> float:
    """The last moment of a deadline, in seconds."""
    if isinstance(day, datetime.datetime):
        return day.timestamp()
    zone = datetime.timezone(datetime.timedelta(hours=utc_offset_hours))
    return datetime.datetime.combine(day, datetime.time.max, zone).timestamp()
