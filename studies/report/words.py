"""The sentences of a report, shared by the page and the Markdown."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas_sv2.counts import counted
from nas_sv2.evaluate.recipes.scores import SHARES, facts_of, in_unit_of_labels
from nas_sv2.latency.targets.book import MODULES
from nas_sv2.space.graph.peak_memory import memory_in_words
from nas_sv2.studies.estimates.study_estimates import SURE
from nas_sv2.studies.findings.attributes import REPLAY_OF
from nas_sv2.studies.findings.audit import ALL
from nas_sv2.studies.findings.certificate import Certificate
from nas_sv2.studies.findings.fused_estimate import chance_in_words
from nas_sv2.studies.findings.pairwise import (
    Difference,
    accuracy_interval,
    compare_latencies,
    compare_scores,
)
from nas_sv2.studies.findings.rank_agreement import BESIDE
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.pages.markdown import capital
from nas_sv2.studies.report.facts import FEWEST
from nas_sv2.studies.report.network_card import name_of
from nas_sv2.studies.storage.facts import StudyFacts
from nas_sv2.studies.storage.runs import command_of, study_command
from nas_sv2.studies.storage.study import limits_of


@dataclass(frozen=True, slots=True)
class Against:
    """A network of the front beside a hand-designed one.

    Attributes:
        role: The reason for the comparison, such as "the most accurate".
        name: The name of the network of the front, with its trial.
        score_gain: The difference of the scores, in words.
        better: The difference of the scores, and whether it is certain.
        faster: The difference of the latencies, by target.
    """

    role: str
    name: str
    score_gain: str
    better: Difference
    faster: Mapping[str, Difference]


def rivals_of(facts: StudyFacts) -> dict[str, list[Against]]:
    """Compare each hand-designed network with the best and a fast network of the front.

    The fast network is the fastest on the first target whose score is not below that of the
    hand-designed one.
    """
    if facts.best is None:
        return {}
    found = {}
    for number, rival in facts.baselines.items():
        ranked = [facts.best, *(entry.number for entry in facts.front.members)]
        least = _believed(facts, number)
        equal = [n for n in ranked if _believed(facts, n) >= least and n != number]
        fastest = min(equal, key=lambda n: facts.records[n].objectives[1], default=None)
        roles = {facts.best: best_is(rival)} if facts.best != number else {}
        if fastest is not None:
            said = [roles.get(fastest), "the fastest that is no worse"]
            roles[fastest] = " and ".join(filter(None, said))
        if roles:
            found[name_of(rival)] = [_against(facts, n, role, number) for n, role in roles.items()]
    return found


def _against(facts: StudyFacts, number: int, role: str, against: int) -> Against:
    ours, rival = facts.records[number], facts.records[against]
    compared = _as_confirmed(facts, number, rival, _compared(facts, number, against))
    times = {
        target: compare_latencies(latency, rival.latencies[target])
        for target, latency in ours.latencies.items()
    }
    name = f"{name_of(ours)} (trial {number})"
    return Against(role, name, _gain(facts, compared.gain), compared, times)


def _compared(facts: StudyFacts, number: int, against: int) -> Difference:
    """Compare two candidates by their estimates, or else by their trainings."""
    if facts.estimates is None:
        ours, rival = facts.records[number], facts.records[against]
        return compare_scores(ours, rival, facts.certificate, len(facts.records))
    chance = facts.estimates.chance_better(number, against)
    gain = _believed(facts, number) - _believed(facts, against)
    shown = chance_in_words(chance)
    why = f"better in a longer training with a chance of {shown}, by the fused estimates"
    if 1 - SURE < chance < SURE:
        return Difference(gain, "tie", why, "a tie")
    return Difference(gain, "sure", why, "sure")


def _as_confirmed(
    facts: StudyFacts, number: int, rival: Record, compared: Difference
) -> Difference:
    """Return a difference that is not sure if the newest longer trainings did not confirm it."""
    verdicts = {
        found.trial: (found.score.verdict, each.recipe)
        for each in facts.confirmations  # the newest last
        for found in each.findings
        if (found.against or each.against) == rival.baseline
    }
    wanted = "better" if compared.gain > 0 else "worse"
    verdict, recipe = verdicts.get(number, (wanted, ""))
    if compared.sure != "sure" or verdict == wanted:
        return compared
    why = f"{compared.why}; trainings by {recipe} did not confirm it"
    return Difference(compared.gain, "tie", why, "not confirmed")


def best_is(record: Record) -> str:
    """Return the description of the best network of a front that is scored as `record` is."""
    by = record.evaluation.scored_by
    return "the most accurate" if by == "accuracy" else f"the best by {facts_of(by).name}"


def _believed(facts: StudyFacts, number: int) -> float:
    if facts.estimates is None:
        return facts.records[number].evaluation.score
    return facts.estimates.by_trial[number].mean


def _gain(facts: StudyFacts, gain: float) -> str:
    if facts.compared_by in SHARES:
        return f"{gain * 100:+.1f} points {facts_of(facts.compared_by).name}"
    compared = facts_of(facts.compared_by)
    if compared.unit == "label":
        return (
            f"{compared.name} {in_unit_of_labels(abs(gain))} {'lower' if gain >= 0 else 'higher'}"
        )
    return f"{compared.objective} {gain:+.3f}"


def speed(gain: float) -> str:
    """Describe the share of time that a network saves as its speed."""
    return f"{1 / (1 - gain):.2f} times as fast"


def question_of(facts: StudyFacts) -> list[tuple[str, str]]:
    """Return the settings of the search by name."""
    identity = facts.identity
    targets = ", ".join(f"{name} ({kind})" for name, kind in identity["targets"].items())
    return [
        ("targets", targets + _PREDICTED.get(identity.get("latency", ""), "")),
        ("budget", budget_words(identity.get("budget", {}))),
        ("space", str(identity.get("space", "not stored"))),
        ("networks", facts.describe_forms()),
        *_how_trained(facts),
        ("pruned by", _guidelines(identity.get("guidelines", {}))),
        ("certificate", "none" if facts.certificate is None else facts.certificate.describe()),
    ]


def _how_trained(facts: StudyFacts) -> list[tuple[str, str]]:
    """Describe data and recipe by the first record, or by the identity before it."""
    if not facts.records:
        identity = facts.identity
        recipe = f"{identity.get('recipe', 'not stored')}, seed {identity.get('seed', 0)}"
        return [("data", str(identity.get("data_content", "not stored"))), ("recipe", recipe)]
    evaluation = next(iter(facts.records.values())).evaluation
    return [
        ("data", f"{evaluation.data}, {evaluation.val_images:,} images to validate"),
        ("recipe", f"{evaluation.recipe}, seed {evaluation.seed}" + _seeds(evaluation.scores)),
        *([("accuracy", of_int8)] if (of_int8 := evaluation.describe_form()) else []),
    ]


_PREDICTED = {
    "auto": "; predicted first, measured where that could decide",
    "predicted": "; predicted, and measured on the front",
}


def _seeds(scores: tuple[float, ...]) -> str:
    return f", means of {len(scores)} trainings" if len(scores) > 1 else ""


def budget_words(budget: Mapping[str, Any]) -> str:
    """Describe a stored budget in the user's units."""
    parts = []
    if budget.get("flops"):
        tolerance = budget.get("tolerance", 0.0)
        parts.append(f"{budget['flops'] / 1e6:g} M multiply-adds + {tolerance:.0%}")
    if budget.get("params"):
        parts.append(f"{budget['params'] / 1e6:g} M params")
    if budget.get("memory_bytes"):
        runtimes = " and ".join(budget["runtimes"])
        parts.append(f"{memory_in_words(budget['memory_bytes'])} of memory in {runtimes}")
    parts += [f"{ms:g} ms on {name}" for name, ms in budget.get("latency_ms", {}).items()]
    return ", ".join(parts) or "none"


def _guidelines(guidelines: Mapping[str, Any]) -> str:
    if not guidelines:
        return "no guideline"
    if "measured" in guidelines:
        return "measured guideline profiles of " + ", ".join(guidelines["measured"])
    return "the paper's: " + ", ".join(f"{k} ≤ {limit:.3g}" for k, limit in guidelines.items())


def accuracy_doubt(facts: StudyFacts, record: Record) -> str:
    """Describe the uncertainty of an accuracy, or of the figure in its place."""
    evaluation = record.evaluation
    images = f"{evaluation.val_images:,} images"
    if evaluation.accuracy is not None:
        low, high = accuracy_interval(evaluation.accuracy, evaluation.val_images)
        images += f" alone leave {low:.1%} to {high:.1%}"
    if uneven := evaluation.describe_majority():
        images += f"; {uneven}"
    forms = facts.timed_and_trained
    if forms is not None and (of := forms.describe_proxy(facts.figure)):
        images += f"; {of}"
    certificate = facts.certificate
    if certificate is None or certificate.noise is None:
        return f"noise of the seed not known; {images}"
    of = "it" if certificate.scored_by == "accuracy" else facts_of(certificate.scored_by).name
    noise = certificate.in_words(certificate.noise)
    return f"standard deviation of {of} between seeds {noise}, {BESIDE}; {images}"


def trust_of(facts: StudyFacts) -> str:
    """Summarise in one line how far the accuracies can be trusted."""
    if facts.certificate is None:
        return (
            "The recipe is not certified: how well it ranks networks is not known. Take these "
            f"networks for candidates{_confirmed(facts)}."
        )
    ties = len(facts.ties)
    pairs = "no two neighbours" if not ties else f"{counted(ties, 'pair')} of neighbours"
    least = facts.certificate.smallest_difference
    if least is None:
        return "The recipe is certified with one seed only: how large its noise is is not known."
    shown = f"gaps under {facts.certificate.in_words(least)} are ties; "
    if facts.estimates is not None:
        shown = ""
    return f"The recipe is certified: {shown}{pairs} on the front are tied."


def _confirmed(facts: StudyFacts) -> str:
    """Return the candidates with longer trainings, or the advice to train some longer."""
    trials = sorted({each.trial for one in facts.confirmations for each in one.findings})
    if not trials:
        return ", and confirm them by a longer training"
    named = f"trial{'s' * (len(trials) > 1)} {', '.join(map(str, trials))}"
    return f"; see Confirmation for longer trainings of {named}"


def _qualify_command(facts: StudyFacts, recipe: str) -> str:
    """Return the command that certifies the recipe, with files as the last search named them."""
    last, asked = facts.runs[-1:], ("evaluator", "recipe", "data", "space")
    typed = {name: run.typed(f"--{name}") for run in last for name in asked}
    words = {"recipe": recipe, "data": facts.identity.get("data", "DATA")}
    words |= {name: value for name, value in typed.items() if value is not None}
    del words["recipe" if words.setdefault("evaluator", "recipe") != "recipe" else "evaluator"]
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    return shlex.join(["nas-sv2", "recipe", "qualify", *options, "--storage", facts.storage])


def certificate_lines(facts: StudyFacts) -> list[str]:
    """Describe the certificate and its consequences for the front."""
    certificate = facts.certificate
    if certificate is None:
        evaluation = next(iter(facts.records.values())).evaluation
        how = f"To make a certificate: {_qualify_command(facts, evaluation.recipe)}"
        return [
            f"Not certified: nobody has tried how well recipe {evaluation.recipe} ranks networks "
            f"on {evaluation.data}. Any two scores of this report may differ by the seed "
            "alone, and every one of them is of a short training.",
            *([] if evaluation.is_detector else [how]),  # refused
        ]
    lines = [
        f"Recipe {certificate.recipe} is {certificate.describe()}.",
        _against_flops(certificate),
    ]
    if certificate.space_digest != facts.identity.get("space_digest"):
        lines.append(f"The certificate is of space {certificate.space}, not of this study's.")
    if certificate.noise is not None:
        lines.append(
            f"One training's score varies by {certificate.in_words(certificate.noise)} between "
            f"seeds (standard deviation, {BESIDE}): the error bars of the front."
        )
    if facts.ties:
        pairs = ", ".join(f"{worse} and {best}" for worse, best in facts.ties)
        lines.append(f"Ties on the front, which a training more could turn round: trials {pairs}.")
    return lines


def _against_flops(certificate: Certificate) -> str:
    """Compare the recipe with counting multiply-adds, if possible on networks of equal counts."""
    found = certificate.lead_over(certificate.matched or certificate.joint, "flops")
    among = "Among networks of equal multiply-adds its" if certificate.matched else "Its"
    verdict = (
        "it ranks better than counting them does"
        if found.above_zero
        else "that it ranks better than counting them is not shown"
    )
    return f"{among} τ minus that of multiply-adds: {found}; {verdict}."


def bars_are(facts: StudyFacts) -> str:
    """Explain the error bars of the front, and its scores."""
    sideways = "Sideways: the 95 % interval of the latency, where it was run. "
    if all(v.ci_ms is None for r in facts.records.values() for v in r.latencies.values()):
        sideways = "No interval sideways: an emulated latency has none. "
    if facts.estimates is not None:
        said = facts.estimates.describe()
        return f"{sideways}Upright: the 90 % interval. {capital(said)}."
    noise = facts.certificate.noise if facts.certificate is not None else None
    if noise is not None:
        said = f"Upright: one standard deviation between seeds, {BESIDE}; of the certificate."
        return sideways + said
    several = any(r.evaluation.spread is not None for r in facts.records.values())
    if several:
        return sideways + "Upright: standard error of the mean of a candidate's own seeds."
    return sideways + "No bars upright: how much the seed alone changes is not known."


def turned_away(facts: StudyFacts) -> list[tuple[str, str, str, str, str]]:
    """Return a row for each limit: candidates rejected, audited, on the front, and the bound."""
    rows = []
    audits = {each.guideline: each for each in facts.pruned}
    for name in dict.fromkeys([*audits, *facts.rejected]):
        if name in audits:
            each = audits[name]
            shown = name if name == ALL else f"guideline {name}"
            cells = (str(each.pruned), str(each.audited), str(each.entered), each.most_in_words)
            rows.append((shown, *cells))
        else:
            rows.append((f"budget {name}", str(facts.rejected[name]), "–", "–", "–"))
    return rows


def stops_words(facts: StudyFacts) -> str:
    """Describe the effects of the stop rule."""
    if facts.stops is None:
        return "No training was stopped early."
    return f"Stop rule: {facts.stops.describe()}."


def too_few(facts: StudyFacts) -> str:
    """Explain why no importance is shown."""
    return (
        f"From fewer than {FEWEST} trainings that ran to their end nothing can be said about "
        "which parameters mattered; this study has "
        f"{sum(r.evaluation.stopped is None for r in facts.records.values())}."
    )


def duration(seconds: float) -> tuple[str, str]:
    """Return a duration as number and unit."""
    if seconds < 99.5:
        return f"{seconds:.0f}" if seconds >= 9.5 else f"{seconds:.1f}", "s"
    if seconds < 99.5 * 60:
        minutes = seconds / 60
        return f"{minutes:.0f}" if minutes >= 9.95 else f"{minutes:.1f}", "min"
    return f"{seconds / 3600:.1f}", "h"


def spent(facts: StudyFacts) -> list[tuple[str, str, str]]:
    """Return the time spent on each activity: number, unit and activity."""
    times = facts.times
    rows = [
        (times.trials_s, "of trials in all"),
        (times.training_s, "of them training and validating"),
        (times.timing_s, "of them asking the sampler, latency and the rest"),
        (times.other_s, "of them candidates turned away"),
    ]
    if facts.stops is not None and facts.stops.saved_s:
        rows.append((facts.stops.saved_s, "of training saved by the stop rule"))
    return [(*duration(seconds), said) for seconds, said in rows]


def time_lines(facts: StudyFacts) -> list[str]:
    """Return further facts about the time, one a line."""
    times = facts.times
    counts = [
        f"{len(times.of(verdict))} {verdict}"
        for verdict in ("finished", "rejected", "duplicate", "failed", "interrupted")
        if times.of(verdict)
    ]
    lines = [f"{counted(len(times.steps), 'trial')}: {', '.join(counts)}."]
    if known := sum(step.known for step in times.steps):
        lines.append(
            f"An earlier study answered {counted(known, 'training')}, which cost no time here."
        )
    if times.steps:
        wall, unit = duration(times.wall_s)
        first = times.steps[0].began
        lines.append(
            f"First trial {first:%Y-%m-%d %H:%M:%S} UTC; from there to the last {wall} {unit}, "
            f"{' '.join(duration(times.work_s))} of them with a trial running."
        )
    return lines


def commands_of(facts: StudyFacts) -> list[str]:
    """Return the commands that repeat the study, each once, the last run last."""
    commands = [run.command for run in facts.runs]
    if REPLAY_OF in facts.identity:
        commands.insert(0, _replay_command(facts))
    return list(dict.fromkeys(commands)) or [command_of(_request(facts))]


def _replay_command(facts: StudyFacts) -> str:
    """Return the command that replayed another study as this one."""
    limits = facts.identity["budget"]["latency_ms"]
    words = ["--target", *_words_of_targets(facts)]
    words += [word for name, ms in limits.items() for word in ("--budget", f"{name}={ms:.12g}ms")]
    words += ["--study", facts.study, "--storage", facts.storage]
    return study_command("study replay", facts.identity[REPLAY_OF]["study"], *words)


def _words_of_targets(facts: StudyFacts) -> list[str]:
    """Return the words that name the targets of a study: of a plug-in, its `module:attribute`."""
    modules: Mapping[str, str] = facts.identity.get(MODULES, {})
    return [modules.get(name, name) for name in facts.targets]


def repeat_lines(facts: StudyFacts) -> list[str]:
    """Explain the commands, if they need it."""
    if REPLAY_OF in facts.identity:
        first = facts.identity[REPLAY_OF]["study"]
        return [
            f"The networks and their accuracies are those of study {first}; latencies were taken "
            "anew, nothing was trained."
        ]
    if facts.runs:
        return []
    return [
        "This study is from before searches noted how they were started. The command is put "
        "together from what the study depends on; its sampler, its number of trials, its audit "
        "and its stop rule are not known."
    ]


def _request(facts: StudyFacts) -> dict[str, Any]:
    identity = facts.identity
    budget = identity.get("budget", {})
    guidelines = identity.get("guidelines")
    choice = "off" if not guidelines else "measured" if "measured" in guidelines else "paper"
    return {
        "targets": ",".join(_words_of_targets(facts)),
        "budgets": limits_of(budget),
        **{name: identity.get(name) for name in ("space", "data", "recipe", "seed", "latency")},
        "tolerance": budget.get("tolerance"),
        "guidelines": choice,
        "skip_unreadable": identity.get("skip_unreadable", False),
        "train_on": identity.get("train_on"),
        "study": facts.study,
        "storage": facts.storage,
    }


def identity_of(facts: StudyFacts) -> list[tuple[str, str]]:
    """Return the digests and seeds that a repetition must share."""
    identity = facts.identity
    names = {
        "space_digest": "space",
        "recipe_digest": "recipe",
        "data_content": "data",
        "seed": "seed",
    }
    return [(shown, str(identity[key])) for key, shown in names.items() if key in identity]


def front_lines(facts: StudyFacts) -> list[str]:
    """Explain the table of the front, its marks, and the error bars of its picture."""
    cells = "".join(cell for row in facts.front.rows for cell in row.cells)
    marks = {
        "?": "predicted, not measured",
        "*": "other programs held the processor while it was measured",
    }
    lines = [f"{mark} {said}." for mark, said in marks.items() if mark in cells]
    if beyond := facts.front.describe_beyond():
        lines.append(f"{beyond[0].upper()}{beyond[1:]}.")
    return [*lines, bars_are(facts)]


def three(ms: float) -> str:
    """Format a time in ms with three significant digits, at most to the µs."""
    if ms >= 100:
        return f"{ms:.0f}"
    return f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}" if ms >= 0.1 else f"{ms:.3f}"
