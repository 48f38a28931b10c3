"""What `python3 -m course run` starts of week 4: linear diffusion and what it costs; DDPMs; text to image."""

from course.weeks.script import Script

FOLDER = "hw4_diffusion"
SETS = ("digits", "mnist", "fashion-mnist", "avatars")
FIGURES = {
    "digits": ("samples.png", "way.png", "way.gif"),
    "mnist": ("samples.png",),
    "fashion-mnist": ("samples.png",),
    "avatars": ("samples.png", "way.gif"),
}
"""Those the page shows."""
QUICK = "--seeds 0 1 --component-sweep 10 50 --step-sweep 1 5 20 --samples 1000 --iterations 200"
FOR_AVATARS = "--component-sweep 20 --step-sweep 10 --iterations 50"
"""Captions of 41 options make large regressions; the page shows their table alone."""


def linear_diffusion(data: str) -> Script:
    """Samples of one set; the short run draws digits."""
    return Script(
        name=f"linear_{data.replace('-', '_')}",
        file=f"{FOLDER}/linear_diffusion.py",
        what="diffusion with linear parts, solved in closed form: samples by caption, the way from noise",
        data=data,
        short="--samples 1000" if data == "digits" else None,
        full=f"--data {data}",
        shows=("val/denoising_error", "eval/obeyed_all_percent"),
        keeps_figures=FIGURES[data],
    )


def linear_costs(data: str) -> Script:
    """What products, components and steps do to the samples of one set."""
    return Script(
        name=f"linear_costs_{data.replace('-', '_')}",
        file=f"{FOLDER}/linear_costs.py",
        what="what linearity costs: captions, products, components, steps, and the way to the weights",
        data=data,
        short=QUICK if data == "digits" else None,
        full=f"--data {data} {FOR_AVATARS}" if data == "avatars" else f"--data {data}",
        shows=("products: fd", "no products: fd"),
        keeps_figures=("*.png",) if data == "digits" else (),
    )


WITHOUT_PRODUCTS = Script(
    name="linear_digits_no_products",
    file=f"{FOLDER}/linear_diffusion.py",
    what="the same when all classes share one covariance: blurred digits",
    data="digits",
    short=None,
    full="--no-products",
    shows=("val/denoising_error", "eval/obeyed_all_percent"),
    keeps_figures=("samples.png",),
)
DDPM = f"{FOLDER}/train_ddpm.py"
SEEDS = (0, 1, 2)
TRAINED_ON = {
    "mnist": "--data mnist --batch-size 128 --steps 12000 --measure-every 2400",
    "fashion-mnist": "--data fashion-mnist --steps 8000 --measure-every 1600",
    "avatars": "--data avatars --size 32 --told hair --steps 2500 --measure-every 500",
}
"""Flags of the trainings whose numbers the page shows."""
FIRST_DDPM = Script(
    name="train_ddpm",
    file=DDPM,
    what="a DDPM: a U-Net that removes noise, its averaged weights, guidance",
    data="digits",
    short="--steps 100 --measure-every 100 --train-images 2000 --measure-images 100",
    full="",
    shows=("val/loss",),
    keeps_figures=(),
)


def train_ddpm(data: str, seed: int) -> Script:
    """One training of several that differ in their seeds."""
    return Script(
        name=f"train_ddpm_{data.replace('-', '_')}_{seed}",
        file=DDPM,
        what=f"a DDPM of {data}, seed {seed}",
        data=data,
        short=None,
        full=f"{TRAINED_ON[data]} --seed {seed}",
        shows=("val/loss",),
        keeps_figures=(),
    )


def eval_ddpm(data: str) -> Script:
    """Everything about the models of all seeds; the short run looks at the one it has trained."""
    name = data.replace("-", "_")
    return Script(
        name=f"eval_ddpm_{name}",
        file=f"{FOLDER}/eval_ddpm.py",
        what="distance, classes as asked, samplers at equal evaluations, guidance, bits per dimension",
        data=data,
        short=None,
        full=" ".join(f"{{train_ddpm_{name}_{seed}}}" for seed in SEEDS),
        shows=("eval/class_accuracy", "eval/bits_per_dimension"),
    )


EVAL_FIRST_DDPM = Script(
    name="eval_ddpm",
    file=f"{FOLDER}/eval_ddpm.py",
    what="the same model measured: distance, classes as asked, samplers, guidance, bits per dimension",
    data="digits",
    short="{train_ddpm} --samples 60 --curve-samples 20 --evaluations 5 10 --guidances 1 2 --bound-images 2 "
    "--steps 10",
    full="{train_ddpm}",
    shows=("eval/class_accuracy", "eval/bits_per_dimension"),
    keeps_figures=(),
)
SAMPLE_DDPM = Script(
    name="sample_ddpm",
    file=f"{FOLDER}/sample_ddpm.py",
    what="the shipped DDPM draws digits of every class, and shows its way from noise",
    data="mnist",
    short="--model mnist --show process",
    full="--model mnist --show process",
    shows=(),
    keeps_figures=(),
    only_draws=True,
)
FINE_TUNING = (
    Script(
        name="train_lora",
        file=f"{FOLDER}/train_lora.py",
        what="LoRA: a text-to-image model learns one person",
        data="drawn1",
        short="--rank 8 --max_train_steps 100",
        full="--rank 8",
        shows=("train/loss", "trained_parameters", "megabytes"),
        keeps_figures=(),
    ),
    Script(
        name="compare",
        file=f"{FOLDER}/compare.py",
        what="the model as it was and with LoRA: who is seen, and what of the prompt",
        data="drawn1",
        short='--lora {train_lora} --seeds 2 --class_images 0 --prompts "a portrait of a smiling sks person, '
        'green hoodie, mint background" "a portrait of a sad sks person, sand background"',
        full="--lora {train_lora}",
        shows=("base: obeyed", "LoRA, rank 8: obeyed", "LoRA, rank 8: identity_first"),
        keeps_figures=(),
    ),
    Script(
        name="train_controlnet",
        file=f"{FOLDER}/train_controlnet.py",
        what="ControlNet: images along edges, and when they begin to follow",
        data="avatars",
        short=None,
        full="",
        shows=("val/edges_f1",),
        keeps_figures=("edges_f1.png",),
    ),
    Script(
        name="fine_tuning_study",
        file=f"{FOLDER}/fine_tuning_study.py",
        what="DreamBooth, without prior preservation, without captions; LoRA of three ranks; three persons",
        data="drawn1-3",
        short=None,
        full="--controlnet {train_controlnet} --num_inference_steps 10",
        shows=("U-Net: identity_first", "U-Net: drift", "LoRA, rank 8: identity_first"),
        keeps_figures=("drawn1-seed0-*.png",),
    ),
    Script(
        name="fine_tuning_check",
        file=f"{FOLDER}/fine_tuning_study.py",
        what="the best two ways on three persons by whom nothing was chosen",
        data="drawn4-6",
        short=None,
        full="--subjects drawn4 drawn5 drawn6 --seeds 0 --rank 32 --seeds_of_variants 0 "
        "--controlnet {train_controlnet} --num_inference_steps 10",
        shows=("U-Net: identity_first", "U-Net: drift", "LoRA, rank 32: identity_first"),
        keeps_figures=(),
    ),
)
TEXT_TO_IMAGE = Script(
    name="train_text_to_image",
    file=f"{FOLDER}/train_text_to_image.py",
    what="a small Stable Diffusion: autoencoder, then text encoder and U-Net on captioned portraits",
    data="avatars",
    short="--size 32 --autoencoder-channels 8 16 16 --unet-channels 16 32 --text-width 32 "
    "--train-images 1000 --autoencoder-steps 60 --steps 60 --measure-every 60 --measure-images 50",
    full="",
    shows=("val/obeyed_attributes_percent",),
    keeps_figures=(),
)
EVAL_TEXT_TO_IMAGE = Script(
    name="eval_text_to_image",
    file=f"{FOLDER}/eval_text_to_image.py",
    what="the shipped model measured: orders obeyed, distance, guidance, steps, what the autoencoder loses",
    data="avatars",
    short="--samples 100 --sweep-samples 20 --guidances 1 3 --step-sweep 4 8 --steps 8",
    full="--steps 10",
    shows=("eval/obeyed_attributes_percent", "autoencoder/read_expression_percent"),
)
SCRIPTS = (
    *map(linear_diffusion, SETS),
    WITHOUT_PRODUCTS,
    *map(linear_costs, SETS),
    SAMPLE_DDPM,
    FIRST_DDPM,
    EVAL_FIRST_DDPM,
    TEXT_TO_IMAGE,
    EVAL_TEXT_TO_IMAGE,
    *(train_ddpm(data, seed) for data in TRAINED_ON for seed in SEEDS),
    *map(eval_ddpm, TRAINED_ON),
    *FINE_TUNING,
)
