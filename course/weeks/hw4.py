"""What `python3 -m course run` starts of week 4: linear diffusion, and what linearity costs."""

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
SCRIPTS = (*map(linear_diffusion, SETS), WITHOUT_PRODUCTS, *map(linear_costs, SETS))
