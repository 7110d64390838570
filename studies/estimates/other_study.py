"""Another study, as it was when a search began from it: its front and its trainings.

It is kept with the search's own study. So a resumed search has the same candidates, even if the
other study has grown or is gone. Its accuracies may be of other data or another recipe. Therefore
they count as deviations from their mean, with a weight that the search's own trainings decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np

from nas_sv2.documents import reading_stored
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.space.units.documents import architecture_from_document, architecture_to_document
from nas_sv2.space.units.reference import Formed, in_form_of
from nas_sv2.studies.estimates.accuracy_model import AccuracyModel
from nas_sv2.studies.estimates.features import features
from nas_sv2.studies.findings.record import Record

MOST = 128
"""Networks that are kept: the front, and others evenly over the trials."""
FEWEST = 5
"""Trainings from which a study has estimates, or informs another."""


class StoredStudy(msgspec.Struct):
    """The form in which another study is kept.

    Attributes:
        key: The key of the study that was begun from it; a later one may have the same name.
        study: Its name.
        front: The trials of its front.
        networks: The network and the score of a trial; no score if its training foretold none.
    """

    key: str
    study: str
    front: list[int]
    networks: dict[str, tuple[dict[str, Any], float | None]]


@dataclass(frozen=True)
class OtherStudy:
    """Another study, whose networks are asked first and whose trainings inform.

    Attributes:
        name: Its name.
        front: The networks of its front, by trial.
        trainings: Networks that were trained, and their scores.
    """

    name: str
    front: Mapping[int, Architecture]
    trainings: Sequence[tuple[Architecture, float]]

    def model(self, like: Formed) -> AccuracyModel | None:
        """Return what its trainings foretell of networks; None for too few trainings.

        Networks with another number of stages have other features, and are left out.

        Args:
            like: The form of the networks: a space, or a network of it.
        """
        alike = [
            (in_form_of(like, network), score)
            for network, score in self.trainings
            if len(network.stages) == len(like.stages)
        ]
        scores = np.array([score for _, score in alike])
        if len(alike) < FEWEST or np.ptp(scores) == 0:
            return None
        rows = [features(network, cost_of(lower(network))) for network, _ in alike]
        return AccuracyModel.fitted(np.array(rows), scores)

    def describe(self, model: AccuracyModel | None) -> str:
        """Say in one line what its model rests on."""
        if model is None:
            return f"{self.name} has too few alike trainings to inform the estimates"
        return f"{model.trainings} trainings of {self.name} inform the estimates"

    @staticmethod
    def kept(
        key: str, name: str, front: Sequence[int], records: Mapping[int, Record]
    ) -> StoredStudy:
        """Return what is kept of the other study, with the study of this key."""
        others = [number for number in records if number not in front]
        room = max(0, min(MOST - len(front), len(others)))
        places = np.linspace(0, len(others) - 1, room).astype(int)
        numbers = sorted([*front, *(others[place] for place in places)])
        return StoredStudy(
            key,
            name,
            list(front),
            {
                str(number): (
                    architecture_to_document(records[number].architecture),
                    trained_score(records[number]),
                )
                for number in numbers
            },
        )

    @classmethod
    def read(cls, stored: Any) -> Self:
        """Read what `kept` returned.

        Raises:
            StoreError: It has another form.
        """
        with reading_stored("the stored study that a search began from"):
            found = msgspec.convert(stored, StoredStudy)
            networks = {
                int(number): (architecture_from_document(document), score)
                for number, (document, score) in found.networks.items()
            }
            return cls(
                found.study,
                {number: networks[number][0] for number in found.front},
                [(network, score) for network, score in networks.values() if score is not None],
            )


def trained_score(record: Record) -> float | None:
    """Return the score of a training, or what its first passes foretold; None if there is none.

    A training that learnt nothing foretells none. With the foretold scores, the model of 24
    candidates ranks the others with τ 0.28, without them 0.24 (seen half of `benchmarks/table`).
    The weights of the estimates are those of classifiers, so a detector's score has no part.
    """
    evaluation = record.evaluation
    if evaluation.is_detector:
        return None
    if evaluation.stopped is not None:
        return record.foreseen
    return evaluation.score if evaluation.train_images > 0 else None
