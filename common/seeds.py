"""Numbers of several seeds: their mean and spread, and whether two of them differ.

A row is a dict with what was trained, `seed`, and numbers; rows of one model become one row with the mean of
every number under its name, its sample standard deviation under NAME_sd, and `seeds`, how many there were.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from common.errors import InputError


def over_seeds(rows: Sequence[dict], by: Sequence[str]) -> list[dict]:
    """One row for each combination of the values under `by`, in order of appearance.

    Whatever is not a number is that of the first seed; what one of the seeds lacks is left out; of a single
    seed there is no NAME_sd.  InputError where a seed occurs twice: that would pass for agreement.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    merged = []
    for key, group in groups.items():
        of_group = [row["seed"] for row in group]
        if len(set(of_group)) < len(group):
            raise InputError(
                f"{', '.join(map(str, key))}: two runs of seed {max(of_group, key=of_group.count)}; "
                "name only one of them"
            )
        row = {**{name: group[0][name] for name in by}, "seeds": len(group)}
        for name, first in group[0].items():
            if name in by or name == "seed" or not all(name in each for each in group):
                continue
            row[name] = first
            if isinstance(first, (int, float)) and not isinstance(first, bool):
                values = [each[name] for each in group]
                row[name] = statistics.fmean(values)
                if len(values) > 1:
                    row[f"{name}_sd"] = statistics.stdev(values)
        merged.append(row)
    return merged


def differ(one: dict, key: str, other: dict, other_key: str | None = None) -> bool | None:
    """Whether the means one[key] and other[other_key] of `over_seeds` are more than two standard errors of
    their difference apart; None where one of them has a single seed."""
    other_key = key if other_key is None else other_key
    if min(one["seeds"], other["seeds"]) < 2:
        return None
    error = math.hypot(
        one[f"{key}_sd"] / math.sqrt(one["seeds"]), other[f"{other_key}_sd"] / math.sqrt(other["seeds"])
    )
    return abs(one[key] - other[other_key]) > 2 * error
