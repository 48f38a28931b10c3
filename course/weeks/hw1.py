"""What `python3 -m course run` starts of week 1: portraits by Bayes, spill detectors, VAEs."""

from course.weeks.script import Script

FOLDER = "hw1_bayes_and_autoencoders"
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
        file=f"{FOLDER}/train_autoencoder.py",
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
        file=f"{FOLDER}/train_autoencoder.py",
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
        file=f"{FOLDER}/train_vae.py",
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
        file=f"{FOLDER}/eval_vae.py",
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
        file=f"{FOLDER}/bayes_styles.py",
        what="styles and their exact probabilities from 50 people's counts, by MLE and with smoothing",
        data="style counts",
        short="",
        full="",
        shows=("possible_styles_mle", "total_probability_smoothed"),
    ),
    Script(
        name="bayes_pixels",
        file=f"{FOLDER}/bayes_pixels.py",
        what="portraits pixel by pixel: independence blurs, dependence on the neighbours mends it",
        data="avatars",
        short="",
        full="",
        shows=("val/channels_smoothed_bits_per_pixel", "val/chain_bits_per_pixel"),
    ),
    *(train_detector(arch, seed) for arch in SPILL_DETECTORS for seed in SEEDS),
    Script(
        name="eval_detectors",
        file=f"{FOLDER}/eval_autoencoder.py",
        what="thresholds chosen without the test set, rates on it, the ROC curve, the worst mistakes",
        data="wells",
        short="{train_linear2_0} {train_linear2_denoising_0}",
        full=" ".join(f"{{train_{arch}_{seed}}}" for arch in SPILL_DETECTORS for seed in SEEDS),
        shows=("test/tpr", "test/tnr", "test/auc"),
    ),
    *(train_on_mnist(arch, seed) for arch in MNIST_DETECTORS for seed in SEEDS),
    Script(
        name="eval_mnist",
        file=f"{FOLDER}/eval_autoencoder.py",
        what="the same scores and thresholds on real digits",
        data="mnist",
        short=None,
        full=" ".join(f"{{train_mnist_{arch}_{seed}}}" for arch in MNIST_DETECTORS for seed in SEEDS),
        shows=("test/tpr", "test/tnr", "test/auc"),
    ),
    Script(
        name="train_vae",
        file=f"{FOLDER}/train_vae.py",
        what="a VAE, one hidden layer of 400",
        data="digits",
        short="--data digits --epochs 5",
        full="--data digits --latent 2",
        shows=("val/loss_nats",),
        keeps_figures=(),
    ),
    Script(
        name="eval_vae",
        file=f"{FOLDER}/eval_vae.py",
        what="bounds in nats, samples from the prior and from a fitted mixture, walks through the latents",
        data="digits",
        short="{train_vae} --samples 2000 --importance-images 100",
        full="{train_vae}",
        shows=("eval/negative_elbo_nats", "eval/kl_nats", "eval/mse"),
        keeps_figures=("*/manifold.png",),
    ),
    *(train_vae(data, model, seed) for data in VAES for model in VAES[data] for seed in vae_seeds(model)),
    *(evaluate_vaes(data) for data in VAES),
)
