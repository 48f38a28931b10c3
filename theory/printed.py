r"""The equations as the pages print them: a check quotes its equation and evaluates what can be evaluated.

    (closed,) = printed(r"\mathrm{KL}\bigl( ... \bigr) = «closed» \tag{vae.6}")
    torch.testing.assert_close(closed(mu=mu, s=s, D=5), kl_to_standard_normal(mu, 2 * s.log()).sum(-1))

Outside the holes « » the quotation must be what both pages print under that tag, white space and the words in
\text{...} aside; what stands in a hole is read by SymPy's parser and computed in float64.  So whoever changes
an equation on a page has to change its check.  tests/test_theory.py holds that every tag is quoted and every
hole used.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce

import sympy
import torch
from sympy.parsing.latex import parse_latex
from torch import Tensor

from theory.pages import LANGUAGES, REPOSITORY, TAG, read_page, words_out

HOLE = re.compile(r"«(\w+)»")
_PLAINER = {  # what the parser does not know, in words that it does
    r"\\(?:[,;:!]|(?:q?quad|left|right|[bB]igg?[lr]?)(?![A-Za-z]))": " ",  # spaces and sizes
    r"\\tfrac": r"\\frac",
    r"\\[lr][vV]ert": "|",
    r"\\odot": r"\\cdot",
    r"\\pm": r"+ \\mathit{pm} \\cdot",
    r"\\mathrm\{SNR\}": "S",  # only a function of one letter is read as a function
    r"\\mathrm\{(\w+)\}": r"\\mathit{\1}",
}
_ACCENTED = re.compile(r"\\(bar|hat|tilde) *(?:\{([A-Za-z])\}|\\?((?<=\\)[A-Za-z]+|[A-Za-z]))(?:_(\w))?")
_INDEXED = re.compile(r"(\w+?)_\{(.*)\}")

_COMPUTED: dict[type, Callable] = {
    sympy.Add: lambda *terms: sum(terms),
    sympy.Mul: lambda *factors: reduce(lambda a, b: a * b, factors),
    sympy.Pow: lambda base, exponent: base**exponent,
    sympy.log: lambda x, base=None: torch.log(x) if base is None else torch.log(x) / torch.log(base),
    sympy.exp: torch.exp,
    sympy.sin: torch.sin,
    sympy.cos: torch.cos,
    sympy.Abs: lambda x: torch.linalg.vector_norm(x, dim=0) if x.ndim else x.abs(),
    sympy.floor: torch.floor,
    sympy.ceiling: torch.ceil,
    sympy.factorial: lambda n: torch.lgamma(n + 1).exp(),
}
_NAMED: dict[str, Callable] = {
    "max": torch.maximum,
    "min": torch.minimum,
    "Gamma": lambda x: torch.lgamma(x).exp(),
}


def printed(quotation: str) -> tuple["Expression", ...]:
    """What stands in the holes of the quotation, in order; AssertionError where a page says otherwise."""
    (tag,) = TAG.findall(quotation)
    expected = _normal(quotation)
    pattern = "".join(
        "(.+)" if number % 2 else re.escape(text) for number, text in enumerate(HOLE.split(expected))
    )
    pages = {language: _blocks(language).get(tag) for language in LANGUAGES}
    for language, latex in pages.items():
        if latex is None or not re.fullmatch(pattern, latex):
            raise AssertionError(
                f"({tag}) of theory/{language} is not what its check quotes; change both.\n"
                f"page:  {latex}\ncheck: {expected}"
            )
    found = [re.fullmatch(pattern, latex).groups() for latex in pages.values()]
    if len(set(found)) > 1:
        raise AssertionError(f"({tag}) differs between the languages: {found}")
    return tuple(Expression(latex) for latex in found[0])


@cache
def _blocks(language: str) -> dict[str, str]:
    """LaTeX of every numbered equation."""
    pages = sorted((REPOSITORY / "theory" / language).glob("*.md"))
    return {tag: _normal(latex) for page in pages for tag, latex in read_page(page).numbered.items()}


@dataclass(frozen=True)
class Expression:
    r"""A printed expression.  Called with the values of its symbols, it computes itself in float64.

    Greek letters go by their names, lambda as `lambda_`; an accent follows its letter, \bar m is `mbar`,
    \hat x_t is `xhatt`, but \tilde\sigma is `sigmawave`, as the parser takes a d inside a word for a
    differential; f' is `fprime`, the sign of \pm is `pm`, the function \mathrm{SNR} is `S`.  A symbol with an
    index takes a value of its own, x_1 is `x_1`, or its letter takes a function of the index or a tensor,
    whose last axis the index runs over from 1 on.  A function such as p(x) takes a function.  Between bars a
    number gives its absolute value, anything else the norm over its first axis.
    """

    latex: str

    def __call__(self, **values: float | Tensor | Callable) -> Tensor:
        names = {name.rstrip("_"): _as_value(value) for name, value in values.items()}
        return torch.as_tensor(_compute(_parsed(self.latex), names), dtype=torch.float64)


def _normal(latex: str) -> str:
    return " ".join(words_out(latex).split())


@cache
def _parsed(latex: str) -> sympy.Expr:
    for pattern, plainer in _PLAINER.items():
        latex = re.sub(pattern, plainer, latex)
    latex = _ACCENTED.sub(_in_one_word, latex)
    return parse_latex(latex.strip(" .,;"), strict=True)


def _in_one_word(accented: re.Match) -> str:
    accent, braced, letter, index = accented.groups(default="")
    return rf"\mathit{{{braced}{letter}{'wave' if accent == 'tilde' else accent}{index}}}"


def _as_value(value: float | Tensor | Callable) -> Tensor | Callable:
    return value if callable(value) else torch.as_tensor(value, dtype=torch.float64)


def _compute(node: sympy.Basic, names: dict[str, Tensor | Callable]) -> Tensor:
    if isinstance(node, sympy.Symbol):
        return _symbol(node.name, names)
    if isinstance(node, (sympy.Sum, sympy.Product)):
        return _repeated(node, names)
    if isinstance(node, sympy.Number | sympy.NumberSymbol):
        return torch.tensor(float(node), dtype=torch.float64)
    values = [_compute(argument, names) for argument in node.args]
    name = _plain(type(node).__name__)
    if type(node) in _COMPUTED:
        return _COMPUTED[type(node)](*values)
    if name in names and not callable(names[name]):  # d (k - 1) reads like a function of k - 1
        return names[name] * values[0]
    return (names | _NAMED | names)[name](*values)


def _repeated(node: sympy.Sum | sympy.Product, names: dict[str, Tensor | Callable]) -> Tensor:
    body, *limits = node.args
    (index, first, last), *others = reversed(limits)  # the outermost first
    inner = node.func(body, *reversed(others)) if others else body
    numbers = range(int(_compute(first, names)), int(_compute(last, names)) + 1)
    terms = [_compute(inner, names | {index.name: _as_value(number)}) for number in numbers]
    return reduce(lambda a, b: a + b if isinstance(node, sympy.Sum) else a * b, terms)


def _symbol(name: str, names: dict[str, Tensor | Callable]) -> Tensor:
    plain = _plain(name)
    if plain in names:
        return names[plain]
    if plain in ("e", "pi"):
        return _as_value(getattr(math, plain))
    indexed = _INDEXED.fullmatch(name)
    if not indexed or indexed[1] not in names:
        raise KeyError(f"no value for the symbol {plain}")
    index = round(float(_compute(sympy.sympify(indexed[2], locals=_symbols_of(indexed[2])), names)))
    value = names[indexed[1]]
    return _as_value(value(index)) if callable(value) else value[..., index - 1]


def _plain(name: str) -> str:
    """p_{k1}, which the parser gives as p_{k*1}, as p_k1; f' as fprime."""
    return re.sub(r"[{}*]", "", name).replace("'", "prime")


def _symbols_of(text: str) -> dict[str, sympy.Symbol]:
    return {name: sympy.Symbol(name) for name in re.findall(r"[A-Za-z]\w*", text)}
