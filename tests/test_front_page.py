"""The front page says what the kept results say, and the licence and the citation agree with the package."""

import re
from pathlib import Path

import pytest

from course.pages.tables import number, percent, summary
from course.weeks.hw1 import VAES

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"en": "README.md", "ru": "README.ru.md"}
HW1 = "hw1_bayes_and_autoencoders/results"


def front(language: str) -> str:
    """The page as one line of text, its narrow spaces plain."""
    text = (ROOT / PAGES[language]).read_text(encoding="utf-8")
    return " ".join(text.split())


def detector(arch: str, score: str, rule: str) -> dict:
    rows = summary(ROOT, f"{HW1}/eval_detectors")["rows"]
    return next(row for row in rows if (row["arch"], row["score"], row["rule"]) == (arch, score, rule))


def vae(model: str) -> dict:
    """What was measured of a VAE on MNIST."""
    return summary(ROOT, f"{HW1}/eval_vae_mnist")["models"][list(VAES["mnist"]).index(model)]


def creatures(source: str) -> float:
    return summary(ROOT, "lab8_generative/results/creatures_generate_ae")["metrics"][
        f"eval/fd_creatures_2k_{source}"
    ]


@pytest.mark.parametrize("language", PAGES)
def test_rates_of_the_spill_detectors(language):
    for row in (
        detector("linear2", "mse", "fraction-of-max"),
        detector("linear2-denoising", "bright", "youden"),
    ):
        found, flagged = percent(row["tpr"], language), percent(1 - row["tnr"], language)
        assert re.search(rf"{found}.{{1,30}}{flagged}", front(language)), (found, flagged)


@pytest.mark.parametrize("language", PAGES)
def test_distances_of_the_vaes(language):
    prior, mixture = (vae("mlp")[f"eval/fd_mnist_10k_{source}"] for source in ("prior", "mixture"))
    better = vae("improved")["eval/fd_mnist_10k_mixture"]
    real = summary(ROOT, f"{HW1}/eval_vae_mnist")["real_distance"]
    words = [
        number(prior, language),
        number(mixture, language),
        number(better, language),
        number(real, language, 1),
    ]
    assert re.search(r"\b.{1,80}\b".join(map(re.escape, words)), front(language)), words


@pytest.mark.parametrize("language", PAGES)
def test_styles_that_the_gan_covers(language):
    rows = summary(ROOT, "hw2_gan/results/study_7")["models"]
    assert percent(rows[0]["ema_coverage"], language) in front(language)


def test_the_smooth_discriminators_halve_the_distance():
    rows = {row["hypothesis"]: row for row in summary(ROOT, "hw2_gan/results/study")["models"]}
    before = min(rows[name]["ema_fd_avatars_10k"] for name in ("base", "0", "1", "2", "3"))
    for name in ("4", "5"):
        assert 0.35 < rows[name]["ema_fd_avatars_10k"] / before < 0.55
    assert 0.45 < rows["6"]["ema_coverage"] < 0.55  # half of the styles


@pytest.mark.parametrize("language", PAGES)
def test_distances_of_decoded_noise_and_mixture(language):
    noise, mixture = number(creatures("prior"), language), number(creatures("mixture"), language)
    assert re.search(rf"{noise}\b.{{1,80}}\b{mixture}\b", front(language)), (noise, mixture)


def test_the_citation_and_the_package_agree():
    citation = dict(
        re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    )
    package = dict(
        re.findall(r'^(\w+) = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    )
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (package["version"], package["license"])
    assert citation["title"].strip('"').lower() in front("en").lower()


def test_the_licence_is_mits():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("MIT License\n\nCopyright (c) 2026 the course's authors\n")
