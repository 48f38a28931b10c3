"""The hypotheses of convergence as data: what each changes, and why one might expect it to help.

`base` and 0 to 3 are the course's own, in its order; 4 and up are ours.  Each names the one it changes and
the flags of train_gan.py that differ from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.errors import InputError


@dataclass(frozen=True)
class Hypothesis:
    """One experiment: what it should achieve, why it might, and the flags that differ from `parent`."""

    parent: str | None
    goal: dict[str, str]
    idea: dict[str, str]
    changes: dict[str, Any]

    def flags(self) -> dict[str, Any]:
        """All flags that differ from train_gan.py's defaults, ancestors first."""
        inherited = HYPOTHESES[self.parent].flags() if self.parent is not None else {}
        return inherited | self.changes


HYPOTHESES = {
    "base": Hypothesis(
        None,
        {
            "en": "a starting point: the homework's generator against DCGAN's discriminator",
            "ru": "точка отсчёта: генератор из задания против дискриминатора DCGAN",
        },
        {
            "en": "binary cross-entropy, Adam with the same learning rate for both networks, 5 epochs",
            "ru": "бинарная кросс-энтропия, Adam с одинаковым шагом для обеих сетей, 5 эпох",
        },
        {"epochs": 5},
    ),
    "0": Hypothesis(
        "base",
        {"en": "convergence by patience", "ru": "сходимость за счёт терпения"},
        {
            "en": "5 epochs are too few; train for 20",
            "ru": "5 эпох мало; учим 20",
        },
        {"epochs": 20},
    ),
    "1": Hypothesis(
        "0",
        {"en": "gradients that reach every layer", "ru": "градиенты, доходящие до каждого слоя"},
        {
            "en": "batch normalisation in the generator keeps activations at one scale, LeakyReLU leaves no "
            "unit dead",
            "ru": "батч-нормализация в генераторе держит масштаб активаций, LeakyReLU не оставляет мёртвых "
            "нейронов",
        },
        {"normalisation": "batch", "activation": "leaky_relu"},
    ),
    "2": Hypothesis(
        "1",
        {"en": "less noisy gradients, smaller weights", "ru": "менее шумные градиенты, меньшие веса"},
        {
            "en": "twice the batch, L2 regularisation of both networks",
            "ru": "батч вдвое больше, L2-регуляризация обеих сетей",
        },
        {"batch_size": 128, "weight_decay": 1e-4},
    ),
    "3": Hypothesis(
        "1",
        {"en": "a discriminator that is not too sure", "ru": "не слишком уверенный дискриминатор"},
        {
            "en": "label smoothing (0.9 and 0.1), learning rates 0.0003 for D and 0.0008 for G, tanh at the "
            "generator's end",
            "ru": "сглаживание меток (0,9 и 0,1), шаг 0,0003 для D и 0,0008 для G, tanh на выходе генератора",
        },
        {
            "real_label": (0.9, 0.9),
            "fake_label": (0.1, 0.1),
            "lr_discriminator": 3e-4,
            "lr_generator": 8e-4,
            "output": "tanh",
        },
    ),
    "4": Hypothesis(
        "3",
        {"en": "a discriminator that cannot jump", "ru": "дискриминатор без скачков"},
        {
            "en": "spectral normalisation in place of batch normalisation in D, hinge loss, hard labels: D "
            "is Lipschitz and its judgement of an image no longer depends on the rest of the batch; D as "
            "fast as G (0.0005 each), no momentum; upsampling by nearest neighbours",
            "ru": "спектральная нормализация вместо батч-нормализации в D, hinge-потери, жёсткие метки: D "
            "липшицев, и его оценка картинки больше не зависит от остального батча; D не медленнее G "
            "(шаг 0,0005 у обоих), без момента; увеличение ближайшим соседом",
        },
        {
            "loss": "hinge",
            "real_label": (1.0, 1.0),
            "fake_label": (0.0, 0.0),
            "discriminator_normalisation": "spectral",
            "lr_discriminator": 5e-4,
            "lr_generator": 5e-4,
            "beta1": 0.0,
            "beta2": 0.9,
            "upsampling": "nearest",
        },
    ),
    "5": Hypothesis(
        "4",
        {"en": "local convergence, not only better gradients", "ru": "локальная сходимость"},
        {
            "en": "back to the original game, with the R1 penalty (γ = 2) for spectral normalisation: it "
            "turns the circles around the equilibrium into spirals towards it",
            "ru": "снова исходная игра, но вместо спектральной нормализации штраф R1 (γ = 2): он превращает "
            "круги вокруг равновесия в спирали к нему",
        },
        {
            "loss": "non-saturating",
            "discriminator_normalisation": "none",
            "r1_gamma": 2.0,
            "beta2": 0.99,
        },
    ),
    "6": Hypothesis(
        "5",
        {"en": "every style, and faces at first glance", "ru": "все стили и лица с первого взгляда"},
        {
            "en": "a game that converges can use capacity and patience: transposed convolutions again, and "
            "after the last one a 3×3 convolution, so that neighbouring pixels are drawn in view of one "
            "another; a discriminator twice as wide, which is also told how much the images of a batch "
            "differ; 40 epochs",
            "ru": "сходящейся игре впрок и ёмкость, и терпение: снова транспонированные свёртки, а после "
            "последней — свёртка 3×3, чтобы соседние пиксели рисовались с оглядкой друг на друга; вдвое "
            "более широкий дискриминатор, которому сообщают и то, насколько различаются картинки батча; "
            "40 эпох",
        },
        {
            "upsampling": "transposed",
            "refined": True,
            "minibatch_deviation": True,
            "discriminator_width": 2.0,
            "ema": 0.998,
            "epochs": 40,
        },
    ),
    "7": Hypothesis(
        "6",
        {"en": "no style left out", "ru": "ни одного пропущенного стиля"},
        {
            "en": "both networks are told the attributes: the generator in every layer, through the scales "
            "and shifts of its normalisation, while the discriminator judges an image together with what was "
            "ordered; batches of 16: four times as many steps with the same images; learning rates that fall "
            "to 0, so that the noise of small batches dies away; 15 epochs",
            "ru": "обеим сетям сообщают атрибуты: генератору — в каждом слое, через масштабы и сдвиги "
            "нормализации, а дискриминатор судит о картинке вместе с заказом; батчи по 16: вчетверо больше "
            "шагов на тех же картинках; шаг обучения падает до 0, чтобы шум малых батчей затух; 15 эпох",
        },
        {
            "conditional": True,
            "normalisation": "modulated",
            "batch_size": 16,
            "lr_decay": "cosine",
            "epochs": 15,
        },
    ),
}


def hypothesis(name: str) -> Hypothesis:
    """InputError that lists them for an unknown name."""
    if name not in HYPOTHESES:
        raise InputError(f"--hypothesis {name}: unknown; there are {', '.join(HYPOTHESES)}")
    return HYPOTHESES[name]
