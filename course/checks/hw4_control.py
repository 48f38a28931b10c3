"""Questions of homework 4 on ControlNet."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, difference, same

READ = "latent_diffusion.md#controlnet"


def control(made: Maker, draw: np.random.Generator) -> None:
    z, words = draw.normal(0, 1, (2, 4, 3, 3)), draw.normal(0, 1, (2, 5, 6))
    t, condition = np.array([100, 700]), draw.integers(0, 2, (2, 3, 6, 6)).astype(float)
    made.ask(
        "what the copy finds is added",
        "controlled",
        [z, t, words, condition],
        lambda answer: added(answer, z, t, words, condition),
        READ,
    )
    index, chance = draw.permutation(40)[:8], np.array([0.1, 0.5, 0.29, 0.9, 0.31, 0.0, 0.7, 0.2])
    share = 0.3
    made.ask(
        "some prompts are left empty",
        "rows_of_prompts",
        [index, chance, share],
        same(
            (index + 1) * (chance >= share),
            {
                "the wrong ones are empty: those whose number is below the share": (index + 1)
                * (chance < share),
                "row 0 is the empty prompt: that of picture i is i + 1": index * (chance >= share),
                "no prompt is empty": index + 1,
                "all prompts are empty": 0 * index,
            },
        ),
        READ,
    )
    agreement(made, draw)


def added(
    answer: list[np.ndarray], z: np.ndarray, t: np.ndarray, words: np.ndarray, condition: np.ndarray
) -> str | None:
    """By the two networks of hw4_calls.py."""
    out, moves = answer
    told = (words.mean((1, 2)) + t / 1000)[:, None, None, None]
    own = 0.5 * z + told
    of_copy = lambda cond, said: cond + 0.1 * z + said
    found = of_copy(condition.reshape(2, 3, 3, 2, 3, 2).mean((3, 5)).mean(1, keepdims=True), told)
    down, middle = 3 * found, 3 * found**2
    without = of_copy(0, told)
    mistakes = {
        "the frozen network draws alone: what the copy finds is left out": own,
        "the result for the middle is left out": own + down,
        "the results for the skips are left out": own + middle,
        "the condition does not reach the copy": own + 3 * without + 3 * without**2,
        "the copy's results are given to the network twice": own + 2 * (down + middle),
        "the copy's results are taken off": own - down - middle,
    }
    if said := difference(out, own + down + middle, mistakes):
        return said
    return (
        None if moves else "no gradient reaches the copy: it is what learns, so it is not run under no_grad"
    )


def agreement(made: Maker, draw: np.random.Generator) -> None:
    found, wanted = (draw.random((3, 9, 8)) < share for share in (0.1, 0.2))
    found[:, 0, 0], wanted[:, 0, 0], wanted[:, 8, 7] = True, True, True
    wanted[:, :4, 4:], found[:, 1:3, 5:7] = False, True  # some edges are far from all others
    scores = {name: scored(found, wanted, within) for name, within in (("near", 1), ("exact", 0))}
    precision, recall = scores["near"]
    f1 = lambda p, r: 2 * p * r / (p + r)
    as_picture = lambda edges: np.repeat(255 * edges[:, None].astype(np.uint8), 3, 1)
    made.ask(
        "whether images follow the edges",
        "edges_agree",
        [as_picture(found), as_picture(wanted)],
        same(
            f1(precision, recall),
            {
                "an edge one pixel away counts as well": f1(*scores["exact"]),
                "this is the precision: edges of the condition that are missing count too": precision,
                "this is the recall: edges that nobody asked for count too": recall,
                "the mean of precision and recall is taken: F1 is their harmonic mean": (precision + recall)
                / 2,
                "the mean over the images is taken: give one value for each": f1(precision, recall).mean(),
            },
        ),
        READ,
    )
    nothing = np.zeros((1, 3, 5, 5), np.uint8)
    made.ask(
        "two pictures without edges",
        "edges_agree",
        [nothing, nothing],
        same([1.0], {"they agree: 1 is expected": [0.0]}),
        READ,
    )


def scored(found: np.ndarray, wanted: np.ndarray, within: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of bool (N, H, W), each (N,)."""

    def near(edges: np.ndarray) -> np.ndarray:
        wide = np.pad(edges, ((0, 0), (within, within), (within, within)))
        height, width = edges.shape[1:]
        shifts = range(2 * within + 1)
        return np.any([wide[:, y : y + height, x : x + width] for y in shifts for x in shifts], 0)

    total = lambda edges: edges.sum((1, 2))
    return total(found & near(wanted)) / total(found), total(wanted & near(found)) / total(wanted)
