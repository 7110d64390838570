"""From a trial to its package: the record, its weights or the same training again, the files."""

from collections.abc import Callable
from pathlib import Path

from nas_sv2.errors import ConfigError, EvaluationError
from nas_sv2.evaluate.data import open_data
from nas_sv2.evaluate.evaluation import Trained
from nas_sv2.evaluate.recipe_files import recipe_from_document
from nas_sv2.evaluate.training import ProxyTraining
from nas_sv2.studies.card import card_of
from nas_sv2.studies.export import check_out, write_package
from nas_sv2.studies.front import best_of
from nas_sv2.studies.lookup import certificate_for, record_of, records_of
from nas_sv2.studies.record import Record
from nas_sv2.studies.stop_audit import STOP_RULE
from nas_sv2.studies.study import IDENTITY, Identity, load_study, study_key
from nas_sv2.studies.weights_folder import WeightsFolder


def export_trial(
    storage: str,
    study: str,
    trial: str,
    out: Path,
    *,
    force: bool,
    training_again: Callable[[], None],
) -> tuple[int, float]:
    """Write the package of a trial.

    Args:
        storage: Where the study is.
        study: Its name.
        trial: A number, or `best` for the most accurate of the front.
        out: The folder to write.
        force: Write over an earlier export.
        training_again: Called before a training, which is needed where the weights were not kept:
            only those of the front are.

    Returns:
        The number of the trial, and the checked difference between torch and ONNX.

    Raises:
        ConfigError: No such study or trial, or the folder exists.
        EvaluationError: The training cannot be repeated to the same accuracy.
        StoreError: What is stored cannot be read, or the package cannot be written.
    """
    if trial != "best" and not trial.isdecimal():
        raise ConfigError("--trial", trial, "best or a number")
    check_out(out, force)
    opened = load_study(storage, study)
    identity = opened.user_attrs[IDENTITY]
    number = best_of(records_of(storage, study)) if trial == "best" else int(trial)
    record = record_of(storage, study, number)
    if record.excesses.get(STOP_RULE, 0.0) > 0:
        raise ConfigError("--trial", number, "one whose training the stop rule did not end")
    training = _training(identity)
    weights = WeightsFolder.of_study(storage, study_key(opened)).find(record.architecture.digest)
    if weights is None:
        training_again()
        trained = _same_again(training, record)
    else:
        trained = Trained(record.evaluation, training.adapt(record.architecture), weights)
    certificate = certificate_for(storage, {number: record})
    card = card_of(study, number, record, dict(identity), certificate)
    return number, write_package(out, record.architecture, trained, card, force=force)


def _training(identity: Identity) -> ProxyTraining:
    chosen = recipe_from_document(identity["recipe_document"])
    data = open_data(
        identity["data"],
        resolution=chosen.resolution,
        skip_unreadable=identity["skip_unreadable"],
    )
    if (chosen.digest, data.provenance) != (identity["recipe_digest"], identity["data_content"]):
        raise EvaluationError(
            f"recipe {chosen.name} or data {data.name} are not those of the study any more"
        )
    return ProxyTraining(chosen, data, identity["seed"])


def _same_again(training: ProxyTraining, record: Record) -> Trained:
    trained = training.train(record.architecture)
    was, now = record.evaluation.accuracy, trained.evaluation.accuracy
    if was != now:
        raise EvaluationError(
            f"the weights were not kept, and training again gives {now:.2%}, not {was:.2%}: "
            f"was it trained on another machine ({record.evaluation.device})?"
        )
    return trained
