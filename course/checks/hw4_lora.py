"""Questions of homework 4 on LoRA."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, difference, each, named, same

READ = "latent_diffusion.md#lora"


def lora(made: Maker, draw: np.random.Generator) -> None:
    x, weight, bias = draw.normal(0, 1, (3, 5)), draw.normal(0, 1, (4, 5)), draw.normal(0, 1, 4)
    down, up, alpha = draw.normal(0, 1, (2, 5)), draw.normal(0, 1, (4, 2)), 6.0
    frozen, update = x @ weight.T + bias, x @ down.T @ up.T
    layer = [x, weight, bias, down, up, alpha]
    made.ask(
        "the layer's output",
        "lora_output",
        layer,
        same(
            frozen + 3 * update,
            {
                "the scale alpha / r is missing": frozen + update,
                "the scale is alpha / r, yours is alpha": frozen + 6 * update,
                "the scale is alpha / r, yours is r / alpha": frozen + update / 3,
                "the frozen layer is missing": 3 * update,
                "the frozen layer's bias is missing": frozen - bias + 3 * update,
                "only the frozen layer is there": frozen,
            },
        ),
        READ,
    )
    made.ask("a fresh layer", "lora_beginning", [x, weight, bias], lambda answer: fresh(answer, frozen), READ)
    right = weight + 3 * up @ down
    made.ask(
        "merged into one layer",
        "lora_merged",
        layer,
        each(
            named(
                "its weight",
                same(
                    right,
                    {
                        "the scale alpha / r is missing": weight + up @ down,
                        "the update is subtracted": weight - 3 * up @ down,
                        "nothing was added to the frozen weight": weight,
                    },
                ),
            ),
            named("its output", same(frozen + 3 * update)),
        ),
        READ,
    )
    made.ask("where the layers go", "insert_lora", [3], placed, READ)


def fresh(answer: list[np.ndarray], frozen: np.ndarray) -> str | None:
    """It computes what the frozen one does, and only B can move at first."""
    out, (down, up, rest) = answer
    if difference(out, frozen):
        return "a fresh layer changes the network: B begins at 0"
    if rest:
        return "the frozen weight gets a gradient: freeze it"
    if not up:
        return "no gradient reaches B: with A at 0 too nothing would ever move, A begins at random"
    return "A has a gradient although B is 0: how is it used?" if down else None


def placed(answer: list[np.ndarray]) -> str | None:
    """Two attentions of 6 -> 4, three times, and 4 -> 6; each has two other linear layers."""
    layers, numbers, tensors = (int(one) for one in answer)
    if layers != 8:
        return f"8 layers are meant, to_q, to_k, to_v and to_out.0 of two attentions; yours are {layers}"
    if tensors > 16:
        return f"{tensors} tensors are trained, expected 16, A and B of 8 layers: freeze all others"
    right = 8 * 3 * (6 + 4)
    return None if numbers == right else f"r (in + out) a layer makes {right} numbers; {numbers} are trained"
