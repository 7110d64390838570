"""Show the paper's Table 7 on a device."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from nas_sv2.counts import counted
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.show.console import plain_table
from nas_sv2.studies.paper.detection import Agreement, DetectionRow, DetectionTable

if TYPE_CHECKING:  # it loads torch
    from nas_sv2.studies.package.detector_export import ExportedDetector

DASH = "–"
RECONSTRUCTED = "†"
COUNTED = {"light-head": "; for 1000 regions, or for all anchors if they are fewer"}
"""The things that FLOPs of a head are counted for, by its name."""


def detection_table(found: DetectionTable, level: str) -> RenderableType:
    """Make the table of a level's backbones, with the paper's columns beside ours."""
    table = plain_table(
        f"{level} level",
        "our name",
        "MFLOPs\nat 224×224",
        f"MFLOPs at\n{found.height}×{found.width}",
        "MFLOPs of\ndetector",
        "backbone\nms",
        "images/s",
        "detector\nms",
        "images/s",
        "paper's GPU\nimages/s",
        "paper's\nmmAP",
        "mmAP\nmeasured",
    )
    for row in found.rows:
        if row.level == level:
            table.add_row(*_cells(found, row))
    return table


def _cells(found: DetectionTable, row: DetectionRow) -> Iterator[str]:
    yield row.backbone
    yield row.network + (f" {RECONSTRUCTED}" if row.reconstructed else "")
    yield f"{row.classifier_flops / 1e6:.1f}"
    yield f"{row.flops / 1e6:.0f}"
    yield DASH if row.detector_flops is None else f"{row.detector_flops / 1e6:.0f}"
    for latency in (row.alone, row.whole):
        yield DASH if latency is None else _ms(latency)
        yield DASH if latency is None else f"{found.images_per_s(latency):.1f}"
    yield f"{row.published_images_per_s:g}"
    yield f"{row.published_mmap:.1f}"
    yield ", ".join(f"{mmap:.1f}" for _, mmap in row.trained) or DASH


def _ms(latency: Latency) -> str:
    if latency.ci_ms is None:
        return f"{latency.ms:.2f}"
    low, high = latency.ci_ms
    return f"{latency.ms:.2f} ±{(high - low) / 2:.2f}" + "*" * bool(latency.contended)


def agreement_table(found: DetectionTable) -> RenderableType:
    """Make the table of agreement between orders here and that of the paper's GPU."""
    table = plain_table(
        "order against the paper's GPU",
        "Kendall τ, all",
        *(f"τ, {level}" for level in found.levels),
        "pairs agreeing",
        "settled ones",
    )
    for one in (*found.agreements, found.flops_agreement):
        table.add_row(
            one.what,
            _tau(one.overall),
            *(_tau(one.by_level.get(level)) for level in found.levels),
            f"{one.agreeing} of {one.pairs}",
            f"{one.settled_agreeing} of {one.settled}" if one.settled else DASH,
        )
    return table


def _tau(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def detection_notes(found: DetectionTable) -> list[str]:
    """Return the notes on the tables, one fact a line."""
    latencies = [one for row in found.rows for one in (row.alone, row.whole) if one is not None]
    notes = [f"{latency.device} · {latency.provenance}" for latency in latencies[:1]]
    if any(one.contended for one in latencies):
        notes.append("*: contended, other programs held the processor for a part of the runs")
    for lacks in dict.fromkeys(row.lacks for row in found.rows if row.lacks):
        names = ", ".join(row.network for row in found.rows if row.lacks == lacks)
        notes.append(f"no latency of {names}: {lacks}")
    if found.whole_lacks:
        notes.append(f"whole detectors: {found.whole_lacks}")
    else:
        notes.append(
            "detector: Light-Head R-CNN with 1000 regions and random weights; with them "
            "nothing is found, so that the last suppression has no work"
        )
    notes += dict.fromkeys(
        f"{RECONSTRUCTED} reconstructed, {row.backbone}: {row.reconstructed}"
        for row in found.rows
        if row.reconstructed
    )
    notes += dict.fromkeys(
        f"mmAP measured, {row.network}: {mmap:.1f} % ({words})"
        for row in found.rows
        for words, mmap in row.trained
    )
    if any(row.detector_flops is not None for row in found.rows):
        notes.append(
            "MFLOPs of detector: multiply-adds of convolutions and fully connected layers in "
            "backbone and head, 1000 regions (or all anchors, if they are fewer)"
        )
    images = "single images" if found.batch == 1 else f"batches of {found.batch} images"
    notes.append(f"here: {images}; backbones end with their last stage, as written")
    notes.append(
        "paper's: ShuffleNet V2, table 7; whole detectors on a GTX 1080Ti, batches of 4 images of "
        "800×1200; mmAP of COCO"
    )
    return notes


def detection_data(found: DetectionTable) -> dict[str, Any]:
    """Return everything as plain data for programs."""
    return {
        "target": found.target,
        "batch": found.batch,
        "height": found.height,
        "width": found.width,
        "rows": [_row_data(found, row) for row in found.rows],
        "agreements": [_agreement_data(one) for one in found.agreements],
        "flops_agreement": _agreement_data(found.flops_agreement),
        "whole_lacks": found.whole_lacks,
    }


def _row_data(found: DetectionTable, row: DetectionRow) -> dict[str, Any]:
    data = asdict(row)
    for part in ("alone", "whole"):
        latency: Latency | None = data.pop(part) and getattr(row, part)
        data[f"{part}_ms"] = None if latency is None else latency.ms
        speed = None if latency is None else found.images_per_s(latency)
        data[f"{part}_images_per_s"] = speed
        data[f"{part}_ci_ms"] = None if latency is None else latency.ci_ms
        data[f"{part}_contended"] = None if latency is None else latency.contended
        data[f"{part}_provenance"] = None if latency is None else latency.provenance
    return data


def _agreement_data(one: Agreement) -> dict[str, Any]:
    data = asdict(one)
    data["kendall_tau"] = data.pop("overall")
    return data


def exported_detector_lines(exported: "ExportedDetector") -> list[str]:
    """Return the score of an exported detector, and its latency before and after training."""
    return [
        *metrics_lines(exported.metrics),
        *(
            f"{one.target}: {one.exported.ms:.3f} ms {one.exported.provenance}, trained; with "
            f"random weights, as searched, {one.searched.ms:.3f} ms"
            for one in exported.times
        ),
    ]


def metrics_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the result of a detector's training, one fact a line."""
    parts = {
        "mmAP": "mmap_percent",
        "AP50": "ap50_percent",
        "AP75": "ap75_percent",
        "small": "small_percent",
        "medium": "medium_percent",
        "large": "large_percent",
    }
    figures = [
        f"{name} {DASH if metrics[key] is None else format(metrics[key], '.1f')}"
        for name, key in parts.items()
    ]
    backbone, whole = (metrics[name] / 1e6 for name in ("backbone_flops", "flops"))
    return [
        f"{metrics['head']} on {metrics['network']}, {metrics['image_size']}: "
        + ", ".join(figures)
        + f" % on {metrics['images']:,} validation images",
        f"{whole:.1f} M multiply-adds, {backbone:.1f} M of them in the backbone"
        + COUNTED.get(metrics["head"], ""),
        f"{counted(metrics['passes'], 'pass', 'passes')} in {metrics['seconds']:,.0f} s; "
        f"the ONNX file finds torch's boxes on "
        f"{metrics['onnx_equals_torch_on']} of {metrics['onnx_compared_on']} images",
    ]
