"""Amends the answers of the dashboard's server about a study.

The server of optuna-dashboard 0.21 reads constraints from the list that Optuna wrote before 5.0,
and includes trials beyond a limit in the front. Writing that list in addition to Optuna's own
constraints would double them for the samplers. Therefore nothing is written. The server's answer
is amended on its way to the browser, from Optuna's constraints and our records.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas_sv2.studies.dashboard.artifacts import artifact_id, artifacts_of
from nas_sv2.studies.dashboard.front_figure import front_figure
from nas_sv2.studies.dashboard.trial_note import study_note, trial_note, turned_away_note
from nas_sv2.studies.findings.attributes import DUPLICATE, IDENTITY, KEY
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.front import Entry, compare_all
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.runs import runs_of

Answer = dict[str, Any]
"""JSON of the dashboard's server."""
FIGURE = "nas-sv2-front"


@dataclass(frozen=True)
class StudyView:
    """The data that the dashboard shows of one study.

    Attributes:
        study: Study as Optuna reads it.
        storage: Address of the database, without a password.
        records: Records of the trials; empty for a study of another program.
        certificate: Certificate of its recipe and data, if there is one.
    """

    study: optuna.Study
    storage: str
    records: Mapping[int, Record] = field(default_factory=dict)
    certificate: Certificate | None = None

    def amend(self, answer: Answer, after: int = 0) -> Answer:
        """Correct and complete the server's answer about the study.

        Args:
            answer: Answer with all trials.
            after: Number of trials that the browser already has.
        """
        trials = {trial.number: trial for trial in self.study.get_trials(deepcopy=False)}
        places = compare_all(self.records)
        entries = {entry.number: entry for entry in places}
        best = self._best(trials.values(), entries)
        for shown in answer["trials"]:
            number = shown["number"]
            if number in trials and (number >= after or number in best):  # others are not sent
                self._amend_trial(shown, trials[number], entries)
        complete = (each for each in answer["trials"] if each["state"] == "Complete")
        answer["best_trials"] = [each for each in complete if each["number"] in best]
        answer["trials"] = answer["trials"][after:]
        if self.key is not None and not answer["note"]["body"]:
            answer["note"]["body"] = self._note()
        if self.records:
            figure = front_figure(places, self.study.metric_names or [])
            drawn = {"id": FIGURE, "graph_object": json.dumps(figure)}
            answer["plotly_graph_objects"].append(drawn)
        return answer

    @property
    def key(self) -> str | None:
        """Key of the study's records; None for a study of another program."""
        key: str | None = self.study.user_attrs.get(IDENTITY, {}).get(KEY)
        return key

    def file(self, trial_number: int, wanted: str) -> tuple[str, bytes] | None:
        """Return type and content of a trial's file by its id; None if it is not one of ours."""
        record = self.records.get(trial_number)
        if record is None or self.key is None:
            return None
        for artifact in artifacts_of(record):
            if artifact_id(self.key, record.architecture.digest, artifact.name) == wanted:
                return artifact.mimetype, artifact.content()
        return None

    def _best(self, trials: Collection[FrozenTrial], entries: Mapping[int, Entry]) -> set[int]:
        """Return the trials on the front, by the records or else by Optuna's rule."""
        if self.records:
            return {number for number, entry in entries.items() if entry.on_front}
        if not any(trial.state == TrialState.COMPLETE for trial in trials):
            return set()
        if len(self.study.directions) > 1:
            return {trial.number for trial in self.study.best_trials}
        try:
            return {self.study.best_trial.number}
        except ValueError:  # no trial keeps the constraints
            return set()

    def _amend_trial(
        self, shown: Answer, trial: FrozenTrial, entries: Mapping[int, Entry]
    ) -> None:
        shown["constraints"] = list(trial.constraints.values())
        # A trial that repeats a known network shows the results of the first one.
        source = trial.user_attrs.get(DUPLICATE, trial.number)
        if source in self.records and shown["state"] == "Complete":
            record = self.records[source]
            shown["constraints"] = list(record.excesses.values())
            shown["values"] = list(record.objectives)  # a prediction may have been measured since
        entry = entries.get(trial.number)
        if entry is not None and self.key is not None and shown["state"] == "Complete":
            shown["artifacts"] += self._files(self.key, entry.record, shown["artifacts"])
        if not shown["note"]["body"]:
            shown["note"]["body"] = self._trial_note(trial, entry)

    def _trial_note(self, trial: FrozenTrial, entry: Entry | None) -> str:
        if entry is None:
            return turned_away_note(trial.user_attrs, trial.constraints)
        return trial_note(self.study.study_name, self.storage, entry, self.certificate)

    def _note(self) -> str:
        runs = runs_of(self.study)
        return study_note(
            self.study.study_name,
            self.storage,
            self.study.user_attrs[IDENTITY],
            len(self.records),
            self.certificate,
            runs[-1].command if runs else None,
        )

    @staticmethod
    def _files(key: str, record: Record, known: Sequence[Answer]) -> list[Answer]:
        """Return the files of a record that the dashboard does not list yet, in its format."""
        listed = {each["artifact_id"] for each in known}
        files = []
        for artifact in artifacts_of(record):
            identifier = artifact_id(key, record.architecture.digest, artifact.name)
            if identifier not in listed:
                files.append(
                    {
                        "artifact_id": identifier,
                        "filename": artifact.name,
                        "mimetype": artifact.mimetype,
                        "encoding": None,
                    }
                )
        return files
