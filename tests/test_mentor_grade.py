"""`course grade` on one student or a few: changes, marks, tables, broken and hostile repositories."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grading import lend_starter, rows, run
from student_repositories import Commit, build, point, tree, write_object

from course.mentor import assessment, grade, points, rubric, students

pytest.importorskip("resource", reason="limits as POSIX has them")
ROOT = Path(__file__).resolve().parent.parent
COURSE, RUBRIC, _ = rubric.read()


# ---- one student


def group_of(tmp_path: Path, commits: list[Commit], name: str = "ivanov", head: str = "main") -> Path:
    build(tmp_path / "group" / name, commits, head)
    return tmp_path / "group"


PAGE = "# Homework 2\n\n## Task\n\nTrain a network.\n\n## Conclusions\n\nIt converged at last.\n"
HW2 = Commit("homework_2", {"README.md": PAGE, "gan.py": "class CSPUp: pass\nclass Generator: pass\n"})


def test_what_changed_since_the_last_run(tmp_path):
    folder, out = group_of(tmp_path, [HW2]), tmp_path / "out"
    run(folder, "--out", out)
    assert "Nothing changed" in (out / "changes.md").read_text()
    shutil.rmtree(folder / "ivanov")
    more = {"README.md": PAGE.replace("It converged at last.", ""), "gan.py": "class CSPUp: pass\n"}
    group_of(tmp_path, [Commit("homework_2", more, date="2024-05-01"), Commit("hw1", {"a.py": "x"})])
    run(folder, "--out", out)
    changes = (out / "changes.md").read_text()
    for said in (
        "hw1: handed in (hw1, on time)",
        "hw2: date on time → late",
        "hw2: conclusions: found → missing",
        "hw2: generator_code: found → missing",
    ):
        assert f"- ivanov: {said}" in changes
    found = json.loads((out / "students" / "ivanov.json").read_text())["works"]["hw2"]
    assert any("the history was rewritten" in note for note in found["dates"]["notes"])


def test_the_mentors_marks_go_before_and_are_never_overwritten(tmp_path):
    folder, out = group_of(tmp_path, [HW2]), tmp_path / "out"
    run(folder, "--out", out)
    marks = "[ivanov]\ntalk = 8\nnote = 'Good *work*'\n"
    marks += "[ivanov.hw2]\ncspup = 4.5\ngenerator = 9\n[ivanov.hw1]\ntotal = 12\n"
    (out / "marks.toml").write_text(marks)
    run(folder, "--out", out)
    assert (out / "marks.toml").read_text() == marks
    by_work = {row["assignment"]: row for row in rows(out / "grades.csv")}
    assert (by_work["hw1"]["score"], by_work["hw1"]["marked_by"]) == ("12", "mentor")
    assert by_work["hw2"]["marked_by"] == "suggested", "two of its four parts are not marked"
    parts = json.loads((out / "results" / "ivanov.json").read_text())["tests"]
    assert {part["name"]: part["score"] for part in parts}["hw2: CSPup block"] == 4.5
    assert "Good \\*work\\*" in (out / "feedback" / "ivanov.en.md").read_text()


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ("[nobody]\ntalk = 1", "there is no student 'nobody'"),
        ("[ivanov]\ntalk = 11", "ivanov.talk = 11; points from 0 to 10"),
        ("[ivanov]\nexam = 9", "points from 1 to 5"),
        ("[ivanov.hw2]\ncspup = 6", "points from 0 to 5"),
        ("[ivanov.hw2]\nstyle = 1", "its parts are cspup, generator"),
        ("[ivanov]\nhw9 = 1", "it takes"),
        ("[ivanov", "not TOML"),
        ("[ivanov]\ntalk = true", "points from 0 to 10"),
    ],
)
def test_a_slip_in_the_marks_is_one_line(tmp_path, capsys, marks, said):
    folder, out = group_of(tmp_path, [HW2]), tmp_path / "out"
    out.mkdir()
    (out / "marks.toml").write_text(marks)
    assert run(folder, "--out", out) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "marks.toml" in error


def test_missing_is_not_zero_and_unreadable_is_neither(tmp_path, capsys):
    folder = group_of(tmp_path, [HW2])
    (folder / "empty").mkdir()
    assert run(folder, "--out", tmp_path / "out") == 1
    assert "could not be read: empty" in capsys.readouterr().err
    by_key = {(row["student_id"], row["assignment"]): row for row in rows(tmp_path / "out" / "grades.csv")}
    assert (by_key["ivanov", "hw1"]["score"], by_key["ivanov", "hw1"]["status"]) == ("", "not handed in")
    assert (by_key["empty", "hw2"]["score"], by_key["empty", "hw2"]["status"]) == ("", "could not be read")
    totals = {row["student_id"]: row for row in rows(tmp_path / "out" / "totals.csv")}
    assert (totals["empty"]["total"], totals["empty"]["mark"]) == ("", "")


# ---- tables


def test_cells_of_hostile_names_stay_in_their_row(tmp_path):
    (tmp_path / "s.csv").write_text(
        'student_id,last_name,repository\nx,"=HYPERLINK(""http://e.org"")\nnext, ""row",nowhere\n',
        encoding="utf-8",
    )
    run(tmp_path / "s.csv", "--out", tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "totals.csv")
    assert row["last_name"] == '\'=HYPERLINK("http://e.org")\\x0anext, "row'
    assert (tmp_path / "out" / "totals.csv").read_bytes().count(b"\r\n") == 2


def test_the_columns_that_nbgrader_has_come_first(tmp_path):
    run(group_of(tmp_path, [HW2]), "--out", tmp_path / "out")
    assert list(rows(tmp_path / "out" / "grades.csv")[0])[:11] == [
        *(
            "assignment",
            "duedate",
            "timestamp",
            "student_id",
            "last_name",
            "first_name",
            "email",
            "raw_score",
        ),
        *("late_submission_penalty", "score", "max_score"),
    ]


# ---- one broken student never stops the rest


ASSESS = assessment.assess


def assess_slowly(student, *rest):
    """Stands for `assess` in the workers, which import it from here."""
    if student.id == "slow":
        time.sleep(600)
    return ASSESS(student, *rest)


def assess_and_die(student, *rest):
    if student.id == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return ASSESS(student, *rest)


def test_a_student_who_takes_too_long_is_one_status(tmp_path, capsys, monkeypatch):
    folder = group_of(tmp_path, [HW2])
    run(folder, "--out", tmp_path / "out")  # so that only the slow one needs time, on a busy computer too
    build(folder / "slow", [HW2])
    monkeypatch.setattr(assessment, "assess", assess_slowly)
    impatient = lambda *limits, **more: assessment.Options(*limits, fetch_seconds=20, **more)
    monkeypatch.setattr(grade, "Options", impatient)
    assert run(folder, "--out", tmp_path / "out", "--seconds", 4) == 1
    printed = capsys.readouterr()
    assert "slow: took longer than 24 s" in printed.out
    assert "ivanov: hw2" in printed.out


def test_a_student_whose_reading_dies_is_one_status(tmp_path, capsys, monkeypatch):
    folder = group_of(tmp_path, [HW2])
    build(folder / "deadly", [HW2])
    monkeypatch.setattr(assessment, "assess", assess_and_die)
    assert run(folder, "--out", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert "ivanov: hw2" in printed.out
    assert "could not be read: deadly" in printed.err


def test_ctrl_c_keeps_what_is_done(tmp_path):
    folder = tmp_path / "group"
    lend_starter(tmp_path / "out")
    build(folder / "s00", [HW2])
    for index in range(1, 16):
        shutil.copytree(folder / "s00", folder / f"s{index:02d}")
    program = "import sys; from course.mentor import grade; sys.exit(grade.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(
        [*command, str(folder), "--out", str(tmp_path / "out"), "--jobs", "1"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 130
    assert "interrupted; what is done is kept" in errors and "Traceback" not in errors
    kept = list((tmp_path / "out" / "students").glob("*.json"))
    assert 3 <= len(kept) < 16
    again = [*command, str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(unchanged)") >= 3


def test_hostile_repositories_beside_a_good_one(tmp_path, capsys):
    """Every kind at once: each has its status, the good one its points, and nothing was executed."""
    folder, flag = group_of(tmp_path, [HW2]), tmp_path / "ran"
    page = (
        f"# <script>fetch('http://e.org')</script>\n\n[x](javascript:alert(1))\n\n{'=' * 50_000}\n\n" + PAGE
    )
    build(folder / "script", [Commit("homework_2", {"README.md": page, "x.py": f"open({str(flag)!r}, 'w')"})])
    build(folder / "long", [Commit("homework_2", {"README.md": "a" * 10_000_000 + "\n" + PAGE})])
    nested = b"[" * 500_000
    build(folder / "nested", [Commit("homework_2", {"a.ipynb": nested, "README.md": PAGE})])
    source = build(folder / "names", [Commit("main", {"a": "1"})])
    blob = write_object(source, "blob", b"x")
    names = sorted([b"..", b".git", b"README.md", b"a\nb.png", b"=cmd.png", b"<b>.png"])
    point(
        source, "homework_2", write_object(source, "tree", tree([("100644", name, blob) for name in names]))
    )
    (folder / "broken" / "objects").mkdir(parents=True)
    (folder / "broken" / "HEAD").write_text("ref: refs/heads/../../../../etc/passwd\n")
    assert run(folder, "--out", tmp_path / "out") == 1
    assert not flag.exists()
    assert "could not be read: broken" in capsys.readouterr().err
    statuses = {row["student_id"]: row["state"] for row in rows(tmp_path / "out" / "totals.csv")}
    assert statuses == dict.fromkeys(("ivanov", "script", "long", "nested", "names"), "suggested") | {
        "broken": "could not be read"
    }
    nested_items = evidence_of(tmp_path, "nested")["works"]["hw2"]["items"]
    assert nested_items["files"]["status"] == "unreadable", "a notebook that cannot be read is not missing"
    html = (tmp_path / "out" / "index.html").read_text()
    assert "<script>fetch" not in html and "javascript:alert" not in html.replace("&", "")


def evidence_of(tmp_path: Path, student: str) -> dict:
    return json.loads((tmp_path / "out" / "students" / f"{student}.json").read_text())


# ---- the command line


def test_a_wrong_list_is_one_line(tmp_path, capsys):
    assert run(tmp_path / "none.csv", "--out", tmp_path / "out") == 2
    assert "none.csv: no such file or folder" in capsys.readouterr().err


def test_hidden_folders_are_no_students(tmp_path):
    folder = group_of(tmp_path, [HW2])
    for name in (".idea", ".en.md"):
        (folder / name).mkdir()
    assert [each.id for each in students.read(folder)] == ["ivanov"]
    assert students.identifier("") and students.identifier(".git")


@pytest.mark.parametrize("bare", [True, False])
def test_a_folder_that_is_one_repository_is_refused_in_one_line(tmp_path, capsys, bare):
    folder = group_of(tmp_path, [HW2]) / "ivanov"
    if not bare:
        (tmp_path / "work" / "hw1").mkdir(parents=True)
        folder = folder.rename(tmp_path / "work" / ".git").parent
    assert run(folder, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "a repository itself; give the folder that holds" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "flag",
    ["--jobs=0", "--jobs=x", "--seconds=nan", "--seconds=-1", "--seconds=0", "--seconds=inf", "--limit-mb=-1",
     "--blob-mb=0", "--run-seconds=0.0", "--seconds=."],
)  # fmt: skip
def test_a_flag_without_sense_is_one_line(capsys, flag):
    with pytest.raises(SystemExit) as ended:
        grade.parser().parse_args(["students.csv", flag])
    assert ended.value.code == 2
    assert f"argument {flag.split('=')[0]}: " in capsys.readouterr().err
    assert grade.parser().parse_args(["x", "--seconds", "0.5", "--jobs", "2"]).seconds == 0.5


def test_a_rubric_with_an_unknown_word_is_one_line(tmp_path, capsys):
    wrong = tmp_path / "rubric.toml"
    wrong.write_text(rubric.RUBRIC.read_text().replace('check = "readme"', 'chekc = "readme"', 1))
    assert run(group_of(tmp_path, [HW2]), "--out", tmp_path / "out", "--rubric", wrong) == 2
    error = capsys.readouterr().err
    assert str(wrong) in error and "items.readme" in error and error.count("\n") == 1


def test_parts_that_do_not_sum_to_the_course_are_one_line(tmp_path, capsys):
    wrong = tmp_path / "course.toml"
    wrong.write_text(rubric.COURSE.read_text().replace("points = 15", "points = 16", 1))
    assert run(group_of(tmp_path, [HW2]), "--out", tmp_path / "out", "--deadlines", wrong) == 2
    assert "the parts of hw1 make 15 points" in capsys.readouterr().err


# ---- the page for mentors

MENTOR_PAGES = {
    language: ROOT / "course/mentor" / name
    for language, name in (("en", "README.md"), ("ru", "README.ru.md"))
}


@pytest.mark.parametrize("language", MENTOR_PAGES)
def test_commands_and_marks_of_the_page_are_right(language, tmp_path):
    text = MENTOR_PAGES[language].read_text(encoding="utf-8")
    commands = re.findall(r"^python3 -m course grade (.*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        grade.parser().parse_args(command.split())
    (tmp_path / "marks.toml").write_text(
        re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8"
    )
    marks = points.read_marks(tmp_path / "marks.toml", {"ivanov"}, COURSE, RUBRIC)
    assert marks["ivanov"]["hw2"] == {"cspup": 4.5, "generator": 9}
    for link in re.findall(r"\]\((?!https://)([^)#]+)", text):
        assert (MENTOR_PAGES[language].parent / link).exists()


def test_the_two_pages_say_the_same():
    english, russian = (path.read_text(encoding="utf-8") for path in MENTOR_PAGES.values())
    shape = lambda text: [
        re.match(r"#+|\||```", line)[0] for line in text.split("\n") if re.match(r"#|\||```", line)
    ]
    assert shape(english) == shape(russian)


def test_every_file_of_the_page_is_written(tmp_path):
    run(group_of(tmp_path, [HW2]), "--out", tmp_path / "out")
    names = re.findall(r"^\| `([^`]+)`", MENTOR_PAGES["en"].read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) == 9
    assert all((tmp_path / "out" / name).exists() for name in names)


def test_a_process_that_reads_students_files_has_so_much_memory_and_no_more(tmp_path, monkeypatch):
    given, pool = {}, grade.ProcessPool
    monkeypatch.setattr(grade, "ProcessPool", lambda *jobs, **more: given.update(more) or pool(*jobs, **more))
    group = group_of(tmp_path, [Commit("main", {"README.md": "# Ivanov"})])
    run(group, "--out", tmp_path / "grades")
    assert given["initializer"] is assessment.bound_memory
    code = "import resource; from course.mentor import assessment; assessment.bound_memory()"
    shown = f"{code}; print(resource.getrlimit(resource.RLIMIT_AS)[0])"
    done = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) == assessment.WORKER_MEMORY
