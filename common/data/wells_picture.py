"""How a scene of `wells.py` becomes a picture: a camera, a plane, wells in perspective, dirt, spills, light.

All of it is arithmetic on the N·H·W pixels of a batch.  Lengths are in the distance of neighbouring wells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Scenes = dict[str, Tensor]
"""What is in each of N pictures: one tensor a property, N rows; independent of the size it is drawn at."""

COLUMNS, ROWS = 3, 4  # wells of a mould
PITCH = (1.0, 0.82)  # distance of neighbouring wells, across and along
RADIUS = 0.1  # of a well's corners
FLANGE = 0.09  # width of the iron around the outer wells, beyond half a wall
FIELD = 0.38  # tangent of half the camera's angle of view
EXTENT = 3.4  # noise textures cover [-EXTENT, EXTENT]² of the mould's plane
OCTAVES = ((9, 4), (24, 4), (58, 4), (126, 2))  # (points a side, textures) of each noise grid
MELT = 28  # how sharply the discs of a spill melt together, per unit of length
FILM = 1.7  # how soon the camera saturates
IRON, METAL, RUST, LIME, FLOOR = range(5)
COLOURS = (
    (0.36, 0.335, 0.315),
    (0.74, 0.745, 0.76),
    (0.36, 0.205, 0.115),
    (0.66, 0.645, 0.60),
    (0.10, 0.10, 0.105),
)


@dataclass
class Plane:
    """The mould's upper plane as the pixels see it: all (N, H, W) but the camera."""

    x: Tensor
    y: Tensor
    camera: Tensor
    """(N, 3): the camera's place."""
    frame: tuple[Tensor, Tensor]
    """x and y in the picture, in [-1, 1]."""
    soft: Tensor
    """Width of an edge: a pixel and the lens's blur."""

    def inside(self, distance: Tensor) -> Tensor:
        """Signed distance -> how much of a pixel lies inside, in [0, 1]."""
        return (0.5 - distance / self.soft).clamp_(0, 1)


def draw(scenes: Scenes, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Scenes -> uint8 (N, 3, height, width) and the spills' cover, float32 (N, height, width) in [0, 1]."""
    plane = _see_plane(scenes, height, width)
    noise = _noise(scenes, plane)
    weights, gloss = _mould(scenes, plane, noise)
    _dirty(scenes, plane, noise, weights)
    gloss += _glints(scenes, plane)
    cover = _spill(scenes, plane, noise, weights, gloss)
    return _expose(scenes, plane, weights, gloss), cover


def project(scenes: Scenes, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Picture points (N, ...) -> x, y where their rays meet the plane, their lengths, the camera (N, 3)."""
    each = lambda value: value.reshape(-1, *[1] * (x.ndim - 1))
    tilt, yaw, roll, distance = (each(scenes[name]) for name in ("tilt", "yaw", "roll", "distance"))
    look_x, look_y = each(scenes["look"][:, 0]), each(scenes["look"][:, 1])
    x, y = x * roll.cos() - y * roll.sin(), x * roll.sin() + y * roll.cos()
    up = FIELD * -y
    height = distance * tilt.cos()
    ray = height / (tilt.cos() - up * tilt.sin())
    ahead = -distance * tilt.sin() + ray * (tilt.sin() + up * tilt.cos())  # 0 where the camera looks
    aside = ray * FIELD * x
    turn = lambda a, b: (look_x + a * yaw.cos() - b * yaw.sin(), look_y + a * yaw.sin() + b * yaw.cos())
    camera = torch.cat(
        [part.reshape(-1, 1) for part in (*turn(0.0 * tilt, -distance * tilt.sin()), height)], 1
    )
    return *turn(aside, ahead), ray, camera


def _see_plane(scenes: Scenes, height: int, width: int) -> Plane:
    x = ((torch.arange(width) + 0.5) / width * 2 - 1).expand(len(scenes["tilt"]), height, width)
    y = ((torch.arange(height) + 0.5) / height * 2 - 1)[:, None].expand_as(x)
    on_x, on_y, ray, camera = project(scenes, x * scenes["aspect"][:, None, None], y)
    scale = ray * (2 * FIELD / height)  # length of one pixel
    blur = (scenes["blur"] * height / 64).clamp(min=0.8)[:, None, None]
    return Plane(on_x, on_y, camera, (x, y), scale * (1 + blur))


def _noise(scenes: Scenes, plane: Plane) -> list[Tensor]:
    """Value noise of each octave, (N, textures, H, W), lying on the plane."""
    octaves = []
    for k, (side, _) in enumerate(OCTAVES):  # each grid is turned, so that no direction stands out
        cos, sin = math.cos(0.4 + 0.7 * k) / EXTENT, math.sin(0.4 + 0.7 * k) / EXTENT
        at = torch.stack([plane.x * cos - plane.y * sin, plane.x * sin + plane.y * cos], 3)
        octaves.append(
            F.grid_sample(scenes[f"noise_{side}"], at, align_corners=True, padding_mode="reflection")
        )
    return octaves


def _box(x: Tensor, y: Tensor, half_x: Tensor, half_y: Tensor) -> Tensor:
    """Signed distance to a rounded rectangle."""
    x, y = x.abs() - half_x + RADIUS, y.abs() - half_y + RADIUS
    return torch.hypot(x.clamp(min=0), y.clamp(min=0)) + torch.maximum(x, y).clamp_(max=0) - RADIUS


class _Wells:
    """The well under each pixel: the ray's place in it at the rim and, further on, at the metal."""

    def __init__(self, scenes: Scenes, plane: Plane):
        each = lambda name: scenes[name][:, None, None]
        column = (plane.x / PITCH[0] + (COLUMNS - 1) / 2).round_().clamp_(0, COLUMNS - 1)
        row = (plane.y / PITCH[1] + (ROWS - 1) / 2).round_().clamp_(0, ROWS - 1)
        self.scenes, self.index = scenes, (row * COLUMNS + column).long().flatten(1)
        x = plane.x - (column - (COLUMNS - 1) / 2) * PITCH[0]
        y = plane.y - (row - (ROWS - 1) / 2) * PITCH[1]
        half_x, half_y = (PITCH[0] - each("wall")) / 2, (PITCH[1] - each("wall")) / 2
        self.to_rim = _box(x, y, half_x, half_y)  # signed distances: negative inside
        self.depth = self["level"]
        further = self.depth / plane.camera[:, 2, None, None]
        self.x = x + (plane.x - plane.camera[:, 0, None, None]) * further
        self.y = y + (plane.y - plane.camera[:, 1, None, None]) * further
        narrow = each("taper") * self.depth
        self.to_wall = _box(self.x, self.y, half_x - narrow, half_y - narrow)
        self.at_side = torch.sigmoid(
            (self.x.abs() - half_x - self.y.abs() + half_y) * 40
        )  # not near or far wall

    def __getitem__(self, name: str) -> Tensor:
        """A property of wells, (N, wells), as each pixel's well has it, (N, H, W)."""
        return self.scenes[name].gather(1, self.index).view(len(self.index), *self.to_rim.shape[1:])


def _mould(scenes: Scenes, plane: Plane, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
    """How much of each material a pixel shows, shaded (N, 5, H, W), and the gloss on it (N, H, W)."""
    each = lambda name: scenes[name][:, None, None]
    rough = 0.15 * noise[1][:, 0] + 0.8 * noise[2][:, 0] + 0.6 * noise[3][:, 0]
    skin = 0.25 * noise[1][:, 1] + 0.7 * noise[2][:, 1]
    wells = _Wells(scenes, plane)
    to_rim, to_wall, depth, has_metal = wells.to_rim, wells.to_wall, wells.depth, wells["filled"]
    opening, bottom = plane.inside(to_rim), plane.inside(to_wall)
    outline = _box(plane.x, plane.y, PITCH[0] * COLUMNS / 2 + FLANGE, PITCH[1] * ROWS / 2 + FLANGE)
    mould = plane.inside(outline)

    lit_x, lit_y = wells.x.sign() * each("sun").cos(), wells.y.sign() * each("sun").sin()
    facing = -(wells.at_side * lit_x + (1 - wells.at_side) * lit_y)
    down = (to_rim.clamp(max=0) / (to_rim.clamp(max=0) - to_wall.clamp(min=0) - 1e-4)).clamp(0, 1) * depth
    side = (0.62 + 0.34 * facing + 0.25 * rough) * (1 - 1.1 * down)
    top = (0.95 + 0.78 * rough) * (1 - opening) + opening * side * (1 - bottom)
    shaded = 1 - 0.5 * (1 + to_wall.clamp(max=0) * 6).clamp_(0.0, 1.0)  # darker beside the wall
    empty = opening * bottom * (1 - has_metal) * (0.42 + 0.2 * rough) * shaded
    filled = opening * bottom * has_metal
    metal = wells["metal"] * (1 + 0.4 * skin) * shaded * (1 - 0.5 * depth)
    floor = (0.9 + 0.5 * skin) * (1 - mould)
    zero = torch.zeros_like(top)
    weights = torch.stack([(top + empty) * mould, metal * filled * mould, zero, zero, floor], 1)

    away = ((wells.x - wells["lamp_x"]) / 0.17).square() + ((wells.y - wells["lamp_y"]) / 0.1).square()
    reflected = wells["lamp_strength"] * torch.exp(-away * (1 + 0.3 * skin)) * filled
    rim = torch.exp(-((to_rim - 0.012) / (0.018 + plane.soft * 0.3)).square())
    worn = each("rim") * rim * (0.5 + 0.5 * (noise[1][:, 2] + noise[2][:, 2])).clamp_(0, 1.3)
    return weights, (worn + reflected) * mould


def _dirty(scenes: Scenes, plane: Plane, noise: list[Tensor], weights: Tensor) -> None:
    """Rust, lime wash, dust and scratches over what `weights` holds."""
    each = lambda name: scenes[name][:, None, None]
    rust = (noise[0][:, 0] * 0.6 + noise[1][:, 3] * 0.5 + noise[2][:, 3] * 0.35 - 0.5 + each("rust")).clamp_(
        0, 0.35
    ) * 2.2
    lime = (
        noise[0][:, 1] * 0.55 + noise[1][:, 2] * 0.4 + noise[2][:, 2] * 0.35 - 0.55 + each("lime")
    ).clamp_(0, 0.3) * 1.6
    speck = (noise[3][:, 1] - 0.97 + 0.3 * each("dust")).clamp_(0, 0.2) * 3.0
    shade = weights[:, :FLOOR].sum(1).clamp_(max=1.05)
    for material, amount in ((RUST, rust * 0.75), (LIME, lime), (LIME, speck)):
        weights[:, :FLOOR] *= (1 - amount)[:, None]
        weights[:, material] += amount * shade
    for k in range(scenes["scratch"].shape[1]):
        at, angle = scenes["scratch_at"][:, k], scenes["scratch_angle"][:, k, None, None]
        x, y = plane.x - at[:, 0, None, None], plane.y - at[:, 1, None, None]
        along, off = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        end = (along.abs() - scenes["scratch_length"][:, k, None, None]).clamp(min=0)
        line = plane.inside(torch.hypot(end, off) - 0.006) * scenes["scratch"][:, k, None, None]
        weights *= (1 + line)[:, None]


def _glints(scenes: Scenes, plane: Plane) -> Tensor:
    """Bright reflections anywhere, (N, H, W)."""
    length, width = scenes["glint_size"].unbind(2)
    cos, sin = scenes["glint_angle"].cos(), scenes["glint_angle"].sin()
    at_x, at_y = scenes["glint_at"].unbind(2)
    # exp(-(a x² + b xy + c y²)) about each centre, as one product with the monomials of x and y
    a, c = (cos / length).square() + (sin / width).square(), (sin / length).square() + (cos / width).square()
    b = 2 * sin * cos * (length**-2 - width**-2)
    constant = a * at_x * at_x + b * at_x * at_y + c * at_y * at_y
    forms = [a, b, c, -2 * a * at_x - b * at_y, -2 * c * at_y - b * at_x, constant]  # each (N, GLINTS)
    x, y = plane.x.flatten(1), plane.y.flatten(1)
    monomials = torch.stack([x * x, x * y, y * y, x, y, torch.ones_like(x)], 1)  # (N, 6, H·W)
    spots = torch.stack(forms, 2) @ monomials  # (N, GLINTS, H·W)
    spots = spots.clamp_(0, 40).neg_().exp_()  # clamped: arithmetic on denormal numbers is slow
    return (scenes["glint"][:, None] @ spots).view_as(plane.x)


def _spill(scenes: Scenes, plane: Plane, noise: list[Tensor], weights: Tensor, gloss: Tensor) -> Tensor:
    """Lay the spilled metal over `weights` and `gloss` where the label says so; its cover (N, H, W)."""
    cover = torch.zeros_like(plane.x)
    rows = scenes["label"].nonzero().flatten()
    if len(rows) == 0:
        return cover
    x, y, soft = plane.x[rows], plane.y[rows], plane.soft[rows]
    pick = lambda name: scenes[name][rows][:, None, None]
    pull = torch.zeros_like(x)  # the discs melt together: a smooth minimum of their distances
    for k in range(scenes["spill_radius"].shape[1]):
        at, radius = scenes["spill_at"][rows, k], scenes["spill_radius"][rows, k, None, None]
        away = torch.hypot(x - at[:, 0, None, None], y - at[:, 1, None, None])
        pull += torch.exp((radius - away) * MELT) * (radius > 0)
    ragged = 0.6 * noise[1][rows, 1] + 0.6 * noise[2][rows, 1] + 0.25 * noise[3][rows, 0]
    distance = -torch.log(pull + 1e-6) / MELT + pick("spill_ragged") * ragged
    inside = (0.5 - distance / soft).clamp_(0, 1)
    thick = (-distance / 0.06).clamp(0, 1)
    folds = 0.5 * noise[2][rows, 0] + 0.35 * noise[1][rows, 3] + 0.3 * noise[3][rows, 0]
    shade = pick("spill_bright") * (0.78 + 0.2 * thick + 0.35 * folds)
    contact = 0.3 * torch.exp(-(distance.clamp(min=0) / 0.03).square()) * (1 - inside)  # the edge's shadow
    laid = weights[rows] * (1 - torch.maximum(inside, contact))[:, None]
    laid[:, METAL] += inside * shade
    weights[rows] = laid
    crest = (
        pick("spill_gloss")
        * inside
        * thick
        * (1.2 * noise[2][rows, 2] + noise[1][rows, 0] - 0.3).clamp_(0, 1)
    )
    gloss[rows] = gloss[rows] * (1 - inside) + crest
    cover[rows] = inside
    return cover


def _expose(scenes: Scenes, plane: Plane, weights: Tensor, gloss: Tensor) -> Tensor:
    """Light, lens and sensor: uint8 (N, 3, H, W)."""
    x, y = plane.frame
    slope = scenes["gradient"][:, :, None, None]
    light = torch.exp(slope[:, 0] * x + slope[:, 1] * y) * (
        1 - scenes["vignette"][:, None, None] * (x * x + y * y) / 2
    )
    light = light * scenes["exposure"][:, None, None]
    picture = torch.einsum("nkhw,kc->nchw", weights, torch.tensor(COLOURS)) + gloss[:, None]
    picture = picture * light[:, None] * scenes["tint"][:, :, None, None]
    picture = 1 - torch.exp(picture.clamp_(min=0) * -FILM)
    grain = torch.stack(
        [
            torch.randn(picture.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in scenes["grain_seed"].tolist()
        ]
    )
    picture = picture + grain * scenes["grain"][:, None, None, None] * (0.4 + picture.clamp(max=1).sqrt())
    return picture.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
