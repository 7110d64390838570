"""Trains networks by a recipe and by a longer one, to see whether the first ranks them.

Another evaluator may take the place of the first recipe. If it has a seed of its own, it is run
once. Trainings run on one thread each, several at a time. Each is kept in the database as soon as
it is done, so that a killed qualification can be resumed.
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from nas_sv2.database.database import Database
from nas_sv2.documents import MOST_TRAININGS, Seed, Trainings, check_value
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.data.image_data import ImageData
from nas_sv2.evaluate.evaluators import RECIPE, choose_evaluator
from nas_sv2.evaluate.fitting.determinism import check_workers, useful_workers
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice, Setting, Trainer, check_trainable
from nas_sv2.evaluate.proxy.training import ProxyTraining, choose_recipe
from nas_sv2.evaluate.proxy.untrained_scores import untrained_scores
from nas_sv2.evaluate.recipes.files import open_recipe
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.process_pool import in_processes
from nas_sv2.space.choices.levels import named_space
from nas_sv2.space.choices.probe_networks import Trajectories, flops_matched, trajectories
from nas_sv2.space.choices.search_space import SearchSpace
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.certificate import Certificate, ScoredNetwork
from nas_sv2.studies.storage.recipe_evidence import CertificateStore
from nas_sv2.studies.storage.record_store import RecordStore

LONGER = 8
"""Passes of the default reference, as a multiple of those of the recipe."""
DEFAULT_SPACE = "140M"
SHARED = "qualify"
"""Name under which the store is opened, since evaluations belong to no study."""

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class QualifyRequest:
    """A qualification in the user's words; the options of `nas-sv2 recipe qualify`."""

    recipe: str | None
    data: str
    reference: str | None = None
    space: str | None = None
    trajectories: int = 2
    matched: int = 8
    seeds: int = 2
    seed: int = 0
    workers: int | None = None
    evaluator: str = RECIPE
    skip_unreadable: bool = False


@dataclass(frozen=True)
class _Training:
    """One training: a network, a recipe and a seed, by an evaluator on a processor."""

    architecture: Architecture
    recipe: Recipe
    seed: int
    evaluator: str
    place: str


def qualify(
    request: QualifyRequest, db: Database, notify: Notify, progress: Callable[[int, int], None]
) -> Certificate:
    """Do the trainings that the database lacks, and say how well the recipe ranks.

    Args:
        request: The evaluator to qualify, and the reference.
        db: Keeps trainings and the certificate.
        notify: Called with lines about the next steps.
        progress: Called with the number of trainings done and of all trainings.

    Raises:
        ConfigError: If the request is not valid; nothing is trained.
        EvaluationError: If a training gives no accuracy.
        StoreError: If the database cannot be read or written.
    """
    db.require_writable()
    choice = choose_evaluator(request.evaluator, request.recipe)
    choice.check_device("cpu")  # before minutes of decoding
    recipe, reference = choice.recipe, _reference(request.reference, choice)
    _check_counts(request)
    space = choice.choose_space(request.space, named_space(DEFAULT_SPACE))
    data = _open_data(request, recipe, notify)
    joint, matched = _networks(space, request)
    networks = (*joint.networks, *matched)
    trainer = _opened_trainer(choice, reference, data)
    for network in networks:
        trainer.adapt(network)  # raises before hours of training
    ours, theirs = _seeds(choice, request), range(request.seeds)
    trainings = [
        *_trainings(networks, recipe, ours, request.evaluator, trainer.place),
        *_trainings(networks, reference, theirs, RECIPE, _place(reference, data)),
    ]
    db.migrate()
    found = _trained(trainings, request, data, RecordStore(db, SHARED), notify, progress)
    entries = [_entry(one, found, recipe, ours, reference, data, theirs) for one in networks]
    certificate = Certificate(
        recipe=recipe.name,
        recipe_digest=recipe.digest,
        reference=reference.name,
        reference_digest=reference.digest,
        scored_by=recipe.score,
        reference_scored_by=reference.score,
        data=data.provenance,
        space=space.name,
        space_digest=space.digest,
        place=trainer.place,
        longer=_longer(found, recipe, reference),
        joint=tuple(entries[: len(joint.networks)]),
        matched=tuple(entries[len(joint.networks) :]),
        contrasts=joint.pairs,
        before_seconds=choice.seconds_before,
    )
    CertificateStore(db).save(certificate)
    return certificate


def _opened_trainer(choice: EvaluatorChoice, reference: Recipe, data: ImageData) -> Trainer:
    """Open the evaluator and its reference, which raise before hours of training."""
    choose_recipe(reference).open(data, Setting())
    return choice.open(data, Setting())


def _open_data(
    request: QualifyRequest, recipe: Recipe, notify: Notify = lambda line: None
) -> ImageData:
    """Open the data of both recipes, which agree on resolution and labels."""
    return open_data(
        request.data,
        resolution=recipe.resolution,
        skip_unreadable=request.skip_unreadable,
        notify=notify,
        numbers=recipe.numbers,
    )


def _check_counts(request: QualifyRequest) -> None:
    for field in ("trajectories", "seeds"):
        check_value(field, getattr(request, field), Trainings)
    check_value("seed", request.seed, Seed)
    check_workers(request.workers)
    if request.matched != 0 and not 3 <= request.matched <= MOST_TRAININGS:
        sentence = f"must be 0, or from 3 to {MOST_TRAININGS}"
        raise ConfigError("matched", request.matched, sentence)


def _trainings(
    networks: Sequence[Architecture],
    recipe: Recipe,
    seeds: Sequence[int],
    evaluator: str,
    place: str,
) -> list[_Training]:
    return [
        _Training(network, recipe, seed, evaluator, place)
        for seed in seeds
        for network in networks
    ]


def _reference(text: str | None, choice: EvaluatorChoice) -> Recipe:
    """The reference recipe: the one named, or `choice`'s recipe with more passes."""
    recipe = choice.recipe
    if text is None:
        if not choice.trains:
            allowed = (
                "must be a recipe for candidates; this evaluator has no longer form of itself"
            )
            raise ConfigError("reference", text, allowed)
        return dataclasses.replace(
            recipe, name=f"{recipe.name} ×{LONGER}", epochs=LONGER * recipe.epochs
        )
    reference = open_recipe(text)
    if reference.full_training is not None:
        raise ConfigError(
            "reference", text, "must be a recipe for candidates, not for full training"
        )
    check_trainable(reference)
    if choice.trains and reference.digest == recipe.digest:
        allowed = f"must be a longer recipe than {recipe.name}, which agrees with itself"
        raise ConfigError("reference", text, allowed)
    if reference.resolution != recipe.resolution:
        raise ConfigError(
            "reference",
            text,
            f"must be a recipe at the resolution of {recipe.name}: {recipe.resolution}",
        )
    if reference.numbers != recipe.numbers:
        labels = "numbers, score: mae" if recipe.numbers else "classes"
        allowed = f"must be a recipe for labels that are {labels}, as {recipe.name}"
        raise ConfigError("reference", text, allowed)
    if reference.score_form != recipe.score_form:
        raise ConfigError(
            "reference",
            text,
            f"must be a recipe with score_form {recipe.score_form}, as {recipe.name}; it has "
            f"{reference.score_form}",
        )
    return reference


def _seeds(choice: EvaluatorChoice, request: QualifyRequest) -> Sequence[int]:
    """Return the seeds of the certified evaluator, which may have one of its own."""
    return range(request.seeds) if choice.seed is None else [choice.seed]


def _networks(
    space: SearchSpace, request: QualifyRequest
) -> tuple[Trajectories, tuple[Architecture, ...]]:
    joint = trajectories(space, request.trajectories, request.seed)
    if not request.matched:
        return joint, ()
    middle = statistics.median(cost_of(lower(one)).flops for one in joint.networks)
    return joint, flops_matched(space, middle, request.matched, request.seed)


Evaluations = Mapping[tuple[str, str, int], Evaluation]


def _trained(
    trainings: Sequence[_Training],
    request: QualifyRequest,
    data: ImageData,
    store: RecordStore,
    notify: Notify,
    progress: Callable[[int, int], None],
) -> Evaluations:
    """The evaluation of every training, from the database or new."""
    found: dict[tuple[str, str, int], Evaluation] = {}
    missing = []
    for one in trainings:
        known = store.find_evaluation(
            one.architecture.digest,
            one.recipe.digest,
            data.provenance,
            one.seed,
            one.place,
        )
        if known is None:
            missing.append(one)
        else:
            found[_key(one)] = known
    jobs = useful_workers(request.workers, len(missing))
    notify(
        f"{len(trainings)} trainings, {len(found)} of them known; "
        f"{jobs} at a time, on one thread each"
    )
    progress(len(found), len(trainings))
    for one, evaluation in _run(missing, request, jobs):
        if evaluation.stopped is not None:
            notify(f"{one.architecture.digest[:8]} by {one.recipe.name}: {evaluation.stopped}")
        store.save_evaluation(one.architecture.digest, evaluation)
        found[_key(one)] = evaluation
        progress(len(found), len(trainings))
    return found


def _run(
    trainings: Sequence[_Training], request: QualifyRequest, jobs: int
) -> Iterator[tuple[_Training, Evaluation]]:
    if not trainings:
        return iter(())
    # The longest first, so that no worker is left with a long one at the end.
    by_cost = sorted(trainings, key=lambda one: -one.recipe.epochs)
    opened = partial(_open, request, by_cost[0].recipe)
    return in_processes(_train, by_cost, jobs, "trains networks", opened)


_opened: list[ImageData] = []
"""The data of a worker process."""


def _open(request: QualifyRequest, recipe: Recipe) -> None:
    _opened[:] = [_open_data(request, recipe)]


def _train(training: _Training) -> Evaluation:
    (data,) = _opened
    if training.evaluator == RECIPE:
        trainer: Trainer = ProxyTraining(training.recipe, data, training.seed)
    else:
        trainer = _open_evaluator(training.evaluator, training.seed)
    return trainer.train(training.architecture).evaluation


@cache
def _open_evaluator(evaluator: str, seed: int) -> Trainer:
    """Open the evaluator of this worker, once, since it may hold large data."""
    (data,) = _opened
    return choose_evaluator(evaluator, None).open(data, Setting(seed))


def _key(training: _Training) -> tuple[str, str, int]:
    return training.architecture.digest, training.recipe.digest, training.seed


def _place(recipe: Recipe, data: ImageData) -> str:
    return ProxyTraining(recipe, data).place


def _longer(found: Evaluations, recipe: Recipe, reference: Recipe) -> float:
    """Images that the reference trained on, as a multiple of the recipe's."""
    images = {
        one.digest: statistics.fmean(
            evaluation.train_images for (_, by, _), evaluation in found.items() if by == one.digest
        )
        for one in (recipe, reference)
    }
    return images[reference.digest] / images[recipe.digest]


def _entry(
    network: Architecture,
    found: Evaluations,
    recipe: Recipe,
    own_seeds: Sequence[int],
    reference: Recipe,
    data: ImageData,
    seeds: Sequence[int],
) -> ScoredNetwork:
    ours = [found[network.digest, recipe.digest, seed] for seed in own_seeds]
    theirs = [found[network.digest, reference.digest, seed] for seed in seeds]
    untrained = [untrained_scores(network, data, recipe, seed) for seed in seeds]
    counts = {name: statistics.fmean(one[name] for one in untrained) for name in untrained[0]}
    return ScoredNetwork(
        network,
        tuple(one.score for one in ours),
        tuple(one.score for one in theirs),
        statistics.fmean(one.seconds for one in ours),
        counts,
    )
