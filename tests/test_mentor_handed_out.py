"""What the course hands out is no evidence of a student's work; what a student adds to it is."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from grading import starter
from student_repositories import Commit, build
from student_writing import picture

from course import branches
from course.mentor import assessment, handed_out, points, rubric
from course.mentor.handed_out import HandedOut, code_key, text_key
from course.mentor.students import Student
from course.student import start

pytest.importorskip("resource", reason="limits as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent
COURSE, RUBRIC, _ = rubric.read()
SCRIPT = """import torch


class Generator(torch.nn.Module):
    def forward(self, latents):
        raise NotImplementedError("hw2.b: the layers")


class Discriminator(torch.nn.Module):
    def forward(self, images):
        return self.layers(images)
"""
PAGE = "# Homework 2\n\n## Task\n\nWhat is to be done, in two or three sentences.\n\n## Conclusions\n"
LINES = {code_key(line): [0] for line in SCRIPT.splitlines()} | {text_key(x): [1] for x in PAGE.splitlines()}
GIVEN = HandedOut([], ["hw2_gan/networks.py", "README"], LINES)


def assess(source: Path, tmp_path: Path, given: str) -> dict:
    options = assessment.Options(given=given)
    return assessment.assess(Student("s", str(source)), tmp_path / "m.git", COURSE, RUBRIC, "", None, options)


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> str:
    """What the course's own clone hands out."""
    kept = tmp_path_factory.mktemp("given") / "handed-out.json"
    kept.write_bytes(starter()["handed-out.json"])
    return str(kept)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A repository in which somebody said `course start hw2` and did nothing else."""
    folder = tmp_path_factory.mktemp("begun")
    clone = folder / "course"
    command = ["git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(clone)]
    subprocess.run(command, check=True)
    with pytest.MonkeyPatch.context() as patch:
        for who in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{who}_NAME", "A Student")
            patch.setenv(f"GIT_{who}_EMAIL", "a@example.org")
        patch.setattr(start, "check_name", lambda repository: None)
        course = branches.Repository(clone)
        homework = branches.Homework("hw2", "hw2_gan")
        start.start(course, course.say("rev-parse", "HEAD"), homework, folder / "student", "en")
    return folder / "student"


def commit(folder: Path, changes: dict[str, str]) -> None:
    for path, text in changes.items():
        (folder / path).write_text(text, encoding="utf-8")
    who = ["-c", "user.name=A Student", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, "commit", "--quiet", "--all", "--message", "x"], cwd=folder, check=True)


def test_starter_code_as_it_was_handed_out_is_worth_nothing_and_what_a_student_adds_is(
    begun, given, tmp_path
):
    found = assess(begun, tmp_path / "untouched", given)
    assert {item: each for item, each in found["works"]["hw2"]["items"].items() if each["places"]} == {}
    assert {each["status"] for each in found["works"]["hw2"]["items"].values()} == {"missing"}
    assert found["main"]["subject"]["status"] == "missing"
    found["works"]["hw2"]["dates"]["status"] = "on time"
    work = points.result(found, {}, COURSE, RUBRIC).works["hw2"]
    assert (work.value, work.high) == (0, 0)

    unwritten = re.compile(r'raise NotImplementedError\("hw2\..*"\)')
    scripts = [path for path in begun.glob("hw2_gan/*.py") if unwritten.search(path.read_text())]
    done = {str(path.relative_to(begun)): unwritten.sub("own = 1", path.read_text()) for path in scripts}
    page = (begun / "README.md").read_text()
    done["README.md"] = page.replace("Which images, where they come", "Faces that we photographed ourselves")
    commit(begun, done)
    items = assess(begun, tmp_path / "begun", given)["works"]["hw2"]["items"]
    there = {name for name, each in items.items() if each["status"] == "found"}
    assert {"files", "cspup_code", "generator_code", "requirements"} <= there
    assert there <= {"files", "cspup_code", "generator_code", "requirements",
                     "dataset", "readme"}  # fmt: skip
    assert set(items["files"]["places"]) <= set(done)


def test_of_a_changed_script_its_own_lines_count_under_the_heads_they_stand_in():
    mine = SCRIPT.replace('raise NotImplementedError("hw2.b: the layers")', "return self.up(latents)")
    assert GIVEN.own_code("hw2_gan/networks.py", SCRIPT) == ""
    assert GIVEN.own_code("hw2_gan/networks.py", "# mine\n" + SCRIPT) == ""
    assert GIVEN.own_code("work/hw2_gan/networks.py", mine) == "\n".join(
        [
            "class Generator(torch.nn.Module):",
            "    def forward(self, latents):",
            "        return self.up(latents)",
        ]
    )
    assert GIVEN.own_code("networks_of_mine.py", mine) == mine, "a few lines alike make no copy"


def test_a_file_under_another_name_is_known_by_its_lines():
    lines = [f"a_rather_long_line_of_code = {number}" for number in range(20)]
    known = HandedOut([], ["common/a.py"], {code_key(line): [0] for line in lines})
    assert known.own_code("src/b.py", "\n".join([*lines, "own = 1"])) == "own = 1"


def test_a_heading_of_the_template_stays_for_what_is_written_under_it(tmp_path):
    kept = tmp_path / "given.json"
    lines = {text_key(line): [0] for line in PAGE.splitlines()}
    kept.write_text(json.dumps({"blobs": [], "paths": ["README"], "lines": lines}))
    page = PAGE + "\nThe learning rate matters most, the rest less.\n"
    source = build(tmp_path / "s", [Commit("hw2", {"README.md": page})], head="hw2")
    handed_out.load.cache_clear()
    items = assess(source, tmp_path, str(kept))["works"]["hw2"]["items"]
    handed_out.load.cache_clear()
    assert items["conclusions"]["places"] == ["README.md:7"]
    assert items["task"] == {
        "status": "missing",
        "places": [],
        "note": "README.md:3: a heading with nothing under it",
    }


def test_a_page_as_it_was_handed_out_counts_where_it_shows_pictures_of_ones_own(tmp_path):
    reading = {}
    lines = {text_key(line): [0] for line in PAGE.splitlines()}
    for name, blobs in (("own", []), ("given", [blob_of(picture(1))])):
        kept = tmp_path / f"{name}.json"
        kept.write_text(json.dumps({"blobs": blobs, "paths": ["README"], "lines": lines}))
        files = {"README.md": PAGE + "\n![](a.png)\n", "a.png": picture(1)}
        source = build(tmp_path / name, [Commit("hw2", files)], head="hw2")
        found = assess(source, tmp_path / f"of {name}", str(kept))["works"]["hw2"]
        reading[name] = (found["items"]["conclusions"]["status"], len(found["gallery"]))
    assert reading == {"own": ("found", 1), "given": ("missing", 0)}


def blob_of(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_files_that_the_mentor_names_are_handed_out_too(tmp_path, monkeypatch):
    monkeypatch.setattr(handed_out, "_history", list)
    monkeypatch.setattr(handed_out, "_on_disk", lambda: iter([]))
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "lesson.py").write_text("x = 1\n")
    digest = handed_out.collect([tmp_path / "extra"], tmp_path / "kept.json")
    assert handed_out.collect([], tmp_path / "none.json") != digest
    known = handed_out.load(str(tmp_path / "kept.json"))
    assert known.own_code("hw1/lesson.py", "x = 1\ny = 2\n") == "y = 2"
