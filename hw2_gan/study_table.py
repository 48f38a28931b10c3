"""The table of a study: hypotheses over seeds, after equally many steps, and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from common import seeds, text_table

from hw2_gan import gan_figures


def over_seeds(rows: Sequence[dict]) -> list[dict]:
    """One row for each hypothesis: means and standard deviations over seeds, and the seeds that collapsed."""
    models = seeds.over_seeds(rows, by=["hypothesis"])
    for model in models:
        mine = [row for row in rows if row["hypothesis"] == model["hypothesis"]]
        model["collapsed_seeds"] = [row["seed"] for row in mine if row["collapsed_epochs"]]
    return models


def after(end: int, curves: gan_figures.Curves) -> dict[str, float]:
    """Hypothesis -> Fréchet distance of the last weights, mean over seeds, at the last epoch that had ended
    after `end` steps (or a hundredth more): everyone after equally many updates.  Without those that had no
    epoch yet, and those that were over a hundredth before or earlier."""
    reached = {}
    for hypothesis, metrics in curves.items():
        steps = metrics["step"][0]
        epochs_done = sum(step <= 1.01 * end for step in steps)
        distance = next(values for name, values in metrics.items() if name.startswith("val/raw_fd"))
        if epochs_done and steps[-1] >= 0.99 * end:
            reached[hypothesis] = statistics.fmean(one[epochs_done - 1] for one in distance)
    return reached


def markdown(models: Sequence[dict], distance: str, count: int) -> str:
    """Markdown: a row for each hypothesis, mean ± standard deviation over seeds; only what was measured."""
    columns = [
        text_table.Column(title, key, form)
        for title, key, form in (
            ("hypothesis", "hypothesis", ""),
            ("seeds", "seeds", ".0f"),
            ("steps", "steps", ".0f"),
            (f"{distance}, averaged weights", f"ema_{distance}", ".1f"),
            ("last weights", f"raw_{distance}", ".1f"),
            ("last weights, after the base run's steps (validation)", "after_steps_of_base", ".1f"),
            ("last weights, after hypothesis 3's steps (validation)", "after_steps_of_3", ".1f"),
            ("styles covered", "ema_coverage", ".0%"),
            ("evenness", "ema_evenness", ".0%"),
            ("valid", "ema_valid", ".0%"),
            ("diversity", "ema_diversity", ".2f"),
            ("grid", "ema_grid", ".2f"),
            ("expression as ordered", "ema_obeyed_expression", ".0%"),
            ("epochs with collapse", "collapsed_epochs", ".1f"),
            ("minutes", "minutes", ".1f"),
        )
    ]
    against = f"{count} samples against {count} test images; mean ± standard deviation over seeds."
    return f"{against}\n\n{text_table.markdown(columns, models)}"
