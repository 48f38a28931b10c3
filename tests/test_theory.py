"""Code, theory pages and checks name the same equations, and the checks quote what the pages print."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from theory import tags
from theory.pages import LANGUAGES, REPOSITORY, read_page
from theory.printed import HOLE, Expression, printed
from theory.tags import cited_by_function

cited_in_code = cache(tags.cited)


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


# ---- tags: cited in code, derived in both languages, checked


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_tag_cited_in_code_is_derived(language):
    derived = tags.derived(language)
    assert {tag: str(places[0]) for tag, places in cited_in_code().items() if tag not in derived} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_derived_tag_is_cited_in_code(language):
    assert sorted(set(tags.derived(language)) - set(cited_in_code()), key=tags.order) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_derived_and_checked_tags_are_the_same(language):
    assert set(tags.derived(language)) ^ set(tags.checked()) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_tag_is_derived_once_and_none_is_left_out(language):
    derived = tags.derived(language)
    assert {tag: places for tag, places in derived.items() if len(places) > 1} == {}
    last = {name: max(tags.order(tag)[1] for tag in derived if tags.order(tag)[0] == name)
            for name in {tags.order(tag)[0] for tag in derived}}  # fmt: skip
    assert [tag for name, number in last.items() for tag in tags.expand(f"{name}.1", f"{name}.{number}")
            if tag not in derived] == []  # fmt: skip


def test_every_numbered_equation_is_quoted_by_a_check_that_verifies_it():
    assert sorted(set(tags.derived("en")) - set(tags.quoted()), key=tags.order) == []


def test_every_hole_of_a_quotation_is_evaluated():
    for path in sorted((REPOSITORY / "theory" / "checks").glob("test_*.py")):
        for function in ast.parse(path.read_text("utf-8")).body:
            for statement in ast.walk(function):
                for call in tags.calls_of("printed", statement) if isinstance(statement, ast.stmt) else []:
                    holes = HOLE.findall(ast.literal_eval(call.args[0]))
                    if isinstance(statement, ast.Expr):
                        assert holes == [], f"{path.name}:{call.lineno}: nothing is done with the holes"
                    if isinstance(statement, ast.Assign):
                        (target,) = statement.targets
                        assert [name.id for name in target.elts] == holes, f"{path.name}:{call.lineno}"
                        assert set(holes) <= tags.names_in(function), f"{path.name}:{call.lineno}"


@pytest.mark.parametrize(
    ("quotation", "complaint"),
    [
        (r"\hat\theta_j = «share» \tag{bayes.3}", None),
        (r"\hat\theta_j = \frac{n_j}{N}  \tag{bayes.3}", None),
        (r"\hat\theta_j = \frac{n_j}{N + 1} \tag{bayes.3}", "change both"),
        (r"\theta_j = «share» \tag{bayes.3}", "change both"),
        (r"\hat\theta_j = \frac{n_j}{N} \tag{bayes.999}", "bayes.999"),
        (r"c \text{ ist konstant} \iff «rest» \tag{gan.20}", "change both"),
    ],
)
def test_a_quotation_that_is_not_what_the_pages_print_is_refused(quotation, complaint):
    if complaint is None:
        assert len(printed(quotation)) == quotation.count("«")
        return
    with pytest.raises(AssertionError, match=complaint):
        printed(quotation)


def test_words_in_an_equation_may_differ_between_languages():
    printed(r"\mathbb{E}_{\text{}} (x_k - x_l)^2 = \mathbb{E}_{\text{Daten}} (x_k - x_l)^2"
            r" + 2 \, \mathrm{Cov}_{\text{x}}(x_k, x_l) \tag{bayes.10}")  # fmt: skip


@pytest.mark.parametrize(
    ("latex", "values", "expected"),
    [
        (r"\frac{a + 1}{2} b", {"a": 3, "b": 5}, 10),
        (r"d (k - 1) + 1", {"d": 2, "k": 4}, 7),  # a number before brackets multiplies
        (r"f(k - 1)^2", {"f": lambda x: x + 1, "k": 4}, 16),
        (r"\sum_{i=1}^{n} \sum_{j=1}^{2} x_i y_j", {"n": 2, "x": [1, 2], "y": [3, 4]}, 21),
        (r"\prod_{k=0}^{t} \theta_{t-k}", {"t": 2, "theta": lambda k: k + 1}, 6),
        (r"\lambda_1 - \lambda_{2}", {"lambda_1": 5, "lambda_": [7, 3]}, 2),
        (r"\bigl\lvert z_0 \bigr\rvert + \lVert v \rVert", {"z_0": -2, "v": [3, 4]}, 7),
        (r"- \frac{g}{2} \pm \sqrt{g^2 - f'(0)}", {"g": 2, "fprime": lambda x: x + 3, "pm": -1}, -2),
        (r"\left\lfloor \frac{7}{2} \right\rfloor + \lceil 0.5 \rceil \, n!", {"n": 3}, 9),
        (r"\max(a, \, \min \bigl( b, c \bigr))", {"a": 1, "b": 2, "c": 3}, 2),
        (r"\log_2 y + \ln e + \Gamma(4) + \mathrm{TP} + \bar m", {"y": 8, "TP": 1, "mbar": 2}, 13),
        (
            r"\hat\varepsilon_c - \tilde\sigma + \hat{x} x_t",
            {"varepsilonhatc": 5, "sigmawave": 2, "xhat": 1, "x_t": 4},
            7,
        ),
        (r"\frac{\mathrm{SNR}(t - 1)}{2}", {"S": lambda t: t + 1, "t": 8}, 4),
    ],
)
def test_a_printed_expression_is_evaluated(latex, values, expected):
    assert Expression(latex)(**values).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("latex", [r"a + b", r"x_{k}", r"\max_{k} a_k"])
def test_an_expression_with_an_unknown_symbol_has_no_value(latex):
    with pytest.raises(KeyError, match="no value for"):
        Expression(latex)(a=1.0)


def test_citations_in_code_are_well_formed():
    assert tags.malformed_citations() == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Multinomial MLE, eq. (bayes.3).", ["bayes.3"]),
        ("eqs. (ae.6)-(ae.8) and (ae.1)", ["ae.6", "ae.7", "ae.8", "ae.1"]),
        ("Eqs. (vae.2), (vae.3);\n    also eq. (bayes.12)", ["vae.2", "vae.3", "bayes.12"]),
        ("eq. (3) of Park et al. 2020, see (ae.x)", []),
        ("a remark on (bayes.3) that cites nothing", []),
    ],
)
def test_citations_are_found_in_prose(text, found):
    assert [tag for tag, _ in tags.cited_in_text(text)] == found


def test_citations_count_in_strings_and_comments_but_not_in_code(tmp_path):
    (tmp_path / "common").mkdir()
    source = '"""Doc, eq. (vae.1)."""\neq = ae.1\nx = 1  # eq. (vae.2)\n# eqs. (vae.3)\n# -(vae.4)\n'
    (tmp_path / "common" / "model.py").write_text(source, "utf-8")
    found = {tag: [place.line for place in places] for tag, places in tags.cited(tmp_path).items()}
    assert found == {"vae.1": [1], "vae.2": [3], "vae.3": [4], "vae.4": [4]}
    assert tags.malformed_citations(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["eq. vae.5", "eqs (vae.5)", "Equation (vae.5)", "equations vae.5 and vae.6"]
)
def test_citations_that_would_be_overlooked_are_reported(tmp_path, text):
    (tmp_path / "hw9_new").mkdir()
    (tmp_path / "hw9_new" / "model.py").write_text(f"x = 1\n# see {text}\n", "utf-8")
    (problem,) = tags.malformed_citations(tmp_path)
    assert "model.py:2" in problem


def test_tags_are_collected_from_pages_and_checks(tmp_path):
    (tmp_path / "theory" / "en").mkdir(parents=True)
    (tmp_path / "theory" / "checks").mkdir()
    (tmp_path / "theory" / "en" / "a.md").write_text(
        "Text \\tag{x.9}\n\n```math\na\n\\tag{x.1}\n```\n", "utf-8"
    )
    (tmp_path / "theory" / "checks" / "test_a.py").write_text(
        '@verifies("x.1", "x.2")\ndef test_it():\n    pass\n\n\n@verifies("x.3")\ndef helper():\n    pass\n',
        "utf-8",
    )
    assert {tag: places[0].line for tag, places in tags.derived("en", tmp_path).items()} == {"x.1": 3}
    assert sorted(tags.checked(tmp_path)) == ["x.1", "x.2"]


def test_the_table_of_tags_is_printed(capsys):
    tags.main()
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["tag"].split() == ["en", "ru", "cited", "checked", "quoted"]
    assert [int(number) > 0 for number in rows["bayes.5"].split()] == [True] * 5


@pytest.mark.parametrize("bad", ["bayes2", "Bayes.2", "bayes.", "(bayes.2)"])
def test_a_check_cannot_name_something_that_is_no_tag(bad):
    with pytest.raises(ValueError, match="not an equation tag"):
        tags.verifies(bad)


# ---- the tables of functions at the ends of the pages


def code_tables() -> list:
    """(page, tags, functions, file) of each row | (bayes.1) | `f`, `g` | [file.py](../file.py) |."""
    rows = []
    for path in sorted((REPOSITORY / "theory").glob("??/*.md")):
        for row in re.findall(
            r"^\| (\(\w+\.\d+\).*?) \| (`.*?`) \| \[\w+\.py\]\((\S+?)\) \|$", read_page(path).prose, re.M
        ):
            rows.append(pytest.param(path, *row, id=f"{path.parent.name}-{row[0]}"))
    return rows


@pytest.mark.parametrize(("page", "numbers", "functions", "file"), code_tables())
def test_the_named_functions_exist_and_cite_their_equations(page, numbers, functions, file):
    cited, listed = cited_by_function((page.parent / file).resolve()), set(re.findall(r"\w+\.\d+", numbers))
    names = re.findall(r"`(\w+)`", functions)
    assert [name for name in names if name not in cited] == [], f"not in {file}"
    assert [name for name in names if not cited[name] & listed] == [], f"cite none of {numbers}"
    assert listed - set().union(*(cited[name] for name in names)) == set(), f"not cited in {functions}"


def listed_functions() -> dict[tuple[Path, str], set[str]]:
    """(file, function) -> the equations beside which the tables name it."""
    found = {}
    for page, numbers, functions, file in (row.values for row in code_tables()):
        for name in re.findall(r"`(\w+)`", functions):
            key = (page.parent / file).resolve(), name
            found.setdefault(key, set()).update(re.findall(r"\w+\.\d+", numbers))
    return found


def test_a_function_of_a_pages_table_cites_no_other_equation_of_the_page():
    listed = listed_functions()
    problems = {}
    for (path, name), tags_of in listed.items():
        inside = set().union(*(listed.get((path, method), set()) for method in methods_of(path, name)))
        pages = {tags.order(tag)[0] for tag in tags_of}
        others = {tag for tag in cited_by_function(path)[name] if tags.order(tag)[0] in pages}
        if others := others - tags_of - inside:
            problems[f"{path.name}: {name}"] = sorted(others)
    assert problems == {}


def methods_of(path: Path, name: str) -> list[str]:
    classes = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    return [part.name for node in classes if node.name == name for part in node.body
            if isinstance(part, ast.FunctionDef)]  # fmt: skip


def test_a_check_of_each_equation_calls_each_function_that_is_listed_for_it_and_cites_it():
    """Functions of a script's loop aside: there the equation stands at a line of `main`."""
    names = {}
    for check in tags.checks():
        for tag in check.tags:
            names.setdefault(tag, set()).update(check.names)
    uncalled = [
        f"({tag}): {path.name}: {name}"
        for (path, name), listed in listed_functions().items()
        for tag in sorted(listed & cited_by_function(path)[name])
        if name != "main" and not names[tag] & callers(path, name)
    ]
    assert uncalled == []


def callers(path: Path, name: str) -> set[str]:
    """The function itself, and what in its file uses it, directly or through others."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8")))
             if isinstance(node, (ast.FunctionDef, ast.ClassDef))]  # fmt: skip
    found, known = {name}, 0
    while known < len(found):
        known = len(found)
        found |= {node.name for node in nodes if tags.names_in(node) & found} - {
            "forward",
            "main",
            "__init__",
        }
    return found


def test_every_derived_tag_stands_in_a_table_of_functions():
    listed = {tag for row in code_tables() for tag in re.findall(r"\w+\.\d+", row.values[1])}
    assert set(tags.derived("en")) - listed == set()
