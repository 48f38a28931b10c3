"""The head of an avatar: its shape, features and expression, from a person's traits and the turn of the head.

Lengths are in half widths of the picture: x from -1 to 1, y downwards, the unturned head in the middle.
A feature sits on an ellipsoid, so turning the head by `yaw` moves it by parallax and narrows it towards
the far side. All quantities are (B,) float64, one per picture; colours are sRGB (B, 3) in [0, 255].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from common.data.canvas import Canvas
from common.data.signed_distance import (
    Point,
    Shape,
    bezier,
    circle,
    circles,
    ellipse,
    half_plane,
    rounded_box,
    segment,
    smooth_union,
    union,
)

import torch
from torch import Tensor

EXPRESSIONS = ("neutral", "smile", "surprise", "sadness", "anger")
NECK = (0.0, 0.45)
"""The point about which the head tilts."""
DEPTH = 0.27
"""How far the features of the face lie in front of the axis about which the head turns."""
INK = (38.0, 30.0, 34.0)
WHITE = (255.0, 255.0, 255.0)
THROAT, TONGUE = (104.0, 26.0, 36.0), (232.0, 104.0, 112.0)

SKIN = ((255, 226, 204), (246, 203, 168), (226, 172, 130), (190, 132, 92), (146, 94, 64), (108, 68, 48))
"""From the palest to the darkest; a person's skin lies anywhere between."""
IRIS = ((92, 58, 36), (60, 120, 190), (70, 140, 90), (140, 105, 50), (95, 105, 120))


def shade(color: Tensor, factor: float) -> Tensor:
    """Darker by the factor, and a little warmer, as a shadow on a cartoon is."""
    return color * color.new_tensor([factor, factor * 0.95, factor * 0.97])


def tint(color: Tensor, amount: float) -> Tensor:
    """Mixed with `amount` of white."""
    return color + (255 - color) * amount


def contrast(color: Tensor) -> Tensor:
    """The colour of lines drawn on `color`: darker, or lighter where it is nearly black."""
    dark = color.mean(-1, keepdim=True) < 75
    return torch.where(dark, tint(color, 0.3), shade(color, 0.68))


def along(stops: tuple[tuple[int, int, int], ...], position: Tensor) -> Tensor:
    """The colour at `position` (B,) in [0, 1] of a row of evenly spaced colours, mixed linearly: (B, 3)."""
    table = torch.tensor(stops, dtype=torch.float64, device=position.device)
    place = position * (len(stops) - 1)
    left = place.floor().clamp(max=len(stops) - 2)
    return torch.lerp(table[left.long()], table[left.long() + 1], (place - left)[:, None])


@dataclass(frozen=True)
class Face:
    """Where everything of B heads is."""

    traits: dict[str, Tensor]
    """What `avatars.identity` says, by name, in [0, 1]."""
    expression: Tensor
    """int64: index into EXPRESSIONS."""
    yaw: Tensor
    """Radians, positive when the face looks to the right of the picture."""

    def between(self, trait: str, low: float, high: float) -> Tensor:
        """A trait scaled to a range."""
        return low + (high - low) * self.traits[trait]

    def by_expression(self, **values: float) -> Tensor:
        """A quantity that the expression decides."""
        table = [values[name] for name in EXPRESSIONS]
        return torch.tensor(table, dtype=torch.float64, device=self.yaw.device)[self.expression]

    def shows(self, *names: str) -> Tensor:
        """1 where the expression is one of these, else 0."""
        return self.by_expression(**{name: float(name in names) for name in EXPRESSIONS})

    @cached_property
    def sin(self) -> Tensor:
        return self.yaw.sin()

    @cached_property
    def cos(self) -> Tensor:
        return self.yaw.cos()

    @cached_property
    def half_width(self) -> Tensor:
        return self.between("face_width", 0.315, 0.41)

    @cached_property
    def chin(self) -> Tensor:
        """y of the lowest point of the face."""
        return self.between("face_height", 0.39, 0.48)

    @cached_property
    def eye_y(self) -> Tensor:
        return self.between("eye_height", -0.045, 0.015)

    @cached_property
    def mouth_y(self) -> Tensor:
        return self.chin - self.between("mouth_height", 0.195, 0.225)

    @cached_property
    def skin(self) -> Tensor:
        skin = along(SKIN, self.traits["skin_tone"])
        warmth = self.between("skin_warmth", -7, 7)
        return (skin + torch.stack([warmth, torch.zeros_like(warmth), -warmth], -1)).clamp(0, 255)

    def at(self, x: Tensor, y: Tensor, out: float = 0.0) -> Point:
        """Where a point of the face at (x, y), `out` before its surface, is seen when the head turns."""
        return x * self.cos + (self._relief(x) + out) * self.sin, y

    def squeeze(self, x: Tensor) -> Tensor:
        """How much narrower a small feature at x is seen: the derivative of `at` with respect to x."""
        slope = -DEPTH * x / self.half_width**2 / (self._relief(x) / DEPTH)
        return (self.cos + slope * self.sin).clamp(min=0.45)

    def _relief(self, x: Tensor) -> Tensor:
        return DEPTH * (1 - (x / self.half_width) ** 2).clamp(min=0.05).sqrt()

    @cached_property
    def outline(self) -> Shape:
        """Skull and jaw as one smooth shape; the jaw follows the turn, the skull holds back."""
        skull = ellipse((0.01 * self.sin, -0.16), (self.half_width, 0.44))
        jaw_width = self.half_width * self.between("jaw", 0.64, 1.0)
        jaw_height = self.between("jaw", 0.38, 0.30)
        jaw = ellipse((0.09 * self.sin, self.chin - jaw_height), (jaw_width, jaw_height))
        return smooth_union(skull, jaw, 0.16)


def paint_neck_and_ears(canvas: Canvas, head: Canvas, face: Face) -> None:
    """What lies behind the face: the neck, with the shadow of the chin, and the ears."""
    line, shadow = shade(face.skin, 0.55), shade(face.skin, 0.8)
    width = face.between("shoulders", 0.115, 0.15)
    neck = rounded_box((0.0, 0.75), (width, 0.46), 0.05)
    canvas.paint(neck, face.skin, line=line, line_width=0.02)
    canvas.paint(neck & face.outline.moved((0.0, 0.09)), shadow)
    size = face.between("ears", 0.8, 1.25)
    for side in (-1, 1):
        x = side * (face.half_width + 0.012) * (0.9 + 0.1 * face.cos) - 0.05 * face.sin
        ear = ellipse((x, 0.015), (0.062 * size, 0.098 * size), side * 0.2)
        head.paint(ear, face.skin, line=line, line_width=0.022)
        head.paint(ellipse((x + side * 0.008, 0.015), (0.03 * size, 0.06 * size), side * 0.2), shadow)


def paint_face(head: Canvas, face: Face) -> None:
    """The face without brows, which come last so that neither fringe nor sunglasses hide the expression."""
    head.paint(face.outline, shade(face.skin, 0.89), line=shade(face.skin, 0.55), line_width=0.022)
    head.paint(face.outline & face.outline.moved((-0.045, -0.05)), face.skin)
    gleam = ellipse((-0.17 + 0.06 * face.sin, -0.42), (0.075, 0.035), -0.6)
    head.paint(gleam, tint(face.skin, 0.5), 0.6)
    _paint_cheeks(head, face)
    _paint_nose(head, face)
    for side in (-1, 1):
        _paint_eye(head, face, side)
    _paint_mouth(head, face)


def _paint_cheeks(head: Canvas, face: Face) -> None:
    blush = (face.skin * 0.55 + face.skin.new_tensor([240.0, 70, 80]) * 0.45).clamp(0, 255)
    flushed = face.between("blush", 0.1, 0.6) + face.by_expression(
        neutral=0, smile=0.1, surprise=0, sadness=0, anger=0.25
    )
    freckled = (face.traits["freckles"] > 0.62).double()
    for side in (-1, 1):
        x = side * face.between("eye_spacing", 0.2, 0.235)
        cx, cy = face.at(x, 0.13)
        head.paint(ellipse((cx, cy), (0.085 * face.squeeze(x), 0.06)), blush, flushed, blur=0.1)
        dots = [
            face.at(x + dx, 0.105 + dy)
            for dx, dy in ((-0.05, 0.0), (0.0, 0.03), (0.05, -0.005), (0.03, 0.06), (-0.03, 0.055))
        ]
        spots = torch.stack(
            [torch.stack(torch.broadcast_tensors(px, torch.as_tensor(py))) for px, py in dots]
        ).permute(2, 0, 1)
        head.paint(circles(spots, 0.011), shade(face.skin, 0.6), freckled * 0.8)
    mole = face.at(
        (face.traits["mole"] - 0.5) * 0.5, face.mouth_y - 0.02 + 0.09 * (face.traits["nose"] - 0.5)
    )
    marked = ((face.traits["mole"] - 0.5).abs() > 0.27).double()
    head.paint(circle(mole, 0.016), shade(face.skin, 0.35), marked)


def _paint_nose(head: Canvas, face: Face) -> None:
    width, tip = face.between("nose_width", 0.035, 0.068), face.mouth_y - face.between("nose", 0.1, 0.135)
    left, right = face.at(-width, tip - 0.02, 0.04), face.at(width, tip - 0.02, 0.04)
    bottom = face.at(torch.zeros_like(width), tip + 0.045, 0.1)
    head.paint(bezier(left, bottom, right, 0.014), shade(face.skin, 0.58))
    bridge = face.at(torch.zeros_like(width), tip - 0.1, 0.05)
    ridge = segment(bridge, face.at(torch.zeros_like(width), tip - 0.03, 0.08), 0.014)
    head.paint(ridge, tint(face.skin, 0.45), face.between("nose", 0.25, 0.8))


def _paint_eye(head: Canvas, face: Face, side: int) -> None:
    x = side * face.between("eye_spacing", 0.138, 0.178)
    cx, cy = face.at(x, face.eye_y)
    size = face.between("eye_size", 0.9, 1.14)
    open_by = face.by_expression(neutral=1, smile=0.96, surprise=1.22, sadness=0.92, anger=0.9)
    width, height = 0.084 * size * face.squeeze(x), 0.098 * size * open_by
    lid_angle = side * face.by_expression(neutral=0.06, smile=0.08, surprise=0, sadness=0.42, anger=-0.5)
    lid_height = height * face.by_expression(neutral=0.78, smile=0.86, surprise=1.2, sadness=0.5, anger=0.42)
    cheek = height * face.by_expression(neutral=0.95, smile=0.5, surprise=1.2, sadness=0.9, anger=0.7)
    upper = (cx, cy - lid_height)
    opening = (ellipse((cx, cy), (width, height)) & half_plane(upper, lid_angle)) - half_plane(
        (cx, cy + cheek)
    )
    head.paint(opening, WHITE, line=shade(face.skin, 0.42), line_width=0.016)
    gaze = cx + 0.02 * face.sin
    radius = 0.068 * size * face.by_expression(neutral=1, smile=1, surprise=0.82, sadness=1, anger=0.92)
    iris = ellipse((gaze, cy + 0.006), (radius * face.squeeze(x) ** 0.5, radius)) & opening
    color = along((*IRIS, IRIS[0]), face.traits["eye_color"])
    head.paint(iris, color)
    head.paint(circle((gaze, cy + 0.006), radius * 0.56) & opening, INK)
    head.paint(circle((gaze + 0.024, cy - 0.03), 0.022) & opening, WHITE)
    top = ellipse((cx, cy), (width + 0.012, height + 0.012)) & half_plane((cx, upper[1] - 0.012), lid_angle)
    lash = top - top.moved((0.0, 0.038))
    head.paint(lash, INK)
    # lashes stand out of the outer corner
    flick = face.between("lashes", -0.02, 0.05).clamp(min=0.0)
    corner = (cx + side * width * 0.92, cy - height * 0.3)
    head.paint(
        segment(corner, (corner[0] + side * flick, corner[1] - flick * 0.7), 0.013), INK, (flick > 0).double()
    )


def _paint_mouth(head: Canvas, face: Face) -> None:
    half = face.between("mouth_width", 0.1, 0.14)
    half = half * face.by_expression(neutral=0.85, smile=1.15, surprise=0.55, sadness=0.85, anger=1.0)
    y = face.mouth_y + face.by_expression(neutral=0, smile=-0.03, surprise=0.02, sadness=0.02, anger=0.0)
    red = face.skin.new_tensor([176.0, 48, 58]).expand_as(face.skin)
    lip = torch.lerp(shade(face.skin, 0.55), red, 0.55)
    x = face.at(torch.zeros_like(half), y, 0.03)[0]

    # a closed mouth, level or bent down at its corners
    (left, _), (right, _) = face.at(-half, y, 0.02), face.at(half, y, 0.02)
    closed, lip_height = face.shows("neutral", "sadness"), face.between("lips", 0.012, 0.032)
    head.paint(
        ellipse((x, y + 0.018 + 0.5 * lip_height), (half * 0.5 * face.cos, lip_height)), lip, 0.4 * closed
    )
    bend = face.by_expression(neutral=0.04, smile=0, surprise=0, sadness=-0.13, anger=0)
    corner = face.by_expression(neutral=0, smile=0, surprise=0, sadness=0.035, anger=0)
    stroke = bezier((left, y + corner), (x, y + bend), (right, y + corner), 0.017)
    head.paint(stroke, shade(lip, 0.6), closed)
    _paint_open_mouth(head, face, (x, y), half * face.cos, lip)


def _paint_open_mouth(head: Canvas, face: Face, middle: Point, half: Tensor, lip: Tensor) -> None:
    """`half`: half the width, as seen."""
    x, y = middle
    # a grin: the lower half of an ellipse, with teeth and tongue
    smiling = face.shows("smile")
    grin = ellipse((x, y), (half, 0.135)) & half_plane((x, y))
    head.paint(grin, THROAT, smiling, line=shade(lip, 0.55), line_width=0.02)
    head.paint(grin & ellipse((x, y + 0.13), (half * 0.65, 0.06)), TONGUE, smiling)
    head.paint(grin - half_plane((x, y + 0.042)), WHITE, smiling)
    # surprise: a round hole
    surprised = face.shows("surprise")
    hole = ellipse((x, y + 0.01), (half, 0.085))
    head.paint(hole, THROAT, surprised, line=shade(lip, 0.7), line_width=0.024)
    head.paint(hole & ellipse((x, y + 0.085), (half * 0.85, 0.04)), TONGUE, surprised)
    # anger: clenched teeth under an arched lip
    angry = face.shows("anger")
    teeth = ellipse((x, y + 0.055), (half, 0.1)) - half_plane((x, y + 0.04))
    head.paint(teeth, WHITE, angry, line=shade(lip, 0.45), line_width=0.022)
    gaps = [segment((x - half, y + 0.003), (x + half, y + 0.003), 0.008)]
    for place in (-0.45, 0.0, 0.45):
        gap = x + place * half
        gaps.append(segment((gap, y - 0.1), (gap, y + 0.1), 0.007))
    head.paint(teeth & union(*gaps), shade(lip, 0.45), angry)


def paint_brows(head: Canvas, face: Face, color: Tensor) -> None:
    """Brows in the colour of the hair, thick enough to show it on a bald head."""
    lift = face.by_expression(neutral=0, smile=0.02, surprise=0.085, sadness=0.03, anger=-0.03)
    inner_lift = face.by_expression(neutral=0, smile=0.0, surprise=0.02, sadness=0.07, anger=-0.065)
    outer_lift = face.by_expression(neutral=0, smile=0.0, surprise=0, sadness=-0.045, anger=0.055)
    lean = face.between("brow_tilt", -0.016, 0.016)
    thickness = face.between("brow_thickness", 0.026, 0.04)
    for side in (-1, 1):
        middle = face.between("eye_spacing", 0.138, 0.178)
        y = face.eye_y - 0.19 - lift
        inner = face.at(side * (middle - 0.09), y + 0.012 - inner_lift + lean, 0.02)
        outer = face.at(side * (middle + 0.1), y + 0.022 - outer_lift - lean, 0.0)
        peak = face.at(side * (middle + 0.02), y - 0.03 - 0.5 * (inner_lift + outer_lift), 0.02)
        brow = bezier(inner, peak, outer, thickness, thickness * 0.62, pieces=5)
        head.paint(brow, color, line=shade(color, 0.5), line_width=0.011)
