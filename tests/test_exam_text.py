"""Formulas and Markdown of the exam's answers in a terminal."""

import pytest

from course.student.exam_text import plain
from course.student.formulas import as_mathml, as_text
from theory.exam_pages import FOLDER


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{n_j}{N}", "nⱼ/N"),
        (r"\frac{a + b}{2 c}", "(a + b)/(2 c)"),
        (r"\tfrac{1}{2} \ln 2", "1/2 ln 2"),
        (r"\ln \frac{p}{q} - \varepsilon - \hat\varepsilon", "ln (p/q) − ε − ε̂"),
        (r"a \gt b \lt c \iff d \ne 0", "a > b < c ⟺ d ≠ 0"),
        (r"\mathbb{E}_{q(z \mid x)} \lVert x - g(z) \rVert^2", "𝔼_{q(z ∣ x)} ‖x − g(z)‖²"),
        (r"\lVert w \rVert - 1", "‖w‖ − 1"),
        (r"\mathrm{KL}(q \,\Vert\, p)", "KL(q ‖ p)"),
        (r"x \ge 0{,}5 \tag{a.1}", "x ≥ 0,5"),
        (r"\Sigma_1^{1/2} W^\top", "Σ₁^(1/2) Wᵀ"),
        (r"\sum_{k=1}^{N} w_k", "∑ₖ₌₁ᴺ wₖ"),
        ("a \\\\\nb", "a\nb"),
    ],
)
def test_a_formula_in_unicode(latex, text):
    assert as_text(latex) == text


@pytest.mark.parametrize("show", [as_text, as_mathml])
def test_a_macro_that_nobody_knows_is_refused(show):
    with pytest.raises(ValueError, match="mystery"):
        show(r"a + \mystery b")


def test_links_and_figures_become_paths():
    folder = FOLDER / "en"
    text = "See [the game](../../en/gan.md#the-game), [1 %](../x.json#a), [web](https://a.b) "
    text += "![Six](../../../f.png)"
    expected = "See the game (theory/en/gan.md#the-game), 1 %, web (https://a.b) Figure: Six (f.png)"
    assert plain(text, folder) == expected


def test_a_comment_is_not_shown():
    assert plain("a\n<!-- b -->\nc", FOLDER / "en") == "a\nc"
