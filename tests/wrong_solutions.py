"""Asks the checks of a homework in this process, with functions of a student's in the place of ours."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch

from course.checks.exchange import Answer, Raised
from course.checks.questions import Question, Verdict, verdict


def answer(homework: str, question: Question, **functions: Callable) -> Answer:
    """What the course's functions, or these in their place, answer to a question."""
    calls = importlib.import_module(f"course.checks.{homework}_calls")
    names = vars(importlib.import_module(f"course.checks.{homework}_adapter"))
    student = SimpleNamespace(**{**names, **functions})
    try:
        results = getattr(calls, question.call.name)(student, *(each.copy() for each in question.call.arrays))
    except Exception as error:
        return Raised(type(error).__name__, str(error), "")
    results = results if isinstance(results, (tuple, list)) else [results]
    plain = lambda each: each.detach().numpy() if isinstance(each, torch.Tensor) else np.asarray(each)
    return [plain(each) for each in results]


def verdicts(homework: str, seed: int = 0, only: str = "", **functions: Callable) -> list[Verdict]:
    """Of the questions that use a call named `only`, or of all."""
    asked = importlib.import_module(f"course.checks.{homework}").questions(seed)
    chosen = [each for each in asked if not only or each.call.name == only]
    assert chosen, f"no question calls {only}"
    return [verdict(each, answer(homework, each, **functions), homework) for each in chosen]


def words(homework: str, function: str, wrong: Callable, call: str = "") -> str:
    """All that is said of a wrong function."""
    return " | ".join(each.words for each in verdicts(homework, only=call or function, **{function: wrong}))
