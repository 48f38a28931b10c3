"""Code of invented students, and copies of it disguised in the ways people disguise them."""

import ast
import json
import random
import re

LAYERS = [
    "Linear",
    "Conv2d",
    "ConvTranspose2d",
    "BatchNorm2d",
    "LeakyReLU",
    "Dropout",
    "GELU",
    "Embedding",
    "GroupNorm",
]
CALLS = [
    "mean",
    "sum",
    "clamp",
    "softmax",
    "sigmoid",
    "tanh",
    "exp",
    "log",
    "square",
    "permute",
    "flatten",
    "chunk",
    "norm",
]
WORDS = [
    "image",
    "latent",
    "noise",
    "label",
    "batch",
    "logit",
    "score",
    "mask",
    "weight",
    "target",
    "grid",
    "face",
]


def program(seed: int, functions: int = 10) -> str:
    """A script of its own: functions of random statements over torch's names."""
    draw = random.Random(seed)
    call = lambda: draw.choice(CALLS)
    number_to = lambda largest: draw.randint(1, largest)
    parts = ["import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"]
    for number in range(functions):
        names = draw.sample(WORDS, 4)
        lines = [f"def step_{number}({', '.join(names)}):"]
        for _ in range(draw.randint(6, 12)):
            a, b, c = (draw.choice(names) for _ in range(3))
            loss = draw.choice(["mse_loss", "relu", "interpolate", "pad", "normalize"])
            kinds = [
                f"    {a} = torch.{call()}({b} * {number_to(99)}, {c}.{call()}())",
                f"    {a} = nn.{draw.choice(LAYERS)}({number_to(99)}, {number_to(99)})({b})",
                f"    if {b}.{call()}() > {draw.random():.2f}:\n        {a} = {c} + {b}.{call()}(1)",
                f"    for {a} in range({number_to(30)}):\n        {b} = {c}.{call()}() @ {a}",
                f"    {a} = F.{loss}({b}, {c})",
                f"    assert {a}.shape == {b}.{call()}().shape, '{draw.choice(WORDS)} {draw.random():.3f}'",
            ]
            lines.append(draw.choice(kinds))
        lines.append(f"    return {draw.choice(names)}.{draw.choice(CALLS)}()\n")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def renamed(text: str, seed: int) -> str:
    """The same with other names of variables and functions, other numbers and strings, and comments."""
    draw = random.Random(seed)
    own = {node.arg for node in ast.walk(ast.parse(text)) if isinstance(node, ast.arg)}
    own |= set(re.findall(r"step_\d+", text))
    new = {
        name: f"{draw.choice('abcdefgh')}{draw.randint(100, 999)}_{index}"
        for index, name in enumerate(sorted(own))
    }
    text = re.sub(r"(?<![.\w])[A-Za-z_]\w*", lambda match: new.get(match[0], match[0]), text)
    text = re.sub(r"\b\d+\b(?!_)", lambda match: str(draw.randint(1, 99)), text)
    return re.sub(r"^(def .*)$", r"# my own work\n\1", text, flags=re.MULTILINE)


def reordered(text: str, seed: int) -> str:
    """The same functions in another order."""
    head, *functions = text.split("\n\n")
    random.Random(seed).shuffle(functions)
    return "\n\n".join([head, *functions])


def partial(text: str, other: str) -> str:
    """Four functions of `text` inside the program `other`."""
    return "\n\n".join([*other.split("\n\n"), *text.split("\n\n")[3:7]])


def as_notebook(text: str) -> bytes:
    """A cell for each function."""
    cells = [
        {"cell_type": "code", "source": part, "outputs": [], "metadata": {}} for part in text.split("\n\n")
    ]
    return json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}).encode()
