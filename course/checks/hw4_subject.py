"""Questions of homework 4 on DreamBooth, and on comparing it with LoRA."""

from __future__ import annotations

import numpy as np

from course.checks.questions import Maker, each, named, same

DREAMBOOTH = "latent_diffusion.md#dreambooth"
SAD, SMILING, HOODIE, GREEN = 3, 1, 0, 3
"""Numbers of the options that the two prompts of hw4_calls.py ask for."""


def subject(made: Maker, draw: np.random.Generator) -> None:
    batch(made, draw)
    loss(made, draw)
    latents(made, draw)
    made.ask(
        "how many numbers a rank trains",
        "lora_parameters",
        [3],
        same(
            3 * (6 + 4) + 3 * (5 + 7),
            {
                "the frozen weights are counted too: only A and B are trained": 3 * 22 + 24 + 4 + 35 + 7,
                "only A is counted": 3 * (6 + 5),
                "only B is counted": 3 * (4 + 7),
                "these are the numbers of full matrices: r (in + out) a layer is meant": 24 + 35,
            },
        ),
        "latent_diffusion.md#lora",
    )
    comparison(made, draw)


def batch(made: Maker, draw: np.random.Generator) -> None:
    own, others = draw.uniform(-1, 1, (2, 3, 4, 4)), draw.uniform(-1, 1, (2, 3, 4, 4))
    prompt, of_class = draw.permutation(50)[:10].reshape(2, 5)
    ids = np.tile(prompt, (2, 1))
    right = np.concatenate([ids, np.tile(of_class, (2, 1))])
    made.ask(
        "a batch with images of the class",
        "both_halves",
        [own, ids, others, of_class],
        each(
            named(
                "images",
                same(
                    np.concatenate([own, others]),
                    {
                        "the class comes first: the subject's images are the first half": np.concatenate(
                            [others, own]
                        ),
                        "the class's images are missing": own,
                        "the subject's images are there twice": np.concatenate([own, own]),
                    },
                ),
            ),
            named(
                "prompts",
                same(
                    right,
                    {
                        "the class's images have the subject's prompt: they teach the subject": np.tile(
                            prompt, (4, 1)
                        ),
                        "all images have the class's prompt": np.tile(of_class, (4, 1)),
                        "the two prompts are exchanged": right[::-1],
                    },
                ),
            ),
        ),
        DREAMBOOTH,
    )


def loss(made: Maker, draw: np.random.Generator) -> None:
    errors, weight = draw.random(6) + np.repeat([0.0, 2.0], 3), 0.7
    own, of_class = errors[:3].mean(), errors[3:].mean()
    made.ask(
        "the loss with prior preservation",
        "dreambooth_loss",
        [errors, weight],
        same(
            own + weight * of_class,
            {
                "the weight is left out": own + of_class,
                "the weight belongs to the class: the first half is the subject": weight * own + of_class,
                "one mean is taken of all: a mean of each half, the class's with its weight": errors.mean(),
                "it is divided by 1 + lambda: a sum is meant": (own + weight * of_class) / (1 + weight),
                "the errors are added up: take the mean of each half": 3 * (own + weight * of_class),
                "the class is left out": own,
            },
        ),
        DREAMBOOTH,
    )
    made.ask("the loss without it", "dreambooth_loss", [errors, -1.0], same(errors.mean()), DREAMBOOTH)


def latents(made: Maker, draw: np.random.Generator) -> None:
    shape, scale = (2, 4, 3, 3), 0.18215
    mean, std, noise = draw.normal(0, 5, shape), draw.uniform(0.5, 2, shape), draw.normal(0, 1, shape)
    drawn = mean + std * noise
    made.ask(
        "the latents of images",
        "latents_of",
        [draw.uniform(-1, 1, (2, 3, 24, 24)), mean, std, noise, scale],
        same(
            scale * drawn,
            {
                "the scale is missing: the U-Net would see latents of the wrong size": drawn,
                "they are divided by the scale: that is done before decoding": drawn / scale,
                "the Gaussian's mean is taken: draw from it": scale * mean,
                "the variance is taken for the standard deviation": scale * (mean + std**2 * noise),
                "the noise is not scaled": scale * mean + std * noise,
            },
        ),
        "latent_diffusion.md#the-scale-of-a-latent",
    )


def comparison(made: Maker, draw: np.random.Generator) -> None:
    count, first, seeds = 3, int(draw.integers(5, 90)), 2
    drawn = np.arange(first, first + seeds)
    prompts = np.arange(count).repeat(seeds)
    made.ask(
        "prompts and seeds of a comparison",
        "prompts_with_seeds",
        [count, first, seeds],
        same(
            np.stack([prompts, np.tile(drawn, count)]),
            {
                "every prompt has other seeds: take the same for all": np.stack(
                    [prompts, first + np.arange(count * seeds)]
                ),
                "all images have one seed": np.stack([prompts, np.full(count * seeds, first)]),
                "the order is seed by seed: go prompt by prompt, each with all seeds": np.stack(
                    [np.tile(np.arange(count), seeds), drawn.repeat(count)]
                ),
                "the first seed is left out of account": np.stack(
                    [prompts, np.tile(np.arange(seeds), count)]
                ),
            },
        ),
        DREAMBOOTH,
    )
    shown(made, draw)
    options = [draw.integers(0, most, 40) for most in (5, 4, 3, 2)]
    shares = [np.bincount(each, minlength=5) / 40 for each in options]
    apart = np.abs(np.array(shares[:2]) - np.array(shares[2:]))
    pairs = np.mean([options[0] != options[2], options[1] != options[3]])
    made.ask(
        "how far the class drifted",
        "drift",
        options,
        same(
            apart.sum(1).mean() / 2,
            {
                "the half is missing: total variation is half the sum of |p - q|": apart.sum(1).mean(),
                "the images are compared one by one: compare how often each option is shown": pairs,
                "the attributes are added up: take their mean": apart.sum() / 2,
                "the differences are squared": np.square(apart).sum(1).mean() / 2,
            },
        ),
        DREAMBOOTH,
    )


def shown(made: Maker, draw: np.random.Generator) -> None:
    which = np.array([0, 0, 0, 1, 1, 1, 1])
    asked = {"expression": np.where(which, SMILING, SAD), "clothes": HOODIE, "clothes_color": GREEN}
    found = {
        name: np.where(draw.random(7) < 0.6, option, 4 if name == "expression" else 2)
        for name, option in asked.items()
    }
    found["clothes"][0], found["clothes_color"][0] = HOODIE, 2
    # with these numbers no two ways to count give the same
    found["expression"][3:] = draw.permutation([SMILING, SMILING, SMILING, 4])
    found["clothes"][3:], found["clothes_color"][3:] = HOODIE, GREEN
    right = np.array([found[name] == option for name, option in asked.items()])  # (3, 7)
    counts = np.array([True, False, False])[:, None] | (which == 0)
    shares = (right & counts).sum(0) / counts.sum(0)
    made.ask(
        "how much of the prompts is obeyed",
        "obeyed",
        [*found.values(), which],
        same(
            right[counts].mean(),
            {
                "an image counts only if all of its prompt is shown: count each thing asked": np.mean(
                    shares == 1
                ),
                "what a prompt does not ask for counts too": right.mean(),
                "the mean of every image's share is taken: all that is asked counts alike": shares.mean(),
            },
        ),
        DREAMBOOTH,
    )
