"""Pictures from signed distances: shapes for a batch of B images at once, composited with smooth edges.

A shape is a function of the plane: the distance to its edge, negative inside.  One formula holds for all B images,
with parameters per image, so a batch is a few dozen tensor operations however many images it has:

    canvas = Canvas(B, 64)                                     # the square [-1, 1] x [-1, 1], y pointing down
    canvas.paint(circle((0.0, -0.1), radius), skin)            # radius (B,), skin (B, 3)
    canvas.paint(circle(eye, 0.1) & half_plane(eye, angle), white, line=ink, line_width=0.03)
    images = canvas.images()                                   # uint8 (B, 3, 64, 64)

An edge is anti-aliased by its coverage, alpha = clamp(1/2 - d / pixel, 0, 1): exact for a straight edge along the
pixel grid, within 5 % of a pixel for others.  Only the rectangle around a shape is computed.

Everything done per pixel is one of + - * / sqrt min max, which IEEE 754 rounds the same way in a vector register as
outside it, so an image does not depend on the batch it is drawn in.

The formulas are those of Inigo Quilez, "2D distance functions" (https://iquilezles.org/articles/distfunctions2d/),
and "smooth minimum" (https://iquilezles.org/articles/smin/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

Number = Tensor | float  # one value for all images, or (B,), one for each
Point = tuple[Number, Number]  # (x, y)


def column(value: Number) -> Number:
    """A parameter ready to meet pixels: a float stays, (B,) becomes float32 (B, 1, 1)."""
    return value.float().view(-1, 1, 1) if isinstance(value, Tensor) else value


def edges(left: Number, top: Number, right: Number, bottom: Number) -> Tensor:
    """The rectangle around a shape, (B, 4), or (1, 4) when it is the same for all images."""
    sides = [torch.as_tensor(side, dtype=torch.float64) for side in (left, top, right, bottom)]
    return torch.stack(torch.broadcast_tensors(*sides), dim=-1).view(-1, 4)


@dataclass(frozen=True)
class Shape:
    """A region of the plane in each of B images; combine with `|` (union), `&` (intersection) and `-`."""

    distance: Callable[[Tensor, Tensor], Tensor]
    """x, y broadcastable to (B, H, W) -> signed distance to the edge (B, H, W), in the units of x and y."""
    box: Tensor
    """(B, 4) or (1, 4): left, top, right, bottom of a rectangle that holds the region."""

    def __or__(self, other: Shape) -> Shape:
        return Shape(
            lambda x, y: torch.minimum(self.distance(x, y), other.distance(x, y)), _around(self, other)
        )

    def __and__(self, other: Shape) -> Shape:
        corners = torch.cat([torch.maximum(self.box[:, :2], other.box[:, :2]),
                             torch.minimum(self.box[:, 2:], other.box[:, 2:])], dim=1)  # fmt: skip
        return Shape(lambda x, y: torch.maximum(self.distance(x, y), other.distance(x, y)), corners)

    def __sub__(self, other: Shape) -> Shape:
        return Shape(lambda x, y: torch.maximum(self.distance(x, y), -other.distance(x, y)), self.box)

    def grown(self, by: Number) -> Shape:
        """Everything within `by` of the shape; corners become round.  Negative: shrunk."""
        return Shape(lambda x, y: self.distance(x, y) - column(by), _grow(self.box, by))

    def hollow(self, half_width: Number) -> Shape:
        """The line along the edge of the shape, `half_width` to each side."""
        return Shape(lambda x, y: self.distance(x, y).abs() - column(half_width), _grow(self.box, half_width))

    def moved(self, by: Point) -> Shape:
        """The shape translated by (dx, dy)."""
        dx, dy = by
        return Shape(
            lambda x, y: self.distance(x - column(dx), y - column(dy)), self.box + edges(dx, dy, dx, dy)
        )


def _around(first: Shape, second: Shape) -> Tensor:
    """(B, 4): the rectangle around two shapes."""
    low = torch.minimum(first.box[:, :2], second.box[:, :2])
    return torch.cat([low, torch.maximum(first.box[:, 2:], second.box[:, 2:])], dim=1)


def _grow(box: Tensor, by: Number) -> Tensor:
    """(B, 4): the rectangle moved outwards by `by` on each side."""
    by = torch.as_tensor(by, dtype=torch.float64).view(-1, 1)
    return box + torch.cat([-by, -by, by, by], dim=1)


def union(*shapes: Shape) -> Shape:
    """All of the shapes as one."""
    return reduce(Shape.__or__, shapes)


def smooth_union(first: Shape, second: Shape, blend: float) -> Shape:
    """The union with a fillet where the shapes meet: the quadratic smooth minimum, which differs from the minimum
    only where |d1 - d2| < blend and by at most blend/4."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        one, two = first.distance(x, y), second.distance(x, y)
        overlap = (one - two).abs_().neg_().add_(blend).clamp_(min=0)
        return torch.minimum(one, two).sub_(overlap.square_().mul_(0.25 / blend))

    return Shape(distance, _grow(_around(first, second), blend / 4))


def circle(centre: Point, radius: Number) -> Shape:
    """A disc."""
    cx, cy = centre

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return ((x - column(cx)).square_() + (y - column(cy)).square_()).sqrt_() - column(radius)

    return Shape(distance, edges(cx - radius, cy - radius, cx + radius, cy + radius))


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

    return Shape(distance, _grow(torch.cat([centres.amin(1), centres.amax(1)], dim=1), radii))


def ellipse(centre: Point, radii: Point, angle: Number = 0.0) -> Shape:
    """A filled ellipse, turned clockwise by `angle` (radians; y points down).

    The distance is d = k0 (k0 - 1) / k1 with k0 = |p / r| and k1 = |p / r^2|: zero on the edge, right to first order
    near it, which is all that anti-aliasing and thin outlines look at; farther away it is only of the right sign.
    """
    (cx, cy), (rx, ry) = centre, radii

    def distance(x: Tensor, y: Tensor) -> Tensor:
        u, v = _turned(x - column(cx), y - column(cy), angle)
        u, v = u / column(rx), v / column(ry)
        k0 = (u.square() + v.square()).sqrt_()
        k1 = ((u / column(rx)).square_() + (v / column(ry)).square_()).sqrt_().clamp_(min=1e-6)
        return (k0 - 1).mul_(k0).div_(k1)

    cos, sin = _cos_sin(angle)
    half_x, half_y = ((rx * cos) ** 2 + (ry * sin) ** 2) ** 0.5, ((rx * sin) ** 2 + (ry * cos) ** 2) ** 0.5
    return Shape(distance, edges(cx - half_x, cy - half_y, cx + half_x, cy + half_y))


def rounded_box(centre: Point, half_size: Point, radius: Number = 0.0, angle: Number = 0.0) -> Shape:
    """A rectangle of half width and half height `half_size`, its corners rounded by `radius`, turned by `angle`."""
    (cx, cy), (half_width, half_height) = centre, half_size

    def distance(x: Tensor, y: Tensor) -> Tensor:
        u, v = _turned(x - column(cx), y - column(cy), angle)
        u = u.abs() - column(half_width - radius)
        v = v.abs() - column(half_height - radius)
        inside = torch.maximum(u, v).clamp_(max=0)
        outside = (u.clamp_(min=0).square_() + v.clamp_(min=0).square_()).sqrt_()
        return outside.add_(inside) - column(radius)

    cos, sin = (abs(part) for part in _cos_sin(angle))
    half_x, half_y = half_width * cos + half_height * sin, half_width * sin + half_height * cos
    return Shape(distance, edges(cx - half_x, cy - half_y, cx + half_x, cy + half_y))


def segment(start: Point, end: Point, radius: Number, end_radius: Number | None = None) -> Shape:
    """Everything within `radius` of the segment from start to end (a capsule); with `end_radius` it tapers linearly
    along the segment (then a distance to first order)."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        along, squared = _to_segment(x, y, start, end)
        thickness = column(radius)
        if end_radius is not None:
            thickness = along * column(end_radius - radius) + thickness
        return squared.sqrt_() - thickness

    last = radius if end_radius is None else end_radius
    first, second = _grow(edges(*start, *start), radius), _grow(edges(*end, *end), last)
    return Shape(distance, _around(Shape(distance, first), Shape(distance, second)))


def polyline(points: Sequence[Point], radius: Number, end_radius: Number | None = None) -> Shape:
    """Everything within `radius` of the broken line through the points; with `end_radius` the stroke tapers evenly,
    segment by segment."""
    pairs = list(zip(points[:-1], points[1:]))
    if end_radius is not None:
        widths = [radius + (end_radius - radius) * (i / len(pairs)) for i in range(len(points))]
        return union(*(segment(*pair, *ends) for pair, ends in zip(pairs, zip(widths[:-1], widths[1:]))))

    def distance(x: Tensor, y: Tensor) -> Tensor:
        squared = [_to_segment(x, y, start, end)[1] for start, end in pairs]
        return reduce(torch.minimum, squared).sqrt() - column(radius)

    return Shape(distance, _grow(_around_points(points), radius))


def bezier(start: Point, control: Point, end: Point, radius: Number, end_radius: Number | None = None,
           pieces: int = 6) -> Shape:  # fmt: skip
    """A stroke of half width `radius` along a quadratic Bezier curve, drawn as `pieces` chords.

    A chord leaves the curve by at most |start - 2 control + end| / (4 pieces^2), which is below a twentieth of a
    pixel for the small strokes of a face.  Unlike the closed form it needs no cubic root, nothing degenerates when
    the three points are in line, and the only per-pixel operations are the exactly rounded ones.
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

    return Shape(distance, _around_points(points))


def half_plane(point: Point, angle: Number = 0.0) -> Shape:
    """Everything below (y larger than) the line through `point`, the line turned clockwise by `angle` from level."""
    cos, sin = _cos_sin(angle)
    px, py = point

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return (x - column(px)) * column(sin) - (y - column(py)) * column(cos)

    far = 1e3
    return Shape(distance, edges(-far, -far, far, far))


def _to_segment(x: Tensor, y: Tensor, start: Point, end: Point) -> tuple[Tensor, Tensor]:
    """Position of the nearest point along the segment, in [0, 1], and the squared distance to it, each (B, H, W)."""
    (ax, ay), (bx, by) = ((column(p[0]), column(p[1])) for p in (start, end))
    ux, uy = bx - ax, by - ay
    length = ux * ux + uy * uy
    length = length.clamp(min=1e-12) if isinstance(length, Tensor) else max(length, 1e-12)
    dx, dy = x - ax, y - ay
    along = (dx * (ux / length) + dy * (uy / length)).clamp_(0, 1)
    return along, (dx - along * ux).square_().add_((dy - along * uy).square_())


def _around_points(points: Sequence[Point]) -> Tensor:
    """(B, 4): the rectangle around points."""
    boxes = torch.stack(torch.broadcast_tensors(*(edges(px, py, px, py) for px, py in points)))  # (K, B, 4)
    return torch.cat([boxes[..., :2].amin(0), boxes[..., 2:].amax(0)], dim=1)


def _cos_sin(angle: Number) -> tuple[Number, Number]:
    return (angle.cos(), angle.sin()) if isinstance(angle, Tensor) else (math.cos(angle), math.sin(angle))


def _is_zero(value: Number) -> bool:
    return not isinstance(value, Tensor) and value == 0.0


def _turned(x: Tensor, y: Tensor, angle: Number) -> tuple[Tensor, Tensor]:
    """Coordinates along the axes of a shape turned clockwise by `angle`."""
    if _is_zero(angle):
        return x, y
    cos, sin = (column(part) for part in _cos_sin(angle))
    return x * cos + y * sin, y * cos - x * sin


class Canvas:
    """B pictures of H x W pixels being painted; x runs over [-1, 1] from left to right, y downwards at the same
    scale with 0 in the middle.  Colours are sRGB in [0, 255] and mix as they are, without linearising."""

    def __init__(self, batch: int, size: int, device: torch.device | str = "cpu"):
        self.pixels = torch.zeros(batch, 3, size, size, device=device)
        self.pixel = 2 / size  # the width of a pixel, in the units of x and y
        middles = ((torch.arange(size, device=device, dtype=torch.float64) + 0.5) * self.pixel - 1).float()
        self.x, self.y = middles.view(1, 1, -1), middles.view(1, -1, 1)
        self._turn: tuple[Tensor, Point] | None = None

    def turned(self, angle: Tensor, pivot: Point) -> Canvas:
        """The same pictures under coordinates turned clockwise about the pivot by `angle` (B,), in radians:
        what is painted upright on the turned canvas stands tilted in the picture."""
        other = copy(self)
        px, py = (column(part) for part in pivot)
        x, y = _turned(self.x - px, self.y - py, angle)
        other.x, other.y, other._turn = x + px, y + py, (angle.double(), pivot)
        return other

    def paint(self, shape: Shape, color: Tensor | tuple[float, float, float], opacity: Number = 1.0,
              line: Tensor | None = None, line_width: Number = 0.0, blur: float = 0.0) -> None:  # fmt: skip
        """Fill the shape with a colour, (B, 3) or one for all, over what is there.

        opacity (B,) in [0, 1]; `line`: colour of an outline of `line_width` outside the shape; `blur`: width over
        which the edge fades, instead of one pixel.
        """
        fade = max(blur, self.pixel)
        window = self._window(_grow(_grow(shape.box, line_width), fade))
        if window is None:
            return
        rows, columns = window
        x = self.x[..., columns]
        y = self.y[:, rows] if self._turn is None else self.y[:, rows, columns]
        distance = shape.distance(x if self._turn is None else x[:, rows], y)
        under = self.pixels[:, :, rows, columns]
        if line is not None:
            self._blend(under, distance - column(line_width), line, opacity, fade)
        self._blend(under, distance, color, opacity, fade)

    @staticmethod
    def _blend(under: Tensor, distance: Tensor, color: Tensor | tuple, opacity: Number, fade: float) -> None:
        """under += alpha (color - under), alpha = opacity clamp(1/2 - d / fade, 0, 1); under (B, 3, h, w) a view."""
        alpha = (distance * (-1 / fade)).add_(0.5).clamp_(0, 1)
        if isinstance(opacity, Tensor) or opacity != 1.0:
            alpha = alpha * column(opacity)
        color = torch.as_tensor(color, dtype=torch.float32, device=under.device).view(-1, 3, 1, 1)
        under.lerp_(color, alpha.unsqueeze(1))

    def _window(self, box: Tensor) -> tuple[slice, slice] | None:
        """Rows and columns of pixels that hold the boxes (B or 1, 4) of all pictures; None if outside."""
        if self._turn is not None:
            angle, (px, py) = self._turn
            cos, sin = angle.cos()[:, None], angle.sin()[:, None]
            u, v = box[:, [0, 2, 2, 0]] - px, box[:, [1, 1, 3, 3]] - py  # corners (B, 4)
            x, y = u * cos - v * sin + px, u * sin + v * cos + py
            box = torch.stack([x.amin(1), y.amin(1), x.amax(1), y.amax(1)], dim=1)
        size = self.pixels.shape[-1]
        low = ((box[:, :2].amin(0) + 1) / self.pixel - 0.5).floor().clamp(0, size).int().tolist()
        high = ((box[:, 2:].amax(0) + 1) / self.pixel + 0.5).ceil().clamp(0, size).int().tolist()
        if low[0] >= high[0] or low[1] >= high[1]:
            return None
        return slice(low[1], high[1]), slice(low[0], high[0])

    def images(self) -> Tensor:
        """uint8 (B, 3, H, W), rounded to the nearest level."""
        return self.pixels.round().to(torch.uint8)
