"""The JSON file: what the numbers mean, where they come from, and the entries, one a line."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from arm_table.published import CYCLES_PER_MS, SCALE_ORIGIN
from arm_table.samples import Overhead
from nas_sv2.latency.kernel_table import EXTRAPOLATION, MORE_PARTS, SCHEMA

# Of the 18 rows of the paper's Table 8 that were emulated whole; see README.md.
PUBLISHED = {
    "rows": 18,
    "typical": 0.097,
    "worst": 0.29,
    "spearman": 0.990,
    "equal_flops_pairs_in_order": 0.96,
    "note": "emulated, typical error ±9.7 %, worst 29 % against 18 published Snapdragon 810 rows",
}
MEANING = (
    "Cycles of a kernel are the sum over `cycles` of term × coefficient. A term is a product of: "
    "1; in and out, channels; parts, of a split or concat; relu, sigmoid, add, 1 where that is "
    "fused and else 0. A key is the kind of kernel @ the side of the square map that it reads. "
    "channels_in, channels_out: least and most that were calibrated. points: kernels the fit saw; "
    "left_out: others, far above the fit. "
    "error_mean, error_max: relative error of the fit on a kernel it did not see."
)
METHOD = (
    "Each kernel ran in onnxruntime's aarch64 build under qemu-user, whose basic blocks were "
    "counted; llvm-mca's scheduling model of the core gave each block's cycles in steady state. "
    "Loads hit the first cache, branches are foreseen. What profiling adds is taken off "
    "(`overhead`, cycles); dispatch of a node is kept, the call of an inference (per_run) is not."
)


def render(
    entries: Mapping[str, Mapping[str, Any]],
    versions: Mapping[str, str],
    overhead: Overhead,
    day: str,
) -> str:
    """The file's text."""
    errors = [entry["error_mean"] for entry in entries.values()]
    minor = ".".join(versions["onnxruntime"].split(".")[:2])
    head = {
        "schema": SCHEMA,
        "core": "cortex-a57",
        "device": (
            f"arm: Cortex-A57 model · onnxruntime {minor} aarch64 kernels"
            " · 1 thread · batch 1 · fp32"
        ),
        "meaning": MEANING,
        "method": METHOD,
        "versions": dict(versions),
        "built": day,
        "scale": {"cycles_per_ms": CYCLES_PER_MS, "origin": SCALE_ORIGIN},
        "published": PUBLISHED,
        "fit": {
            "entries": len(entries),
            "error_mean": round(sum(errors) / len(errors), 4),
            "error_max": max(entry["error_max"] for entry in entries.values()),
        },
        "extrapolation": {"channels": EXTRAPOLATION, "parts": MORE_PARTS},
        "overhead": dataclasses.asdict(overhead),
    }
    lines = [
        f"  {json.dumps(key)}: {json.dumps(entry, separators=(',', ':'))}"
        for key, entry in sorted(entries.items())
    ]
    start = json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}")
    return start + ',\n "entries": {\n' + ",\n".join(lines) + "\n }\n}\n"
