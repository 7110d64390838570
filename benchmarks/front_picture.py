"""Draws a study: the front of its search, and the confirmation of its finalists.

    python benchmarks/front_picture.py sqlite:///flagship.db cifar10 docs/front.png

Left is every finished candidate, by the expected score against the latency. Right is every
network of the newest confirmation, by its test score after a longer training. A dot is a seed.
"""

import sys
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from nas_sv2.database.database import Database
from nas_sv2.studies.findings.confirmation import Confirmation
from nas_sv2.studies.report.charts import score_bar, score_of
from nas_sv2.studies.storage.facts import StudyFacts, read_study


def draw_search(axes: Axes, facts: StudyFacts, target: str) -> None:
    """Draw the candidates of the search and their front."""
    records = facts.records
    front = [entry.number for entry in facts.front.members]
    baselines = {number: name for number, one in records.items() if (name := one.baseline)}
    grey: dict[str, Any] = {"fmt": "o", "color": "0.7", "label": "candidates, 90 % interval"}
    blue: dict[str, Any] = {"fmt": "o-", "color": "tab:blue", "label": "front"}
    red: dict[str, Any] = {"fmt": "D", "color": "tab:red", "label": "baselines"}
    for shown, style in ((list(records), grey), (front, blue), (list(baselines), red)):
        axes.errorbar(
            [records[number].latencies[target].ms for number in shown],
            [abs(score_of(facts, number)) for number in shown],
            [score_bar(facts, number) or 0.0 for number in shown],
            drawstyle="steps-post",
            elinewidth=0.8,
            markersize=4,
            **style,
        )
    for number, name in baselines.items():
        at = (records[number].latencies[target].ms, abs(score_of(facts, number)))
        _label(axes, _short(name), at, "tab:red")
    if facts.compared_by != "accuracy":
        axes.invert_yaxis()
    axes.set_ylabel(f"expected {facts.compared_by.replace('_', ' ')}, the better the higher")
    axes.set_title(f"search: {len(records)} short trainings", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)


def draw_confirmation(axes: Axes, found: Confirmation, target: str) -> None:
    """Draw the networks of a confirmation, each with its seeds and their mean."""
    widths = sorted(
        (network.latencies[target].ms, found.facts.drawn(network.score))
        for network in found.networks
        if network.name in {found.against, *found.family}
    )
    axes.plot(*zip(*widths, strict=True), color="tab:red", linewidth=0.8, alpha=0.6)
    finalists = {finding.digest for finding in found.findings}
    fastest = min(one.latencies[target].ms for one in found.networks if one.digest in finalists)
    for network in found.networks:
        ours = network.digest in finalists
        rival = ":" in network.name
        colour = "tab:blue" if ours else "0.45" if rival else "tab:red"
        ms = network.latencies[target].ms
        seeds = [found.facts.drawn(each) for each in network.scores]
        axes.plot([ms] * len(seeds), seeds, "o", color=colour, alpha=0.4, markersize=4)
        shown = found.facts.drawn(network.score)
        axes.plot(ms, shown, "o" if ours or rival else "D", color=colour)
        said = f"trial {network.trial}" if ours else _short(network.name)
        share = found.facts.unit == "share"
        value = f"{shown:.1f}%" if share else found.facts.value(network.score)
        axes.annotate(
            f"{said}\n{ms:.2f} ms, {value}",
            (ms, shown),
            (-10, 16 if ms > fastest else -10) if ours else (10, 2) if rival else (6, -26),
            textcoords="offset points",
            ha="right" if ours else "left",
            fontsize=8,
            color=colour,
        )
    axes.margins(0.36, 0.2)
    unit = ", %" if found.facts.unit == "share" else ""
    axes.set_ylabel(f"{found.facts.name} of test images{unit}")
    seeds_in_words = f"{len(found.seeds)} seeds, {found.longer:.0f} times as many images"
    axes.set_title(f"confirmation: {seeds_in_words}", fontsize=10)


def _short(name: str) -> str:
    if ":" in name:
        return f"random search, trial {name.rpartition(':')[2]}"
    return name.replace("shufflenet_v2_x", "V2 ").replace("_", ".") + "×"


def _label(axes: Axes, text: str, at: tuple[float, float], colour: str) -> None:
    axes.annotate(text, at, (8, -4), textcoords="offset points", fontsize=8, color=colour)


def main(storage: str, study: str, file: str) -> None:
    """Draw the first target of `study` to `file`."""
    facts = read_study(Database.open(storage), study)
    target = facts.targets[0]
    first = facts.records[facts.front.members[0].number]
    latency, evaluation = first.latencies[target], first.evaluation
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    draw_search(left, facts, target)
    draw_confirmation(right, facts.confirmations[-1], target)
    for axes in (left, right):
        axes.set_xlabel(f"{target} latency, ms per image ({latency.provenance})")
        axes.grid(alpha=0.3)
    figure.supxlabel(
        f"{latency.device}\n{latency.note.partition(';')[0] or latency.provenance}\n"
        f"recipe {evaluation.recipe} on {evaluation.data.partition('@')[0].rpartition('/')[2]}, "
        f"{evaluation.val_images:,} validation images; recipe not certified",
        fontsize=7,
    )
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
