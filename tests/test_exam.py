"""The drill of the oral exam: what it draws, what it shows, what it remembers."""

import io
import json
import os
import random
import re
import select
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone

from common.errors import InputError

import pytest
from rich.cells import cell_len

from course.student import exam, exam_drill, exam_history
from course.student.exam_drill import Screen, Sitting
from course.student.exam_history import Asked, History, draw, need, recall
from theory import exam_pages
from theory.exam_pages import Question, read_questions

NOW = datetime(2024, 6, 1, 12, tzinfo=timezone.utc)


def asked(mark: int, days_ago: float, question: str = "exam-4") -> Asked:
    return Asked(question=question, time=NOW - timedelta(days=days_ago), mark=mark, seconds=90, language="en")


def question(number: int, weight: float = 1.0) -> Question:
    return Question(f"exam-{number}", "gan", f"page_{number}", weight, "What?", "Что?")


# ---- which questions are due


def test_what_was_never_asked_is_needed_most():
    assert need([], NOW) == 1 > need([asked(1, 0)], NOW) > need([asked(5, 0)], NOW)


@pytest.mark.parametrize("mark", range(1, 5))
def test_a_better_mark_is_needed_less(mark):
    assert need([asked(mark + 1, 3)], NOW) < need([asked(mark, 3)], NOW)


@pytest.mark.parametrize("mark", range(1, 6))
def test_what_was_long_ago_is_needed_more(mark):
    needs = [need([asked(mark, days)], NOW) for days in (0, 10, 100, 1000)]
    assert needs == sorted(needs) and needs[0] < needs[-1]


def test_answers_well_known_several_times_are_remembered_longer():
    once, thrice = [asked(4, 20)], [asked(4, 60), asked(4, 40), asked(4, 20)]
    assert recall(once, NOW) < recall(thrice, NOW) <= 1


def test_nothing_is_impossible():
    assert need([asked(5, 0)], NOW) >= exam_history.LEAST_NEED > 0


def first_drawn(questions, history, draws=4000) -> Counter:
    generator = random.Random(0)
    return Counter(draw(questions, history, 1, NOW, generator)[0].id for _ in range(draws))


def test_questions_are_drawn_in_proportion_to_weight_and_need():
    questions = [question(1), question(2, weight=3.0), question(3)]
    history = History(asked=[asked(5, 0, "exam-3")])
    counts = first_drawn(questions, history)
    share = 1 / (1 + 3 + exam_history.LEAST_NEED)
    error = 4.5 * (4000 * share * (1 - share)) ** 0.5
    assert abs(counts["exam-1"] - 4000 * share) < error
    assert abs(counts["exam-2"] - 4000 * 3 * share) < error
    assert 0 < counts["exam-3"] < 60


def test_different_questions_are_drawn_and_no_more_than_there_are():
    questions = [question(number) for number in range(1, 6)]
    for seed in range(50):
        drawn = draw(questions, History(), 3, NOW, random.Random(seed))
        assert len({one.id for one in drawn}) == 3
    assert len(draw(questions, History(), 9, NOW, random.Random(0))) == 5


def test_a_seed_draws_the_same_again():
    questions = [question(number) for number in range(1, 12)]
    first, again, other = (draw(questions, History(), 2, NOW, random.Random(seed)) for seed in (7, 7, 8))
    assert first == again != other


# ---- the history


def test_a_history_is_kept_and_read_again(tmp_path):
    path = tmp_path / "new" / "exam.json"
    assert exam_history.load(path).asked == []
    for mark in (2, 5):
        exam_history.add(path, asked(mark, 0))
    assert [one.mark for one in exam_history.load(path).of(question(4))] == [2, 5]
    assert json.loads(path.read_text())["version"] == 1
    assert [one.name for one in path.parent.iterdir() if "partial" in one.name] == []


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"version": 2, "asked": []}', b'{"asked": [{"mark": 9}]}', b"\xff\xfe\x00"]
)
def test_a_damaged_history_is_set_aside_and_named(tmp_path, capsys, damage):
    path = tmp_path / "exam.json"
    for number in (1, 2):
        path.write_bytes(damage)
        assert exam_history.load(path).asked == []
        assert f"exam.damaged-{number}.json" in capsys.readouterr().err or number == 2
        assert (tmp_path / f"exam.damaged-{number}.json").read_bytes() == damage
        assert not path.exists()


def test_a_failed_write_leaves_the_old_history(tmp_path, monkeypatch):
    path = tmp_path / "exam.json"
    exam_history.add(path, asked(4, 0))
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match=r"exam\.json: No space left on device; the mark is not kept"):
        exam_history.add(path, asked(5, 0))
    assert path.read_bytes() == before


def test_a_history_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--history"):
        exam_history.add(tmp_path / "file" / "exam.json", asked(3, 0))


# ---- a sitting


def written() -> list[Question]:
    return [one for one in read_questions() if one.path("en").exists()]


def sit(lines: str, tmp_path, questions=None, language="en", clock=None) -> str:
    output = io.StringIO()
    screen = Screen(plain=True, output=output, source=io.StringIO(lines))
    ticks = iter(range(0, 10**6, 95))
    Sitting(
        questions or written()[:1], language, screen, tmp_path / "exam.json", clock or (lambda: next(ticks))
    ).run()
    return output.getvalue()


def lines_for(question: Question, mark: str) -> str:
    """A line for each key: answered, two for each follow-up question, on to the mark, the mark."""
    answer = exam.read_answer(question, "en")
    return "\n" * (2 + 2 * len(answer.follow_ups)) + mark + "\n"


def test_a_sitting_is_timed_and_marked(tmp_path):
    two = written()[:2]
    said = sit(lines_for(two[0], "4") + lines_for(two[1], "2"), tmp_path, two)
    assert "Question 1 of 2" in said and "Question 2 of 2" in said
    assert "1 min 35 s; the aim is about 2 min 00 s" in said
    kept = exam_history.load(tmp_path / "exam.json").asked
    assert [(one.question, one.mark, one.seconds) for one in kept] == [(two[0].id, 4, 95), (two[1].id, 2, 95)]


def test_answers_come_after_their_questions(tmp_path):
    (one,) = written()[:1]
    answer = exam.read_answer(one, "en")
    said = " ".join(sit(lines_for(one, "4"), tmp_path, [one]).split())
    places = [said.index(" ".join(item.question.split())[:40]) for item in answer.follow_ups]
    assert said.index(answer.title[:30]) < places[0] and places == sorted(places)


ENGLISH = re.compile(
    r"\b(question|answer|key|mark|aim|min|history|page|asked|need|figure|generation)\b", re.I
)


def test_in_russian_the_drill_itself_speaks_russian(tmp_path, monkeypatch):
    monkeypatch.setattr(Screen, "show", lambda *_: None)  # the pages have tests of their own
    (one,) = written()[:1]
    for lines in (lines_for(one, "4"), lines_for(one, ""), "q\n"):
        said = sit(lines, tmp_path, [one], "ru")
        assert f"Вопрос 1 из 1 · {one.id} · генерация" in said and not ENGLISH.search(said), said
    assert "1 мин 35 с; цель — около 2 мин 00 с" in sit(lines_for(one, "4"), tmp_path, [one], "ru")
    assert "Оценки нет: ввод закончился." in sit("", tmp_path, [one], "ru")


def test_in_russian_the_stats_speak_russian(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    exam_history.add(tmp_path / "h.json", asked(2, 1))
    assert run("--stats", "--history", str(tmp_path / "h.json"), "--lang", "ru") == 0
    said = capsys.readouterr().out
    assert "2024-05-31" in said and "1 мин 30 с" in said and not ENGLISH.search(said), said


def test_every_theme_has_a_name_in_russian():
    assert {one.theme for one in read_questions()} <= set(exam_pages.THEMES_IN_RUSSIAN)
    assert {each.theme_in("ru") for each in written()} >= {"генерация", "диффузия"}


def test_a_mark_is_asked_for_until_it_is_one(tmp_path):
    (one,) = written()[:1]
    said = sit(lines_for(one, "0") + "six\n6\n\n3\n", tmp_path, [one])
    assert said.count("from 1 (nothing) to 5") == 5
    assert [kept.mark for kept in exam_history.load(tmp_path / "exam.json").asked] == [3]


def test_who_leaves_keeps_the_marks_given(tmp_path):
    two = written()[:2]
    said = sit(lines_for(two[0], "5") + "\nq\n", tmp_path, two)
    assert "the marks given so far are kept" in said
    assert len(exam_history.load(tmp_path / "exam.json").asked) == 1


def test_where_the_input_ends_everything_is_shown_and_nothing_marked(tmp_path):
    (one,) = written()[:1]
    said = sit("", tmp_path, [one])
    assert "No mark: the input has ended." in said
    assert not (tmp_path / "exam.json").exists()
    for item in exam.read_answer(one, "en").follow_ups:
        assert " ".join(item.question.split())[:20] in " ".join(said.split())


def test_the_full_answer_is_shown_on_f(tmp_path):
    (one,) = [each for each in written() if each.id == "exam-4"]
    lines = lines_for(one, "")[:-2] + "f\n4\n"
    assert "Hyper-parameters" in sit(lines, tmp_path, [one])
    assert "Hyper-parameters" not in sit(lines_for(one, "4"), tmp_path, [one])


@pytest.mark.parametrize("columns", [20, 40, 79])
@pytest.mark.parametrize("language", ["en", "ru"])
def test_it_fits_a_narrow_terminal_and_shows_no_latex(tmp_path, monkeypatch, columns, language):
    monkeypatch.setenv("COLUMNS", str(columns))
    said = sit("", tmp_path, written(), language)
    assert max(map(cell_len, said.splitlines())) <= columns
    assert "\\" not in said and "$`" not in said and "\x1b" not in said


def test_keys_go_on_in_a_terminal(tmp_path):
    pty = pytest.importorskip("pty", reason="a terminal as POSIX has it")
    (one,) = written()[:1]
    program = (
        "import sys; from course.student import exam;"
        f"sys.exit(exam.main(['--question', '{one.number}', '--history', sys.argv[1], '--lang', 'en']))"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", program, str(tmp_path / "exam.json")])
    shown = b""
    for _ in range(1000):  # a key at a time, whenever the drill is silent: it drops what was typed ahead
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # its end, as Linux says it
                break
        elif b"key" in shown:
            os.write(terminal, b"4" if b"How was it" in shown else b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [kept.mark for kept in exam_history.load(tmp_path / "exam.json").asked] == [4]


# ---- the command


def run(*arguments: str) -> int:
    return exam.main([*arguments])


def test_stats_tell_what_was_asked_and_what_has_no_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    history = tmp_path / "exam.json"
    exam_history.add(history, asked(2, 1))
    assert run("--stats", "--history", str(history), "--lang", "en") == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line for line in said.splitlines() if line.startswith(("exam-", "lab-"))}
    assert list(rows) == [one.id for one in read_questions()]
    assert "2024-05-31" in rows["exam-4"] and "1 min 30 s" in rows["exam-4"]
    for one in read_questions():
        assert ("no page" in rows[one.id]) != one.path("en").exists()
    assert str(history) in said.replace("\n", "")


@pytest.mark.parametrize(("columns", "words"), [(60, False), (100, True)])
def test_stats_have_the_questions_in_words_where_there_is_room(tmp_path, capsys, monkeypatch, columns, words):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run("--stats", "--history", str(tmp_path / "exam.json"), "--lang", "en", "--theme", "gan") == 0
    said = capsys.readouterr().out
    assert ("DCGAN" in said) == words and max(map(cell_len, said.splitlines())) <= columns


def test_a_question_without_a_page_is_not_drawn(monkeypatch, tmp_path, capsys):
    missing = question(99)
    monkeypatch.setattr(exam, "read_questions", lambda: [missing, *written()[:1]])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert run("--count", "5", "--history", str(tmp_path / "h.json"), "--lang", "en", "--plain") == 0
    assert "Question 1 of 1" in capsys.readouterr().out
    assert run("--question", "99", "--history", str(tmp_path / "h.json"), "--lang", "en") == 1
    assert "exam-99: no page in en answers it yet; see --stats" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--theme", "cooking"],
            "--theme cooking: no question there; the themes are generation, autoencoders",
        ),
        (["--question", "12"], "--question 12: not there; the numbers are 1, 2"),
        (["--lab", "--question", "8"], "--question 8: not there; the numbers are 1, 2, 3, 4, 5, 6, 7"),
        (["--theme", "gan", "--question", "1"], "the numbers are 4, 5, 6"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(arguments, complaint, capsys):
    assert run(*arguments) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--lang", "de"], ["export"], ["--question", "x"]])
def test_a_wrong_command_line_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        run(*arguments)
    assert end.value.code == 2
    assert "--" in capsys.readouterr().err


def test_flags_choose_questions(monkeypatch):
    chosen = lambda *arguments: [one.id for one in exam.chosen(exam.parse([*arguments]))]
    assert chosen("--lab", "--question", "3") == ["lab-3"]
    assert chosen("--question", "8") == ["exam-8"]
    assert chosen("--lab", "--theme", "gan") == ["lab-2", "lab-6", "lab-7"]
    assert len(chosen()) == 18


@pytest.mark.parametrize(
    ("name", "language"), [("ru_RU", "ru"), ("Russian_Russia", "ru"), ("de_DE", "en"), (None, "en")]
)
def test_the_language_is_the_users(monkeypatch, name, language):
    monkeypatch.setattr("locale.getlocale", lambda: (name, "UTF-8"))
    assert exam.language_of_user() == language


@pytest.mark.parametrize(("seconds", "words"), [(5.4, "5 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s")])
def test_a_duration_in_words(seconds, words):
    assert exam_drill.spoken(seconds) == words
    assert exam_drill.spoken(seconds, "ru") == words.replace("min", "мин").replace("s", "с")
