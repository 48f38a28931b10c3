"""Which bugs planted_bugs.py plants: operators of cosmic-ray, and slips that training scripts are prone to.

An operator says where in a syntax tree it can act (`mutation_positions`) and how it changes a node
(`mutate`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import parso
from cosmic_ray.operators import (
    binary_operator_replacement,
    boolean_replacer,
    comparison_operator_replacement,
    number_replacer,
    unary_operator_replacement,
    zero_iteration_for_loop,
)
from cosmic_ray.operators.operator import Operator
from parso.tree import NodeOrLeaf

ARITHMETIC = (
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul", "BitOr_BitAnd",
)  # fmt: skip
COMPARISON = (
    "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Lt_Gt", "Gt_Lt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is",
)  # fmt: skip
UNARY = ("Delete_USub", "Delete_Not", "Delete_Invert")
WORDS = (
    ("best", "last"), ("ema", "model"), ("raw", "ema"), ("train", "val"), ("val", "test"), ("train", "test"),
    ("real", "fake"), ("normal", "anomalous"), ("anomalies", "test"), ("height", "width"),
    ("rows", "columns"), ("start", "end"), ("first", "last"), ("generator", "discriminator"),
)  # fmt: skip
METHODS = (
    ("mean", "sum"), ("min", "max"), ("argmin", "argmax"), ("clamp_min", "clamp_max"), ("amin", "amax"),
    ("var", "std"), ("sin", "cos"), ("zeros", "ones"), ("rand", "randn"), ("eval", "train"), ("log", "exp"),
)  # fmt: skip
DROPPED = {
    "detach", "abs", "sqrt", "rsqrt", "square", "exp", "log", "clamp", "clamp_min", "clamp_max", "tanh",
    "sigmoid", "relu", "softplus", "softmax", "norm", "flip", "sorted", "augment", "binarised",
}  # fmt: skip


class Replacement(Operator):
    """An operator given by the texts a node may become."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        """What the source of `node` may be replaced by."""
        raise NotImplementedError

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple]:
        for _ in self.texts(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: NodeOrLeaf, index: int) -> NodeOrLeaf:
        text = next(itertools.islice(self.texts(node), index, None))
        return parso.parse(node.get_first_leaf().prefix + text)

    @classmethod
    def examples(cls) -> tuple:
        return ()


def code(node: NodeOrLeaf) -> str:
    """The source of a node without the white space before it."""
    return node.get_code(include_prefix=False)


class OneMoreOrLess(number_replacer.NumberReplacer):
    """A number and one more or less; of large ones it would be a choice."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple]:
        if node.type == "number" and (abs(value := eval(node.value)) < 200 or value in (255, 256)):
            yield from super().mutation_positions(node)


class Double(Replacement):
    """A number with a fraction, twice as large; not those that only keep a division from 0."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        if node.type == "number" and isinstance(value := eval(node.value), float) and value > 1e-5:
            yield repr(2 * value)


class OtherWord(Replacement):
    """One word for its counterpart, in strings, and in names where the function has the other name too."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        if node.type not in {"name", "string"}:
            return
        parts = code(node).replace("/", "_").replace('"', "_").split("_")
        for pair in WORDS:
            for one, other in (pair, pair[::-1]):
                if one in parts and self._exists(node, text := code(node).replace(one, other)):
                    yield text

    @staticmethod
    def _exists(node: NodeOrLeaf, text: str) -> bool:
        if node.type == "string":
            return True
        is_keyword = node.parent.type == "argument" and node.parent.children[0] is node
        if node.is_definition() or is_keyword:
            return False
        function = parso.python.tree.search_ancestor(node, "funcdef") or node.get_root_node()
        return any(
            leaf.value == text and is_attribute(leaf) == is_attribute(node) for leaf in leaves(function)
        )


class OtherMethod(Replacement):
    """A method or function for its counterpart: mean for sum, min for max."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        following = node.get_next_leaf()
        if node.type == "name" and following is not None and following.value == "(":
            for pair in METHODS:
                if node.value in pair and not node.is_definition():
                    yield pair[1 - pair.index(node.value)]


class WithoutCall(Replacement):
    """x for x.detach(), and images for augment(images, ...)."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        if node.type not in {"atom_expr", "power"} or not is_call(last := node.children[-1]):
            return
        before = node.children[-2]
        if (before.get_last_leaf().value) not in DROPPED:
            return
        arguments = positional(last)
        if len(node.children) > 2 and not arguments:  # x.sqrt()
            yield "".join(child.get_code() for child in node.children[:-2]).strip()
        elif arguments:
            yield code(arguments[0])


class SwappedArguments(Replacement):
    """The first two positional arguments of a call in the other order."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        if not is_call(node) or node.get_previous_leaf().value in {"min", "max", "hypot"}:
            return
        first, second = [*positional(node), None, None][:2]
        if second is not None and code(first) != code(second):
            rest = code(node)[len("(") :].removeprefix(code(first)).lstrip(", \n")
            yield f"({code(second)}, {code(first)}{rest[len(code(second)) :]}"


class OneBranch(Replacement):
    """`a if condition else b`: always a, always b."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        if node.type in {"test", "ternary"} and len(node.children) == 5:
            yield f"({code(node.children[0])})"
            yield f"({code(node.children[4])})"


class WithoutStatement(Replacement):
    """A call for its effect, x += y, and x = f(x) left out."""

    def texts(self, node: NodeOrLeaf) -> Iterator[str]:
        if node.type != "simple_stmt" or node.parent.type not in {"suite", "file_input"}:
            return
        statement = node.children[0]
        is_effect = statement.type in {"atom_expr", "power"} and is_call(statement.children[-1])
        if is_effect or self._changes_a_name(statement):
            yield "pass\n"

    @staticmethod
    def _changes_a_name(statement: NodeOrLeaf) -> bool:
        if statement.type != "expr_stmt":
            return False
        target, sign, *_ = statement.children
        if sign.type == "annassign":
            return False
        names = {leaf.value for leaf in leaves(statement.children[-1]) if leaf.type == "name"}
        return code(sign) != "=" or code(target) in names


def is_attribute(name: NodeOrLeaf) -> bool:
    """Whether a name follows a dot."""
    before = name.get_previous_leaf()
    return before is not None and before.value == "."


def is_call(node: NodeOrLeaf) -> bool:
    """Whether a node is the brackets of a call."""
    return node.type == "trailer" and node.children[0].value == "("


def positional(call: NodeOrLeaf) -> list[NodeOrLeaf]:
    """Leading positional arguments of a call's brackets."""
    inside = call.children[1:-1]
    if len(inside) == 1 and inside[0].type == "arglist":
        inside = inside[0].children
    arguments = [child for child in inside if code(child) != ","]
    return list(itertools.takewhile(lambda child: child.type != "argument", arguments))


def leaves(node: NodeOrLeaf) -> Iterator[NodeOrLeaf]:
    """All leaves under a node."""
    leaf, end = node.get_first_leaf(), node.get_last_leaf()
    while leaf is not None:
        yield leaf
        if leaf is end:
            return
        leaf = leaf.get_next_leaf()


def _of_cosmic_ray(module, prefix: str, endings: tuple[str, ...]) -> list[Operator]:
    return [getattr(module, f"{prefix}_{ending}")() for ending in endings]


OPERATORS: dict[str, list[Operator]] = {
    "arithmetic": _of_cosmic_ray(binary_operator_replacement, "ReplaceBinaryOperator", ARITHMETIC),
    "comparison": _of_cosmic_ray(comparison_operator_replacement, "ReplaceComparisonOperator", COMPARISON),
    "boolean": [
        boolean_replacer.ReplaceTrueWithFalse(),
        boolean_replacer.ReplaceFalseWithTrue(),
        boolean_replacer.ReplaceAndWithOr(),
        boolean_replacer.ReplaceOrWithAnd(),
        boolean_replacer.AddNot(),
    ],
    "sign": _of_cosmic_ray(unary_operator_replacement, "ReplaceUnaryOperator", UNARY),
    "number": [OneMoreOrLess(), Double()],
    "loop": [zero_iteration_for_loop.ZeroIterationForLoop()],
    "word": [OtherWord()],
    "method": [OtherMethod()],
    "call left out": [WithoutCall()],
    "arguments": [SwappedArguments()],
    "branch": [OneBranch()],
    "statement left out": [WithoutStatement()],
}
"""Kinds of bugs, for the table, and the operators that plant them."""
