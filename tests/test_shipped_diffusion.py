"""Shipped diffusion models: their cards, and that what they draw is what was asked."""

import re
import subprocess
import sys

from common import data, torchvision_operators
from common.metrics import extractors

import pytest
import torch
from shipped import card_of, check_file

from hw4_diffusion import ddpm_measures, models, pipelines, text_to_image_measures

CPU = torch.device("cpu")
TEXT_TO_IMAGE = sorted(models.PRETRAINED.glob("text-to-image-*/"))
FRESH = """
import runpy
import sys

kept = runpy.run_path(sys.argv[2])  # what torchvision may need; no model of the course
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1])
(image,) = pipeline("a portrait of a smiling person", num_inference_steps=2).images
assert image.size == (64, 64) and not [name for name in sys.modules if name.startswith(("hw4", "common"))]
"""


@pytest.mark.parametrize("name", models.names())
def test_shipped_ddpms_draw_the_classes_asked_for(name):
    check_file(models.PRETRAINED / f"{models.PREFIX}{name}.safetensors", 4_000_000)
    model = models.load(name)
    labels = torch.arange(model.classes).repeat(10)
    way = ddpm_measures.Way("dpm-solver++", 10, guidance=1.5)
    drawn = ddpm_measures.draw(model, way, len(labels), labels, 0, CPU)
    classifier = extractors.load_extractor(model.known.data)
    sized = torch.nn.functional.interpolate(drawn.images.float(), classifier.shape[1:], mode="bilinear")
    found = extractors.predictions_of(sized.round().byte(), classifier)
    assert (found[model.known.told] == labels).double().mean() >= 0.85
    assert len(drawn.images.flatten(1).unique(dim=0)) == len(labels)


@pytest.mark.parametrize("folder", TEXT_TO_IMAGE, ids=lambda folder: folder.name)
def test_shipped_text_to_image_opens_with_diffusers_alone(folder, tmp_path):
    card = card_of(folder.with_suffix(".md"))
    weights = sorted(folder.rglob("*.safetensors"))
    assert len(weights) >= 3 and sum(path.stat().st_size for path in weights) <= 16_000_000
    assert all(extractors.file_sha256(path) in card for path in weights)
    configs = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json")]
    assert len(configs) >= 6 and not any(re.search(r'"(/|[A-Z]:\\)\w', text) for text in configs)
    command = [sys.executable, "-c", FRESH, str(folder), torchvision_operators.__file__]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", TEXT_TO_IMAGE, ids=lambda folder: folder.name)
def test_shipped_text_to_image_obeys_captions(folder, tmp_path):
    images = data.load("avatars", "val", size=64, count=60, data_dir=tmp_path)
    orders = text_to_image_measures.orders_of(images, 7)
    drawn = text_to_image_measures.draw(
        pipelines.load(str(folder)), orders.texts, guidance=3.0, steps=10, seed=0
    )
    found = extractors.predictions_of(drawn, extractors.load_extractor("avatars"))
    obeyed = text_to_image_measures.obeyed_percent(orders.options, found)
    assert obeyed["clothes_color"] >= 90 and obeyed["attributes"] >= 75
