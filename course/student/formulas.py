"""Formulas of the pages outside a browser with MathJax: as lines of Unicode, and as MathML.

as_text(r"\\frac{n_j}{N}")      # nⱼ/N
as_mathml(r"\\frac{n_j}{N}")    # <math ...>, which browsers draw themselves
"""

import re
from functools import cache

import unicodeit
from latex2mathml.converter import convert
from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db

from theory.pages import TAG

_FUNCTIONS = ("arg", "cos", "det", "exp", "lim", "ln", "log", "max", "min", "sin", "tanh", "Pr")
_OPEN, _CLOSE, _POWER = "\ue000", "\ue001", "\ue002"
"""Bars of a norm, which Unicode does not tell apart, and a power without raised letters: until the end."""
_SYMBOLS = {  # what the library lacks or sets too tightly; its ASCII bar would split a table of Markdown
    **dict.fromkeys((",", ";", ":", " ", "quad", "qquad"), " "),
    **dict.fromkeys(("!", "left", "right", "displaystyle", "mathop"), ""),
    **{"mid": " ∣ ", "lvert": "∣", "rvert": "∣", "vert": "∣", "Vert": " ‖ ", "lVert": _OPEN, "rVert": _CLOSE},
    **{"gt": " > ", "lt": " < ", "iff": " ⟺ ", "top": "⊤", "odot": " ⊙ ", "bmod": " mod ", "ne": " ≠ "},
}
_BEFORE_A_LETTER = re.compile(
    rf"(\\(?:{'|'.join(_FUNCTIONS)})(?![A-Za-z])) *(?=[A-Za-z0-9]|\\(?!left|[bB]igg?|[,;:!(\[{{]))"
)
"""A function's name with an argument without brackets, before which TeX leaves a thin space."""
_SIZES = r"\\[bB]igg?[lrm]?(?![A-Za-z])"
_NO_BRACKETS = re.compile(r"[∂∇]|[+-]?[∂∇]?[\w.,']+(\^\w)?|[\w.]*\([^()]*\)(\^\w)?")


def as_text(latex: str) -> str:
    """The formula in Unicode, in as many lines as it has; ValueError if something in it is not understood."""
    latex = re.sub(_SIZES, "", TAG.sub("", latex)).replace("{,}", ",")
    latex = re.sub(r"\\[td]frac(?![a-z])", r"\\frac", re.sub(r"(?<!\\)&", " ", latex))
    latex = re.sub(r"(\\(?:ln|log|exp) *)\\frac", r"\1\\nicefrac", latex)  # of the whole fraction
    text = re.sub(r"\^\{([^{}]*/[^{}]*)\}", _POWER + r"(\1)", _converter().latex_to_text(latex))
    return "\n".join(line for line in map(_spaced, unicodeit.replace(text).split("\n")) if line)


def _spaced(line: str) -> str:
    """One space around every relation, none inside brackets or before an index."""
    line = re.sub(r"\s*(?<![_^{])([=≥≤∼≈∈±←→↦⇒⟺≠+×·])(?![}⁺])\s*", r" \1 ", line)
    for pattern, plainer in {
        rf"([(\[{{]|{_OPEN})\s+": r"\1",
        rf"\s+([,.;)\]}}_^]|{_CLOSE})": r"\1",
        r"\^⊤": "ᵀ",
        rf"{_CLOSE}(?=[A-Za-zα-ωΑ-Ω(+−])": "‖ ",
        f"[{_OPEN}{_CLOSE}]": "‖",
        _POWER: "^",
        r"(?<=[\w)\]ᵀ\u0300-\u036f])− ": " − ",
        r"\s+": " ",
    }.items():
        line = re.sub(pattern, plainer, line)
    return re.sub(r"\{[^{}]*\}", lambda index: re.sub(r" ([=+−∈∼]) ", r"\1", index[0]), line.strip())


@cache
def _converter() -> LatexNodes2Text:
    context = get_default_latex_context_db()
    context.add_context_category(
        "course",
        prepend=True,
        macros=[
            MacroTextSpec("frac", simplify_repl=_fraction),
            MacroTextSpec("nicefrac", simplify_repl=lambda node, l2tobj: f"({_fraction(node, l2tobj)})"),
            *(MacroTextSpec(name, f"{name} ") for name in _FUNCTIONS),
            *(MacroTextSpec(name, text) for name, text in _SYMBOLS.items()),
        ],
    )
    context.set_unknown_macro_spec(MacroTextSpec("", simplify_repl=_refuse))
    return LatexNodes2Text(latex_context=context, math_mode="text", keep_braced_groups=True,
                           keep_braced_groups_minlen=2, strict_latex_spaces=True)  # fmt: skip


def _refuse(node, l2tobj) -> str:
    raise ValueError(f"\\{node.macroname} has no form in Unicode here")


def _fraction(node, l2tobj) -> str:
    """a/b on one line, with brackets around what would otherwise be read apart."""
    parts = []
    for argument in node.nodeargs:
        text = " ".join(l2tobj.nodelist_to_text([argument]).split())
        if text.startswith("{") and text.endswith("}"):
            text = text[1:-1].strip()
        parts.append(text if _NO_BRACKETS.fullmatch(text) else f"({text})")
    return "/".join(parts)


def as_mathml(latex: str, display: bool = False) -> str:
    """The formula as MathML, without its number; ValueError if something in it is not understood."""
    latex = re.sub(rf"{_SIZES}(?=\\[lr]?[vV]ert)", "", TAG.sub("", latex)).strip()
    latex = re.sub(r"\\arg(?![a-z])", r"\\mathrm{arg}", latex)  # which the library lacks
    latex = _BEFORE_A_LETTER.sub(r"\1\\,", latex)
    mathml = convert(latex, display="block" if display else "inline")
    if unknown := re.search(r">\s*(\\[A-Za-z]+)", mathml):
        raise ValueError(f"{unknown[1]} has no MathML in {latex!r}")
    return mathml
