"""Signed distances against closed forms and against dense samples of the edge; coverage of painted shapes."""

import math

from common.data import signed_distance as sd
from common.data.canvas import Canvas

import pytest
import torch

EXACT = 2e-6  # float32 on lengths of about one


@pytest.fixture
def points():
    """x, y (1, H, W) over [-1.5, 1.5] x [-1, 1], H and W different."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 41), torch.linspace(-1.5, 1.5, 53), indexing="ij")
    return x[None], y[None]


def to_samples(x, y, curve):
    """Distance to the nearest of many points (M, 2), in float64."""
    pixels = torch.stack([x[0], y[0]], -1).double().view(-1, 2)
    return torch.cdist(pixels, curve.double()).amin(1).view(x.shape)


def outline(corners, per_edge=4000):
    """Points along a closed polygon."""
    corners = torch.tensor(corners, dtype=torch.float64)
    t = torch.linspace(0, 1, per_edge, dtype=torch.float64)[:, None, None]
    return (corners * (1 - t) + corners.roll(-1, 0) * t).view(-1, 2)


def test_circle_per_image(points):
    x, y = points
    radius = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    distance = sd.circle((torch.tensor([0.0, 0.3, -0.1]), 0.2), radius).distance(x, y)
    assert distance.shape == (3, *x.shape[1:])
    expected = torch.hypot(x.double() + 0.1, y.double() - 0.2) - 0.9
    assert (distance[2:] - expected).abs().max() < EXACT


def test_circles_is_their_union(points):
    centres = torch.tensor([[[0.0, 0.0], [0.5, 0.2], [-0.4, -0.7]]])
    parts = [sd.circle(tuple(centre.tolist()), 0.3).distance(*points) for centre in centres[0]]
    together = sd.circles(centres, 0.3).distance(*points)
    assert (together - torch.stack(parts).amin(0)).abs().max() < EXACT


def test_segment(points):
    x, y = points
    curve = outline([(-0.5, -0.3), (0.7, 0.4)])
    distance = sd.segment((-0.5, -0.3), (0.7, 0.4), 0.1).distance(x, y)
    assert (distance - (to_samples(x, y, curve) - 0.1)).abs().max() < 1e-4  # spacing of the samples squared
    dot = sd.segment((0.1, 0.1), (0.1, 0.1), 0.1).distance(x, y)
    assert (dot - (torch.hypot(x - 0.1, y - 0.1) - 0.1)).abs().max() < EXACT


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_box(points, angle):
    x, y = points
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [
        (u * cos - v * sin + 0.1, u * sin + v * cos)
        for u, v in ((-0.6, -0.3), (0.6, -0.3), (0.6, 0.3), (-0.6, 0.3))
    ]
    distance = sd.rounded_box((0.1, 0.0), (0.6, 0.3), 0.0, angle).distance(x, y)
    assert (distance.abs() - to_samples(x, y, outline(corners))).abs().max() < 1e-3
    assert (sd.polygon(corners).distance(x, y) - distance).abs().max() < 2e-5
    rounded = sd.rounded_box((0.1, 0.0), (0.7, 0.4), 0.1, angle).distance(x, y)
    outside = distance > 0
    assert (rounded - (distance - 0.1))[outside].abs().max() < EXACT


def test_polygon_that_is_not_convex(points):
    x, y = points
    corners = [(-0.8, -0.6), (0.9, -0.5), (0.0, 0.0), (0.7, 0.8), (-0.7, 0.6)]
    distance = sd.polygon(corners).distance(x, y)
    assert (distance.abs() - to_samples(x, y, outline(corners))).abs().max() < 1e-3
    at = lambda px, py: float(sd.polygon(corners).distance(torch.tensor([[[px]]]), torch.tensor([[[py]]])))
    assert at(-0.5, 0.0) < 0 < at(0.6, 0.1)  # inside; in the notch


def test_ellipse_is_right_to_first_order():
    angle = torch.linspace(0, 2 * math.pi, 200, dtype=torch.float64)
    for offset in (-0.01, 0.0, 0.01):
        nx, ny = angle.cos() / 0.6, angle.sin() / 0.3  # the normal of x = 0.6 cos, y = 0.3 sin
        length = torch.hypot(nx, ny)
        x, y = 0.6 * angle.cos() + offset * nx / length, 0.3 * angle.sin() + offset * ny / length
        distance = sd.ellipse((0.0, 0.0), (0.6, 0.3)).distance(
            x.float().view(1, 1, -1), y.float().view(1, 1, -1)
        )
        assert (distance - offset).abs().max() < 5e-4  # half a curvature times the offset squared


def test_bezier_against_dense_samples(points):
    x, y = points
    start, control, end = (-0.8, 0.2), (0.1, -0.9), (0.6, 0.5)
    t = torch.linspace(0, 1, 20_000, dtype=torch.float64)[:, None]
    a, b, c = (torch.tensor(p, dtype=torch.float64) for p in (start, control, end))
    expected = to_samples(x, y, (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c) - 0.05
    for pieces in (6, 24):
        error = (sd.bezier(start, control, end, 0.05, pieces=pieces).distance(x, y) - expected).abs().max()
        assert error < (a - 2 * b + c).norm() / (4 * pieces**2) + 1e-4  # the bound its docstring states


def test_half_plane(points):
    x, y = points
    assert torch.equal(sd.half_plane((0.0, 0.25)).distance(x, y), 0.25 - y)
    tilted = sd.half_plane((0.1, 0.2), torch.tensor([math.pi / 4])).distance(x, y)
    assert (tilted - (x - 0.1 - (y - 0.2)) / 2**0.5).abs().max() < EXACT


def test_combinations(points):
    one, two = sd.circle((-0.2, 0.0), 0.4), sd.circle((0.3, 0.0), 0.3)
    a, b = one.distance(*points), two.distance(*points)
    assert torch.equal((one | two).distance(*points), torch.minimum(a, b))
    assert torch.equal((one & two).distance(*points), torch.maximum(a, b))
    assert torch.equal((one - two).distance(*points), torch.maximum(a, -b))
    assert torch.equal(one.hollow(0.1).distance(*points), a.abs() - 0.1)
    smooth = sd.smooth_union(one, two, 0.2).distance(*points)
    sunk = torch.minimum(a, b) - smooth
    assert sunk.min() >= -EXACT and sunk.max() <= 0.05 + EXACT
    assert sunk[(a - b).abs() > 0.2].abs().max() < EXACT


@pytest.mark.parametrize("turned", [False, True])
def test_box_of_a_shape_holds_all_of_it(turned):
    """A canvas computes only the rectangle around a shape: painting without that limit gives the same."""
    angle = torch.tensor([0.5, -0.8], dtype=torch.float64)
    shapes = [
        sd.circle((0.2, angle), 0.2),
        sd.ellipse((0.1, -0.2), (0.5, 0.2), angle),
        sd.rounded_box((angle * 0.3, 0.1), (0.4, 0.2), 0.1, angle),
        sd.bezier((-0.5, angle * 0.2), (0.0, 0.6), (0.4, -0.3), 0.06, 0.02),
        sd.smooth_union(sd.circle((-0.2, 0.0), 0.3), sd.circle((0.2, 0.0), 0.3), 0.2).grown(0.05),
        sd.polygon([(-0.4, -0.4), (0.5, -0.2), (0.0, angle)]).moved((0.1, 0.1)),
        sd.circle((0.0, 0.0), 0.5) & sd.half_plane((0.0, 0.0), angle),
    ]
    for shape in shapes:
        everywhere = sd.Shape(shape.distance, (-9.0, -9.0, 9.0, 9.0))
        pictures = []
        for version in (shape, everywhere):
            canvas = Canvas(2, 48)
            target = canvas.turned(angle, (0.0, 0.3)) if turned else canvas
            target.paint(version, (255.0, 0.0, 0.0), line=torch.tensor([[0.0, 255, 0]]), line_width=0.05)
            pictures.append(canvas.images())
        assert torch.equal(*pictures)


def test_coverage_is_the_area():
    """The painted area of a disc is pi r^2: what is lost inside the edge is gained outside."""
    radius = torch.tensor([0.31, 0.5, 0.72])
    canvas = Canvas(3, 64)
    canvas.paint(sd.circle((0.013, -0.02), radius), (255.0, 255.0, 255.0))
    area = canvas.pixels[:, 0].sum((1, 2)) / 255 * canvas.pixel**2
    assert (area / (math.pi * radius**2) - 1).abs().max() < 2e-3
    levels = canvas.images()[0, 0].unique()
    assert len(levels) > 30 and levels[0] == 0 and levels[-1] == 255


def test_turned_canvas_turns_clockwise():
    canvas = Canvas(1, 64)
    canvas.turned(torch.tensor([math.pi / 2]), (0.0, 0.0)).paint(
        sd.circle((0.0, -0.5), 0.2), (255.0, 0.0, 0.0)
    )
    assert canvas.images()[0, 0, 32, 48] == 255  # what was above is now to the right
    assert canvas.images()[0, 0, 16, 32] == 0


def test_opacity_and_blur():
    canvas = Canvas(2, 32)
    canvas.paint(sd.circle((0.0, 0.0), 0.5), (200.0, 200.0, 200.0), torch.tensor([0.0, 0.5]))
    assert canvas.images()[0].max() == 0 and canvas.images()[1].max() == 100
    soft = Canvas(1, 64)
    soft.paint(sd.circle((0.0, 0.0), 0.5), (200.0, 200.0, 200.0), blur=0.4)
    assert soft.images()[0, 0, 32, 48] in range(90, 111)  # half way at the edge
