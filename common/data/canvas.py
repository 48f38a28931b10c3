"""Paint shapes with smooth edges on B pictures at once.

    canvas = Canvas(B, 64)                                     # the square [-1, 1] x [-1, 1]
    canvas.paint(circle((0.0, -0.1), radius), skin)            # radius (B,), skin (B, 3)
    canvas.paint(nose | mouth, red, line=ink, line_width=0.03)
    images = canvas.images()                                   # uint8 (B, 3, 64, 64)

An edge is anti-aliased by its coverage, alpha = clamp(1/2 - d / pixel, 0, 1), which is exact for a
straight edge along the grid and a few hundredths off for a slanted one.  Only the rectangle around a
shape is computed.
"""

from __future__ import annotations

import math
from copy import copy

from common.data.signed_distance import Box, Number, Shape, around, column, grow, span, turned

import torch
from torch import Tensor


class Canvas:
    """B pictures of H x W pixels being painted; x runs over [-1, 1] from left to right, y downwards at
    the same scale with 0 in the middle.  Colours are sRGB in [0, 255] and mix as they are, without
    linearising."""

    def __init__(self, batch: int, size: int, device: torch.device | str = "cpu"):
        self.pixels = torch.zeros(batch, 3, size, size, device=device)
        self.pixel = 2 / size  # the width of a pixel, in the units of x and y
        middles = ((torch.arange(size, device=device, dtype=torch.float64) + 0.5) * self.pixel - 1).float()
        self.x, self.y = middles.view(1, 1, -1), middles.view(1, -1, 1)
        self._turn: tuple[tuple[float, float], tuple[float, float]] | None = None  # range of angles, pivot

    def turned(self, angle: Tensor, pivot: tuple[float, float]) -> Canvas:
        """The same pictures under coordinates turned clockwise about the pivot by `angle` (B,), in radians:
        what is painted upright on the turned canvas stands tilted in the picture."""
        other = copy(self)
        px, py = pivot
        x, y = turned(self.x - px, self.y - py, angle)
        other.x, other.y, other._turn = x + px, y + py, (span(angle), pivot)
        return other

    def paint(self, shape: Shape, color: Tensor | tuple[float, float, float], opacity: Number = 1.0,
              line: Tensor | None = None, line_width: Number = 0.0, blur: float = 0.0) -> None:  # fmt: skip
        """Fill the shape with a colour, (B, 3) or one for all, over what is there.

        opacity (B,) in [0, 1]; `line`: colour of an outline of `line_width` outside the shape; `blur`:
        width over which the edge fades, instead of one pixel.
        """
        fade = max(blur, self.pixel)
        window = self._window(grow(grow(shape.box, line_width), fade))
        if window is None:
            return
        rows, columns = window
        if self._turn is None:
            x, y = self.x[..., columns], self.y[:, rows]
        else:  # a copy in one piece: a shape goes over it many times
            x, y = (plane[:, rows, columns].contiguous() for plane in (self.x, self.y))
        distance = shape.distance(x, y)
        under = self.pixels[:, :, rows, columns]
        if line is not None:
            self._blend(under, distance - column(line_width), line, opacity, fade)
        self._blend(under, distance, color, opacity, fade)

    @staticmethod
    def _blend(under: Tensor, distance: Tensor, color: Tensor | tuple, opacity: Number, fade: float) -> None:
        """under += alpha (color - under), alpha = opacity clamp(1/2 - d / fade, 0, 1); under (B, 3, h,
        w) a view."""
        alpha = (distance * (-1 / fade)).add_(0.5).clamp_(0, 1)
        if isinstance(opacity, Tensor) or opacity != 1.0:
            alpha = alpha * column(opacity)
        color = torch.as_tensor(color, dtype=torch.float32, device=under.device).view(-1, 3, 1, 1)
        under.lerp_(color, alpha.unsqueeze(1))

    def _window(self, box: Box) -> tuple[slice, slice] | None:
        """Rows and columns of pixels that hold the box in every picture; None if there are none."""
        if self._turn is not None:
            box = self._turned_box(box)
        size = self.pixels.shape[-1]
        first = [max(0, math.floor((low + 1) / self.pixel - 0.5)) for low in box[:2]]
        last = [min(size, math.ceil((high + 1) / self.pixel + 0.5)) for high in box[2:]]
        if first[0] >= last[0] or first[1] >= last[1]:
            return None
        return slice(first[1], last[1]), slice(first[0], last[0])

    def _turned_box(self, box: Box) -> Box:
        """The rectangle around a box turned by every angle in the range of this canvas: around its corners
        at five angles, and a margin for what their arcs bulge in between."""
        (least, most), pivot = self._turn
        step = (most - least) / 4
        corners = []
        for i in range(5):
            cos, sin = math.cos(least + i * step), math.sin(least + i * step)
            for x in (box[0] - pivot[0], box[2] - pivot[0]):
                for y in (box[1] - pivot[1], box[3] - pivot[1]):
                    corners.append((x * cos - y * sin + pivot[0], x * sin + y * cos + pivot[1]))
        reach = max(math.hypot(x - pivot[0], y - pivot[1]) for x, y in corners)
        return around(corners, reach * (1 - math.cos(step / 2)))

    def images(self) -> Tensor:
        """uint8 (B, 3, H, W), rounded to the nearest level."""
        return self.pixels.round().to(torch.uint8)
