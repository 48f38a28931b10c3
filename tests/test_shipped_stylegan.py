"""The shipped generators and encoders of homework 3: their cards, and that they draw what z orders."""

from common import data
from common.data import to_model_range
from common.metrics import attributes, extractors, identity

import pytest
import torch
from shipped import check_file

from hw3_stylegan_sampling import encoder, eval_stylegan, models, projection, ways


@pytest.mark.parametrize("name", models.names())
def test_shipped_generators_draw_the_attributes_that_z_orders(name):
    check_file(models.PRETRAINED / f"{models.PREFIX}{name}.safetensors", 8_000_000)
    generator = models.load(name)
    z = ways.normal(generator, 200, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        images = ways.images_of(generator, generator.mapping(z))
    orders = eval_stylegan.orders(generator, z, name)
    net = extractors.load_extractor(name)
    found = extractors.predictions_of(images, net, confidence=0.9)
    assert orders and attributes.obeyed(orders, found)["obeyed_all"] >= 0.75
    assert len(images.flatten(1).unique(dim=0)) == 200


@pytest.mark.parametrize("name", encoder.shipped())
def test_shipped_encoders_know_their_generator(name):
    check_file(encoder.PRETRAINED / f"{encoder.PREFIX}{name}.safetensors", 4_000_000)
    generator = models.load(name)
    z = ways.normal(generator, 40, torch.Generator().manual_seed(1))
    with torch.inference_mode():
        drawn = to_model_range(ways.images_of(generator, generator.mapping(z)))
        again = generator.synthesis(encoder.load(name, generator)(drawn), "const")
    assert projection.psnr(drawn, again).mean() >= 18


@pytest.mark.parametrize("name", encoder.shipped())
def test_shipped_encoders_keep_the_person(name):
    people = data.load(name, "val", size=64, count=40)
    net = identity.load(name)
    generator = models.load(name)
    with torch.inference_mode():
        again = generator.synthesis(encoder.load(name, generator)(to_model_range(people.images)), "const")
    persons = people.attributes["person"]
    others = torch.cat([persons.unique(), torch.arange(90)]).unique()
    found = identity.nearest(identity.embed(net, again), identity.gallery(net, others, size=64))
    assert (others[found] == persons).double().mean() >= 0.7
