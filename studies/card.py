"""The card of an exported network: what it is, and how far each of its figures can be trusted."""

import platform
from importlib.metadata import version
from typing import Any

from nas_sv2 import __version__
from nas_sv2.latency.measurement import Latency
from nas_sv2.studies.certificate import UNCERTIFIED, Certificate
from nas_sv2.studies.record import Record

PACKAGES = ("torch", "onnx", "onnxruntime", "optuna", "numpy")


def card_of(
    study: str,
    number: int,
    record: Record,
    identity: dict[str, Any],
    certificate: Certificate | None = None,
) -> str:
    """Markdown; `{parity}` is left for the check of the exported files."""
    name = record.baseline or record.architecture.digest
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Trial {number} of study `{study}`"
            + (f", the hand-designed network {record.baseline}." if record.baseline else "."),
            "",
            "## Network",
            "",
            *_table(_network(record)),
            "",
            "## Latency",
            "",
            "| target | ms | 95 % interval of the median | p95 | provenance | on |",
            "| --- | --- | --- | --- | --- | --- |",
            *(_latency(target, value) for target, value in record.latencies.items()),
            "",
            *(f"{value.note}." for value in record.latencies.values() if value.note),
            "",
            "Timed was the network of `timing.onnx`: full size, random weights, shuffles folded "
            "away where there is no residual.",
            "",
            "## Accuracy",
            "",
            *_table(_accuracy(record)),
            "",
            f"The recipe is {UNCERTIFIED if certificate is None else certificate.describe()}. "
            "The figure is no estimate of the accuracy after full training.",
            "",
            "## Limits of the study",
            "",
            *_table({"space": str(identity["space"])}),
            *_table({name: f"{excess:+.1%}" for name, excess in record.excesses.items()})[2:],
            "",
            "Negative is inside a limit.",
            "",
            "## Files",
            "",
            *_FILES,
            "",
            "Largest difference between the logits of torch and of `model.onnx` on random images: "
            "{parity} of the largest logit.",
            "",
            "## Made with",
            "",
            f"nas-sv2 {__version__}, Python {platform.python_version()}, "
            + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
            "",
        ]
    )


_FILES = (
    "- `architecture.yaml`: the network as it was found; `nas-sv2 cost architecture.yaml`",
    "- `trained.yaml`: the form that was trained: input and classes of the data, stem "
    "of the recipe, and its share of the widths where it has a `width_factor`",
    "- `model.onnx`, `weights.safetensors`: the trained network of `trained.yaml`, any batch",
    "- `timing.onnx`: the network of `architecture.yaml` with random weights, batch 1: for timing "
    "on other devices; its outputs mean nothing",
)


def _table(rows: dict[str, str]) -> list[str]:
    return ["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())]


def _network(record: Record) -> dict[str, str]:
    cost, side = record.cost, record.architecture.resolution
    return {
        "digest": record.architecture.digest,
        "input": f"{record.architecture.channels} × {side} × {side}",
        "multiply-adds": f"{cost.flops / 1e6:.1f} M",
        "params": f"{cost.params:,}",
        "memory access": f"{cost.memory_access_bytes / 1e6:.1f} MB (unfused, float32)",
    }


def _latency(target: str, latency: Latency) -> str:
    interval = "–" if latency.ci_ms is None else "{:.3f} to {:.3f}".format(*latency.ci_ms)
    p95 = "–" if latency.p95_ms is None else f"{latency.p95_ms:.3f}"
    cells = [target, f"{latency.ms:.3f}", interval, p95, latency.provenance, latency.device]
    return "| " + " | ".join(cells) + " |"


def _compared(record: Record) -> dict[str, str]:
    """What the search went by, where that is not one accuracy."""
    evaluation, spread = record.evaluation, record.evaluation.spread
    rows = {}
    if spread is not None:
        count = len(evaluation.scores)
        rows["seeds"] = (
            f"means of {count} trainings; standard deviation of the {evaluation.scored_by} "
            f"between them {spread:.4f}; the weights are those of the first"
        )
    if evaluation.scored_by != "accuracy":
        rows["compared by"] = f"{evaluation.scored_by}: {evaluation.score:.4f}, higher is better"
    return rows


def _accuracy(record: Record) -> dict[str, str]:
    evaluation = record.evaluation
    return {
        "top-1": f"{evaluation.accuracy:.2%} of {evaluation.val_images:,} validation images",
        "cross-entropy": f"{evaluation.loss:.4f} nats",
        **_compared(record),
        "recipe": f"{evaluation.recipe} ({evaluation.recipe_digest}), seed {evaluation.seed}, "
        f"{evaluation.epochs} epochs, {evaluation.train_images:,} image passes"
        + (f", stopped: {evaluation.stopped}" if evaluation.stopped else ""),
        "data": evaluation.data,
        "trained on": evaluation.device,
    }
