"""Draws the front of a study: the expected score against latency, every finished candidate.

python benchmarks/front_picture.py sqlite:///nas-sv2.db STUDY docs/front.png
"""

import sys
from typing import Any

import matplotlib.pyplot as plt

from nas_sv2.database.database import Database
from nas_sv2.studies.report.charts import score_bar, score_of
from nas_sv2.studies.storage.facts import read_study


def main(storage: str, study: str, file: str) -> None:
    """Draw the first target of `study` to `file`."""
    facts = read_study(Database.open(storage), study)
    target, records = facts.targets[0], facts.records
    front = [entry.number for entry in facts.front.members]
    baselines = {number: name for number, one in records.items() if (name := one.baseline)}
    first = records[front[0]]
    latency, evaluation = first.latencies[target], first.evaluation

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    grey: dict[str, Any] = {"fmt": "o", "color": "0.65", "label": "candidates, 90 % interval"}
    blue: dict[str, Any] = {"fmt": "o-", "color": "tab:blue", "label": "front"}
    red: dict[str, Any] = {"fmt": "D", "color": "tab:red", "label": "baselines"}
    for shown, style in ((list(records), grey), (front, blue), (list(baselines), red)):
        axes.errorbar(
            [records[number].latencies[target].ms for number in shown],
            [abs(score_of(facts, number)) for number in shown],
            [score_bar(facts, number) or 0.0 for number in shown],
            drawstyle="steps-post",
            elinewidth=0.8,
            **style,
        )
    for number, name in baselines.items():
        at = (records[number].latencies[target].ms, abs(score_of(facts, number)))
        axes.annotate(name, at, xytext=(8, -4), textcoords="offset points", fontsize=8)
    if facts.compared_by != "accuracy":
        axes.invert_yaxis()
    axes.set_xlabel(f"{target} latency, ms per image ({latency.provenance})")
    axes.set_ylabel(f"expected {facts.compared_by.replace('_', ' ')}, the better the higher")
    axes.set_title(f"nas-sv2 search, study {study}")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.supxlabel(
        f"{latency.device}\n{latency.note or latency.provenance}\n"
        f"recipe {evaluation.recipe} on {evaluation.data.partition('@')[0]}, seed "
        f"{evaluation.seed}, {evaluation.val_images:,} validation images; recipe not certified",
        fontsize=7,
    )
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
