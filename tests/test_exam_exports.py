"""The answers as cards for Anki and as one page of HTML."""

import json
import re
import shutil
import sqlite3
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from course.student import exam, exam_anki, exam_html
from course.student.exam_markdown import Rendering
from theory.exam_pages import FOLDER, read_answer, read_questions
from theory.pages import INLINE_MATH, LANGUAGES, REPOSITORY, read_page

WRITTEN = [one for one in read_questions() if one.path("en").exists()]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def answers(language: str, questions=WRITTEN):
    return [(question, read_answer(question, language)) for question in questions]


def cards(language: str) -> int:
    return sum(1 + len(answer.follow_ups) + len(answer.wrong) for _, answer in answers(language))


# ---- Markdown as HTML

PLAIN = Rendering(
    formula=lambda latex, display: f"[{latex.strip()}|{display}]", picture=lambda path: path.name
)


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("a $`x_1 * y * z`$ b", "<p>a [x_1 * y * z|False] b</p>"),
        ("a `$` and `b`", "<p>a <code>$</code> and <code>b</code></p>"),
        ("```math\na < b\n```", '<div class="formula">[a < b|True]</div>'),
        ("```bash\na < b\n```", "<pre><code>a &lt; b\n</code></pre>"),
        ("![A & b](../x/f.png)", '<p><img src="f.png" alt="A &amp; b"></p>'),
        ("[t](https://a.b/?c&d)", '<p><a href="https://a.b/?c&amp;d">t</a></p>'),
        ("[t](../../en/gan.md#x)", '<p><span class="place" title="theory/en/gan.md#x">t</span></p>'),
        ("[common/x.py](../../../common/x.py)", '<p><span class="place">common/x.py</span></p>'),
        (
            "[a](#b) [c](https://d.e)",
            '<p><span class="place" title="#b">a</span> <a href="https://d.e">c</a></p>',
        ),
        ("| $`a \\mid b`$ |\n|---|\n| 1 |", "<th>[a \\mid b|False]</th>"),
    ],
)
def test_parts_of_a_page_as_html(markdown, html):
    assert html in PLAIN.html(markdown, FOLDER / "en")


# ---- Anki


@pytest.fixture(scope="module", params=LANGUAGES)
def deck(request, tmp_path_factory):
    """(language, package, its notes as rows, the names of its figures)."""
    path = tmp_path_factory.mktemp("anki") / "deck.apkg"
    exam_anki.write_deck(path, answers(request.param), request.param)
    return request.param, path, *contents(path)


def contents(path: Path) -> tuple[list[dict], set[str]]:
    with zipfile.ZipFile(path) as package:
        folder = path.parent / path.stem
        package.extract("collection.anki2", folder)
        pictures = set(json.loads(package.read("media")).values())
    connection = sqlite3.connect(folder / "collection.anki2")
    rows = connection.execute("select guid, flds, tags from notes").fetchall()
    connection.close()
    return [
        {"guid": guid, "fields": fields.split("\x1f"), "tags": tags.split()} for guid, fields, tags in rows
    ], pictures


def test_a_deck_has_a_note_for_everything_that_is_asked(deck):
    language, _, notes, _ = deck
    assert len(notes) == cards(language) == len({note["guid"] for note in notes})
    for question in WRITTEN:
        parts = [note["tags"] for note in notes if question.id in note["tags"]]
        assert sum("answer" in tags for tags in parts) == 1 and all(question.theme in tags for tags in parts)


def test_cards_have_mathjax_and_nothing_left_of_markdown(deck):
    _, _, notes, _ = deck
    for note in notes:
        front, back, _ = note["fields"]
        outside = re.sub(r"\\\(.*?\\\)|\\\[.*?\\\]", "", back, flags=re.S)
        assert not re.search(r"[$`\\]|\]\(|\*\*|\\tag", outside), outside[:300]
        assert "<p>" in back and front
    assert sum(note["fields"][1].count(r"\(") for note in notes) > 100


def test_figures_of_the_cards_are_packed(deck):
    _, _, notes, pictures = deck
    shown = {name for note in notes for name in re.findall(r'<img src="([^"]+)"', note["fields"][1])}
    assert shown == pictures and len(shown) >= 5


def test_other_words_keep_the_guids(tmp_path, monkeypatch):
    first, second = tmp_path / "first.apkg", tmp_path / "second.apkg"
    exam_anki.write_deck(first, answers("en", WRITTEN[:1]), "en")
    page = (
        WRITTEN[0]
        .path("en")
        .read_text("utf-8")
        .replace("### ", "### Now then: ")
        .replace("generation", "drawing")
    )
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / WRITTEN[0].path("en").name).write_text(
        page.replace("../../../", f"{REPOSITORY}/"), "utf-8"
    )
    monkeypatch.setattr("theory.exam_pages.FOLDER", tmp_path)
    exam_anki.write_deck(second, answers("en", WRITTEN[:1]), "en")
    before, after = contents(first)[0], contents(second)[0]
    assert [note["guid"] for note in before] == [note["guid"] for note in after]
    assert before[1]["fields"][0] != after[1]["fields"][0]


def test_the_two_languages_are_different_decks(tmp_path):
    guids = []
    for language in LANGUAGES:
        exam_anki.write_deck(tmp_path / f"{language}.apkg", answers(language, WRITTEN[:2]), language)
        guids.append({note["guid"] for note in contents(tmp_path / f"{language}.apkg")[0]})
    assert not guids[0] & guids[1] and len(set(exam_anki.DECK_IDS.values())) == 2


def test_anki_imports_a_deck_and_a_second_time_changes_it(deck, tmp_path):
    collection = pytest.importorskip("anki.collection", reason="Anki's own library is not installed")
    language, path, notes, pictures = deck
    opened = collection.Collection(str(tmp_path / "collection.anki2"))
    try:
        for new in (len(notes), 0):
            request = collection.ImportAnkiPackageRequest(
                package_path=str(path), options=collection.ImportAnkiPackageOptions()
            )
            log = opened.import_anki_package(request).log
            assert (len(log.new), len(log.conflicting), opened.note_count()) == (new, 0, len(notes))
        assert {entry.name for entry in Path(opened.media.dir()).iterdir()} == pictures
        assert exam_anki.DECK_NAMES[language] in [one.name for one in opened.decks.all_names_and_ids()]
    finally:
        opened.close()


# ---- HTML


class Elements(HTMLParser):
    """Tags of a page with their attributes, and how they nest."""

    EMPTY = ("meta", "link", "img", "input", "br", "hr")

    def __init__(self, text: str):
        super().__init__()
        self.found, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open[-1:] != [tag]:
            self.wrong.append((tag, self.getpos()))
        else:
            self.open.pop()


@pytest.fixture(scope="module", params=LANGUAGES)
def page(request, tmp_path_factory):
    """(language, file, text) of the exported page."""
    path = tmp_path_factory.mktemp("html") / "exam.html"
    exam_html.write_page(path, answers(request.param), request.param)
    return request.param, path, path.read_text("utf-8")


def test_the_page_needs_nothing_from_outside(page):
    _, _, text = page
    elements = Elements(text)
    assert elements.wrong == [] and elements.open == []
    for tag, attributes in elements.found:
        for name in ("src", "href", "srcset", "data", "poster"):
            assert tag == "a" or attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    assert "@import" not in text and not re.search(r"url\((?!data:)", text)


def test_every_formula_of_the_pages_is_in_the_page(page):
    language, _, text = page
    expected = 0
    for question in WRITTEN:
        answer = read_answer(question, language)
        shown = [answer.short, answer.full, answer.places, answer.sources]
        shown += [item.answer for item in answer.follow_ups + answer.wrong]
        expected += sum(len(INLINE_MATH.findall(part)) + part.count("```math\n") for part in shown)
    assert [tag for tag, _ in Elements(text).found].count("math") == expected > 100
    body = re.sub(r"<script>.*?</script>|<style>.*?</style>", "", text, flags=re.S)
    assert "$`" not in body and "```" not in body and "\\" not in body


def test_every_answer_is_folded_and_every_figure_has_words(page):
    language, _, text = page
    found = Elements(text).found
    folds = [attributes for tag, attributes in found if tag == "details"]
    assert len(folds) == cards(language) + 2 * len(WRITTEN) and not any("open" in one for one in folds)
    assert [one["id"] for one in folds if "id" in one] == [question.id for question in WRITTEN]
    pictures = [attributes for tag, attributes in found if tag == "img"]
    assert len(pictures) == sum(len(read_page(question.path(language)).pictures) for question in WRITTEN)
    assert all(one["alt"] for one in pictures)


PROBE = """<script>
window.addEventListener("load", () => {
  const all = (selector) => [...document.querySelectorAll(selector)], found = {};
  const reached = (one) => { one.focus(); return document.activeElement === one; };
  const flat = (one) => !(one.getBoundingClientRect().width && one.getBoundingClientRect().height);
  found.folded = all(".question").every((one) => one.getBoundingClientRect().height < 200);
  document.getElementById("unfold").click();
  found.unreachable = all("summary, input, button").filter((one) => !reached(one)).length;
  found.closed = all("details:not([open])").length;
  found.flat = all("math").filter(flat).length;
  found.wide = document.documentElement.scrollWidth - window.innerWidth;
  found.broken = all("img").filter((one) => !one.naturalWidth).length;
  const search = document.getElementById("search");
  const seen = (words) => {
    search.value = words;
    search.dispatchEvent(new Event("input"));
    return all(".question:not([hidden])").map((one) => one.id);
  };
  found.search = seen("CSPup 134");
  found.nothing = [seen("qwertyuiop"), document.getElementById("nothing").hidden];
  found.again = seen("").length;
  found.width = window.innerWidth;
  parent.postMessage(JSON.stringify(found), "*");
});
</script>"""


FRAME = """<!doctype html><body style="margin:0"><pre id="probe"></pre><script>
window.addEventListener("message", (event) => { document.getElementById("probe").textContent = event.data; });
</script><iframe src="probe.html" width="WIDTH" height="900" style="border:0"></iframe>"""
"""A window cannot be as narrow as a telephone, a frame can."""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_works_in_a_browser(page, tmp_path, width):
    """Shown, searched, unfolded, reached by the keyboard, nothing on the console, also on a telephone."""
    _, _, text = page
    (tmp_path / "probe.html").write_text(text.replace("</body>", PROBE + "</body>"), "utf-8")
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)), "utf-8")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
               f"--user-data-dir={tmp_path / 'user'}", "--virtual-time-budget=20000"]  # fmt: skip
    dumped = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in dumped.stderr, dumped.stderr
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dumped.stdout)[1].replace("&gt;", ">"))
    expected = {"unreachable": 0, "folded": True, "closed": 0, "flat": 0, "broken": 0}
    assert {name: found[name] for name in expected} == expected
    assert found["wide"] <= 0 and found["width"] == width
    assert (
        found["search"] == ["exam-5"] and found["nothing"] == [[], False] and found["again"] == len(WRITTEN)
    )


# ---- the command


def test_both_files_at_once(tmp_path, capsys):
    files = [str(tmp_path / "deck.apkg"), str(tmp_path / "exam.html")]
    assert (
        exam.main(["export", "--theme", "gan", "--lang", "ru", "--anki", files[0], "--html", files[1]]) == 0
    )
    said = capsys.readouterr().out
    assert all(re.search(rf"wrote {file}: \d+ of 6 questions", said) for file in files)
    assert '<html lang="ru">' in Path(files[1]).read_text("utf-8")


def test_a_file_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert exam.main(["export", "--html", str(tmp_path / "file" / "exam.html"), "--lang", "en"]) == 1
    assert re.search(r"course exam: .*exam\.html: .*; name another file", capsys.readouterr().err)
