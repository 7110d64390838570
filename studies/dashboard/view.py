"""The dashboard's view of a study: notes on it and its trials, its front, its limits.

Every number is given with its origin: a latency with provenance and device, an accuracy with
recipe and seed. Names from users and files are escaped.

The server of optuna-dashboard 0.21 reads constraints from the list that Optuna wrote before 5.0,
and includes trials beyond a limit in the front. Writing that list in addition to Optuna's own
constraints would double them for the samplers. Therefore nothing is written. The server's answer
is amended on its way to the browser, from Optuna's constraints and our records.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas_sv2.counts import counted
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.resolution import height_and_width
from nas_sv2.studies.dashboard.artifacts import artifact_id, artifacts_of
from nas_sv2.studies.findings.attributes import DUPLICATE, ERROR, REJECTED
from nas_sv2.studies.findings.certificate import UNCERTIFIED
from nas_sv2.studies.findings.front import Entry, compare_all
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.pages.markdown import capital, code, escaped, table
from nas_sv2.studies.report.charts import axes_of, front_chart
from nas_sv2.studies.storage.confirmation_store import confirmation_lines
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.studies.storage.runs import study_command


def trial_note(facts: StudyFacts, entry: Entry) -> str:
    """Return the note on a candidate that was trained and timed."""
    record = entry.record
    name = record.baseline or record.architecture.digest
    confirmed = confirmation_lines(list(facts.confirmations), record.architecture.digest)
    notes = [f"{target}: {value.note}" for target, value in record.latencies.items() if value.note]
    return _joined(
        [f"**{escaped(name)}**: {escaped(_standing(entry))}"],
        ["### Network"],
        table(("", ""), *_network(record)),
        ["### Latency"],
        table(
            ("on", "ms", "95 % interval", "p95", "provenance", "device"),
            *(_latency(target, value) for target, value in record.latencies.items()),
        ),
        [f"- {escaped(note)}" for note in notes],
        [f"### {capital(facts.figure.noun)}"],
        table(("", ""), *_accuracy(record), *_belief(entry)),
        [] if facts.estimates is None else [f"- {escaped(facts.estimates.describe())}"],
        [f"The recipe is {escaped(_trust(facts))}. Full training gives other scores."],
        ["### Confirmation", "", *(f"- {escaped(line)}" for line in confirmed)]
        if confirmed
        else [],
        _limits(record.excesses),
        ["### Take it"],
        [code(_command("export", facts, "--trial", str(entry.number), "--out", "winner"))],
    )


def turned_away_note(attributes: Mapping[str, object], excesses: Mapping[str, float]) -> str:
    """Return the note on a trial without results of its own; empty if the reason is unknown.

    Args:
        attributes: User attributes of the trial.
        excesses: Excess over each limit, as a share of the limit.
    """
    if DUPLICATE in attributes:
        return f"The network of trial {escaped(attributes[DUPLICATE])}; nothing was run again."
    if ERROR in attributes:
        return f"Failed: {escaped(attributes[ERROR])}"
    if REJECTED in attributes:
        said = f"Turned away before it was trained: {escaped(attributes[REJECTED])}"
        return _joined([said], _limits(excesses))
    return ""


def study_note(facts: StudyFacts) -> str:
    """Return the note on a study: its settings, and the commands to continue it."""
    identity = facts.identity
    targets = identity["targets"].items()
    recipe, seed = identity.get("recipe", "not known"), identity.get("seed", "not known")
    beyond = facts.front.describe_beyond()
    rows = {
        "space": identity.get("space", "not known"),
        "targets": ", ".join(f"{name} ({provenance})" for name, provenance in targets),
        "data": identity.get("data_content", "not known"),
        "recipe": f"{recipe}, seed {seed}; {_trust(facts)}",
        "networks": facts.describe_forms(),
        "finished": f"{counted(len(facts.records), 'candidate')}, baselines among them"
        + (f"; {beyond}" if beyond else ""),
    }
    return _joined(
        ["Best trials keep every limit, and no trial dominates them. Each trial has a note."],
        table(("study", facts.study), *rows.items()),
        ["### The front again, and the search"],
        [code(_command("front", facts))],
        [code(facts.runs[-1].command)] if facts.runs else [],
    )


def _trust(facts: StudyFacts) -> str:
    return UNCERTIFIED if facts.certificate is None else facts.certificate.describe()


def _standing(entry: Entry) -> str:
    """Describe in a few words whether a candidate is on the front, and if not, why."""
    if entry.on_front:
        return "on the front"
    beyond = [name for name, excess in entry.record.excesses.items() if excess > 0]
    return f"beyond {', '.join(beyond)}" if beyond else f"beaten by trial {entry.beaten_by}"


def _network(record: Record) -> Sequence[tuple[object, ...]]:
    cost, architecture = record.cost, record.architecture
    (height, width), of = height_and_width(architecture.resolution), ""
    taken = [("input", f"{architecture.channels} × {height} × {width}")]
    if record.evaluation.is_detector:  # whose input the note of the study says
        taken, of = [], " of the backbone"
    return [
        ("digest", architecture.digest),
        *taken,
        (f"multiply-adds{of}", f"{cost.flops / 1e6:.1f} M"),
        *_of_detector(record),
        (f"params{of}", f"{cost.params / 1e6:.2f} M"),
        (f"memory access{of}", f"{cost.memory_access_bytes / 1e6:.1f} MB (unfused, float32)"),
    ]


def _of_detector(record: Record) -> list[tuple[str, str]]:
    if record.detector_flops is None:
        return []
    return [("multiply-adds of the detector", f"{record.detector_flops / 1e6:.1f} M")]


def _latency(target: str, latency: Latency) -> tuple[object, ...]:
    interval = "–" if latency.ci_ms is None else "{:.3f} to {:.3f}".format(*latency.ci_ms)
    p95 = "–" if latency.p95_ms is None else f"{latency.p95_ms:.3f}"
    return target, f"{latency.ms:.3f}", interval, p95, latency.provenance, latency.device


def _accuracy(record: Record) -> Sequence[tuple[object, ...]]:
    evaluation = record.evaluation
    rows: list[tuple[object, ...]] = [
        (
            evaluation.figure.name,
            f"{evaluation.describe_figure()} of {evaluation.val_images:,} validation images",
        ),
        *(
            []
            if evaluation.is_detector or evaluation.mae is not None
            else [("cross-entropy", f"{evaluation.describe_loss()} nats")]
        ),
        ("recipe", f"{evaluation.recipe}, seed {evaluation.seed}, passes {evaluation.epochs}"),
        ("data", evaluation.data),
    ]
    if evaluation.scored_by != evaluation.figure.by:
        rows.insert(0, ("compared by", evaluation.describe_score()))
    if uneven := evaluation.describe_majority():
        rows.append(("classes", uneven))
    if evaluation.spread is not None:
        rows.append(("seeds", f"{len(evaluation.scores)}, deviation {evaluation.spread:.4g}"))
    if evaluation.stopped:
        rows.append(("stopped", evaluation.stopped))
    return rows


def _belief(entry: Entry) -> Sequence[tuple[object, ...]]:
    """Return rows on the fused estimate; none where the study has no estimates."""
    if entry.estimate is None:
        return []
    on_front, beats = entry.estimate.chances
    return [
        ("expected of a longer training, 90 %", entry.estimate),
        ("chance of being on the front", on_front),
        ("chance of beating a baseline", beats),
    ]


def _limits(excesses: Mapping[str, float]) -> list[str]:
    """Return a table of the limits and the candidate's excesses; nothing without limits."""
    if not excesses:
        return []
    rows = ((name, f"{excess:+.1%}", _verdict(excess)) for name, excess in excesses.items())
    return ["### Limits", "", *table(("", "beyond it", ""), *rows)]


def _verdict(excess: float) -> str:
    return "broken" if excess > 0 else "kept"


def _command(command: str, facts: StudyFacts, *options: str) -> str:
    return study_command(command, facts.study, "--storage", facts.storage, *options)


def _joined(*parts: Sequence[str]) -> str:
    return "\n\n".join("\n".join(part) for part in parts if part)


Answer = dict[str, Any]
"""JSON of the dashboard's server."""
FIGURE = "nas-sv2-front"


def front_figures(facts: StudyFacts) -> list[Answer]:
    """Draw the front as the report does, for each target and for each budget on cost."""
    recipe = next(iter(facts.records.values())).evaluation.recipe
    heading = {
        "title": {"text": escape(f"Front, recipe {recipe}, with 95 % intervals of the latency")},
        "legend": {"orientation": "h", "y": -0.25},
    }
    figures = {axis.key: front_chart(facts, axis) for axis in axes_of(facts)}
    return [
        {
            "id": f"{FIGURE}-{key}",
            "graph_object": json.dumps({**figure, "layout": {**figure["layout"], **heading}}),
        }
        for key, figure in figures.items()
    ]


@dataclass(frozen=True)
class StudyView:
    """The data that the dashboard shows of one study.

    Attributes:
        study: Study as Optuna reads it.
        facts: The facts about it; None for a study of another program.
    """

    study: optuna.Study
    facts: StudyFacts | None

    def amend(self, answer: Answer, after: int = 0) -> Answer:
        """Correct and complete the server's answer about the study.

        Args:
            answer: Answer with all trials.
            after: Number of trials that the browser already has.
        """
        trials = {trial.number: trial for trial in self.study.get_trials(deepcopy=False)}
        places = compare_all(
            self._records, {} if self.facts is None else self.facts.front.estimates
        )
        entries = {entry.number: entry for entry in places}
        best = self._best(trials.values(), entries)
        for shown in answer["trials"]:
            number = shown["number"]
            if number in trials and (number >= after or number in best):  # others are not sent
                self._amend_trial(shown, trials[number], entries)
        complete = (each for each in answer["trials"] if each["state"] == "Complete")
        answer["best_trials"] = [each for each in complete if each["number"] in best]
        answer["trials"] = answer["trials"][after:]
        if self.facts is not None and not answer["note"]["body"]:
            answer["note"]["body"] = study_note(self.facts)
        if self.facts is not None and places:
            answer["plotly_graph_objects"] += front_figures(self.facts)
        return answer

    @property
    def _records(self) -> Mapping[int, Record]:
        return {} if self.facts is None else self.facts.records

    def file(self, trial_number: int, wanted: str) -> tuple[str, bytes] | None:
        """Return type and content of a trial's file by its id; None if it is not one of ours."""
        if self.facts is None or trial_number not in self.facts.records:
            return None
        record = self.facts.records[trial_number]
        for artifact in artifacts_of(record):
            if artifact_id(self.facts.key, record.architecture.digest, artifact.name) == wanted:
                return artifact.mimetype, artifact.content()
        return None

    def _best(self, trials: Collection[FrozenTrial], entries: Mapping[int, Entry]) -> set[int]:
        """Return the trials on the front, by the records or else by Optuna's rule."""
        if self._records:
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
        if source in self._records and shown["state"] == "Complete":
            record = self._records[source]
            shown["constraints"] = list(record.excesses.values())
            shown["values"] = list(record.objectives)  # a prediction may have been measured since
        entry = entries.get(trial.number)
        if entry is not None and self.facts is not None and shown["state"] == "Complete":
            shown["artifacts"] += self._files(self.facts.key, entry.record, shown["artifacts"])
        if not shown["note"]["body"]:
            shown["note"]["body"] = self._trial_note(trial, entry)

    def _trial_note(self, trial: FrozenTrial, entry: Entry | None) -> str:
        if entry is None or self.facts is None:
            return turned_away_note(trial.user_attrs, trial.constraints)
        return trial_note(self.facts, entry)

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
