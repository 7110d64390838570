"""Draws the front of a study: accuracy against latency, every finished candidate.

python benchmarks/front_picture.py sqlite:///nas-sv2.db STUDY docs/front.png
"""

import sys
from typing import Any

import matplotlib.pyplot as plt

from nas_sv2.database.database import Database
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.storage.named_networks import records_of


def main(storage: str, study: str, file: str) -> None:
    """Draw the first target of `study` to `file`."""
    records = records_of(Database.open(storage), study)
    entries = Front(records).entries
    front = [entry.record for entry in entries if entry.on_front]
    target, latency = next(iter(front[0].latencies.items()))
    evaluation = front[0].evaluation

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    grey: dict[str, Any] = {"marker": "o", "color": "0.65", "linestyle": ""}
    stairs: dict[str, Any] = {"marker": "o", "color": "tab:blue", "drawstyle": "steps-post"}
    for label, style, shown in (
        ("candidates", grey, list(records.values())),
        ("front", stairs, front),
    ):
        points = [(r.latencies[target].ms, 100 * r.evaluation.accuracy) for r in shown]
        axes.plot(*zip(*points, strict=True), label=label, **style)
    for record in records.values():
        if record.baseline:
            at = (record.latencies[target].ms, 100 * record.evaluation.accuracy)
            axes.plot(*at, marker="D", color="tab:red", linestyle="")
            axes.annotate(record.baseline, at, xytext=(8, -4), textcoords="offset points")
    axes.set_xlabel(f"{target} latency, ms per image ({latency.provenance})")
    axes.set_ylabel("top-1 of a short training, %")
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
