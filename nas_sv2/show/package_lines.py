"""The lines that an export and a training end with."""

from collections.abc import Mapping
from typing import Any

from nas_sv2.studies.package.build import Exported
from nas_sv2.studies.package.file_latency import FileLatency
from nas_sv2.studies.package.forms import TORCH


def exported_lines(exported: Exported) -> list[str]:
    """Return a line for each form's accuracy and each file's latency."""
    lines = []
    for name, form in exported.forms.items():
        line = f"{name}: top-1 {form.accuracy:.2%} of {form.images:,} validation images"
        if name != TORCH:
            line += f"; logits differ by {form.relative:.1e} of the largest"
            line += f", the same class first for {form.same:.2%}"
        lines.append(line)
    return lines + [_timed(row) for row in exported.latencies]


def metrics_lines(metrics: Mapping[str, Any]) -> list[str]:
    """How good a trained network is, and how well each form agrees with it, a line each."""
    lines = [
        f"{part} top-1 {found['accuracy']:.2%}, cross-entropy {found['loss']:.4f} "
        f"({found['images']:,} images)"
        for part in ("validation", "test")
        if (found := metrics[part]) is not None
    ]
    return lines + [
        f"{name}: top-1 {form['accuracy']:.2%}, "
        f"logits differ by {form['relative']:.1e} of the largest"
        for name, form in metrics["forms"].items()
        if name != TORCH
    ]


def _timed(row: "FileLatency") -> str:
    where = f"{row.file}, {row.side} × {row.side}, on {row.target}"
    if row.latency is None:
        return f"{where}: no latency: {row.why}"
    against = ""
    if row.against is not None:
        against = f", {row.against[0]:.3f} times as long as in float32"
    return f"{where}: {row.latency.ms:.3f} ms {row.latency.provenance}{against}"
