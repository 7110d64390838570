"""An evaluator that trains no network twice, and keeps the weights of its trainings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas_sv2.errors import StoreError
from nas_sv2.evaluate.fitting.evaluation import Evaluation, Trained
from nas_sv2.evaluate.fitting.evaluator import Stops
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.weights_folder import WeightsFolder

if TYPE_CHECKING:  # imports torch, which other evaluators do not need
    from nas_sv2.evaluate.fitting.evaluator import Trainer


@dataclass(frozen=True)
class StoredEvaluator:
    """`training` with a store of its evaluations; an `Evaluator` and `StoppableEvaluator`.

    Attributes:
        training: Trains what is not stored.
        store: The stored evaluations.
        weights: The weights of its trainings.
        notify: Called with a line, once for each reason, if weights cannot be saved.
    """

    training: "Trainer"
    store: RecordStore
    weights: WeightsFolder
    notify: Callable[[str], None]
    _said: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The name of the recipe."""
        return self.training.recipe.name

    def evaluate(self, architecture: Architecture, stops: Stops | None = None) -> Evaluation:
        """The stored evaluation by this recipe, data, seed and place, or a new one.

        An evaluation of another study has no weights; export then trains again. A training that
        `stops` ended is not stored, since another study cannot use it. See `Trainer.train` for
        the errors.
        """
        recipe, data = self.training.recipe.digest, self.training.data.provenance
        digest, seed = architecture.digest, self.training.seed
        found = self.store.find_evaluation(digest, recipe, data, seed, self.training.place)
        if found is not None:
            return found
        trained = self.training.train(architecture, stops)
        if trained.evaluation.stopped is None:  # first: weights can be made again
            self.store.save_evaluation(digest, trained.evaluation)
        self._keep_weights(digest, trained)
        return trained.evaluation

    def _keep_weights(self, digest: str, trained: Trained) -> None:
        """Save weights; a search continues without them, because an export can make them again."""
        try:
            if trained.weights:
                self.weights.save(digest, trained.weights)
        except StoreError as error:
            if str(error) not in self._said:
                self._said.add(str(error))
                self.notify(f"{error}; an export of such a network trains it again")
