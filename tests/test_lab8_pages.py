"""The lab's pages: what their report says is what was measured."""

import json
import re
from pathlib import Path

import pytest

from course.pages.tables import number

FOLDER = Path(__file__).resolve().parent.parent / "lab8_generative"
PAGES = {"en": "README.md", "ru": "README.ru.md"}


def metrics(name: str) -> dict:
    return json.loads((FOLDER / "results" / name / "summary.json").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.parametrize("language", PAGES)
def test_the_report_says_what_the_gan_reached(language):
    page = " ".join((FOLDER / PAGES[language]).read_text(encoding="utf-8").split())
    walk = metrics("creatures_interpolate_gan")
    ends = (walk["eval/mse_first"] + walk["eval/mse_second"]) / 2
    distance = {
        name: metrics(f"creatures_generate_{name}")["eval/fd_creatures_2k_prior"]
        for name in ("gan", "gan_nearest")
    }
    vae = metrics("creatures_generate_vae")["eval/fd_creatures_2k_mixture"]
    instead, against = ("instead of", "against") if language == "en" else ("вместо", "против")
    show = lambda value, digits=0: number(value, language, digits)
    for text in (
        show(ends, 2),
        f"{show(distance['gan_nearest'])} {instead} {show(distance['gan'])}",
        f"({show(distance['gan'])} {against} {show(vae)})",
    ):
        assert text in page, text
    assert ends > walk["eval/mse_of_mean_image"]
    near = re.search(r"ema_fd_creatures_1k`, (?:near|около) (\d+)[^\d]+(\d+)", page)
    trained = metrics("creatures_gan")
    assert abs(int(near[1]) - trained["val/ema_fd_creatures_1k"]) < 10
    assert abs(int(near[2]) - distance["gan"]) < 10
    weaker = trained["val/ema_grid"] / metrics("creatures_gan_nearest")["val/ema_grid"]
    assert 6.5 < weaker < 8, "seven times"


@pytest.mark.parametrize("language", PAGES)
def test_the_question_on_linear_diffusion_leads_to_its_derivation_and_to_homework_4(language):
    page = (FOLDER / PAGES[language]).read_text(encoding="utf-8")
    (answer,) = re.findall(r"^5\. \*.*?(?=^6\. )", page, re.M | re.S)
    assert (
        f"](../theory/{language}/diffusion.md#" in answer
        and f"](../hw4_diffusion/{PAGES[language]}#" in answer
    )
