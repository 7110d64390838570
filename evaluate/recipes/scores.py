"""The scores that candidates are compared by, in words and units; all are maximised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nas_sv2.errors import ConfigError

Unit = Literal["share", "nats", ""]


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """How a score is named and written.

    Attributes:
        name: Its name, as `macro F1`.
        unit: `share` for 0 to 1, written in per cent; `nats` for a loss, whose score is negated;
            empty for the score of a user's own metric.
        objective: The name of the figure that is maximised.
        of: The data that it is for: images with one class each, with several labels, or both;
            or images with boxes.
    """

    name: str
    unit: Unit
    objective: str
    of: Literal["classes", "labels", "both", "boxes"] = "both"

    def describe(self, score: float) -> str:
        """Return name and value, as `macro F1 61.20%` or `cross-entropy 0.4312 nats`."""
        return f"{self.name} {self.value(score)}"

    def value(self, score: float) -> str:
        """Return the value alone; a loss without the sign of its score."""
        if self.unit == "share":
            return f"{score:.2%}"
        return f"{-score:.4f} nats" if self.unit == "nats" else f"{score:.4f}"

    def difference(self, difference: float) -> str:
        """Return a difference of two scores, as `1.20 points` or `0.031 nats`."""
        if self.unit == "share":
            return f"{difference * 100:.2f} points"
        return f"{difference:.3f} {self.unit or 'of ' + self.name}"


SCORES: Mapping[str, ScoreFacts] = {
    "accuracy": ScoreFacts("top-1", "share", "top-1 accuracy", "classes"),
    "balanced_accuracy": ScoreFacts("balanced accuracy", "share", "balanced accuracy", "classes"),
    "macro_f1": ScoreFacts("macro F1", "share", "macro F1", "classes"),
    "mean_ap": ScoreFacts("mean AP", "share", "mean average precision", "labels"),
    "box_ap": ScoreFacts("mmAP", "share", "mmAP of boxes", "boxes"),
    "cross_entropy": ScoreFacts("cross-entropy", "nats", "minus cross-entropy (nats)"),
    "training_speed": ScoreFacts("mean training loss", "nats", "minus mean training loss (nats)"),
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


def check_score_for(score: str, several: bool) -> None:
    """Refuse a score that data do not have.

    Args:
        score: The score of a recipe.
        several: Whether an image has several labels.

    Raises:
        ConfigError: It is of images of the other kind.
    """
    kind = "labels" if several else "classes"
    if facts_of(score).of not in (kind, "both"):
        fitting = [name for name, facts in SCORES.items() if facts.of in (kind, "both")]
        images = "images with several labels" if several else "images with one class each"
        allowed = f"must be one of {', '.join(fitting)} or a module:attribute for {images}"
        raise ConfigError("recipe.score", score, allowed)
