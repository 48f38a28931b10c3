"""Dependent pixels: the chain rule by counting contexts.  Theory: theory/en/bayes.md#the-chain-rule.

A pixel is one of these symbols v: "as on the left", "as above", or a new colour, coarse to `bits` bits a
channel, which is then drawn among the 2^(C (8 - bits)) exact colours of that cell.  Copying lets a skin or a
background that no training image had go on once it has begun.  A colour that can be written in several ways
has the sum of their probabilities, so p is a distribution over exact colours, comparable with the independent
pixels.

A context grows element by element: the place, then the coarse colours on the left, above, and above left.
Each longer context divides the shorter one, has a table of its own, and falls back on the shorter one's, eq.
(bayes.12).  Around every image lies white.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hw1_bayes_and_autoencoders.pixel_models import LEVELS, pack, unpack

LEFT, ABOVE, NEW = 0, 1, 2
"""Symbols; NEW + q is a new colour in the coarse cell q."""
ELEMENTS = ("place", "left", "above", "above_left")
"""Of a context, in the order in which it grows."""


@dataclass(frozen=True)
class Followers:
    """What followed each context: n(c, v) and n(c) for contexts c and symbols v, in one sorted column of
    numbers."""

    pairs: Tensor
    """int64 (M,), sorted: c * symbols + v for every observation."""
    symbols: int

    @classmethod
    def of(cls, context: Tensor, symbol: Tensor, symbols: int) -> Followers:
        """Count observations (M,) of a symbol after a context."""
        return cls((context * symbols + symbol).sort().values, symbols)

    def span(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """First place and number n(c) of the observations after each context."""
        first = torch.searchsorted(self.pairs, context * self.symbols)
        return first, torch.searchsorted(self.pairs, (context + 1) * self.symbols) - first

    def n(self, context: Tensor, symbol: Tensor) -> Tensor:
        """n(c, v)."""
        pair = context * self.symbols + symbol
        return torch.searchsorted(self.pairs, pair, right=True) - torch.searchsorted(self.pairs, pair)

    def draw(self, context: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random one of the symbols that followed each context (arbitrary where nothing did), and n(c)."""
        first, count = self.span(context)
        if not len(self.pairs):
            return torch.zeros_like(context), count
        place = first + (torch.rand(context.shape, generator=generator, dtype=torch.float64) * count).long()
        return self.pairs[place.clamp(max=len(self.pairs) - 1)] % self.symbols, count


@dataclass(frozen=True)
class PixelChain:
    """p(x) = prod_k p(x_k | left, above, ...), eq. (bayes.11), over images of one shape."""

    shape: tuple[int, int, int]
    """(C, H, W)."""
    bits: int
    """Of each channel of a coarse colour, 1 to 8."""
    cell: int
    """Side in pixels of the squares that are told apart as places; 1 for every pixel by itself."""
    alpha: float
    """Pseudo-count of each of the 256^C exact colours where no context helps."""
    beta: float
    """Weight of the shorter context against one observation of the longer one."""
    known: tuple[Tensor, ...] = field(repr=False)
    """For each of ELEMENTS: the contexts seen, as sorted int64 numbers parent * range + element."""
    followers: tuple[Followers, ...] = field(repr=False)
    """Symbols without any context, then after the contexts of each length."""
    exact: Followers = field(repr=False)
    """Exact colours of every coarse colour that was new."""

    @classmethod
    def fit(
        cls, images: Tensor, *, bits: int = 4, cell: int = 1, alpha: float | None = None, beta: float = 1 / 16
    ) -> PixelChain:
        """Count the training images, uint8 (N, C, H, W).  By default alpha makes one observation in all."""
        shape = tuple(images.shape[1:])
        alpha = LEVELS ** -shape[0] if alpha is None else alpha
        empty = Followers(torch.empty(0, dtype=torch.int64), LEVELS ** shape[0])
        model = cls(shape, bits, cell, alpha, beta, (), (), empty)
        code, *around = neighbours(pack(images), shape[0])
        symbol = model.symbol(code, *around[:2]).flatten()
        context = torch.zeros_like(symbol)
        known, followers = [], [Followers.of(context, symbol, model.symbols)]
        for element, size in model.elements(*around, *model.places()):
            numbers, context = (context * size + element.flatten()).unique(return_inverse=True)
            known.append(numbers)
            followers.append(Followers.of(context, symbol, model.symbols))
        new = symbol >= NEW
        exact = Followers.of(symbol[new] - NEW, code.flatten()[new], LEVELS ** shape[0])
        return replace(model, known=tuple(known), followers=tuple(followers), exact=exact)

    # ---- symbols and contexts

    @property
    def symbols(self) -> int:
        """Two ways to copy and all coarse colours."""
        return NEW + 2 ** (self.bits * self.shape[0])

    @property
    def colors_in_cell(self) -> int:
        """Exact colours that share a coarse colour."""
        return 2 ** ((8 - self.bits) * self.shape[0])

    def coarse(self, code: Tensor) -> Tensor:
        """The leading `bits` bits of each channel of packed colours, packed."""
        channels = [(code >> 8 * k & 255) >> (8 - self.bits) for k in range(self.shape[0])]
        return sum(value << self.bits * k for k, value in enumerate(channels))

    def symbol(self, code: Tensor, left: Tensor, above: Tensor) -> Tensor:
        """The first of the symbols that describe a pixel."""
        new = NEW + self.coarse(code)
        return torch.where(code == left, LEFT, torch.where(code == above, ABOVE, new))

    def places(self) -> tuple[Tensor, Tensor]:
        """Row and column of every pixel, (H, W) each."""
        return torch.meshgrid(torch.arange(self.shape[1]), torch.arange(self.shape[2]), indexing="ij")

    def elements(
        self, left: Tensor, above: Tensor, above_left: Tensor, rows: Tensor, columns: Tensor
    ) -> list[tuple[Tensor, int]]:
        """Values and range of each of ELEMENTS, for packed neighbours (N, ...) of pixels at rows and columns
        (...)."""
        _, height, width = self.shape
        down, across = -(-height // self.cell), -(-width // self.cell)
        place = rows // self.cell * across + columns // self.cell
        colors = 2 ** (self.bits * self.shape[0])
        return [
            (place.expand_as(left), down * across),
            *((self.coarse(code), colors) for code in (left, above, above_left)),
        ]

    def find(self, elements: list[tuple[Tensor, int]]) -> list[Tensor]:
        """Numbers of the contexts without any element, with one, with two, ...; -1 for one that was never
        seen."""
        contexts = [torch.zeros_like(elements[0][0])]
        for known, (element, size) in zip(self.known, elements):
            number = contexts[-1] * size + element
            place = torch.searchsorted(known, number).clamp(max=len(known) - 1)
            contexts.append(torch.where((contexts[-1] >= 0) & (known[place] == number), place, -1))
        return contexts

    # ---- probabilities

    def log2_probability(self, images: Tensor) -> Tensor:  # (M, C, H, W) -> float64 (M, H, W)
        """log2 of the probability of every pixel's exact colour given its neighbours; -inf where it is 0."""
        return self.log2_probability_by_beta(images, [self.beta])[0]

    def log2_probability_by_beta(self, images: Tensor, betas: Sequence[float]) -> Tensor:  # -> (K, M, H, W)
        """The same for other weights than its own: the counts are looked up once, image by image."""
        return torch.stack([self._log2_probability(pack(image[None])[0], betas) for image in images], dim=1)

    def _log2_probability(self, code: Tensor, betas: Sequence[float]) -> Tensor:  # (H, W) -> (K, H, W)
        code, left, above, above_left = neighbours(code, self.shape[0])
        contexts = self.find(self.elements(left, above, above_left, *self.places()))
        n_c = [followers.span(context)[1] for followers, context in zip(self.followers, contexts)]
        cell = self.coarse(code)
        n_exact, n_cell = self.exact.n(cell, code).double(), self.exact.span(cell)[1].double()
        within = (n_exact + self.alpha) / (n_cell + self.alpha * self.colors_in_cell)
        ways = [  # to write the colour: each symbol with the probability that it then gives this very colour
            (NEW + cell, within.nan_to_num(0)),  # 0 / 0: a cell never seen, with alpha = 0
            (torch.full_like(code, LEFT), (code == left).double()),
            (torch.full_like(code, ABOVE), (code == above).double()),
        ]
        total = torch.zeros(len(betas), *code.shape, dtype=torch.float64)
        for symbol, gives in ways:
            n_cv = [followers.n(context, symbol) for followers, context in zip(self.followers, contexts)]
            pseudo = (symbol >= NEW).double() * (self.alpha * self.colors_in_cell)
            shortest = (n_cv[0] + pseudo) / (n_c[0].double() + self.alpha * LEVELS ** self.shape[0])
            for k, beta in enumerate(betas):
                total[k] += gives * chained(n_cv[1:], n_c[1:], beta, shortest)
        return total.log2()

    # ---- samples

    def sample(self, count: int, generator: torch.Generator) -> Tensor:  # -> uint8 (B, C, H, W)
        """Draw images anti-diagonal by anti-diagonal: its pixels depend on earlier ones only, so H + W - 1
        steps."""
        channels, height, width = self.shape
        canvas = torch.full((count, height + 1, width + 1), LEVELS**channels - 1)  # with the white around
        for t in range(height + width - 1):
            rows = torch.arange(max(0, t - width + 1), min(height, t + 1))
            columns = t - rows
            left, above, above_left = (
                canvas[:, rows + down, columns + right] for down, right in ((1, 0), (0, 1), (0, 0))
            )
            contexts = self.find(self.elements(left, above, above_left, rows, columns))
            symbol = self._draw_symbol(contexts, generator)
            color = self._draw_color(symbol, generator)
            color = torch.where(symbol == LEFT, left, torch.where(symbol == ABOVE, above, color))
            canvas[:, rows + 1, columns + 1] = color
        return unpack(canvas[:, 1:, 1:], channels)

    def _draw_symbol(self, contexts: list[Tensor], generator: torch.Generator) -> Tensor:
        """Eq. (bayes.12) as coins: a follower of c with probability n(c) / (n(c) + beta), else what the
        shorter context drew."""
        symbol, n = self.followers[0].draw(contexts[0], generator)
        uniform = torch.randint(NEW, self.symbols, symbol.shape, generator=generator)
        symbol = toss(n, self.alpha * LEVELS ** self.shape[0], symbol, uniform, generator)
        for followers, context in zip(self.followers[1:], contexts[1:]):
            follower, n_c = followers.draw(context, generator)
            symbol = toss(n_c, self.beta, follower, symbol, generator)
        return symbol

    def _draw_color(self, symbol: Tensor, generator: torch.Generator) -> Tensor:
        """An exact colour of the coarse one; meaningless for symbols that copy."""
        cell = (symbol - NEW).clamp(min=0)
        seen, n = self.exact.draw(cell, generator)
        below = 8 - self.bits
        anything = torch.zeros_like(cell)
        for k in range(self.shape[0]):
            leading = (cell >> self.bits * k) % 2**self.bits << below
            anything += leading + torch.randint(2**below, cell.shape, generator=generator) << 8 * k
        return toss(n, self.alpha * self.colors_in_cell, seen, anything, generator)


def neighbours(code: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Packed colours (..., H, W) and those on the left, above and above left, white outside."""
    here, before = slice(1, None), slice(-1)
    padded = torch.nn.functional.pad(code, (1, 0, 1, 0), value=LEVELS**channels - 1)
    return tuple(
        padded[..., i, j].contiguous()
        for i, j in ((here, here), (here, before), (before, here), (before, before))
    )


def chained(n_cv: Sequence[Tensor], n_c: Sequence[Tensor], beta: float, shortest: Tensor) -> Tensor:
    """p(v | c) = (n(c, v) + beta p(v | c')) / (n(c) + beta) from the shortest context to the longest, eq.
    (bayes.12).

    A context never seen, n(c) = 0, leaves p(v | c') as it is, also for beta = 0.
    """
    p = shortest
    for n_v, n in zip(n_cv, n_c):
        p = torch.where(n > 0, (n_v + beta * p) / (n.double() + beta), p)
    return p


def toss(n: Tensor, weight: float, seen: Tensor, other: Tensor, generator: torch.Generator) -> Tensor:
    """`seen` with probability n / (n + weight), else `other`; where both are 0, `other`."""
    return torch.where(
        torch.rand(n.shape, generator=generator, dtype=torch.float64) * (n.double() + weight) < n, seen, other
    )
