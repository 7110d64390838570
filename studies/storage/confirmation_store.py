"""Confirmations, and the test scores behind them, stored with their study.

They are attributes of the study: they are moved and deleted with it. Test scores are separate from
the evaluations of a search, as no network is ever chosen by them. They are kept so that no network
trains twice.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from nas_sv2.documents import check_fields, reading_stored
from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import Figure, data_key
from nas_sv2.plain_data import parse_json
from nas_sv2.studies.findings.attributes import CONFIRMATIONS, TEST_ACCURACY
from nas_sv2.studies.findings.confirmation import Confirmation, Finding, OtherVersion
from nas_sv2.studies.storage.study import store_errors

LOG = logging.getLogger(__name__)


def confirmations_of(study: optuna.Study) -> list[Confirmation]:
    """Return the confirmations of a study that can be read, the newest last.

    A damaged one, or one of another version, counts as none, and a line says so.

    Raises:
        StoreError: The database cannot be read.
    """
    found = []
    for each in _stored(study):
        try:
            found.append(Confirmation.from_json(each))
        except StoreError as error:
            LOG.warning("study %s: %s", study.study_name, error)
    return found


def keep(study: optuna.Study, confirmation: Confirmation) -> None:
    """Store a confirmation in place of an earlier answer to its question, and of damaged ones.

    Raises:
        StoreError: The database cannot be read or written.
    """
    others = [each for each in _stored(study) if _stays_beside(confirmation, each)]
    with store_errors():
        study.set_user_attr(CONFIRMATIONS, [*others, confirmation.to_json()])


def _stored(study: optuna.Study) -> list[dict[str, Any]]:
    with store_errors():
        stored: list[dict[str, Any]] = study.user_attrs.get(CONFIRMATIONS, [])
    return stored


def _stays_beside(new: Confirmation, stored: Mapping[str, Any]) -> bool:
    try:
        return Confirmation.from_json(stored).question != new.question
    except OtherVersion:
        return True
    except StoreError:
        return False


def newest_findings(
    confirmations: list[Confirmation],
) -> Mapping[tuple[str, str | None], tuple[Confirmation, Finding]]:
    """Return the newest finding on each finalist, by its digest and the other study's network."""
    return {
        (finding.digest, finding.against): (confirmation, finding)
        for confirmation in confirmations
        for finding in confirmation.findings
    }


def confirmation_lines(confirmations: list[Confirmation], digest: str | None = None) -> list[str]:
    """Return the findings on each finalist and their method, one fact a line.

    Args:
        confirmations: The confirmations of a study, the newest last.
        digest: The digest of one network; None for all networks.
    """
    lines = []
    for (of, _), (confirmation, finding) in newest_findings(confirmations).items():
        if digest in (None, of):
            lines.append(f"confirmed {confirmation.at[:10]}: {confirmation.describe(finding)}")
            lines += [*confirmation.describe_family(finding), confirmation.method]
    return list(dict.fromkeys(lines))


@dataclass(frozen=True, slots=True)
class Training:
    """The settings that a test score depends on.

    Attributes:
        architecture: Digest of the network.
        recipe: Digest of the recipe.
        data: The data, as evaluations record them.
        seed: The seed of weights, order and augmentation.
        device: The device of the training, with the number of threads.
    """

    architecture: str
    recipe: str
    data: str
    seed: int
    device: str

    @property
    def attribute(self) -> str:
        """The name of the study attribute."""
        return TEST_ACCURACY + " ".join(map(str, dataclasses.astuple(self)))

    def is_in(self, attribute: str) -> bool:
        """Return whether an attribute names this training, for any place of its data."""
        begins = f"{TEST_ACCURACY}{self.architecture} {self.recipe} "
        ends = f"@{data_key(self.data)} {self.seed} {self.device}"
        return attribute.startswith(begins) and attribute.endswith(ends)


@dataclass(frozen=True, slots=True)
class HeldOutScore:
    """The score of a trained network on the test images.

    Attributes:
        figures: Figures on the test images by the names of their scores, as `accuracy` for top-1
            or `mae`; an error is not negated.
        loss: Mean cross-entropy on the test images, in nats; None for numbers.
        images: Number of test images.
        train_images: Number of images trained on, counting repetitions.
        seconds: Wall time of the training, in seconds.
        majority: Share of the test images that are of their commonest class, 0 to 1; None if it
            is not known.
        classes: Number of classes; 0 if it is not known.
        float_figures: Figures of the network as trained, if the others are of its int8 form.
    """

    figures: Mapping[str, float]
    loss: float | None
    images: int
    train_images: int
    seconds: float
    majority: float | None = None
    classes: int = 0
    float_figures: Mapping[str, float] | None = None

    def score(self, by: str) -> float:
        """Return a score that `figures` has; higher is better."""
        return Figure(by, self.figures[by]).score

    def float_score(self, by: str) -> float | None:
        """Return the score of the network as trained, if it was compared in int8."""
        figures = self.float_figures
        return None if figures is None or by not in figures else Figure(by, figures[by]).score

    def to_json(self) -> str:
        """Write the score as one line of JSON."""
        return json.dumps(dataclasses.asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "HeldOutScore":
        """Read the score that `to_json` wrote.

        Raises:
            StoreError: The text is not a score.
        """
        with reading_stored("a stored test score"):
            score = cls(**_of_today(parse_json(text)))
            check_fields(score)
            return score


def _of_today(fields: dict[str, Any]) -> dict[str, Any]:
    """Gather the figures of a score from before they had names."""
    if "figures" in fields:
        return fields
    fields.pop("val_accuracy", None)
    top_1, balanced = fields.pop("accuracy"), fields.pop("balanced_accuracy", None)
    known = {} if balanced is None else {"balanced_accuracy": balanced}
    in_float = fields.pop("float_accuracy", None)
    floats = None if in_float is None else {"accuracy": in_float}
    return {**fields, "figures": {"accuracy": top_1, **known}, "float_figures": floats}


@dataclass(frozen=True)
class HeldOutScores:
    """Finds and saves the test scores of a study."""

    study: optuna.Study

    def find(self, training: Training) -> HeldOutScore | None:
        """Return the score of this training, or None.

        A damaged score counts as none, and a line says so.

        Raises:
            StoreError: The database cannot be read.
        """
        with store_errors():
            kept = self.study.user_attrs
        for text in [text for name, text in kept.items() if training.is_in(name)]:
            try:
                return HeldOutScore.from_json(text)
            except StoreError as error:
                LOG.warning("%s; network %.8s is trained again", error, training.architecture)
        return None

    def save(self, training: Training, score: HeldOutScore) -> None:
        """Store the score of a training.

        Raises:
            StoreError: The database cannot be written.
        """
        with store_errors():
            self.study.set_user_attr(training.attribute, score.to_json())
