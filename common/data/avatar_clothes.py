"""What an avatar wears: hoodie, overall, crew-neck tee or V-neck tee, and glasses.

Lengths as in avatar_face: half widths of the picture, y downwards; colours sRGB (B, 3) in [0, 255].
"""

from __future__ import annotations

from common.data.avatar_face import WHITE, Face, contrast, shade, tint
from common.data.canvas import Canvas
from common.data.signed_distance import (
    Point,
    Shape,
    bezier,
    circle,
    ellipse,
    half_plane,
    polygon,
    rounded_box,
    segment,
    smooth_union,
)

import torch
from torch import Tensor

SHOULDER_Y = 0.63
V_CUT = polygon([(-0.2, 0.4), (0.2, 0.4), (0.19, 0.56), (0.0, 0.87), (-0.19, 0.56)])


def torso(face: Face) -> Shape:
    """Shoulders and chest down to the lower edge of the picture."""
    width = face.between("shoulders", 0.58, 0.74)
    chest = rounded_box((0.0, 1.2), (width, 1.2 - SHOULDER_Y), 0.26)
    return smooth_union(chest, polygon([(-0.15, 0.5), (0.15, 0.5), (0.42, 0.8), (-0.42, 0.8)]), 0.12)


def paint_behind_neck(canvas: Canvas, face: Face, clothes: str, color: Tensor) -> None:
    """The hood of a hoodie, lying on the shoulders; the back of another collar, and the skin in a V neck."""
    if clothes == "hoodie":
        hood = ellipse((0.0, 0.58), (0.43, 0.2))
        canvas.paint(hood, shade(color, 0.86), line=_edge(color), line_width=0.022)
        canvas.paint(ellipse((0.0, 0.58), (0.33, 0.15)), shade(color, 0.55))
    elif clothes == "V-neck tee":
        canvas.paint(ellipse((0.0, 0.55), (0.2, 0.07)), shade(color, 0.6))
        canvas.paint(V_CUT & torso(face), face.skin)
    else:
        canvas.paint(ellipse((0.0, 0.53), (0.19, 0.13)), shade(color, 0.6))


def paint_clothes(canvas: Canvas, face: Face, clothes: str, color: Tensor) -> None:
    """Everything before the neck."""
    painters = {"hoodie": _hoodie, "overall": _overall, "crew-neck tee": _crew_neck, "V-neck tee": _v_neck}
    painters[clothes](canvas, face, torso(face), color)


def _edge(color: Tensor) -> Tensor:
    """Outline of a garment."""
    return shade(color, 0.52)


def _cloth(canvas: Canvas, body: Shape, color: Tensor) -> None:
    canvas.paint(body, color, line=_edge(color), line_width=0.024)
    canvas.paint(body - body.moved((-0.07, -0.0)), shade(color, 0.82))


def _sleeves(canvas: Canvas, face: Face, color: Tensor) -> None:
    """The seam of each sleeve."""
    for side in (-1, 1):
        x = side * face.between("shoulders", 0.40, 0.53)
        canvas.paint(
            bezier((x, 0.78), (x - side * 0.03, 0.9), (x + side * 0.01, 1.05), 0.012), contrast(color)
        )


def _hoodie(canvas: Canvas, face: Face, body: Shape, color: Tensor) -> None:
    opening = polygon([(-0.2, 0.4), (0.2, 0.4), (0.16, 0.6), (0.0, 0.74), (-0.16, 0.6)])
    _cloth(canvas, body - opening, color)
    line = contrast(color)
    _sleeves(canvas, face, color)
    for side in (-1, 1):
        roll = bezier((side * 0.36, 0.5), (side * 0.22, 0.72), (side * 0.01, 0.76), 0.062, 0.05)
        canvas.paint(roll, tint(color, 0.12), line=_edge(color), line_width=0.018)
    pale = torch.where(
        color.mean(-1, keepdim=True) > 175, shade(color, 0.45), color.new_tensor([250.0, 248, 240])
    )
    for side in (-1, 1):
        canvas.paint(segment((side * 0.075, 0.79), (side * 0.095, 0.95), 0.015), pale)
        canvas.paint(circle((side * 0.095, 0.955), 0.026), pale)
    pocket = polygon([(-0.22, 0.93), (-0.34, 1.1), (0.34, 1.1), (0.22, 0.93)])
    canvas.paint(pocket.hollow(0.012), line)


def _overall(canvas: Canvas, face: Face, body: Shape, color: Tensor) -> None:
    pale = color.new_tensor([252.0, 246, 232])
    light = color.mean(-1, keepdim=True) > 140
    shirt = torch.where(light, color.new_tensor([74.0, 84, 122]), pale)
    neckline = ellipse((0.0, 0.55), (0.17, 0.1))
    _cloth(canvas, body - neckline, shirt)
    canvas.paint((neckline.hollow(0.024)) & body, shade(shirt, 0.8))
    _sleeves(canvas, face, shirt)
    bib = rounded_box((0.0, 1.1), (0.31, 0.29), 0.06)
    sides = body & ellipse((0.0, 1.3), (0.75, 0.36))
    for side in (-1, 1):
        strap = polygon(
            [(side * 0.34, 0.56), (side * 0.21, 0.58), (side * 0.17, 0.9), (side * 0.29, 0.9)]
        ) & body.grown(0.012)
        canvas.paint(strap, color, line=_edge(color), line_width=0.018)
    canvas.paint(sides | bib, color, line=_edge(color), line_width=0.02)
    canvas.paint(rounded_box((0.0, 1.02), (0.15, 0.09), 0.03).hollow(0.012), contrast(color))
    for side in (-1, 1):
        canvas.paint(
            circle((side * 0.235, 0.865), 0.04), (250.0, 204.0, 70.0), line=_edge(color), line_width=0.014
        )


def _crew_neck(canvas: Canvas, face: Face, body: Shape, color: Tensor) -> None:
    neckline = ellipse((0.0, 0.53), (0.19, 0.135))
    _cloth(canvas, body - neckline, color)
    band = neckline.hollow(0.032) & body.grown(0.02)
    canvas.paint(band, shade(color, 0.84), line=contrast(color), line_width=0.012)
    _sleeves(canvas, face, color)


def _v_neck(canvas: Canvas, face: Face, body: Shape, color: Tensor) -> None:
    _cloth(canvas, body - V_CUT, color)
    band = (V_CUT.grown(0.05) - V_CUT) & body.grown(0.015)
    canvas.paint(band, shade(color, 0.84), line=contrast(color), line_width=0.012)
    _sleeves(canvas, face, color)


SPECTACLES, SHADES = (92.0, 52.0, 36.0), (24.0, 24.0, 30.0)
"""Frames of round glasses and of sunglasses."""


def paint_temples(head: Canvas, face: Face, round_glasses: Tensor, sunglasses: Tensor) -> None:
    """The arms of the glasses, from the lenses to the ears; hair lies over them."""
    frame = _frame(face, sunglasses)
    for side in (-1, 1):
        (x, y), narrow = _lens_centre(face, side)
        ear = (side * face.half_width - 0.04 * face.sin, y - 0.02)
        head.paint(
            segment((x + side * 0.1 * narrow, y - 0.03), ear, 0.014), frame, round_glasses + sunglasses
        )


def paint_glasses(head: Canvas, face: Face, round_glasses: Tensor, sunglasses: Tensor) -> None:
    """Round glasses or sunglasses, where their weight (B,) is 1; low enough to leave the brows free."""
    frame = _frame(face, sunglasses)
    for side in (-1, 1):
        (x, y), narrow = _lens_centre(face, side)
        lens = ellipse((x, y), (0.128 * narrow, 0.128))
        head.paint(lens, WHITE, 0.22 * round_glasses)
        head.paint(lens.hollow(0.017), frame, round_glasses)
        upper = half_plane((x, y - 0.1), side * 0.06)
        dark = rounded_box((x, y + 0.01), (0.142 * narrow, 0.112), 0.07) & upper
        head.paint(dark, (34.0, 36.0, 48.0), sunglasses, line=frame, line_width=0.018)
        glint = segment((x - 0.075 * narrow, y + 0.02), (x - 0.03 * narrow, y - 0.055), 0.014)
        head.paint(glint, WHITE, 0.55 * sunglasses + 0.5 * round_glasses)
    spacing = _lens_spacing(face)
    left, right = (face.at(side * (spacing - 0.122), face.eye_y - 0.013, 0.05) for side in (-1, 1))
    over = ((left[0] + right[0]) / 2, face.eye_y - 0.048)
    head.paint(bezier(left, over, right, 0.016, pieces=4), frame, round_glasses + sunglasses)


def _lens_spacing(face: Face) -> Tensor:
    return face.between("eye_spacing", 0.150, 0.182)


def _lens_centre(face: Face, side: int) -> tuple[Point, Tensor]:
    """Where a lens is seen, and how much narrower."""
    x = side * _lens_spacing(face)
    return face.at(x, face.eye_y + 0.012, 0.03), face.squeeze(x).clamp(max=1.06)


def _frame(face: Face, sunglasses: Tensor) -> Tensor:
    return torch.where(
        sunglasses[:, None] > 0, face.skin.new_tensor(SHADES), face.skin.new_tensor(SPECTACLES)
    )
