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

from course.mentor import feedback, pages, points, rubric, tables

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


def browse(path: Path, tmp_path: Path, *flags: str) -> str:
    """The page's elements after its script has run."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [*command, *flags, "--dump-dom", path.as_uri()],
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
    {press("d")} out.push(document.documentElement.dataset.theme);
    document.title = out.join(' ');
    """
    text = path.read_text()
    own = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    path.write_text(text.replace(own, own + script).replace(pages._digest(own), pages._digest(own + script)))
    title = re.search(r"<title>(.*?)</title>", browse(path, tmp_path))[1]
    assert title == "0 1 1 0 filter 1 dark"
