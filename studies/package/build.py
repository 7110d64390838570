"""Builds the package of a trial: from its record, and its weights or a repeated training."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna

from nas_sv2.counts import counted
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, EvaluationError, NasError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.determinism import former_threads
from nas_sv2.evaluate.fitting.evaluation import Evaluation, Figure, Trained, describe_place
from nas_sv2.evaluate.fitting.evaluator import EvaluatorChoice, Setting, Trainer, trained_form
from nas_sv2.evaluate.fitting.subset import choose_subset
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.onnx_lowering import OPSET, check_opset
from nas_sv2.space.runtimes.weights import LEAST_WEIGHT, check_weights, count_flushed
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.findings.attributes import IDENTITY, THREADS, TRAINED, whole_identity
from nas_sv2.studies.findings.record import STOP_RULE, Record
from nas_sv2.studies.findings.timed_and_trained import Form
from nas_sv2.studies.package.card import (
    CARD,
    CARD_JSON,
    document_of,
    json_of,
    trial_card,
    trial_document,
)
from nas_sv2.studies.package.file_latency import FileLatency, latencies_of
from nas_sv2.studies.package.folder import SUMS, check_out, write_folder
from nas_sv2.studies.package.form_checks import Agreement
from nas_sv2.studies.package.forms import (
    FORMATS,
    TORCH,
    TrainedNetwork,
    check_formats,
    notify_of_slow_forms,
)
from nas_sv2.studies.storage.confirmation_store import confirmation_lines
from nas_sv2.studies.storage.facts import StudyFacts, read_study
from nas_sv2.studies.storage.named_networks import record_of
from nas_sv2.studies.storage.places import ChangedData, data_of, evaluator_of, find_sample
from nas_sv2.studies.storage.study import Identity, load_study, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder


@dataclass(frozen=True, slots=True)
class Exported:
    """A package that was written.

    Attributes:
        number: Number of the trial.
        forms: Agreement of each form with the network, by name.
        latencies: Latencies of the files.
    """

    number: int
    forms: dict[str, Agreement]
    latencies: Sequence[FileLatency]


def export_trial(
    db: Database,
    study: str,
    trial: str,
    out: Path,
    *,
    force: bool,
    latency: bool = True,
    int8: bool = True,
    opset: int = OPSET,
    formats: Sequence[str] | None = None,
    supernet: Path | None = None,
    data: str | None = None,
    notify: Callable[[str], None],
) -> Exported:
    """Write the package of a trial.

    Args:
        db: Database of the study.
        study: Name of the study.
        trial: Number, or `best` for the trial of the front that is believed to be best.
        out: Folder to write.
        force: Whether to overwrite an earlier export.
        latency: Whether to time the files on the study's targets.
        int8: Whether to write forms in int8.
        opset: Version of ONNX's operators in the models, one of `OPSETS`.
        formats: Formats of the models, of `FORMATS`; if None, ONNX and those that the runtimes of
            the study's targets read.
        supernet: Path of the study's supernet, if it was moved.
        data: Path of the study's data, if they were moved.
        notify: Is called with a line on each slow step: a training, or a device that is busy.
            Training is needed if the weights were not kept; those of the front and near it are.

    Raises:
        ConfigError: If there is no such study or trial, the folder exists, or the study's data or
            supernet are not at their path.
        DeviceError: If a target of the study cannot be used here.
        MeasurementError: If a target does not answer with latencies.
        EvaluationError: If the training cannot be repeated to the same accuracy, or the weights
            are those of another network.
        StoreError: If stored data cannot be read, a form disagrees with the network, or the
            package cannot be written.
    """
    check_opset(opset)
    check_formats(formats or ())
    check_trial(trial)
    check_out(out, force)
    opened = load_study(db, study)
    facts = read_study(db, study)
    number, record = chosen_trial(db, facts, trial)
    identity = whole_identity(opened.user_attrs, f"study {study}", ("recipe_digest", *TRAINED))
    evaluator = evaluator_of(opened, supernet)
    winner, sample = _winner(db, opened, record, evaluator, data, notify)
    written = formats or _formats_of(TargetBook.of_study(identity), record.latencies)
    files = _files(winner, int8, opset, written, notify)
    checked = winner.checked(files)
    _check_accuracy(record.evaluation, checked.images[TORCH])
    latencies = _latencies(db, identity, record, winner, files, notify) if latency else []
    network = document_of(
        record.baseline or record.architecture.digest,
        winner,
        sample,
        evaluator.recipe,
        record.evaluation.seed,
        checked,
        latencies,
        winner.no_int8 if int8 else "it was not asked for",
    )
    confirmed = confirmation_lines(list(facts.confirmations), record.architecture.digest)
    trained = Form.of(_trained(record, evaluator, sample), evaluator.recipe.width_factor)
    document = trial_document(
        *(network, study, number, record, trained, identity, facts.certificate, confirmed),
        facts.estimates,
    )
    card = trial_card(document, [*files, CARD_JSON, SUMS])
    write_folder(out, {**files, CARD_JSON: json_of(document), CARD: card.encode()})
    return Exported(number, checked.images, latencies)


def _files(
    winner: TrainedNetwork,
    int8: bool,
    opset: int,
    formats: Collection[str],
    notify: Callable[[str], None],
) -> dict[str, bytes]:
    """Return the files, and tell of a missing and of a slow form."""
    if int8 and winner.no_int8:
        notify(f"no trained form in int8: {winner.no_int8}")
    notify_of_slow_forms(winner.trained, formats, notify)
    files = winner.files(int8, opset, formats)
    notify(f"running every form on {winner.checked_on}")
    return files


def _formats_of(book: TargetBook, targets: Iterable[str]) -> list[str]:
    """Return ONNX, and the formats that the runtimes of the targets that are known here read."""
    ways = book.executions(targets).values()
    runtimes = {"onnxruntime", *(way.runtime for way in ways if way is not None)}
    return [form for form, runtime in FORMATS.items() if runtime in runtimes]


def check_trial(trial: str) -> None:
    """Refuse a word for a trial that is neither `best` nor a number.

    Raises:
        ConfigError: It is another word.
    """
    if trial != "best" and not re.fullmatch("[0-9]{1,18}", trial):
        raise ConfigError("trial", trial, "must be best or a number")


def chosen_trial(db: Database, facts: StudyFacts, trial: str) -> tuple[int, Record]:
    """Return the number and the record of the trial to export.

    Raises:
        ConfigError: If there is no such trial, or its training was ended early.
    """
    number = facts.front.best.number if trial == "best" else int(trial)
    record = record_of(db, facts.study, number)
    if record.excesses.get(STOP_RULE, 0.0) > 0:
        allowed = "must be a trial whose training ran to its end: the stop rule ended this one"
        raise ConfigError("trial", number, allowed)
    return number, record


SLACK = 0.01
"""Largest accepted difference from the study's accuracy, or as a share of its error. Another
machine sums in another order, which changes the class of about one image in a thousand."""


def _check_accuracy(evaluation: Evaluation, found: Agreement) -> None:
    """Refuse weights that do not belong to the study's evaluation, if that can be seen.

    Raises:
        EvaluationError: If the weights give another accuracy.
    """
    was, now = evaluation.figure, found.figure
    if evaluation.float_accuracy is not None:
        was = dataclasses.replace(was, value=evaluation.float_accuracy)
    if len(evaluation.scores) > 1 and evaluation.history:  # a mean; the weights are the first's
        was = evaluation.history[-1].figure or was
    if now is None:
        return
    check_same_figure(was, now, found.images)


def check_same_figure(was: Figure, now: Figure, images: int) -> None:
    """Refuse weights whose figure on `images` validation images is not that of the study.

    Raises:
        EvaluationError: It is another by more than rounding explains.
    """
    slack = max(SLACK, 1.5 / images)
    if not now.is_near(was, slack):
        raise EvaluationError(
            f"the weights give {now.describe()} on the validation images, but the study's "
            f"training gave {was.describe()}: they are damaged, or were kept by an older nas-sv2; "
            "delete the study's .weights folder, and the network is trained again"
        )


def _winner(
    db: Database,
    study: optuna.Study,
    record: Record,
    evaluator: EvaluatorChoice,
    data: str | None,
    notify: Callable[[str], None],
) -> tuple[TrainedNetwork, DataSample]:
    """Return the network with its data, and tell of weights that are exported as 0."""
    folder, digest = WeightsFolder.of_study(db, study_key(study)), record.architecture.digest
    weights, validation = folder.find(digest), None
    try:
        images = data_of(study, data, notify)
        sample = DataSample.of(images)
        validation = choose_subset(images, evaluator.recipe).val
        if weights is None:
            notify(f"{folder.why_none(digest)}; {evaluator.weights_by}")
            weights = same_again(evaluator.open(images, setting_of(study)), record).weights
    except (ConfigError, EvaluationError) as error:
        if weights is None and isinstance(error, ConfigError):
            raise _needing_data(error) from error
        kept = find_sample(folder)
        if weights is None or kept is None or data is not None:
            raise
        notify(_without_data(error))
        sample = kept
    trained = _trained(record, evaluator, sample)
    with naming_kept_file(folder.file(digest)):
        check_weights(lower(trained), weights)
    if count := count_flushed(lower(trained), weights):
        notify(
            f"in every file, {counted(count, 'weight')} closer to 0 than {LEAST_WEIGHT:g} became 0"
        )
    normalise = Normalise(sample.mean, sample.deviation)
    winner = TrainedNetwork.of(
        record.architecture, trained, weights, normalise, sample, validation
    )
    return winner, sample


@contextmanager
def naming_kept_file(file: Path) -> Iterator[None]:
    """Name the file of weights that were kept, and the remedy, if they are not the network's.

    Raises:
        EvaluationError: They are those of another network.
    """
    try:
        yield
    except ConfigError as error:
        raise EvaluationError(
            f"{file} has the weights of another network ({error}); delete it, and the network "
            "is trained again"
        ) from error


def _trained(record: Record, evaluator: EvaluatorChoice, sample: DataSample) -> Architecture:
    """Return the form that was trained."""
    classes = len(sample.class_names)
    return trained_form(
        record.architecture, evaluator.recipe, sample.resolution, sample.channels, classes
    )


def _needing_data(error: ConfigError) -> ConfigError:
    """Return the error with the reason for which the data are needed."""
    why = "the weights of this network were not kept, and training it again needs the same images"
    return ConfigError(error.field, error.value, f"{error.sentence}; {why}")


def _without_data(error: NasError) -> str:
    """Say why the kept weights are exported without the data of the study."""
    why = f"cannot be opened ({error})"
    if isinstance(error, ConfigError):
        why = f"cannot be opened ({error.value} {error.sentence})"
    if isinstance(error, ChangedData):
        why = f"have changed since, and are {error.value} now"
    return (
        f"the data of the study {why}; the kept weights are exported, with class names, mean and "
        "deviation as kept by the search"
    )


def _latencies(
    db: Database,
    identity: Identity,
    record: Record,
    winner: TrainedNetwork,
    files: dict[str, bytes],
    notify: Callable[[str], None],
) -> Sequence[FileLatency]:
    """Time or price the files on each target of the study."""
    store, rows = MeasurementStore(db), list[FileLatency]()
    try:
        book = TargetBook.of_study(identity)
        for name in record.latencies:
            notify(f"timing the files on {name}")
            target = book.open(name, store=store, notify=notify)
            try:
                rows += latencies_of(target, winner, files)
            finally:
                target.close()
    except DeviceError as error:
        raise DeviceError(f"{error}; the files can be exported without being timed") from error
    except ConfigError as error:  # a device that was removed since
        allowed = f"{error.sentence}, or not be timed"
        raise ConfigError("target of the study", error.value, allowed) from error
    return rows


def setting_of(study: optuna.Study) -> Setting:
    """Return the setting of the study's trainings, as another one would round differently."""
    identity = study.user_attrs[IDENTITY]
    device = identity.get("train_on", "cpu")
    return Setting(identity["seed"], study.user_attrs.get(THREADS) or former_threads(), device)


def same_again(training: Trainer, record: Record) -> Trained:
    """Train a network of a study again.

    Raises:
        EvaluationError: The figure is not that of the study.
    """
    trained = training.train(record.architecture)
    was, now = record.evaluation.figure, trained.evaluation.figure
    if was != now:
        raise EvaluationError(
            f"the weights were not kept, and training again gives {now.describe()}, not "
            f"{was.describe()}: "
            f"was it trained on another machine ({describe_place(record.evaluation.device)})?"
        )
    return trained
