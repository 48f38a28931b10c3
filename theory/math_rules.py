"""The rules under which GitHub renders the mathematics of a Markdown page.

GitHub gives formulas to MathJax only after its Markdown parser has had the text: inside dollar signs that
parser eats ``\\\\``, ``\\{`` and pairs of ``_`` or ``*``.  Two forms reach MathJax untouched, and these pages
use nothing else: the fence ```` ```math ```` and the inline ``$`...`$``.  Standard library only.
"""

import re

from theory.pages import CODE_SPAN, INLINE_MATH, TEXT_IN_MATH, Fence, Page

# Refused by GitHub ("The following macros are not allowed"), or leaking from one formula into the next.
FORBIDDEN_MACROS = {
    *("operatorname", "mbox", "phantom", "hphantom", "vphantom", "hskip", "rule", "smash", "mathchoice"),
    *("def", "gdef", "edef", "let", "newcommand", "renewcommand", "newenvironment", "DeclareMathOperator"),
    *("require", "href", "unicode", "class", "style", "cssId", "label", "ref", "eqref"),
}
BEFORE_INLINE = " \n(|"  # after any other character GitHub prints the dollar sign
AFTER_INLINE = " \n.,;:!?)|"

_EMPHASIS = re.compile(r"(?<![*\\])(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1")
_LINK_TEXT = re.compile(r"\[([^\]]*)\]\(")


def math_problems(page: Page) -> list[str]:
    """Breaches of the rules, one line each: "bayes.md:12: what is wrong"."""
    problems = [
        (block.line, what) for block in page.math_blocks for what in _block(block) + _latex(block.body)
    ]
    for match in INLINE_MATH.finditer(page.prose):
        line = page.prose.count("\n", 0, match.start()) + 1
        problems += [(line, f"{what}: {match.group()}") for what in _inline(match) + _latex(match.group(1))]
    problems += _outside(page)
    return [f"{page.path.name}:{line}: {what}" for line, what in sorted(problems)]


def _broken(rules: dict[str, bool]) -> list[str]:
    return [what for what, broken in rules.items() if broken]


def _block(block: Fence) -> list[str]:
    body, tag = block.body, block.body.find(r"\tag")
    return _broken(
        {
            "a math fence is indented": block.indented,
            "a math fence needs a blank line before and after": not block.alone,
            "a formula is empty or has a blank line inside": "\n\n" in body or not body.strip(),
            "two tags in one formula": len(block.tags) > 1,
            "a tag inside an environment": tag >= 0
            and body.count(r"\begin", 0, tag) > body.count(r"\end", 0, tag),
            "a dollar sign inside a math fence": "$" in body,
        }
    )


def _inline(match: re.Match) -> list[str]:
    text, body = match.string, match.group(1)
    return _broken(
        {
            "inline math touches what precedes it": match.start() > 0
            and text[match.start() - 1] not in BEFORE_INLINE,
            "inline math touches what follows it": match.end() < len(text)
            and text[match.end()] not in AFTER_INLINE,
            "inline math is broken over lines": "\n" in body,
            "inline math is empty or has spaces at its ends": not body or body != body.strip(),
            "a line break \\\\ in inline math": r"\\" in body,
            "a tag in inline math": r"\tag" in body,
            "a vertical bar, which would split a table; use \\mid or \\lvert": "|" in body,
            "a dollar sign inside inline math": "$" in body,
        }
    )


def _latex(latex: str) -> list[str]:
    macros = re.findall(r"\\([A-Za-z]+)", latex)
    braces = latex.replace(r"\{", "").replace(r"\}", "")
    begins, ends = re.findall(r"\\begin\{(\w+)", latex), re.findall(r"\\end\{(\w+)", latex)
    problems = [f"GitHub does not allow the macro \\{name}" for name in sorted(FORBIDDEN_MACROS & {*macros})]
    return problems + _broken(
        {
            "< or > may become HTML; use \\lt, \\gt": bool(re.search(r"[<>]", latex)),
            "an unescaped % starts a comment": bool(re.search(r"(?<!\\)%", latex)),
            "unbalanced braces": braces.count("{") != braces.count("}"),
            "\\left without \\right": macros.count("left") != macros.count("right"),
            "\\begin without \\end": sorted(begins) != sorted(ends),
            "Cyrillic letters outside \\text{...}": bool(
                re.search(r"[А-Яа-яЁё]", TEXT_IN_MATH.sub("", latex))
            ),
        }
    )


def _outside(page: Page) -> list[tuple[int, str]]:
    """What is wrong around the formulas, each of which a run of NUL characters stands for."""
    marked = INLINE_MATH.sub(lambda match: "\0" * len(match.group()), page.prose)
    marked = CODE_SPAN.sub(lambda match: "`" * len(match.group()), marked)
    problems = []
    for number, line in enumerate(marked.split("\n"), start=1):
        if "$" in line:
            problems.append((number, "a dollar sign outside $`...`$ and math fences"))
        if re.search(r"\\[A-Za-z]{2,}", line):
            problems.append((number, "LaTeX outside a formula"))
        if "\0" in line and line.startswith("#"):
            problems.append((number, "math in a heading"))
    for match in _LINK_TEXT.finditer(marked):
        if "\0" in match.group(1):
            problems.append((marked.count("\n", 0, match.start()) + 1, "math in a link's text"))
    for match in _EMPHASIS.finditer(marked):
        if "\0" in match.group(2):
            problems.append((marked.count("\n", 0, match.start()) + 1, "math inside emphasis"))
    return problems
