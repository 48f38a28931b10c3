"""The mentor's page in a real browser, with a class whose every word is hostile: nothing runs, nothing is
asked for."""

import functools
import html
import http.server
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from course.mentor import feedback, pages, points, rubric, said, tables

COURSE, RUBRIC, _ = rubric.read()
EVIL = (
    "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    "{{ 7*7 }}<style>body{display:none}</style>](javascript:alert(1)) ![x](http://127.0.0.1:PORT/leak.png) `|"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def hostile(evil: str) -> tables.Everything:
    """Two students of whom every string is `evil`."""
    item = {"status": "found", "places": [evil], "note": evil}
    picture = dict.fromkeys(("label", "where", "note"), evil)
    picture |= {"status": "ok", "plot": False, "digest": "", "hash": "", "jpeg": "AA=="}
    dates = {
        "status": "late",
        "first_committed": 0.0,
        "last_committed": 0.0,
        "first_seen": None,
        "notes": [evil],
    }
    work = {"place": evil, "how": "branch", "commit": "a" * 40, "others": [evil], "dates": dates, "code": []}
    work |= {"remarks": [evil], "notes": [evil], "gallery": [picture]}
    work["items"] = dict.fromkeys(RUBRIC.works["hw2"].items, item)
    who = {"id": "s", "source": evil, "last_name": evil, "first_name": evil, "email": evil}
    one = {"student": who, "status": "read", "main": {"name": item}, "works": {"hw2": work}, "notes": [evil]}
    lost = {"student": who, "status": "could not be read", "trouble": evil, "main": {}, "works": {}}
    assessed = {"s": one, "t": lost}
    pair = dict.fromkeys(("first_place", "second_place", "note", "first_text", "second_text"), evil)
    pair |= {"kind": "code", "first": "s", "second": "t", "share": 0.5, "shared": 9}
    results = {name: points.result(each, {"note": evil}, COURSE, RUBRIC) for name, each in assessed.items()}
    return tables.Everything(COURSE, RUBRIC, assessed, results, [pair], [f"s: {evil}"])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_word_of_a_student_is_escaped(language):
    page = pages.render(hostile(EVIL), language)
    assert "<script>document" not in page and "<img src=x" not in page and "<style>body{display" not in page
    assert "{{ 7*7 }}" in html.unescape(page), "templates are not evaluated in what students wrote"
    assert page.count("<script>") == page.count("<style>") == 1


def test_the_policy_admits_our_script_and_style_alone():
    page = pages.render(hostile(EVIL), "en")
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy
    for kind in ("script", "style"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)[1]
        assert pages._digest(text) in policy


def test_nothing_of_a_student_is_markdown_in_the_feedback():
    text = feedback.page(hostile(EVIL), "s", "en")
    prose = re.sub(r"`[^`\n]*`", "", text)  # code shows everything as it is
    assert not re.search(r"(?<!\\)<", prose)
    assert not re.search(r"(?<!\\)\]\(", prose)
    assert "://" not in prose.replace("\\://", "")


# ---- what a mentor looks for


def found_in(page: str, pattern: str) -> list[str]:
    return [
        " ".join(html.unescape(re.sub(r"<[^>]+>", "", each)).split()) for each in re.findall(pattern, page)
    ]


def test_filters_say_how_many_students_they_leave():
    page = pages.render(hostile("x"), "en")
    assert found_in(page, r"(?s)<button[^>]*>.*?</button>") == [
        *("all 2", "to mark 1", "late 1", "could not be read 1", "with remarks 1", "like another's 2"),
        "changed 1",
    ]


def test_works_that_are_not_there_are_one_line():
    page = pages.render(hostile("x"), "en")
    (line,) = found_in(page, r'(?s)<p class="absent">.*?</p>')
    assert line.startswith("not handed in: hw1. Bayesian") and "hw2" not in line and "lab8." in line
    assert len(found_in(page, "<section class=.work.>")) == 1


@pytest.mark.parametrize(("language", "start"), [("en", "missing: "), ("ru", "нет: ")])
def test_what_is_missing_stands_in_the_open(language, start):
    everything = hostile("x")
    items = everything.assessed["s"]["works"]["hw2"]["items"]
    for name in ("conclusions", "platform"):
        items[name] = {"status": "missing", "places": [], "note": ""}
    (line,) = found_in(pages.render(everything, language), r'(?s)<p class="lack">.*?</p>')
    title = getattr(RUBRIC.items["conclusions"].title, language)
    assert line == start + title, "nothing hangs on what is optional"
    assert ("Missing: " if language == "en" else "Не найдено: ") + title + "." in feedback.page(
        everything, "s", language
    ).split("\n")


def test_both_students_of_a_pair_see_their_own_side_first():
    everything = hostile("x")
    everything.alike[0] |= {
        "first_place": "hw2: own.py",
        "second_place": "hw2: other.py",
        "note": "about 7 lines alike",
    }
    articles = pages.render(everything, "ru").split("<article")[1:]
    sides = [found_in(each, r'<span class="place">(.*?)</span>') for each in articles]
    assert sides == [["hw2: own.py", "hw2: other.py"], ["hw2: other.py", "hw2: own.py"]]
    assert all("код, 50 %, похожих строк: около 7" in each for each in articles)


@pytest.mark.parametrize(
    ("source", "linked"),
    [
        ("https://github.com/ivanov/generative-models.git", True),
        ("https://github.com/ivanov/x?y=1", False),
        ("https://user:secret@github.com/ivanov/x", False),
        ("git@github.com:ivanov/x", False),
        ("javascript:alert(1)//https://github.com/a", False),
        ("/home/ivanov", False),
    ],
)
def test_only_a_plain_address_of_a_repository_is_a_link(source, linked):
    everything = hostile("x")
    everything.assessed["s"]["student"]["source"] = source
    assert (f'href="{source}"' in pages.render(everything, "en")) == linked


def test_lines_for_the_marks_are_read_as_marks(tmp_path):
    everything = hostile("x")
    (text,) = re.findall(r'<pre class="marks">(.*?)</pre>', pages.render(everything, "en"), re.DOTALL)
    (tmp_path / "marks.toml").write_text(html.unescape(text), encoding="utf-8")
    marks = points.read_marks(tmp_path / "marks.toml", {"s"}, COURSE, RUBRIC)
    work = everything.results["s"].works["hw2"]
    assert marks == {"s": {"hw2": {part.id: part.value for part in work.parts}}}
    everything.results["s"] = points.result(everything.assessed["s"], marks["s"], COURSE, RUBRIC)
    assert 'class="marks"' not in pages.render(everything, "en"), "all is marked"
    assert pages._marks("ивано.в", "hw2", work).startswith('["ивано.в".hw2]\n')


def test_a_total_is_no_final_one_until_all_is_marked():
    everything = hostile("x")
    assert "So far: 30 points; by the scale of the course FX (2)." in feedback.page(everything, "s", "en")
    assert "· suggested" in pages.render(everything, "en")
    marks = {"hw2": {"total": 12}}
    everything.results["s"] = points.result(everything.assessed["s"], marks, COURSE, RUBRIC)
    assert "Total: 12 points, FX (2)." in feedback.page(everything, "s", "en")
    assert "Итого: 12 баллов, FX (2)." in feedback.page(everything, "s", "ru")
    assert "· marked" in pages.render(everything, "en")


def test_changes_and_quotes_are_russian_on_the_russian_page():
    lines = {
        "s: hw2: loss_curve: found → missing": "s: hw2: loss_curve: есть → нет",
        "s: hw1: handed in (homework_1, on time)": "s: hw1: сдано (homework_1, в срок)",
        "s: points 20 → 25": "s: баллы: 20 → 25",
        "s: hw2: date on time → late": "s: hw2: срок: в срок → после срока",
        "t: new in the list": "t: новый в списке",
    }
    assert {line: said.change(line, "ru") for line in lines} == lines
    assert [said.change(line, "en") for line in lines] == list(lines)
    quote = "“FID is empty; see 1 picture”"
    assert said.line(quote, "ru") == "«FID is empty; see 1 picture»" and said.line(quote, "en") == quote


def test_what_similarity_says_has_its_russian():
    for line in (
        "about 12 lines alike",
        "about 12 lines alike in 3 places; 4 students have this place",
        "the very same file",
        "look alike: 3 of 64 bits differ",
    ):
        assert said.translated(line) and not re.search("[a-z]", said.line(line, "ru"))


# ---- in a browser


@pytest.fixture
def visited():
    """A server on this machine, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, asked
    server.shutdown()


def browse(path: Path, tmp_path: Path, *flags: str, asked: str = "") -> str:
    """The page's elements after its script has run."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [*command, *flags, "--dump-dom", path.as_uri() + asked],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_nothing_of_a_student_runs_or_is_asked_for(tmp_path, visited):
    port, asked = visited
    evil = EVIL.replace("PORT", str(port)) + f"<img src='http://127.0.0.1:{port}/leak2.png'>"
    path = tmp_path / "index.html"
    pages.write(hostile(evil), path, "en")
    seen = browse(path, tmp_path)
    assert "<title>Deep generative models</title>" in seen
    assert 'class="here"' in seen, "our own script runs"
    assert asked == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_keys_move_between_students_and_filters_narrow(tmp_path):
    path = tmp_path / "index.html"
    pages.write(hostile("x"), path, "en")
    press = functools.partial("document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}'}}));".format)
    script = f"""
    const out = [];
    const all = [...document.querySelectorAll('article')];
    const open = () => all.findIndex((article) => !article.hidden);
    out.push(open()); {press("j")} out.push(open()); {press("j")} out.push(open());
    {press("k")} out.push(open());
    {press("/")} out.push(document.activeElement.id); document.activeElement.blur();
    document.querySelector('[data-flag=unread]').click(); out.push(open());
    out.push(location.hash);
    document.querySelector('article:not([hidden]) a[data-student]').click(); out.push(open());
    {press("d")} out.push(document.documentElement.dataset.theme);
    document.title = out.join(' ');
    """
    text = path.read_text()
    own = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    path.write_text(text.replace(own, own + script).replace(pages._digest(own), pages._digest(own + script)))
    title = re.search(r"<title>(.*?)</title>", browse(path, tmp_path))[1]
    assert title == "0 1 1 0 filter 1 #t 0 dark"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_an_address_opens_its_student(tmp_path):
    path = tmp_path / "index.html"
    pages.write(hostile("x"), path, "en")
    for asked, opened in (("#t", "t"), ("#s", "s"), ("#nobody", "s"), ("#%E0%A4%A", "s")):
        (shown,) = re.findall(
            r'<article [^>]*data-student="(\w)" tabindex="-1">', browse(path, tmp_path, asked=asked)
        )
        assert shown == opened
