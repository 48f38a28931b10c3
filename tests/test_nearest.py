"""The nearest training images, in parts and all at once; errors of pictures."""

from common.errors import InputError
from common.metrics.nearest import nearest, pixels, training_ratio
from common.metrics.perceptual import Perceptual, pixel_error

import pytest
import torch


@pytest.mark.parametrize("parts", [1, 7, 30])
def test_parts_of_any_size_give_the_same_nearest(parts):
    torch.manual_seed(0)
    points, known = torch.randn(9, 5, dtype=torch.float64), torch.randn(30, 5, dtype=torch.float64)
    apart = torch.cdist(points, known)
    found = nearest(points, known.split(parts), count=4, chunk=2)
    expected = apart.sort(dim=1)
    assert torch.equal(found.row, expected.indices[:, :4])
    assert (found.distance - expected.values[:, :4]).abs().max() < 1e-12


def test_a_copy_among_others_is_at_distance_0():
    images = torch.randint(
        0, 256, (60, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    found = nearest(pixels(images[[31, 4]]), [pixels(images)], count=2)
    assert found.row[:, 0].tolist() == [31, 4]
    assert found.distance[:, 0].tolist() == [0, 0] and found.distance[:, 1].min() > 0.1


def test_one_is_found_where_no_number_is_given():
    found = nearest(torch.tensor([[0.2], [2.6]]), [torch.arange(4.0)[:, None]])
    assert found.row.tolist() == [[0], [3]]


def test_of_equally_near_ones_the_first_is_named():
    known = torch.tensor([[1.0], [-1.0], [1.0]])
    assert nearest(torch.zeros(1, 1), known.split(1), count=3).row.tolist() == [[0, 1, 2]]


def test_fewer_known_points_than_asked_for_are_all_named():
    assert nearest(torch.zeros(2, 3), [torch.ones(1, 3)], count=5).row.tolist() == [[0], [0]]


def test_points_of_images_are_as_far_apart_as_their_root_mean_squared_difference():
    one = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    other = one.clone()
    other[:, :, :2] = 102  # 0.4 on half of the values
    assert (pixels(one) - pixels(other)).norm().item() == pytest.approx(0.4 * 0.5**0.5)


def test_the_perceptual_error_adds_what_the_network_sees_to_the_mean_absolute_error():
    torch.manual_seed(0)
    perceptual = Perceptual()
    images, others = torch.rand(3, 3, 48, 40) * 2 - 1, torch.rand(3, 3, 48, 40) * 2 - 1
    seen = 0
    for one, other in zip(perceptual.activations(images), perceptual.activations(others)):
        assert (one.norm(dim=1) - 1).abs().max() < 1e-5 or one.norm(dim=1).min() == 0
        seen = seen + (one - other).square().sum(1).mean((1, 2))
    expected = pixel_error("l1", images, others) + seen
    assert (perceptual(images, others) - expected).abs().max() < 1e-6
    assert (seen > 0).all() and len(perceptual.stages) == 2


def test_copies_have_a_small_ratio_and_strangers_one_near_1():
    generator = torch.Generator().manual_seed(0)
    known, held_out, new = torch.randn(3, 400, 8, generator=generator)
    assert training_ratio(new, held_out, known) == pytest.approx(1, abs=0.05)
    assert training_ratio(known[:50] + 1e-3, held_out, known) < 0.01
    assert training_ratio(3 * new, held_out, known) > 1.5


def test_test_images_that_are_training_images_are_refused():
    known = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match="most of them are among the training images"):
        training_ratio(known + 1, known[:20], known)
