"""The front as a Plotly figure, as plain data for the browser."""

from collections.abc import Callable, Sequence
from typing import Any

from nas_sv2.studies.findings.front import Entry

FRONT, BASELINE, OTHER, BEYOND = "#0072b2", "#009e73", "#9a9a9a", "#d55e00"
"""Okabe and Ito's blue, green and vermilion, and grey."""

Kind = tuple[str, str, str, Callable[[Entry], bool]]
KINDS: Sequence[Kind] = (
    ("beyond a limit", BEYOND, "x", lambda e: not e.record.feasible and not e.record.baseline),
    ("beaten", OTHER, "circle", lambda e: e.record.feasible and not _shown_otherwise(e)),
    ("hand-designed", BASELINE, "diamond", lambda e: bool(e.record.baseline) and not e.on_front),
    ("front", FRONT, "circle", lambda e: e.on_front),
)
"""Name, colour, symbol and test of each kind of candidate; the last kind is drawn on top."""


def front_figure(entries: Sequence[Entry], axes: Sequence[str]) -> dict[str, Any]:
    """Return score over latency on the first target, with 95 % intervals of the latency.

    Args:
        entries: All candidates of a study, at least one.
        axes: Names of the objectives with units: the score, then each target.
    """
    target = next(iter(entries[0].record.latencies))
    trained = entries[0].record.evaluation
    score, latency = axes[:2] if len(axes) > 1 else ("score", f"{target} latency (ms)")
    traces = [
        _trace(sorted(chosen, key=lambda e: e.record.latencies[target].ms), target, kind)
        for kind in KINDS
        if (chosen := [entry for entry in entries if kind[3](entry)])
    ]
    return {
        "data": traces,
        "layout": {
            "title": {"text": "Front, with 95 % intervals of the median latency"},
            "xaxis": {"title": {"text": _plain(latency)}},
            "yaxis": {"title": {"text": _plain(f"{score}, recipe {trained.recipe}")}},
            "legend": {"orientation": "h", "y": -0.25},
        },
    }


def _trace(entries: Sequence[Entry], target: str, kind: Kind) -> dict[str, Any]:
    name, colour, symbol, _ = kind
    latencies = [entry.record.latencies[target] for entry in entries]
    ends = [latency.ci_ms or (latency.ms, latency.ms) for latency in latencies]
    pairs = list(zip(latencies, ends, strict=True))
    line = {"shape": "hv", "color": colour, "width": 1}
    return {
        "type": "scatter",
        "mode": "lines+markers" if name == "front" else "markers",
        "name": name,
        "x": [latency.ms for latency in latencies],
        "y": [entry.record.evaluation.score for entry in entries],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - latency.ms for latency, (_, high) in pairs],
            "arrayminus": [latency.ms - low for latency, (low, _) in pairs],
            "thickness": 1,
            "color": colour,
        },
        "marker": {"symbol": symbol, "color": colour, "size": 8},
        **({"line": line} if name == "front" else {}),
        "text": [_plain(_label(entry, target)) for entry in entries],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _label(entry: Entry, target: str) -> str:
    record, latency = entry.record, entry.record.latencies[target]
    return (
        f"trial {entry.number}: {record.baseline or record.architecture.digest[:8]}, "
        f"{latency.ms:.2f} ms on {target} ({latency.provenance}), "
        f"top-1 {record.evaluation.accuracy:.2%} (recipe {record.evaluation.recipe})"
    )


def _shown_otherwise(entry: Entry) -> bool:
    return entry.on_front or bool(entry.record.baseline)


def _plain(text: str) -> str:
    """Escape a text, so that Plotly, which reads a few HTML tags, shows it as it is."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
