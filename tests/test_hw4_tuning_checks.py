"""The checks of homework 4 on an update, DreamBooth, comparison and ControlNet: mistakes are named."""

from __future__ import annotations

import pytest
import torch
from wrong_solutions import verdicts, words

from course.checks import hw4_adapter as right
from course.checks.questions import RIGHT


def ddpm_step(
    *, shown=lambda x0, eps, alpha, sigma: alpha * x0 + sigma * eps, wanted=right.target,
    share=lambda t, steps: t / steps, mean=lambda errors: errors.mean(), clear=True, moves=True, sign=1,
):  # fmt: skip
    """One update as a student writes it, with a mistake; without shortening the gradient."""

    def step(network, optimizer, prediction, x0, eps, t, alpha, sigma, steps):
        output = network(shown(x0, eps, alpha, sigma), share(t, steps))
        loss = sign * mean((output - wanted(prediction, x0, eps, alpha, sigma)).square())
        if clear:
            optimizer.zero_grad()
        loss.backward()
        if moves:
            optimizer.step()

    return step


class Controlled(torch.nn.Module):
    """Both networks as a student joins them, with a mistake."""

    def __init__(self, unet, controlnet, *, middle=True, down=True, sign=1, blind=False, frozen=False):
        super().__init__()
        self.unet, self.controlnet, self.sign = unet, controlnet, sign
        self.middle, self.down, self.blind, self.frozen = middle, down, blind, frozen

    def forward(self, z, t, words, condition):
        with torch.set_grad_enabled(not self.frozen):
            found = self.controlnet(z, t, words, condition * (not self.blind))
        return self.unet(
            z, t, words,
            [self.sign * each for each in found.down_block_res_samples] if self.down else None,
            self.sign * found.mid_block_res_sample if self.middle else None,
        ).sample  # fmt: skip


def halves(own, others):
    return lambda x0, ids, x0_of_class, of_class: (
        torch.cat([(x0, x0_of_class)[i] for i in own]),
        torch.cat([(ids, of_class.expand_as(ids))[i] for i in others]),
    )


def of_halves(loss):
    return lambda errors, weight: errors.mean() if weight is None else loss(*errors.chunk(2), weight)


def drawn(autoencoder, images, noise):
    gaussian = autoencoder.encode(images).latent_dist
    return gaussian.sample() * autoencoder.config.scaling_factor


def other_seeds(texts, first, count):
    return [text for text in texts for _ in range(count)], list(range(first, first + count * len(texts)))


def seed_by_seed(texts, first, count):
    seeds = range(first, first + count)
    return list(texts) * count, [seed for seed in seeds for _ in texts]


def shares(options, most=8):
    return torch.bincount(options, minlength=most) / len(options)


def drifted(distance):
    return lambda before, after: torch.stack(
        [distance(shares(values), shares(after[name])) for name, values in before.items()]
    ).mean()


def pictures_apart(before, after):
    return torch.stack([(values != after[name]).double().mean() for name, values in before.items()]).mean()


def obeyed_whole(found, prompts):
    return sum(right.obeyed({k: v[i : i + 1] for k, v in found.items()}, [prompt]) == 1
               for i, prompt in enumerate(prompts)) / len(prompts)  # fmt: skip


def mean_of_shares(found, prompts):
    each = [right.obeyed({k: v[i : i + 1] for k, v in found.items()}, [p]) for i, p in enumerate(prompts)]
    return sum(each) / len(each)


def agree(*, within=1, score=lambda p, r: 2 * p * r / (p + r).clamp_min(1e-9)):
    """F1 of edges, with a mistake."""

    def edges_agree(found, wanted):
        one, other = (edges[:, :1].double() / 255 for edges in (found, wanted))
        near = lambda edges: torch.nn.functional.max_pool2d(edges, 2 * within + 1, 1, within)
        total = lambda edges: edges.flatten(1).sum(1)
        precision = total(one * near(other)) / total(one).clamp_min(1)
        recall = total(other * near(one)) / total(other).clamp_min(1)
        f1 = score(precision, recall)
        return torch.where(total(one) + total(other) == 0, torch.ones_like(f1), f1)

    return edges_agree


MISTAKES = [
    ("ddpm_step", ddpm_step(shown=lambda x0, eps, alpha, sigma: x0), "", "images without noise"),
    ("ddpm_step", ddpm_step(share=lambda t, steps: t), "", "the network is told t: it expects t / T"),
    ("ddpm_step", ddpm_step(wanted=lambda which, x0, eps, *_: eps), "", "this learns to predict the noise"),
    ("ddpm_step", ddpm_step(wanted=lambda which, x0, *_: x0), "", "this learns to predict the image"),
    (
        "ddpm_step",
        ddpm_step(shown=lambda x0, eps, alpha, sigma: sigma * x0 + alpha * eps,
                  wanted=lambda which, x0, eps, a, s: right.target(which, x0, eps, s, a)),
        "",
        "alpha and sigma are exchanged",
    ),
    (
        "ddpm_step",
        ddpm_step(mean=lambda errors: errors.mean((1, 2, 3)).sum()),
        "",
        "take the mean over the batch",
    ),
    (
        "ddpm_step",
        ddpm_step(mean=lambda errors: errors.sum((1, 2, 3)).mean()),
        "",
        "added up over the pixels: take the mean",
    ),
    ("ddpm_step", ddpm_step(clear=False), "", "gradients of an earlier step are not cleared"),
    ("ddpm_step", ddpm_step(moves=False), "", "nothing moves"),
    ("ddpm_step", ddpm_step(sign=-1), "", "the sign is wrong"),
    ("both_halves", halves((1, 0), (1, 0)), "", "images: the class comes first"),
    ("both_halves", halves((0, 1), (0, 0)), "", "prompts: the class's images have the subject's prompt"),
    ("both_halves", halves((0, 1), (1, 0)), "", "the two prompts are exchanged"),
    ("both_halves", halves((0,), (0,)), "", "the class's images are missing"),
    ("dreambooth_loss", of_halves(lambda own, of_class, w: own.mean() + of_class.mean()), "", "is left out"),
    ("dreambooth_loss", of_halves(lambda own, of_class, w: w * own.mean() + of_class.mean()), "",
     "the weight belongs to the class"),
    ("dreambooth_loss", lambda errors, weight: errors.mean(), "", "one mean is taken of all"),
    ("dreambooth_loss", of_halves(lambda own, of_class, w: own.sum() + w * of_class.sum()), "",
     "take the mean of each half"),
    ("latents_of", lambda vae, images, noise: vae.encode(images).latent_dist.sample(), "", "is missing"),
    ("latents_of", lambda vae, images, noise: drawn(vae, images, noise) / vae.config.scaling_factor**2, "",
     "divided by the scale"),
    ("latents_of", lambda vae, images, noise: vae.encode(images).latent_dist.mode()
     * vae.config.scaling_factor, "", "the Gaussian's mean is taken"),
    ("lora_parameters", lambda layers: sum(p.numel() for one in layers.values() for p in one.parameters()),
     "", "the frozen weights are counted too"),
    ("prompts_with_seeds", other_seeds, "", "every prompt has other seeds"),
    ("prompts_with_seeds", seed_by_seed, "", "go prompt by prompt"),
    ("obeyed", obeyed_whole, "", "an image counts only if all of its prompt is shown"),
    ("obeyed", mean_of_shares, "", "the mean of every image's share is taken"),
    ("drift", drifted(lambda p, q: (p - q).abs().sum()), "", "the half is missing"),
    ("drift", drifted(lambda p, q: (p - q).square().sum() / 2), "", "the differences are squared"),
    ("drift", pictures_apart, "", "the images are compared one by one"),
    ("controlled", lambda *nets: Controlled(*nets, middle=False, down=False), "", "draws alone"),
    ("controlled", lambda *nets: Controlled(*nets, middle=False), "", "for the middle is left out"),
    ("controlled", lambda *nets: Controlled(*nets, down=False), "", "for the skips are left out"),
    ("controlled", lambda *nets: Controlled(*nets, sign=2), "", "given to the network twice"),
    ("controlled", lambda *nets: Controlled(*nets, blind=True), "", "the condition does not reach the copy"),
    ("controlled", lambda *nets: Controlled(*nets, frozen=True), "", "no gradient reaches the copy"),
    ("rows_of_prompts", lambda i, chance, share: (i + 1) * (chance < share), "", "the wrong ones are empty"),
    ("rows_of_prompts", lambda i, chance, share: i * (chance >= share), "", "that of picture i is i + 1"),
    ("edges_agree", agree(within=0), "", "an edge one pixel away counts as well"),
    ("edges_agree", agree(score=lambda p, r: p), "", "this is the precision"),
    ("edges_agree", agree(score=lambda p, r: r), "", "this is the recall"),
    ("edges_agree", agree(score=lambda p, r: (p + r) / 2), "", "F1 is their harmonic mean"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "wrong", "call", "said"), MISTAKES)
def test_a_typical_mistake_is_told_by_its_name(function, wrong, call, said):
    assert said in words("hw4", function, wrong, call)
    for seed in (3, 4):  # a mentor's inputs are others
        found = verdicts("hw4", seed, only=call or function, **{function: wrong})
        assert said in " | ".join(each.words for each in found)


def test_solutions_written_otherwise_are_right():
    found = verdicts("hw4", only="ddpm_step", ddpm_step=ddpm_step())
    found += verdicts("hw4", only="controlled", controlled=Controlled)
    found += verdicts("hw4", only="latents_of", latents_of=drawn)
    found += verdicts("hw4", only="drift", drift=drifted(lambda p, q: (p - q).abs().sum() / 2))
    found += verdicts("hw4", only="edges_agree", edges_agree=agree())
    assert [each.words for each in found if each.status != RIGHT] == []
