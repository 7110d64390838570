"""Exports the detector of a trial: from its weights, or from a repeated training.

The folder is that of `network train-detector`. Torch scores the detector again on the validation
images, and the ONNX file is compared with torch on some of them. The file that is written is then
timed on the study's targets, because a search times a detector before its training.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, DeviceError, MeasurementError
from nas_sv2.evaluate.detection.data import open_scenes
from nas_sv2.evaluate.detection.detector import build_detector
from nas_sv2.evaluate.detection.scenes import SceneData
from nas_sv2.evaluate.detection.score import score
from nas_sv2.evaluate.detection.short_training import DetectorTraining
from nas_sv2.evaluate.detection.training import DetectorRun, TrainedDetector
from nas_sv2.evaluate.fitting.determinism import cpu_threads
from nas_sv2.evaluate.fitting.evaluation import Figure
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.space.onnx_models.model import load_model
from nas_sv2.space.runtimes.weights import Weights
from nas_sv2.studies.findings.attributes import IDENTITY
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.package.build import (
    check_same_figure,
    check_trial,
    chosen_trial,
    naming_kept_file,
    same_again,
    setting_of,
)
from nas_sv2.studies.package.detector_package import MODEL, load_weights, write_detector_package
from nas_sv2.studies.package.folder import check_out
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.places import check_content, data_place, evaluator_of
from nas_sv2.studies.storage.study import load_study, study_key
from nas_sv2.studies.storage.weights_folder import WeightsFolder


@dataclass(frozen=True, slots=True)
class TimedFile:
    """The exported file on a target.

    Attributes:
        target: Name of the target.
        searched: Latency of the detector before its training, as the search has it.
        exported: Latency of the trained file.
    """

    target: str
    searched: Latency
    exported: Latency


@dataclass(frozen=True, slots=True)
class ExportedDetector:
    """A detector that was written.

    Attributes:
        number: Number of the trial.
        metrics: Content of `metrics.json`.
        times: The file on each target of the study; empty if it was not timed.
    """

    number: int
    metrics: Mapping[str, Any]
    times: Sequence[TimedFile]


def export_detector_trial(
    db: Database,
    study: str,
    trial: str,
    out: Path,
    *,
    force: bool,
    time: bool,
    data: str | None,
    notify: Callable[[str], None],
) -> ExportedDetector:
    """Write the detector of a trial: ONNX, weights, description and metrics.

    Args:
        db: Database of the study.
        study: Name of the study.
        trial: Number, or `best` for the trial of the front with the highest mmAP.
        out: Folder to write.
        force: Whether to overwrite an earlier export.
        time: Whether to time the file on the study's targets.
        data: Path of the study's data, if they were moved.
        notify: Is called with a line on each slow step.

    Raises:
        ConfigError: There is no such trial, or the folder or the data do not fit.
        DeviceError: A target of the study gives no latency here; the folder is written.
        EvaluationError: The weights do not give the mmAP of the study.
        StoreError: Stored data cannot be read, the ONNX file disagrees with torch, or the folder
            cannot be written.
    """
    check_trial(trial)
    check_out(out, force)
    opened = load_study(db, study)
    number, record = chosen_trial(db, read_study(db, study), trial)
    scenes = _scenes_of(opened, data, notify)
    training = evaluator_of(opened).open(scenes, setting_of(opened))
    assert isinstance(training, DetectorTraining), "the evaluator of a study of detectors"
    folder = WeightsFolder.of_study(db, study_key(opened))
    digest = record.architecture.digest
    weights = folder.find(digest)
    if weights is None:
        notify(f"{folder.why_none(digest)}; training it again")
        weights = same_again(training, record).weights
    run = training.run(record.architecture, out)
    notify("scoring the detector on the validation images")
    name = record.baseline or record.architecture.digest
    with cpu_threads(run.threads):
        with naming_kept_file(folder.file(digest)):
            trained = _scored(run, weights, record)
        metrics = write_detector_package(run, trained, name)
    times = _times(db, opened, record, out, notify) if time else ()
    return ExportedDetector(number, metrics, times)


def _scenes_of(study: optuna.Study, data: str | None, notify: Callable[[str], None]) -> SceneData:
    """Open the data of a study; see `places.data_of` for the errors."""
    where = data_place(study) if data is None else data
    found = open_scenes(where, notify)
    check_content(study, found, data)
    return found


def _scored(run: DetectorRun, weights: Weights, record: Record) -> TrainedDetector:
    """Load the weights into the module and score it; refuse another mmAP than the study's."""
    module = build_detector(run.detector, run.seed)
    load_weights(module, weights)
    module.eval()
    form, evaluation = run.detector, record.evaluation
    found = score(module, run.data.val, form.classes, form.height, form.width)
    now = Figure("box_ap", (found.mmap_percent or 0.0) / 100)
    check_same_figure(evaluation.figure, now, found.images)
    return TrainedDetector(module, (), found, evaluation.seconds, evaluation.device, run.anchors)


def _times(
    db: Database,
    study: optuna.Study,
    record: Record,
    out: Path,
    notify: Callable[[str], None],
) -> list[TimedFile]:
    """Time the exported file on each target of the study."""
    model, store, found = load_model(out / MODEL), MeasurementStore(db), []
    book = TargetBook.of_study(study.user_attrs[IDENTITY])
    for name, searched in record.latencies.items():
        notify(f"timing the file on {name}")
        try:
            with closing(book.open(name, store=store, notify=notify)) as target:
                found.append(TimedFile(name, searched, target.estimate(model)))
        except (ConfigError, DeviceError, MeasurementError) as error:
            raise DeviceError(f"{out} is written, and not timed: {error}") from error
    return found
