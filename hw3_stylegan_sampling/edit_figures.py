"""Figures of compare_edits.py: for every way of editing, what was reached against what stayed."""

from __future__ import annotations

import statistics
from pathlib import Path

from common import figures
from common.text_table import Column

NAMES = (Column("method", "method"), Column("what", "what"), Column("strength", "strength", "g"))
PANELS = {
    "expression": ("ratio", "similarity to the person, of the original's", "reached", "emotion reached"),
    "style": ("recognised", "person first among 100", "reached", "style attributes taken over"),
    "swap": ("kept", "expression, clothes, background kept", "recognised", "source first among 100"),
}
"""What stays and what is reached, each with its label."""
KEPT = ("expression", "clothes", "background")


def save(folder: Path, rows: list[dict]) -> list[str]:
    """tradeoff.png of averaged rows; returns its name."""
    figure, axes = figures.new_figure(13, 4.6, ncols=3)
    for axis, (edit, (stays, xlabel, reached, ylabel)) in zip(axes, PANELS.items()):
        for method, points in curves(rows, edit, stays, reached).items():
            x, y, labels = zip(*points)
            axis.plot(x, y, marker=".", linewidth=1.2, label=method)
            for place in {0, len(points) - 1}:
                axis.annotate(
                    labels[place], (x[place], y[place]), fontsize=7, xytext=(3, 3), textcoords="offset points"
                )
        axis.set(xlabel=xlabel, ylabel=ylabel, title=f"{edit}: what is reached against what stays")
        axis.legend(frameon=False, fontsize=8)
    figures.save_figure(figure, folder / "tradeoff.png")
    return ["tradeoff.png"]


def curves(rows: list[dict], edit: str, stays: str, reached: str) -> dict[str, list[tuple]]:
    """By method, points (what stays, what is reached, strength), averaged over emotions."""
    found: dict[str, dict] = {}
    for row in rows:
        if row["edit"] == edit:
            kept = statistics.fmean(row.get(name, float("nan")) for name in KEPT)
            label = f"{row['strength']:g}" if edit == "expression" or not row["what"] else row["what"]
            group = found.setdefault(row["method"], {}).setdefault((row["strength"], label), [])
            group.append({**row, "kept": kept})
    mean = lambda group, name: statistics.fmean(row[name] for row in group)
    return {
        method: [(mean(group, stays), mean(group, reached), key[1]) for key, group in groups.items()]
        for method, groups in found.items()
    }
