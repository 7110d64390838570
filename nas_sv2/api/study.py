"""A study that can be held: what was found, and everything that can be done with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nas_sv2.api.arguments import Notify, Progress, checked, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.catalog import Deleted, StudySummary, list_studies
from nas_sv2.studies.storage.facts import StudyFacts as StudyFacts
from nas_sv2.studies.storage.facts import read_study
from nas_sv2.studies.storage.leftovers import find_leftovers as find_leftovers
from nas_sv2.studies.storage.leftovers import remove_leftovers as remove_leftovers
from nas_sv2.studies.storage.repair import find_damage as find_damage
from nas_sv2.studies.storage.repair import repair as repair
from nas_sv2.studies.storage.runs import study_command as study_command

if TYPE_CHECKING:
    from nas_sv2.latency.targets.user_target import LatencySource
    from nas_sv2.search.replay import Replayed
    from nas_sv2.search.walk.budget import Budget
    from nas_sv2.studies.dashboard.server import Served
    from nas_sv2.studies.findings.confirmation import Confirmation
    from nas_sv2.studies.package.build import Exported
    from nas_sv2.studies.package.detector_export import ExportedDetector


@dataclass(frozen=True)
class Study:
    """A study of a database; what it gives is read when it is asked for.

    Attributes:
        name: Its name.
        db: Its database.
    """

    name: str
    db: Database

    @property
    def facts(self) -> StudyFacts:
        """Everything that is known of it, as it is now.

        Raises:
            StoreError: The database cannot be read.
        """
        return read_study(self.db, self.name)

    @property
    def front(self) -> Front:
        """The front and the baselines: a table to print or to show in a notebook."""
        return self.facts.front

    @property
    def records(self) -> Mapping[int, Record]:
        """The records of the finished trials, by trial."""
        return self.facts.records

    @property
    def best(self) -> Record:
        """The candidate of the front with the highest expected score.

        Raises:
            ConfigError: No candidate keeps every limit yet.
        """
        return self.front.best.record

    @checked
    def export(
        self,
        network: Record | int | str,
        folder: Path | str,
        *,
        time: bool = True,
        int8: bool = True,
        opset: int = 13,
        forms: Sequence[str] | None = None,
        force: bool = False,
        supernet: Path | None = None,
        data: str | None = None,
        notify: Notify | None = None,
    ) -> "Exported | ExportedDetector":
        """Write a network to ship: weights, ONNX in float32 and int8, plain torch, a card.

        A study of detectors gives the whole detector, as ONNX in float32.

        Args:
            network: A record of the study, the number of a trial, or "best".
            folder: The folder to write.
            time: Time the files on the study's targets.
            int8: Write the forms in int8 too.
            opset: Version of ONNX's operators in the models, 13 to 17.
            forms: Formats of the models, of `onnx`, `tflite` and `ncnn`. If left out, ONNX and
                those that the runtimes of the study's targets read.
            force: Overwrite an earlier export.
            supernet: The place of the study's supernet, if it was moved.
            data: The place of the study's data, if they were moved.
            notify: Is called with a line before each step that takes long.

        Raises:
            ConfigError: No such trial, or the folder, the data or the supernet do not fit.
            NasError: A target, a training or a form failed.
        """
        if self.facts.detector is not None:
            _check_of_detector(opset, forms, supernet)
            from nas_sv2.studies.package.detector_export import export_detector_trial

            return export_detector_trial(
                self.db,
                self.name,
                self._trial(network),
                Path(folder),
                force=force,
                time=time,
                data=data,
                notify=notify or ignore,
            )
        from nas_sv2.studies.package.build import export_trial

        return export_trial(
            self.db,
            self.name,
            self._trial(network),
            Path(folder),
            force=force,
            latency=time,
            int8=int8,
            opset=opset,
            formats=forms,
            supernet=supernet,
            data=data,
            notify=notify or ignore,
        )

    @checked
    def report(
        self,
        path: Path | str = "report.html",
        *,
        form: Literal["html", "md"] | None = None,
        operators: bool = False,
        notify: Notify | None = None,
    ) -> list[Path]:
        """Write the study as one page; the files that were written.

        Args:
            path: The file to write.
            form: `html`, or `md` with a picture beside it; as the path ends if left out.
            operators: Time the operators of the front on measured targets now.
            notify: Is called with a line before each step that takes long.

        Raises:
            ConfigError: The path cannot be written.
            StoreError: The database cannot be read.
        """
        from nas_sv2.studies.report.write import write_report

        return write_report(self.db, self.name, Path(path), form, operators, notify or ignore)

    @checked
    def confirm(
        self,
        recipe: str,
        *,
        trials: Sequence[int | str] = ("best",),
        seeds: int = 3,
        workers: int | None = None,
        fresh: bool = False,
        data: str | None = None,
        margin: float | None = None,
        family: int = 5,
        vs_study: str | None = None,
        notify: Notify | None = None,
        progress: Progress | None = None,
    ) -> "Confirmation":
        """Retrain finalists and baselines for longer and test whether the finalists are better.

        They are compared by the score of the study, on the test images.

        Args:
            recipe: How to train, longer than in the search.
            trials: Numbers of trials, or `best` alone.
            seeds: Trainings of each network, from 3 to 10,000.
            workers: Trainings at the same time; one for each core if left out.
            fresh: Measure again although a session is stored.
            data: The place of the study's data, if they were moved.
            margin: Loss that counts as none, for "faster at equal score". It is in points of a
                share such as accuracy, otherwise in the unit of the study's score.
            family: Widths of ShuffleNet V2 to compare with as a curve, at least 5; 0 for none.
            vs_study: Another study, whose best network is compared with too, or `STUDY:NUMBER`.
            notify: Is called with a line before each step.
            progress: Is called with the trainings done and all trainings.

        Raises:
            ConfigError: A value is not allowed; nothing is measured or trained.
            NasError: A target or a training failed; the same call resumes.
        """
        from nas_sv2.search.confirm.confirm import ConfirmRequest, confirm

        self.db.require_writable()
        numbers = list(map(str, trials))
        request = ConfirmRequest(
            self.name, recipe, numbers, seeds, workers, fresh, data, margin, family, vs_study
        )
        return confirm(request, self.db, notify or ignore, progress or ignore)

    @checked
    def replay(
        self,
        target: "str | LatencySource",
        *,
        budget: "str | Budget | Sequence[str]" = (),
        name: str | None = None,
        require_measured: bool = False,
        data: str | None = None,
        notify: Notify | None = None,
        progress: Progress | None = None,
    ) -> "Replayed":
        """Measure all networks on another target, without training, and compare.

        Args:
            target: The target to measure on: a name, `module:attribute`, or your object.
            budget: Upper limits of the latency there, as `25ms`, or a `Budget` of them.
            name: The name of the new study; STUDY-on-TARGET if left out.
            require_measured: Refuse a target whose latency is not measured.
            data: The place of the study's data, if they were moved.
            notify: Is called with a line before each step.
            progress: Is called with the networks done and all networks.

        Raises:
            ConfigError: A value is not allowed.
            NasError: The target failed; the same call resumes.
        """
        from nas_sv2.search.replay import ReplayRequest, replay

        self.db.require_writable()
        limits = [budget] if isinstance(budget, str) else budget
        request = ReplayRequest(self.name, target, limits, name, require_measured, data)
        return replay(request, self.db, notify or ignore, progress or ignore)

    def delete(self) -> Deleted:
        """Delete the study: records, leases, weights, attached files, Optuna's trials.

        Measurements and the candidates' trainings stay, because other studies use them. The
        study's confirmations go, with their longer trainings.

        Raises:
            ConfigError: A worker is at the study.
            StoreError: The database cannot be written.
        """
        from nas_sv2.studies.dashboard.artifacts import delete_whole

        return delete_whole(self.db, self.name)

    def _trial(self, network: Record | int | str) -> str:
        """How `export` names the trial of `network`."""
        if not isinstance(network, Record):
            return str(network)
        digest = network.architecture.digest
        for number, record in self.records.items():
            if record.architecture.digest == digest:
                return str(number)
        raise ConfigError("network", digest, f"must be a network of study {self.name}")


def _check_of_detector(opset: int, forms: Sequence[str] | None, supernet: Path | None) -> None:
    """Refuse choices that the export of a detector does not have."""
    only = "must be left out for a detector, which is written as ONNX in float32"
    if opset != 13:
        raise ConfigError("opset", opset, only)
    if forms is not None:
        raise ConfigError("form", ", ".join(forms), only)
    if supernet is not None:
        raise ConfigError("supernet", str(supernet), only)


@checked
def open_study(name: str, *, storage: str | Database = DEFAULT_STORAGE) -> Study:
    """Open an existing study.

    Args:
        name: Its name.
        storage: The URL of its database, or the `db` of a study.

    Raises:
        ConfigError: There is no such database or study.
        StoreError: The database cannot be read.
    """
    from nas_sv2.studies.storage.study import find_study

    db = database_of(storage)
    find_study(db, name)
    return Study(name, db)


@checked
def studies(*, storage: str | Database = DEFAULT_STORAGE) -> list[StudySummary]:
    """List the studies of a database, the oldest first.

    Raises:
        ConfigError: There is no such database.
        StoreError: It cannot be read.
    """
    return list_studies(database_of(storage))


def open_dashboard(
    port: int,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
    *,
    write: bool = False,
    storage: str | Database = DEFAULT_STORAGE,
) -> "Served":
    """Start Optuna's dashboard of a database, so that it accepts connections.

    Args:
        port: Port to listen on; 0 for any free port.
        host: Address to listen on.
        names: Host names that others may use besides its addresses and `host`.
        write: Whether studies can be renamed, annotated and deleted; never by other machines.
        storage: The URL of the database, or the `db` of a study.

    Raises:
        ConfigError: There is no such database, or the address or port cannot be used.
        StoreError: The database cannot be read.
    """
    from nas_sv2.studies.dashboard import server

    return server.open_dashboard(database_of(storage), port, host, names, write=write)
