"""Pages that answer the exam's questions: two languages that agree, quotations and numbers that hold."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from course.mentor import points, rubric
from course.pages.tables import number, percent
from course.student.formulas import as_mathml, as_text
from theory.exam_pages import FOLDER, PageError, read_answer, read_questions
from theory.math_rules import math_problems
from theory.pages import INLINE_MATH, LANGUAGES, REPOSITORY, Page, read_page, words_out

QUESTIONS = read_questions()
WRITTEN = [question for question in QUESTIONS if question.path("en").exists()]
PAGES = {language: sorted((FOLDER / language).glob("*.md")) for language in LANGUAGES}
ALL = [path for paths in PAGES.values() for path in paths]
NOT_ANSWERS = {"talk", "marks"}
MOST_WORDS = 250


def name_of(value) -> str:
    return getattr(value, "id", None) or f"{value.parent.name}-{value.stem}"


def derived(language: str) -> dict[str, str]:
    """The blocks of the derivation pages by the number of their equation, byte by byte."""
    pages = map(read_page, sorted((REPOSITORY / "theory" / language).glob("*.md")))
    return {tag: block.body for page in pages for block in page.math_blocks for tag in block.tags}


def formulas(page: Page) -> list[str]:
    return [block.body for block in page.math_blocks] + [one[1] for one in INLINE_MATH.finditer(page.prose)]


def plain_numbers(latex: str) -> str:
    """A formula without what the two languages may write differently: decimal commas, spaces, words."""
    latex = words_out(latex).replace("{,}", ".").replace("{:}", ":").replace(r"\;", r"\,").replace(";", ",")
    return "".join(latex.replace(r"\,", "").split())


def test_every_page_belongs_to_a_question_and_has_its_other_language():
    known = {question.page for question in QUESTIONS} | NOT_ANSWERS
    for language in LANGUAGES:
        assert {path.stem for path in PAGES[language]} <= known
    assert [path.stem for path in PAGES["en"]] == [path.stem for path in PAGES["ru"]]


def test_the_questions_are_the_courses():
    numbers = {kind: [one.number for one in QUESTIONS if one.kind == kind] for kind in ("exam", "lab")}
    assert numbers == {"exam": [*range(1, 12)], "lab": [*range(1, 8)]}


@pytest.mark.parametrize("question", WRITTEN, ids=name_of)
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_has_all_its_parts(question, language):
    answer = read_answer(question, language)
    assert answer.title == question.text(language)
    assert len(answer.follow_ups) >= 6
    assert len(answer.wrong) >= 3
    assert all(item.question and item.answer for item in answer.follow_ups + answer.wrong)
    assert all((answer.full, answer.places, answer.sources))


@pytest.mark.parametrize("question", WRITTEN, ids=name_of)
@pytest.mark.parametrize("language", LANGUAGES)
def test_two_minutes_are_two_minutes_and_one_formula(question, language):
    short = Page(Path("short.md"), read_answer(question, language).short)
    words = len(INLINE_MATH.sub("formula", short.prose).split())
    assert 100 <= words <= MOST_WORDS
    assert len(short.math_blocks) == 1


@pytest.mark.parametrize("question", WRITTEN, ids=name_of)
@pytest.mark.parametrize(
    "part", ["headings", "tables", "pictures", "numbered", "displayed", "inline", "kept"]
)
def test_both_languages_have_the_same(question, part):
    english, russian = (read_page(question.path(language)) for language in LANGUAGES)
    read = {
        "displayed": lambda page: [plain_numbers(block.body) for block in page.math_blocks],
        "inline": lambda page: {plain_numbers(one[1]) for one in INLINE_MATH.finditer(page.prose)},
        "kept": lambda page: [target for _, _, target in page.links if ".json#" in target],
    }.get(part, lambda page: getattr(page, part))
    assert read(english) == read(russian)


@pytest.mark.parametrize("path", PAGES["ru"], ids=name_of)
def test_the_russian_page_is_written_in_russian(path):
    text = INLINE_MATH.sub("", read_page(path).prose.split("## Источники")[0])
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "", text)
    assert len(re.findall("[а-яё]", text)) > 4 * len(re.findall("[a-z]", text))


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_mathematics_keeps_githubs_rules(path):
    assert math_problems(read_page(path)) == []


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_every_formula_can_be_shown_everywhere(path):
    for latex in formulas(read_page(path)):
        text, mathml = as_text(latex), as_mathml(latex)
        assert not re.search(r"[\\|$\ue000-\uf8ff]", text), (latex, text)
        assert "\\" not in re.sub(r"<annotation.*?</annotation>", "", mathml), (latex, mathml)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_a_quoted_equation_is_the_one_that_is_derived(path):
    blocks = derived(path.parent.name)
    for block in read_page(path).math_blocks:
        for tag in block.tags:
            assert block.body == blocks.get(tag), f"({tag}) is not what theory/{path.parent.name} derives"


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_numbers_are_those_of_the_kept_results(path):
    for _, text, target in read_page(path).links:
        name, _, place = target.partition("#")
        if name.endswith(".json"):
            value = found(json.loads((path.parent / name).read_text("utf-8")), unquote(place))
            assert text == written_like(text, value, path.parent.name), target


def found(value, place: str):
    """What `models.0.eval/mse` names in a summary."""
    for part in place.split("."):
        value = value[int(part) if isinstance(value, list) else part]
    return value


def written_like(text: str, value: float, language: str) -> str:
    """The value in the form of `text`: a share as per cent, or a number with as many decimals."""
    digits = len(re.sub(r" %$", "", text).partition("," if language == "ru" else ".")[2])
    if text.endswith("%"):
        return percent(value, language, digits)
    plain = text.replace(",", "") if language == "en" else text  # thousands
    digits = len(plain.partition("," if language == "ru" else ".")[2])
    return number(value, language, digits)


@pytest.mark.parametrize(
    ("text", "value", "language", "same"),
    [
        ("97 %", 0.9676, "en", True),
        ("96 %", 0.9676, "en", False),
        ("96.8 %", 0.9676, "en", True),
        ("96,8 %", 0.9676, "ru", True),
        ("3,467", 3467.45, "en", True),
        ("3467,5", 3467.46, "ru", True),
        ("12.68", 12.6815, "en", True),
        ("12.69", 12.6815, "en", False),
    ],
)
def test_a_number_is_compared_in_the_form_in_which_it_stands(text, value, language, same):
    assert (written_like(text, value, language) == text) == same


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_arithmetic_of_large_images(language):
    """Of a map of n by n with C channels: 4 bytes a number, 9 multiplications for each pair of channels."""
    text = (FOLDER / language / "large_images.md").read_text("utf-8").replace("\u202f", " ")
    in_words = lambda value, digits=0: number(value, language, digits).replace("\u202f", " ")
    for side, channels in ((4, 512), (64, 512), (256, 128), (1024, 32), (1024, 512)):
        memory, work = 4 * channels * side**2 / 1e6, 9 * channels**2 * side**2 / 1e9
        assert f"| {side}×{side} | {channels} | {in_words(memory, 2)} " in text
        assert f"{in_words(memory, 2)} {'MB' if language == 'en' else 'МБ'} | {in_words(work, 2)} " in text
    for side in (32, 64, 256):
        assert f"{in_words(4 * side**4 / 1e6, 2)} {'MB' if language == 'en' else 'МБ'}" in text
    assert f"{in_words(512 * 512 * 3)} " in text and f"{in_words(64 * 64 * 4)}," in text
    assert (512 * 512 * 3 / (64 * 64 * 4), 8**2, 8**4) == (48, 64, 4096)


@pytest.mark.parametrize("question", WRITTEN, ids=name_of)
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_leads_to_its_derivation_to_code_and_to_books(question, language):
    answer = read_answer(question, language)
    targets = [target for _, _, target in Page(answer.path, answer.places).links]
    assert any(re.search(rf"\.\./\.\./{language}/\w+\.md#", target) for target in targets)
    assert any(re.search(r"\.py$|/README(\.ru)?\.md", target) for target in targets)
    assert "Foster" in answer.sources and "Langr" in answer.sources
    assert len(re.findall(r"\b(?:19|20)\d\d\b", answer.sources)) >= 3


# ---- the two pages that answer no question


@pytest.mark.parametrize("name", sorted(NOT_ANSWERS))
@pytest.mark.parametrize("part", ["headings", "tables", "pictures"])
def test_the_other_pages_have_the_same_in_both_languages(name, part):
    english, russian = (read_page(FOLDER / language / f"{name}.md") for language in LANGUAGES)
    assert getattr(english, part) == getattr(russian, part)


def rows_below(language: str, page: str, section: int) -> list[list[str]]:
    """Cells of the table in a section, without its head."""
    text = (FOLDER / language / f"{page}.md").read_text("utf-8").split("\n## ")[section]
    rows = [line.strip("| ").split(" | ") for line in text.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def as_number(cell: str) -> float:
    return float(cell.replace(",", ".").replace("–", "0"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_marks_add_up_as_they_are_graded(language):
    """The page's tables and examples against the data and the functions by which work is graded."""
    course, _, _ = rubric.read()
    *works, total = rows_below(language, "marks", 1)
    expected = [
        [getattr(work.title, language), f"{work.points:g}", f"{work.deadline or '–'}"]
        for work in course.works
    ]
    assert works == expected and total[1] == f"{sum(work.points for work in course.works):g}"
    for words, letter, mark in rows_below(language, "marks", 2):
        (step,) = [step for step in course.grade.scale if step.letter == letter]
        lowest = step.above if step.above is not None else step.reach or course.grade.scale[-2].reach
        assert step.mark == int(mark) and words.split()[1].rstrip(",") == f"{lowest:g}"
    for homework, talk, exam, sum_, mark in rows_below(language, "marks", 4):
        assert as_number(homework) + as_number(talk) + as_number(exam) == as_number(sum_)
        step = points.mark_of(as_number(sum_), course)
        assert f"{step.letter}, {step.mark}" == mark
    text = (FOLDER / language / "marks.md").read_text("utf-8")
    cap, (least, most) = course.grade.nothing_in_term_at_most, course.grade.exam_points
    for total in (cap, cap + most):
        step = points.mark_of(total, course)
        assert re.search(rf"\b{total:g}\b[^.]*\b{step.letter}, {step.mark}", text.rsplit("\n\n", 1)[1])
    assert f"{course.grade.resit_homework_points:g}" in text and f"{course.grade.last_day}" in text
    assert re.search(rf"\b{least:g} (to|до) {most:g}\b", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_plan_of_the_talk_is_ten_slides_in_fifteen_minutes(language):
    slides = rows_below(language, "talk", 4)
    assert [row[0] for row in slides] == [str(number) for number in range(1, 11)]
    assert sum(as_number(row[2]) for row in slides) == 15


# ---- the reader of questions and pages

ENTRY = '[[question]]\nid = "exam-1"\ntheme = "t"\npage = "p"\nweight = 1.0\nen = "a"\nru = "b"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no list of questions"),
        ("[[question", "no list of questions"),
        (ENTRY.replace('id = "exam-1"', 'id = "first"'), "'first' is not KIND-NUMBER"),
        (ENTRY.replace("1.0", "0.0"), "exam-1: the weight is 0.0"),
        (ENTRY.replace('theme = "t"\n', ""), "exam-1: missing 1 required"),
        (ENTRY + "colour = 1\n", "unexpected keyword argument 'colour'"),
        (ENTRY + ENTRY.replace("exam-1", "exam-2"), "the page p stands there twice"),
        (ENTRY + ENTRY, "the id exam-1 stands there twice"),
    ],
)
def test_a_wrong_list_of_questions_is_named(tmp_path, text, complaint):
    path = tmp_path / "questions.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(PageError, match=re.escape(complaint)) as error:
        read_questions(path)
    assert str(path) in str(error.value)


def test_a_page_with_a_missing_section_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("theory.exam_pages.FOLDER", tmp_path)
    question = QUESTIONS[0]
    (tmp_path / "en").mkdir()
    assert read_answer(question, "en") is None
    question.path("en").write_text(
        "# Title\n\n## In two minutes\n\nText.\n\n```bash\n## no heading\n```\n", "utf-8"
    )
    with pytest.raises(PageError, match="its sections are In two minutes; expected In two minutes, In full"):
        read_answer(question, "en")
