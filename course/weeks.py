"""The scripts of the weeks as data: what `python3 -m course run` starts, in this order."""

import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """One way of starting one homework script."""

    name: str
    """Unique; its log is called the same, and `{name}` in other arguments stands for its run directory."""
    file: str
    """The script, relative to the repository; the part before the first underscore is its week."""
    what: str
    """What a student sees by running it, in a few words."""
    data: str
    """The set it works on, for the table."""
    short: str | None
    """Arguments for a minute or so on two CPU cores; None: it belongs to the full run only."""
    full: str
    """Arguments for the numbers in the README."""
    shows: tuple[str, ...]
    """Numbers of its summary.json that the table shows; a run that does not measure them has failed."""
    keeps_figures: tuple[str, ...] = ("*",)
    """Which of its figures `course results` keeps beside its numbers, as shell patterns."""

    @property
    def week(self) -> str:
        return self.file.split("_", 1)[0]

    def arguments(self, full: bool) -> list[str] | None:
        """Its command line's words, or None if the short run leaves it out."""
        text = self.full if full else self.short
        return None if text is None else shlex.split(text)

    def needs(self, full: bool) -> list[str]:
        """Names of the scripts whose run directories its arguments mention."""
        return re.findall(r"\{(\w+)\}", " ".join(self.arguments(full) or []))


HW1 = "hw1_bayes_and_autoencoders"
HW2 = "hw2_gan"
LAB8 = "lab8_generative"
SPILL_DETECTORS = {
    "linear2": "--arch linear2",
    "linear5": "--arch linear5",
    "conv": "--arch conv",
    "vae": "--arch vae",
    "memory": "--arch memory",
    "linear2_denoising": "--arch linear2 --latent 128 --patches 4 --epochs 30",
    "conv_denoising": "--arch conv --latent 128 --patches 4 --epochs 30",
}
SEEDS = (0, 1, 2)


def train_detector(name: str, seed: int) -> Script:
    """A spill detector; the short run trains one of the class room's kind and one that is told to denoise."""
    flags = f"--data wells {SPILL_DETECTORS[name]} --seed {seed}"
    in_short_run = name in ("linear2", "linear2_denoising") and seed == 0
    return Script(
        name=f"train_{name}_{seed}",
        file=f"{HW1}/train_autoencoder.py",
        what=f"a spill detector ({name}, seed {seed}), trained on moulds without spills",
        data="wells",
        short=f"{flags} --epochs 10" if in_short_run else None,
        full=flags,
        shows=("val/mse",),
        keeps_figures=("loss.png",) if (name, seed) == ("linear2_denoising", 0) else (),
    )


def train_on_mnist(arch: str, seed: int) -> Script:
    """A detector of every digit but 0, trained on zeros; downloads MNIST, so only in the full run."""
    return Script(
        name=f"train_mnist_{arch}_{seed}",
        file=f"{HW1}/train_autoencoder.py",
        what=f"zeros against the other digits ({arch}, seed {seed})",
        data="mnist",
        short=None,
        full=f"--data mnist --normal-class 0 --arch {arch} --seed {seed}",
        shows=("val/mse",),
        keeps_figures=(),
    )


MNIST_DETECTORS = ("linear2", "conv")

IMPROVED = "--arch residual --likelihood gaussian-optimal --latent 24 --ema 0.999 --lr-decay cosine"
VAES = {  # set -> model -> flags
    "mnist": {
        "mlp": "",
        "conv": "--arch conv",
        "cvae": "--conditional",
        "residual": "--arch residual --precision bf16",
        "calibrated": "--arch residual --likelihood gaussian-optimal --precision bf16",
        "improved": f"{IMPROVED} --precision bf16",
    },
    "fashion-mnist": {"mlp": "", "beta": "--arch conv --latent 10 --beta 5 --precision bf16"},
    "digits": {"mlp": "", "improved": f"{IMPROVED} --precision bf16"},
}

VAE_FIGURES = {  # numbers are places in the evaluation
    "mnist": (
        "distances.png",
        "*/1-vae-mlp/samples-*.png",
        "*/3-cvae-mlp/classes.png",
        "*/6-vae-residual/samples-mixture.png",
        "*/6-vae-residual/interpolation.*",
    ),
    "fashion-mnist": ("*/2-beta5-vae-conv/traversal.png", "*/2-beta5-vae-conv/reconstructions.png"),
    "digits": ("*/2-vae-residual/samples-mixture.png",),
}
"""Those the page shows."""

ABLATION = ("residual", "calibrated")
"""Steps between the classic VAE and the improved one, trained with one seed."""


def vae_seeds(model: str) -> tuple[int, ...]:
    return SEEDS[:1] if model in ABLATION else SEEDS


def vae_name(data: str, model: str, seed: int) -> str:
    """Of the script that trains one VAE."""
    return f"train_vae_{data.replace('-', '_')}_{model}_{seed}"


def train_vae(data: str, model: str, seed: int) -> Script:
    """A VAE for the tables; the short run has one of its own."""
    return Script(
        name=vae_name(data, model, seed),
        file=f"{HW1}/train_vae.py",
        what=f"a VAE of the tables ({model}, seed {seed})",
        data=data,
        short=None,
        full=f"--data {data} {VAES[data][model]} --seed {seed}",
        shows=("val/loss_nats",),
        keeps_figures=(),
    )


def evaluate_vaes(data: str) -> Script:
    """All VAEs of one set in one table, the classic one first."""
    return Script(
        name=f"eval_vae_{data.replace('-', '_')}",
        file=f"{HW1}/eval_vae.py",
        what="bounds, errors, Fréchet distances of every model over three seeds",
        data=data,
        short=None,
        full=" ".join(
            f"{{{vae_name(data, model, seed)}}}" for model in VAES[data] for seed in vae_seeds(model)
        ),
        shows=(),
        keeps_figures=VAE_FIGURES[data],
    )


SCRIPTS = (
    Script(
        name="bayes_styles",
        file=f"{HW1}/bayes_styles.py",
        what="styles and their exact probabilities from 50 people's counts, by MLE and with smoothing",
        data="style counts",
        short="",
        full="",
        shows=("possible_styles_mle", "total_probability_smoothed"),
    ),
    Script(
        name="bayes_pixels",
        file=f"{HW1}/bayes_pixels.py",
        what="portraits pixel by pixel: independence blurs, dependence on the neighbours mends it",
        data="avatars",
        short="",
        full="",
        shows=("val/channels_smoothed_bits_per_pixel", "val/chain_bits_per_pixel"),
    ),
    *(train_detector(arch, seed) for arch in SPILL_DETECTORS for seed in SEEDS),
    Script(
        name="eval_detectors",
        file=f"{HW1}/eval_autoencoder.py",
        what="thresholds chosen without the test set, rates on it, the ROC curve, the worst mistakes",
        data="wells",
        short="{train_linear2_0} {train_linear2_denoising_0}",
        full=" ".join(f"{{train_{arch}_{seed}}}" for arch in SPILL_DETECTORS for seed in SEEDS),
        shows=("test/tpr", "test/tnr", "test/auc"),
    ),
    *(train_on_mnist(arch, seed) for arch in MNIST_DETECTORS for seed in SEEDS),
    Script(
        name="eval_mnist",
        file=f"{HW1}/eval_autoencoder.py",
        what="the same scores and thresholds on real digits",
        data="mnist",
        short=None,
        full=" ".join(f"{{train_mnist_{arch}_{seed}}}" for arch in MNIST_DETECTORS for seed in SEEDS),
        shows=("test/tpr", "test/tnr", "test/auc"),
    ),
    Script(
        name="train_vae",
        file=f"{HW1}/train_vae.py",
        what="a VAE, one hidden layer of 400",
        data="digits",
        short="--data digits --epochs 5",
        full="--data digits --latent 2",
        shows=("val/loss_nats",),
        keeps_figures=(),
    ),
    Script(
        name="eval_vae",
        file=f"{HW1}/eval_vae.py",
        what="bounds in nats, samples from the prior and from a fitted mixture, walks through the latents",
        data="digits",
        short="{train_vae} --samples 2000 --importance-images 100",
        full="{train_vae}",
        shows=("eval/negative_elbo_nats", "eval/kl_nats", "eval/mse"),
        keeps_figures=("*/manifold.png",),
    ),
    *(train_vae(data, model, seed) for data in VAES for model in VAES[data] for seed in vae_seeds(model)),
    *(evaluate_vaes(data) for data in VAES),
    Script(
        name="dirac_gan",
        file=f"{HW2}/dirac_gan.py",
        what="the smallest GAN: which games go round in circles, and what makes them settle",
        data="one number",
        short="",
        full="",
        shows=(),
    ),
    Script(
        name="transposed_convolution",
        file=f"{HW2}/transposed_convolution.py",
        what="a transposed convolution is the transposed matrix; where checkerboards come from",
        data="matrices",
        short="",
        full="",
        shows=(),
    ),
    Script(
        name="train_gan",
        file=f"{HW2}/train_gan.py",
        what="a GAN with losses, gradients, Fréchet distance, styles covered, and an alarm for collapse",
        data="avatars",
        short="--hypothesis 6 --epochs 2 --width 0.125 --precision bf16 --measure-images 500",
        full="--hypothesis 7 --epochs 6 --measure-images 1000",
        shows=("val/ema_coverage", "val/ema_diversity"),
        keeps_figures=(),
    ),
    Script(
        name="eval_gan",
        file=f"{HW2}/eval_gan.py",
        what="samples, distances with their spread, nearest training images, a walk, D's opinions",
        data="avatars",
        short="{train_gan} --samples 1000",
        full="{train_gan}",
        shows=("eval/precision", "eval/recall", "eval/nearest_training_ratio"),
        keeps_figures=("samples.png", "neighbours.png"),
    ),
    *(
        Script(
            name=name,
            file=f"{HW2}/compare_hypotheses.py",
            what=f"{what} at one budget, three seeds",
            data="avatars",
            short=None,
            full=f"--hypotheses {hypotheses} --budget 0.4 --measure-images 1000",
            shows=(),
            keeps_figures=figures,
        )
        for name, what, hypotheses, figures in (
            ("study", "hypotheses of convergence", "base 0 1 2 3 4 5 6", ("curves.png", "samples.png")),
            ("study_7", "the hypothesis that needs labels", "7 --precision fp32", ("curves.png",)),
        )
    ),
    Script(
        name="creatures_ae",
        file=f"{LAB8}/train_autoencoder.py",
        what="an autoencoder of a thousand creatures; it says where over-fitting begins",
        data="creatures",
        short="--epochs 2",
        full="",
        shows=("val/mse",),
        keeps_figures=(),
    ),
    Script(
        name="creatures_vae",
        file=f"{LAB8}/train_autoencoder.py",
        what="a VAE of the same",
        data="creatures",
        short="--model vae --epochs 2",
        full="--model vae",
        shows=("val/mse", "val/kl_nats"),
        keeps_figures=("loss.png",),
    ),
    *(
        Script(
            name=f"creatures_ae_{loss}",
            file=f"{LAB8}/train_autoencoder.py",
            what=f"the autoencoder trained on another loss ({loss})",
            data="creatures",
            short=None,
            full=f"--loss {loss}",
            shows=("val/l1", "val/mse", "val/perceptual"),
            keeps_figures=(),
        )
        for loss in ("mse", "perceptual")
    ),
    Script(
        name="creatures_gan",
        file=f"{LAB8}/train_gan.py",
        what="a GAN of a thousand creatures: augmentation, R1, averaged weights; is D over-fitting?",
        data="creatures",
        short="--steps 40 --measure-every 20 --width 8",
        full="",
        shows=("val/overfitting",),
        keeps_figures=("distance.png", "overfitting.png"),
    ),
    *(
        Script(
            name=f"creatures_generate_{kind}",
            file=f"{LAB8}/generate.py",
            what=f"samples from random latents ({kind}), how far from real images, their nearest neighbours",
            data="creatures",
            short=f"{{creatures_{kind}}} --real-images 500",
            full=f"{{creatures_{kind}}}",
            shows=("eval/diversity_prior", "eval/nearest_training_image_prior"),
            keeps_figures=figures,
        )
        for kind, figures in {
            "ae": ("prior.png", "mixture.png"),
            "vae": ("mixture.png",),
            "gan": ("prior.png", "neighbours-prior.png"),
        }.items()
    ),
    *(
        Script(
            name=f"creatures_interpolate_{kind}",
            file=f"{LAB8}/interpolate.py",
            what=f"a GIF from one creature to another through latent space ({kind}), beside the cross-fade",
            data="creatures",
            short=f"{{creatures_{kind}}} 3 17 --inversion-steps 20",
            full=f"{{creatures_{kind}}} 3 17",
            shows=("eval/largest_step", "eval/detour"),
            keeps_figures=figures,
        )
        for kind, figures in {
            "ae": (),
            "vae": ("strip.png", "interpolation.gif"),
            "gan": ("interpolation.gif",),
        }.items()
    ),
)
