"""The scores that candidates are compared by, in words and units; all are maximised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nas_sv2.errors import ConfigError

Unit = Literal["share", "nats", "label", ""]
LabelKind = Literal["classes", "labels", "numbers"]
"""Kinds of labels: one class an image, several labels an image, or a number an image."""
IMAGES: Mapping[LabelKind, str] = {
    "classes": "images with one class each",
    "labels": "images with several labels",
    "numbers": "images with a number each",
}


def kind_in(facts: Mapping[str, Any]) -> LabelKind:
    """Return what images were labelled with, by a card or the metadata of a model.

    Those of older versions say nothing, as they know of classes alone.
    """
    if facts.get("number"):
        return "numbers"
    return "labels" if facts.get("several_labels") else "classes"


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """How a score is named and written.

    Attributes:
        name: Its name, as `macro F1`.
        unit: `share` for 0 to 1, written in per cent; `nats` for a loss and `label` for an error
            in the unit of the labels, whose scores are negated; empty for the score of a user's
            own metric.
        title: Its whole name, as `mean absolute error`.
        of: The kinds of labels that it is for, or boxes.
    """

    name: str
    unit: Unit
    title: str
    of: tuple[LabelKind | Literal["boxes"], ...] = ("classes", "labels")

    @property
    def is_error(self) -> bool:
        """Whether the figure itself is an error: lower is better, and its score is negated."""
        return self.unit in ("nats", "label")

    @property
    def objective(self) -> str:
        """The name of the score, which is maximised, as `minus mean absolute error`."""
        return f"minus {self.title}" if self.is_error else self.title

    @property
    def noun(self) -> str:
        """Its name within a claim: `accuracy` for top-1, otherwise its name."""
        return "accuracy" if self.title == TOP_1 else self.name

    @property
    def every(self) -> str:
        """The beginning of a claim about all its figures: `accuracies are` or `each MAE is`."""
        return "accuracies are" if self.title == TOP_1 else f"each {self.name} is"

    def compare(self, better: bool) -> str:
        """Return how a network is beside another one: `more accurate`, or `better`."""
        if self.title == TOP_1:
            return "more accurate" if better else "less accurate"
        return "better" if better else "worse"

    @property
    def by(self) -> str:
        """The words behind `compare` that name the score; none for top-1."""
        return "" if self.title == TOP_1 else f" by {self.name}"

    def drawn(self, score: float) -> float:
        """Return the figure of a score: in per cent, or without the sign of an error."""
        return 100 * score if self.unit == "share" else -score if self.is_error else score

    def describe(self, score: float) -> str:
        """Return name and value, as `macro F1 61.20%` or `cross-entropy 0.4312 nats`."""
        return f"{self.name} {self.value(score)}"

    def value(self, score: float) -> str:
        """Return the value alone; an error without the sign of its score."""
        if self.unit == "share":
            return f"{score:.2%}"
        if self.unit == "label":
            return in_unit_of_labels(-score)
        return f"{-score:.4f} nats" if self.unit == "nats" else f"{score:.4f}"

    def difference(self, difference: float) -> str:
        """Return a difference of two scores, as `1.20 points` or `0.031 nats`."""
        if self.unit == "share":
            return f"{difference * 100:.2f} points"
        if self.unit == "label":
            return f"{in_unit_of_labels(difference)} of {self.name}"
        return f"{difference:.3f} {self.unit or 'of ' + self.name}"

    def signed(self, difference: float) -> str:
        """Return a difference of two scores as the signed change of the figure, without unit."""
        if self.unit == "share":
            return f"{round(100 * difference, 2) + 0.0:+.2f}"  # never -0.00
        if not self.is_error:
            return f"{round(difference, 4) + 0.0:+.4f}"
        change = 0.0 - difference
        return ("+" if change >= 0 else "") + in_unit_of_labels(change)

    def change(self, difference: float) -> str:
        """Return the same with its unit, as `-1.20 points`, or `+0.3` in the labels' unit."""
        return self.signed(difference) + " points" * (self.unit == "share")

    def interval(self, low: float, high: float) -> str:
        """Return the ends of an interval of differences as those of the figure's change."""
        ends = (high, low) if self.is_error else (low, high)
        return " to ".join(map(self.signed, ends))


TOP_1 = "top-1 accuracy"

SCORES: Mapping[str, ScoreFacts] = {
    "accuracy": ScoreFacts("top-1", "share", TOP_1, ("classes",)),
    "balanced_accuracy": ScoreFacts(
        "balanced accuracy", "share", "balanced accuracy", ("classes",)
    ),
    "macro_f1": ScoreFacts("macro F1", "share", "macro F1", ("classes",)),
    "mean_ap": ScoreFacts("mean AP", "share", "mean average precision", ("labels",)),
    "mae": ScoreFacts("MAE", "label", "mean absolute error", ("numbers",)),
    "box_ap": ScoreFacts("mmAP", "share", "mmAP of boxes", ("boxes",)),
    "cross_entropy": ScoreFacts("cross-entropy", "nats", "cross-entropy (nats)"),
    "training_speed": ScoreFacts("mean training loss", "nats", "mean training loss (nats)"),
}
OWN = re.compile(r"[\w.]+:[\w.]+")
"""The form of a user's own metric, `module:attribute`."""
SHARES = tuple(name for name, facts in SCORES.items() if facts.unit == "share")
"""Scores from 0 to 1, shown in per cent."""


def facts_of(score: str) -> ScoreFacts:
    """Return the facts of one of `SCORES`, or of a user's own metric, which is named as given."""
    return SCORES.get(score) or ScoreFacts(score, "", score)


def check_score(score: str) -> None:
    """Refuse a text that names no score; a user's own metric is not imported.

    Raises:
        ConfigError: `SCORES` lacks it, and it has another form than `module:attribute`.
    """
    if score not in SCORES and not OWN.fullmatch(score):
        allowed = f"must be one of {', '.join(SCORES)}, or the module:attribute of a metric"
        raise ConfigError("score", score, allowed)


def reads_numbers(score: str) -> bool:
    """Whether labels are read as numbers, because the score is of nothing else."""
    return facts_of(score).of == ("numbers",)


def check_score_for(score: str, kind: LabelKind) -> None:
    """Refuse a score that data do not have.

    Args:
        score: The score of a recipe.
        kind: The labels of the data.

    Raises:
        ConfigError: It is of images with other labels.
    """
    if kind not in facts_of(score).of:
        fitting = [name for name, facts in SCORES.items() if kind in facts.of]
        own = "" if kind == "numbers" else " or a module:attribute"
        allowed = f"must be one of {', '.join(fitting)}{own} for {IMAGES[kind]}"
        raise ConfigError("recipe.score", score, allowed)


def in_unit_of_labels(figure: float) -> str:
    """Return a figure in the unit of the labels, which may be of any size, as text."""
    return f"{figure:,.0f}" if abs(figure) >= 1e4 else f"{figure:.4g}"
