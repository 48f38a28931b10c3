"""Shipped models that draw: their cards, and that what they draw is what was asked."""

import re
from pathlib import Path

from common.metrics import extractors

import pytest
import torch

from hw4_diffusion import ddpm_measures, models

CPU = torch.device("cpu")


def check_card(path: Path, most_bytes: int) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert f"SHA-256: `{extractors.file_sha256(path)}`" in card and path.stat().st_size <= most_bytes
    assert not re.search(r"(^|[\s`])/\w|[A-Z]:\\", card), "a path of some machine"


@pytest.mark.parametrize("name", models.names())
def test_shipped_ddpms_draw_the_classes_asked_for(name):
    check_card(models.PRETRAINED / f"{models.PREFIX}{name}.safetensors", 4_000_000)
    model = models.load(name)
    labels = torch.arange(model.classes).repeat(10)
    drawn = ddpm_measures.draw(model, ddpm_measures.Way("dpm-solver++", 10), len(labels), labels, 0, CPU)
    found = extractors.predictions_of(drawn.images, extractors.load_extractor(model.known.data))
    assert (found["label"] == labels).double().mean() >= 0.9
    assert len(drawn.images.flatten(1).unique(dim=0)) == len(labels)
