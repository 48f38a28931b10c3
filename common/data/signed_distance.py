"""Signed distances of plane shapes, for a batch of B images at once.

A shape is a function of the plane: the distance to its edge, negative inside.  One formula holds for
all B images, with parameters per image, so a batch is a few dozen tensor operations however many images
it has.  `canvas.Canvas` paints them.

    eye = ellipse((0.1, 0.0), (width, 0.2)) & half_plane((0.0, lid))     # width, lid: (B,) or a float
    eye.distance(x, y)                                                   # (B, H, W)

Everything done per pixel is one of + - * / sqrt min max, which IEEE 754 rounds the same way in a vector
register as outside it, so a distance does not depend on the batch it is computed in.

The formulas are those of Inigo Quilez, "2D distance functions"
(https://iquilezles.org/articles/distfunctions2d/), and "smooth minimum"
(https://iquilezles.org/articles/smin/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor

Number = Tensor | float  # one value for all images, or (B,), one for each
Point = tuple[Number, Number]  # (x, y)
Box = tuple[float, float, float, float]  # left, top, right, bottom


def column(value: Number) -> Number:
    """A parameter ready to meet pixels: a float stays, (B,) becomes float32 (B, 1, 1)."""
    return value.float().view(-1, 1, 1) if isinstance(value, Tensor) else value


def span(*values: Number) -> tuple[float, float]:
    """Smallest and largest of some parameters over all images."""
    ends = []
    for value in values:
        ends += [end.item() for end in value.aminmax()] if isinstance(value, Tensor) else [value]
    return min(ends), max(ends)


def around(points: Sequence[Point], by: Number = 0.0) -> Box:
    """A rectangle that holds the points of all images, `by` away from them or more."""
    (left, right), (top, bottom) = span(*(x for x, _ in points)), span(*(y for _, y in points))
    return grow((left, top, right, bottom), by)


def grow(box: Box, by: Number) -> Box:
    """The rectangle moved outwards by `by` on each side."""
    left, top, right, bottom = box
    by = span(by)[1]
    return left - by, top - by, right + by, bottom + by


@dataclass(frozen=True)
class Shape:
    """A region of the plane in each of B images; combine with `|` (union), `&` (intersection) and `-`."""

    distance: Callable[[Tensor, Tensor], Tensor]
    """x, y broadcastable to (B, H, W) -> signed distance to the edge (B, H, W), in the units of x and y."""
    box: Box
    """A rectangle that holds the region in all images; it may be larger than needed."""

    def __or__(self, other: Shape) -> Shape:
        return Shape(
            lambda x, y: torch.minimum(self.distance(x, y), other.distance(x, y)), _around_both(self, other)
        )

    def __and__(self, other: Shape) -> Shape:
        box = (*map(max, self.box[:2], other.box[:2]), *map(min, self.box[2:], other.box[2:]))
        return Shape(lambda x, y: torch.maximum(self.distance(x, y), other.distance(x, y)), box)

    def __sub__(self, other: Shape) -> Shape:
        return Shape(lambda x, y: torch.maximum(self.distance(x, y), -other.distance(x, y)), self.box)

    def grown(self, by: Number) -> Shape:
        """Everything within `by` of the shape; corners become round.  Negative: shrunk."""
        return Shape(lambda x, y: self.distance(x, y) - column(by), grow(self.box, by))

    def hollow(self, half_width: Number) -> Shape:
        """The line along the edge of the shape, `half_width` to each side."""
        return Shape(lambda x, y: self.distance(x, y).abs() - column(half_width), grow(self.box, half_width))

    def moved(self, by: Point) -> Shape:
        """The shape translated by (dx, dy)."""
        (left, right), (top, bottom) = span(by[0]), span(by[1])
        box = (self.box[0] + left, self.box[1] + top, self.box[2] + right, self.box[3] + bottom)
        return Shape(lambda x, y: self.distance(x - column(by[0]), y - column(by[1])), box)


def _around_both(first: Shape, second: Shape) -> Box:
    return (*map(min, first.box[:2], second.box[:2]), *map(max, first.box[2:], second.box[2:]))


def union(*shapes: Shape) -> Shape:
    """All of the shapes as one."""
    return reduce(Shape.__or__, shapes)


def smooth_union(first: Shape, second: Shape, blend: float) -> Shape:
    """The union with a fillet where the shapes meet: the quadratic smooth minimum, which differs from
    the minimum only where |d1 - d2| < blend and by at most blend/4."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        one, two = first.distance(x, y), second.distance(x, y)
        overlap = (one - two).abs_().neg_().add_(blend).clamp_(min=0)
        return torch.minimum(one, two).sub_(overlap.square_().mul_(0.25 / blend))

    return Shape(distance, grow(_around_both(first, second), blend / 4))


def circle(centre: Point, radius: Number) -> Shape:
    """A disc."""
    cx, cy = centre

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return ((x - column(cx)).square_() + (y - column(cy)).square_()).sqrt_() - column(radius)

    return Shape(distance, around([centre], radius))


def circles(centres: Tensor, radii: Number) -> Shape:
    """The union of K discs of one radius per image, in one pass: centres (B or 1, K, 2)."""
    centre_x, centre_y = centres.float().unbind(-1)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        nearest = None
        for k in range(centres.shape[1]):
            dx = (x - centre_x[:, k, None, None]).square_()
            squared = dx + (y - centre_y[:, k, None, None]).square_()
            nearest = squared if nearest is None else torch.minimum(nearest, squared)
        return nearest.sqrt() - column(radii)

    return Shape(distance, around([(centre_x, centre_y)], radii))


def ellipse(centre: Point, radii: Point, angle: Number = 0.0) -> Shape:
    """A filled ellipse, turned clockwise by `angle` (radians; y points down).

    The distance is d = k0 (k0 - 1) / k1 with k0 = |p / r| and k1 = |p / r^2|: zero on the edge, right
    to first order near it, which is all that anti-aliasing and thin outlines look at; farther away it
    is only of the right sign.
    """
    (cx, cy), (rx, ry) = centre, radii

    def distance(x: Tensor, y: Tensor) -> Tensor:
        u, v = turned(x - column(cx), y - column(cy), angle)
        by_x, by_y = column(1 / rx), column(1 / ry)
        u, v = u * by_x, v * by_y
        k0 = (u.square() + v.square()).sqrt_()
        k1 = ((u * by_x).square_() + (v * by_y).square_()).sqrt_().clamp_(min=1e-6)
        return (k0 - 1).mul_(k0).div_(k1)

    cos, sin = _cos_sin(angle)
    half_x, half_y = ((rx * cos) ** 2 + (ry * sin) ** 2) ** 0.5, ((rx * sin) ** 2 + (ry * cos) ** 2) ** 0.5
    return Shape(distance, around([(cx - half_x, cy - half_y), (cx + half_x, cy + half_y)]))


def rounded_box(centre: Point, half_size: Point, radius: Number = 0.0, angle: Number = 0.0) -> Shape:
    """A rectangle of half width and half height `half_size`, its corners rounded by `radius`, turned by
    `angle`."""
    (cx, cy), (half_width, half_height) = centre, half_size

    def distance(x: Tensor, y: Tensor) -> Tensor:
        u, v = turned(x - column(cx), y - column(cy), angle)
        u = u.abs() - column(half_width - radius)
        v = v.abs() - column(half_height - radius)
        inside = torch.maximum(u, v).clamp_(max=0)
        outside = (u.clamp_(min=0).square_() + v.clamp_(min=0).square_()).sqrt_()
        return outside.add_(inside) - column(radius)

    cos, sin = (abs(part) for part in _cos_sin(angle))
    half_x, half_y = half_width * cos + half_height * sin, half_width * sin + half_height * cos
    return Shape(distance, around([(cx - half_x, cy - half_y), (cx + half_x, cy + half_y)]))


def segment(start: Point, end: Point, radius: Number, end_radius: Number | None = None) -> Shape:
    """Everything within `radius` of the segment from start to end (a capsule); with `end_radius` it
    tapers linearly along the segment (then a distance to first order)."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        along, squared = _to_segment(x, y, start, end)
        thickness = column(radius)
        if end_radius is not None:
            thickness = along * column(end_radius - radius) + thickness
        return squared.sqrt_() - thickness

    widest = span(radius, radius if end_radius is None else end_radius)[1]
    return Shape(distance, around([start, end], widest))


def polyline(points: Sequence[Point], radius: Number, end_radius: Number | None = None) -> Shape:
    """Everything within `radius` of the broken line through the points; with `end_radius` the stroke
    tapers evenly, segment by segment."""
    pairs = list(pairwise(points))
    if end_radius is not None:
        widths = [radius + (end_radius - radius) * (i / len(pairs)) for i in range(len(points))]
        return union(*(segment(*pair, *ends) for pair, ends in zip(pairs, pairwise(widths))))

    def distance(x: Tensor, y: Tensor) -> Tensor:
        squared = [_to_segment(x, y, start, end)[1] for start, end in pairs]
        return reduce(torch.minimum, squared).sqrt() - column(radius)

    return Shape(distance, around(points, radius))


def bezier(start: Point, control: Point, end: Point, radius: Number, end_radius: Number | None = None,
           pieces: int = 6) -> Shape:  # fmt: skip
    """A stroke of half width `radius` along a quadratic Bezier curve, drawn as `pieces` chords.

    A chord leaves the curve by at most |start - 2 control + end| / (4 pieces^2), which is below a
    twentieth of a pixel for the small strokes of a face.  Unlike the closed form it needs no cubic
    root, nothing degenerates when the three points are in line, and the only per-pixel operations are
    the exactly rounded ones.
    """
    points = []
    for i in range(pieces + 1):
        t = i / pieces
        weights = ((1 - t) ** 2, 2 * t * (1 - t), t**2)
        points.append(
            tuple(sum(w * p[axis] for w, p in zip(weights, (start, control, end))) for axis in (0, 1))
        )
    return polyline(points, radius, end_radius)


def polygon(points: Sequence[Point]) -> Shape:
    """A filled simple polygon, convex or not; the distance is exact.

    The sign is the parity of the edges that a ray from the pixel to the right crosses.
    """

    def distance(x: Tensor, y: Tensor) -> Tensor:
        nearest, inside = None, None
        for start, end in zip(points, [*points[1:], points[0]]):
            (ax, ay), (bx, by) = ((column(p[0]), column(p[1])) for p in (start, end))
            squared = _to_segment(x, y, start, end)[1]
            spans = (y >= ay) != (y >= by)
            crosses = spans & (((x - ax) * (by - ay) < (y - ay) * (bx - ax)) == (torch.as_tensor(by > ay)))
            nearest = squared if nearest is None else torch.minimum(nearest, squared)
            inside = crosses if inside is None else inside ^ crosses
        nearest = nearest.sqrt_()
        return torch.where(inside, -nearest, nearest)

    return Shape(distance, around(points))


def half_plane(point: Point, angle: Number = 0.0) -> Shape:
    """Everything below (y larger than) the line through `point`, the line turned clockwise by `angle`
    from level."""
    cos, sin = _cos_sin(angle)
    px, py = point

    def distance(x: Tensor, y: Tensor) -> Tensor:
        if is_zero(angle):
            return column(py) - y
        return (x - column(px)) * column(sin) - (y - column(py)) * column(cos)

    return Shape(distance, (-99.0, -99.0, 99.0, 99.0))


def _to_segment(x: Tensor, y: Tensor, start: Point, end: Point) -> tuple[Tensor, Tensor]:
    """Position of the nearest point along the segment, in [0, 1], and the squared distance to it, each
    (B, H, W)."""
    (ax, ay), (bx, by) = ((column(p[0]), column(p[1])) for p in (start, end))
    ux, uy = bx - ax, by - ay
    length = ux * ux + uy * uy
    length = length.clamp(min=1e-12) if isinstance(length, Tensor) else max(length, 1e-12)
    dx, dy = x - ax, y - ay
    along = (dx * (ux / length) + dy * (uy / length)).clamp_(0, 1)
    return along, (dx - along * ux).square_().add_((dy - along * uy).square_())


def _cos_sin(angle: Number) -> tuple[Number, Number]:
    return (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (math.cos(angle), math.sin(angle))


def is_zero(value: Number) -> bool:
    return not isinstance(value, Tensor) and value == 0.0


def turned(x: Tensor, y: Tensor, angle: Number) -> tuple[Tensor, Tensor]:
    """Coordinates along the axes of a shape turned clockwise by `angle`."""
    if is_zero(angle):
        return x, y
    cos, sin = (column(part) for part in _cos_sin(angle))
    return x * cos + y * sin, y * cos - x * sin
