"""A metric of the user's own, which a recipe names as `score: module:attribute`.

It is a function of the logits, float32 (N, classes), and the labels, int64 (N,), both numpy
arrays. Labels of images with several are float32 (N, classes) of 0 and 1. It returns one finite
number, and greater is better.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data.image_data import kind_of
from nas_sv2.evaluate.recipes.scores import SCORES, check_score_for
from nas_sv2.plain_data import printable
from nas_sv2.plug_ins import load_plug_in

Metric = Callable[[Any, Any], Any]
TRIED = 256  # labels, to find a metric that fails before the first training


def open_metric(score: str) -> Metric | None:
    """Import the metric that a score names; None for a score of ours.

    Raises:
        ConfigError: It cannot be imported, or cannot be called.
    """
    if score in SCORES:
        return None
    found = load_plug_in("score", score, "__call__")
    if not callable(found):
        allowed = f"must be a function of logits and labels; it is a {type(found).__name__}"
        raise ConfigError("score", score, allowed)
    metric: Metric = found
    return metric


def apply_metric(score: str, metric: Metric, logits: Tensor, labels: Tensor) -> float:
    """Return the figure of a metric.

    Args:
        score: Its name.
        metric: The metric.
        logits: Answers of a network, (N, classes), on the CPU.
        labels: Labels (N,) or (N, classes), on the CPU.

    Raises:
        EvaluationError: It raises an error, or returns no finite number; names it.
    """
    try:
        figure = float(metric(logits.float().numpy().copy(), labels.numpy().copy()))
    except Exception as error:  # the metric is the user's and may raise anything
        reason = printable(f"{type(error).__name__}: {error}", 200)
        raise EvaluationError(f"metric {score} failed: {reason}") from error
    if not math.isfinite(figure):
        raise EvaluationError(f"metric {score} must return a finite number; it returned {figure}")
    return figure


def try_score(score: str, labels: Tensor, classes: int) -> None:
    """Refuse a score that labels do not have, and a metric that fails on random answers to some.

    Args:
        score: A score of ours, or a metric.
        labels: Labels to validate on, (N,) or (N, classes), or numbers (N,).
        classes: Number of classes.

    Raises:
        ConfigError: It is not for such labels, cannot be imported, raises an error, or returns no
            finite number.
    """
    check_score_for(score, kind_of(labels))
    metric = open_metric(score)
    if metric is None:
        return
    spaced = labels[:: max(1, len(labels) // TRIED)]
    shape = (len(spaced), classes)
    answers = np.random.default_rng(0).standard_normal(shape, np.float32)
    try:
        apply_metric(score, metric, Tensor(answers), spaced)
    except EvaluationError as error:
        allowed = f"must return a finite number for random logits {shape}: {error}"
        raise ConfigError("score", score, allowed) from error
