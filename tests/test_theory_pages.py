"""Markdown pages: two languages that agree, links that lead somewhere, formulas that GitHub renders."""

import re
from pathlib import Path

import pytest

from theory import tags
from theory.math_rules import math_problems
from theory.pages import LANGUAGES, REPOSITORY, Page, dead_links, read_page

NAMES = sorted(
    {path.name for language in LANGUAGES for path in (REPOSITORY / "theory" / language).glob("*.md")}
)
NOT_OURS = {"data", "runs", "wandb", "build"}  # at the top of the repository: downloads and results


def markdown_files() -> list[Path]:
    """Every Markdown file of the course, hidden folders and results aside."""
    found = [
        path
        for path in REPOSITORY.glob("**/*.md")
        if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
        and path.relative_to(REPOSITORY).parts[0] not in NOT_OURS
    ]
    return sorted(found)


MARKDOWN = markdown_files()
PAIRS = [
    *((REPOSITORY / "theory" / "en" / name, REPOSITORY / "theory" / "ru" / name) for name in NAMES),
    *((path, path.with_name("README.ru.md")) for path in MARKDOWN if path.name == "README.md"
      and path.with_name("README.ru.md").exists()),
]  # fmt: skip


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


# ---- the two languages


def test_pages_exist_in_both_languages():
    assert [(language, name) for language in LANGUAGES for name in NAMES
            if not (REPOSITORY / "theory" / language / name).exists()] == []  # fmt: skip
    assert (REPOSITORY / "theory" / "README.ru.md").exists()


@pytest.mark.parametrize(("english", "russian"), PAIRS, ids=name_of)
@pytest.mark.parametrize("part", ["headings", "tables", "pictures", "numbered", "languages of fences"])
def test_both_languages_have_the_same(english, russian, part):
    read = lambda page: (
        [f.language for f in page.fences] if part == "languages of fences" else getattr(page, part)
    )
    assert read(read_page(english)) == read(read_page(russian))


@pytest.mark.parametrize("path", [russian for _, russian in PAIRS], ids=name_of)
def test_the_russian_page_is_written_in_russian(path):
    text = read_page(path).prose
    assert len(re.findall("[а-яё]", text)) > len(re.findall("[a-z]", text)) / 2


# ---- what the pages point to


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_links_lead_to_a_file_and_to_a_heading_of_it(path):
    assert dead_links(read_page(path)) == []


@pytest.mark.parametrize("path", tags.code_files(), ids=name_of)
def test_headings_named_in_code_exist(path):
    """theory/en/gan.md#mode-collapse in a docstring."""
    found = re.findall(r"(theory/\w+/\w+\.md)#([\w-]+)", path.read_text("utf-8"))
    assert [link for link in found if link[1] not in read_page(REPOSITORY / link[0]).anchors] == []


def test_anchors_are_githubs():
    text = "# Игра: 2 ln 2 — «ноль»\n## The `loop`, *first*\n## A\n## A\n## A-1\n## [MNAD](x.md) & co_1\n"
    text += '```bash\n# no heading\n```\n<a id="here"></a>\n'
    assert Page(Path("page.md"), text).anchors == [
        "игра-2-ln-2--ноль", "the-loop-first", "a", "a-1", "a-1-1", "mnad--co_1", "here",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("other.md#игра", None),
        ("other.md#%D0%B8%D0%B3%D1%80%D0%B0", None),
        ("#own", None),
        ("https://example.org/#x", None),
        ("other.md", None),
        ("other.md#2-игра", "nearest is #игра"),
        ("#owm", "nearest is #own"),
        ("missing.md#игра", "no such file"),
    ],
)
def test_a_dead_link_is_found_and_the_nearest_heading_named(tmp_path, link, complaint):
    (tmp_path / "other.md").write_text("# Игра\n", "utf-8")
    problems = dead_links(Page(tmp_path / "page.md", f"# Own\n\nSee [it]({link}).\n"))
    assert len(problems) == bool(complaint) and all(complaint in problem for problem in problems)


@pytest.mark.parametrize("path", [*MARKDOWN, *tags.code_files()], ids=name_of)
def test_sections_are_named_and_not_numbered(path):
    """A number is wrong as soon as a section comes or goes."""
    numbered = re.compile(r"\bsections?\s+\d+|\bраздел(?:а|е|у|ом|ы|ов|ах|ам)?\s+\d+", re.IGNORECASE)
    assert numbered.findall(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "path", [path for path in MARKDOWN if path.is_relative_to(REPOSITORY / "theory")], ids=name_of
)
def test_files_named_in_theory_pages_exist(path):
    named = [
        span
        for span in read_page(path).code_spans
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/([\w-]+\.\w+)?", span)
    ]
    assert [span for span in named if not (REPOSITORY / span).exists()] == []


# ---- mathematics that GitHub renders


@pytest.mark.parametrize("path", MARKDOWN, ids=name_of)
def test_mathematics_keeps_githubs_rules(path):
    assert math_problems(read_page(path)) == []


FENCE = "\n\n```math\n{}\n```\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("with $x$ in dollars", "a dollar sign outside"),
        ("word$`x`$ here", "touches what precedes"),
        ("the $`d`$-th one", "touches what follows"),
        (r"a $`\operatorname{tr} S`$ b", "does not allow the macro"),
        ("| $`|x|`$ |", "vertical bar"),
        ("if $`a<b`$ then", "may become HTML"),
        (r"line $`a \\ b`$ break", "line break"),
        ("two $`a\nb`$ lines", "broken over lines"),
        ("here **bold $`x`$ text** ends", "math inside emphasis"),
        ("here *slanted $`x`$* ends", "math inside emphasis"),
        ("see [the $`x`$](page.md) there", "math in a link"),
        ("# On $`x`$ alone", "math in a heading"),
        (r"so \frac is not in a formula", "LaTeX outside"),
        ("a $` x`$ b", "spaces at its ends"),
        (r"a $`x^{2`$ b", "unbalanced braces"),
        ("a $`длина`$ b", "Cyrillic"),
        ("a $`5 %`$ b", "unescaped %"),
        ("a $`x \\tag{b.1}`$ b", "a tag in inline"),
        ("text\n```math\nx\n```\n", "blank line before and after"),
        ("- item\n\n  ```math\n  x\n  ```\n", "indented"),
        (FENCE.format("a\n\nb"), "blank line inside"),
        (FENCE.format(r"a \tag{b.1} b \tag{b.2}"), "two tags"),
        (FENCE.format(r"\begin{aligned} a \tag{b.1} \end{aligned}"), "a tag inside an environment"),
        (FENCE.format(r"\begin{aligned} a"), "without \\end"),
        (FENCE.format(r"\left( a"), "without \\right"),
        (FENCE.format("$a$"), "a dollar sign inside a math fence"),
    ],
)
def test_each_rule_catches_its_breach(text, complaint):
    problems = math_problems(Page(Path("page.md"), text))
    assert any(complaint in problem for problem in problems), problems


def test_a_page_that_keeps_the_rules_has_no_problems():
    text = (
        "# Title\n\nLet $`x_1 \\lt y_2`$, ($`\\lvert a * b * c \\rvert`$) and `code $5`.\n"
        "*Slanted* $`x`$ **bold**.\n\n"
        "```math\n\\begin{aligned} a &= b \\\\ &= \\text{длина} \\end{aligned}\n\\tag{b.1}\n```\n\n"
        "| $`a`$ | b |\n|---|---|\n| $`\\tfrac{1}{2}`$ | 5 % |\n"
    )
    page = Page(Path("page.md"), text)
    assert math_problems(page) == []
    assert (page.headings, page.tables, list(page.numbered)) == ([1], [(2, 2)], ["b.1"])
