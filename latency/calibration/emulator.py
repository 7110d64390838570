"""Runs models on emulated aarch64, counts the code of each kernel, and prices it for a core.

The price is the cycles of a basic block by LLVM's scheduling model (llvm-mca). A block counts as a
loop that runs alone. Its cycles are those of the steady state, in which every load hits the first
cache and every branch is predicted.

Counts do not depend on the core that is priced. They are kept in a file for each batch of models,
so that another core needs no further emulation.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_sv2.errors import MeasurementError
from nas_sv2.files import write_whole
from nas_sv2.latency.calibration.workshop import Workshop
from nas_sv2.latency.emulated.arm_cores import Core, Guest
from nas_sv2.latency.kernels.kernel import ArmRuntime

# Every extension that code for a newer core may use, so that each block can be disassembled.
FEATURES = "+v8.2a,+fp-armv8,+neon,+crc,+crypto,+lse,+rcpc,+dotprod,+fullfp16,+i8mm,+bf16,+sve"
# Instructions that llvm-mca cannot schedule (system calls, hints, barriers) become nop. Atomic
# ones, which the models of small cores lack, become a load or store. Calls become branches:
# llvm-mca assumes 100 cycles for a call, which stall a small core, but a predicted call is a
# branch.
REPLACED = (
    (re.compile(r"^bl\s"), "b "),
    (re.compile(r"^blr\s"), "br "),
    (re.compile(r"^(svc|hint|dmb|dsb|isb|brk|udf)\b.*"), "nop"),
    (
        re.compile(
            r"^(?:ld(?:add|clr|eor|set|[su]max|[su]min)|swp|cas)[albh]*\s+\w+, (\w+), (\[.*\])$"
        ),
        r"ldr \1, \2",
    ),
    (re.compile(r"^st(?:add|clr|eor|set)[lbh]*\s+(\w+), (\[.*\])$"), r"str \1, \2"),
)
# A load that moves its address on, by a number or a register. The new address is there a cycle
# later (Arm's optimisation guides), but LLVM's models let it wait for the load itself.
MOVED_ON = re.compile(r"^(ld\w*\s.*\]), (?:#-?\d+|x\d+)$")
ITERATIONS = 100  # the pipeline fills in about 10 cycles, which then weigh little in any block
AT_ONCE = 200  # blocks in a call of llvm-mca: fast enough, and its output stays small
INSTRUCTION_BYTES = 4


@dataclass(frozen=True, slots=True)
class BlockCycles:
    """llvm-mca for one core, with a file of known cycles.

    Attributes:
        llvm_mc: Program that disassembles.
        llvm_mca: Program with the scheduling model.
        core: Name of the core, as in `-mcpu`.
        memory: JSON file from code, in hexadecimal digits, to cycles.
        early_addresses: Whether an address that a load moves on is there at once. The kernels of
            onnxruntime are priced without, those of LiteRT and ncnn with it.
    """

    llvm_mc: Path
    llvm_mca: Path
    core: str
    memory: Path
    early_addresses: bool = False

    def of(self, blocks: Iterable[bytes]) -> dict[bytes, float]:
        """Return the cycles of each block."""
        wanted = set(blocks)
        known: dict[str, float] = (
            json.loads(self.memory.read_text()) if self.memory.exists() else {}
        )
        new = sorted(code for code in wanted if code.hex() not in known)
        for start in range(0, len(new), AT_ONCE):
            for code, cycles in self._price(new[start : start + AT_ONCE]):
                known[code.hex()] = cycles
        if new:
            write_whole(self.memory, json.dumps(known).encode())
        return {code: known[code.hex()] for code in wanted}

    def _price(self, blocks: Sequence[bytes]) -> Iterable[tuple[bytes, float]]:
        lines = iter(self._disassemble(blocks))
        text: list[str] = []
        for number, code in enumerate(blocks):
            text.append(f"# LLVM-MCA-BEGIN {number}")
            text += [next(lines) for _ in range(len(code) // INSTRUCTION_BYTES)]
            text.append("# LLVM-MCA-END")
        report = json.loads(
            _output(
                self.llvm_mca,
                "-mtriple=aarch64",
                f"-mcpu={self.core}",
                f"-iterations={ITERATIONS}",
                "--json",
                "-resource-pressure=false",
                "-instruction-info=false",
                text="\n".join(text) + "\n",
            )
        )
        for region in report["CodeRegions"]:
            summary = region["SummaryView"]
            yield blocks[int(region["Name"])], summary["TotalCycles"] / summary["Iterations"]

    def _disassemble(self, blocks: Sequence[bytes]) -> list[str]:
        words = [
            " ".join(f"{byte:#04x}" for byte in code[at : at + INSTRUCTION_BYTES])
            for code in blocks
            for at in range(0, len(code), INSTRUCTION_BYTES)
        ]
        output = _output(
            self.llvm_mc, "-triple=aarch64", "--disassemble", text="\n".join(words) + "\n"
        )
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(".text")]
        if len(lines) != len(words):
            raise MeasurementError(
                f"{self.llvm_mc}: {len(lines)} of {len(words)} instructions were disassembled; "
                "take a newer LLVM"
            )
        lines = [schedulable(line) for line in lines]
        return [MOVED_ON.sub(r"\1", line) for line in lines] if self.early_addresses else lines


def schedulable(line: str) -> str:
    """Return an instruction in a form that llvm-mca can schedule."""
    for pattern, replacement in REPLACED:
        line = pattern.sub(replacement, line)
    return line


def _output(tool: Path, *arguments: str, text: str) -> str:
    done = subprocess.run(
        [tool, *arguments, f"-mattr={FEATURES}", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MeasurementError(f"{tool}: {done.stderr[-1000:]}")
    return done.stdout


Segment = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of blocks, and the number of runs of each."""


@dataclass(frozen=True, slots=True)
class Node:
    """One kernel that onnxruntime launched.

    Attributes:
        name: Name by onnxruntime, which derives it from the first node fused into the kernel.
        op: ONNX operator, or the one that onnxruntime fused it into, such as `FusedConv`.
        tensors: Number of tensors read and written; the cost of profiling grows with it.
        shape: Shape of the first tensor read.
    """

    name: str
    op: str
    tensors: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PricedNode:
    """A kernel and its cycles, including onnxruntime's own profiling."""

    node: Node
    cycles: float


@dataclass(frozen=True, slots=True)
class Run:
    """One inference.

    Attributes:
        model: Name of the model.
        nodes: Kernels that ran; empty if the run was not profiled.
        cycles: Cycles of the kernels, or of everything if the run was not profiled.
    """

    model: str
    nodes: tuple[PricedNode, ...]
    cycles: float


@dataclass(frozen=True)
class CountedRun:
    """One inference before it is priced: a segment for each node, or one for all code."""

    model: str
    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Counts:
    """A batch of inferences.

    Attributes:
        blocks: Code of each block that ran.
        runs: Inferences; block numbers in their segments are indices of `blocks`.
    """

    blocks: Sequence[bytes]
    runs: Sequence[CountedRun]

    def priced(self, pricer: BlockCycles) -> list[Run]:
        """Return the inferences with cycles on the core of `pricer`."""
        prices = pricer.of(self.blocks)
        cycles = np.array([prices[code] for code in self.blocks])
        found = []
        for run in self.runs:
            costs = [float(cycles[block] @ times) for block, times in run.segments]
            nodes = tuple(map(PricedNode, run.nodes, costs)) if run.nodes else ()
            found.append(Run(run.model, nodes, sum(costs)))
        return found

    def joined(self, others: "Counts") -> "Counts":
        """Return these inferences and others."""
        codes = dict.fromkeys((*self.blocks, *others.blocks))
        blocks = {code: number for number, code in enumerate(codes)}
        runs = []
        for counts in (self, others):
            number = np.array([blocks[code] for code in counts.blocks], np.int64)
            runs += [
                replace(
                    run, segments=tuple((number[block], times) for block, times in run.segments)
                )
                for run in counts.runs
            ]
        return Counts(list(blocks), runs)

    def save(self, path: Path) -> None:
        """Write the file, all or nothing."""
        segments = [segment for run in self.runs for segment in run.segments]
        described = [
            {
                "model": run.model,
                "nodes": [asdict(node) for node in run.nodes],
                "segments": len(run.segments),
            }
            for run in self.runs
        ]
        arrays: dict[str, Any] = {
            "runs": np.array(json.dumps(described)),
            "code": np.frombuffer(b"".join(self.blocks), np.uint32),
            "code_ends": _ends([len(code) // INSTRUCTION_BYTES for code in self.blocks]),
            "block": np.concatenate([block for block, _ in segments]),
            "times": np.concatenate([times for _, times in segments]),
            "segment_ends": _ends([len(block) for block, _ in segments]),
        }
        write_whole(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "Counts":
        """Read what `save` wrote."""
        with np.load(path) as file:
            code, block, times = file["code"], file["block"], file["times"]
            blocks = [code[a:b].tobytes() for a, b in pairwise([0, *file["code_ends"].tolist()])]
            cuts = pairwise([0, *file["segment_ends"].tolist()])
            segments = iter([(block[a:b], times[a:b]) for a, b in cuts])
            runs = [_run(described, segments) for described in json.loads(str(file["runs"]))]
        return cls(blocks, runs)


def _ends(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.cumsum(lengths, dtype=np.int64)


def _run(described: dict[str, Any], segments: Any) -> CountedRun:
    nodes = (
        Node(node["name"], node["op"], node["tensors"], tuple(node["shape"]))
        for node in described["nodes"]
    )
    return CountedRun(
        described["model"],
        tuple(nodes),
        tuple(next(segments) for _ in range(described["segments"])),
    )


GUEST_SCRIPT = Path(__file__).with_name("guest.py")
# In a profiled run onnxruntime reads the clock four times before the first kernel, then before and
# after each kernel. Kernel i is therefore segment 4 + 2i of the region (checked by `_events`).
FIRST_KERNEL, SEGMENTS_PER_KERNEL = 4, 2


@dataclass(frozen=True, slots=True)
class Emulator:
    """Runs models on a guest, in the folder of a workshop."""

    workshop: Workshop
    guest: Guest

    def run(self, models: Sequence[Path], work: Path, *, profile: bool) -> Counts:
        """Run one inference of each model, in order, and count its code.

        The models and all files of the run are removed from `work`.

        Raises:
            MeasurementError: If the emulated process failed; the message ends with its output.
        """
        work.mkdir(parents=True, exist_ok=True)
        output, shop = work / "runs.jsonl", self.workshop
        home = shop.sysroot / "usr"
        command: list[str | Path] = [
            shop.tools.qemu,
            *("-L", shop.root_for(self.guest), "-cpu", self.guest.qemu),
            *("-plugin", f"{shop.plugin},out={work / 'run'}"),
            *("-E", "LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu"),
            *("-E", f"PYTHONHOME={home}", "-E", f"PYTHONPATH={shop.packages}"),
            *("-E", "PYTHONDONTWRITEBYTECODE=1", "-E", "OMP_NUM_THREADS=1"),
            *(shop.guest_python, "-S", GUEST_SCRIPT, output),
            "profile" if profile else "whole",
        ]
        done = subprocess.run(
            command,
            input="".join(f"{path}\n" for path in models),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MeasurementError(f"the emulated runtime failed: {done.stderr[-1000:]}")
        counts = _read(work)
        for file in {*models, *work.glob("run.*"), *work.glob("runs.*"), *work.glob("*.json")}:
            file.unlink()
        return counts

    def pricer(self, core: Core, runtime: ArmRuntime = "onnxruntime") -> BlockCycles:
        """Return the model that turns counts into cycles on `core`."""
        tools, early = self.workshop.tools, runtime != "onnxruntime"
        model = core.model_for(runtime)
        memory = self.workshop.folder / f"cycles_{model}{'_early' if early else ''}.json"
        return BlockCycles(tools.llvm_mc, tools.llvm_mca, model, memory, early)


Regions = dict[int, list[Segment]]


def _read(work: Path) -> Counts:
    """Read the files of plugin and guest; leave out blocks that did not run in a region."""
    code, regions = _blocks(work / "run.blocks"), _regions(work / "run.counts")
    counted = []
    for line in (work / "runs.jsonl").read_text().splitlines():
        run = json.loads(line)
        segments = regions[run["region"]]
        nodes: tuple[Node, ...] = ()
        if run["profile"]:
            events = _events(Path(run["profile"]), len(segments))
            nodes = tuple(map(_node, events))
            last = FIRST_KERNEL + SEGMENTS_PER_KERNEL * len(nodes)
            segments = segments[FIRST_KERNEL:last:SEGMENTS_PER_KERNEL]
        else:
            segments = [_joined(segments)]
        model = Path(run["model"]).stem
        counted.append(CountedRun(model, nodes, tuple(segments)))
    ran = np.unique(np.concatenate([block for run in counted for block, _ in run.segments]))
    runs = [
        CountedRun(
            run.model,
            run.nodes,
            tuple((np.searchsorted(ran, block), times) for block, times in run.segments),
        )
        for run in counted
    ]
    return Counts([code[number] for number in ran], runs)


def _joined(segments: Sequence[Segment]) -> Segment:
    blocks, inverse = np.unique(
        np.concatenate([block for block, _ in segments]), return_inverse=True
    )
    times = np.zeros(len(blocks), np.int64)
    np.add.at(times, inverse, np.concatenate([times for _, times in segments]))
    return blocks, times


def _blocks(path: Path) -> list[bytes]:
    data, blocks, at = path.read_bytes(), [], 0
    while at < len(data):
        start = at + 4
        at = start + INSTRUCTION_BYTES * int.from_bytes(data[at:start], "little")
        blocks.append(data[start:at])
    return blocks


def _regions(path: Path) -> Regions:
    data, at = np.fromfile(path, np.int64), 0
    regions: Regions = {}
    while at < len(data):
        region, pairs = int(data[at]), int(data[at + 1])
        at += 2
        counts = data[at : at + 2 * pairs].reshape(-1, 2)
        at += 2 * pairs
        regions.setdefault(region, []).append((counts[:, 0], counts[:, 1]))
    return regions


def _events(profile: Path, segments: int) -> Iterator[dict[str, Any]]:
    events = [
        event
        for event in json.loads(profile.read_text())
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    events = events[len(events) // 2 :]  # the warm-up comes first
    if segments < FIRST_KERNEL + SEGMENTS_PER_KERNEL * len(events):
        raise MeasurementError(f"{profile}: {segments} segments for {len(events)} kernels")
    yield from events


def _node(event: dict[str, Any]) -> Node:
    arguments = event["args"]
    inputs = arguments["input_type_shape"]
    (shape,) = inputs[0].values()
    return Node(
        event["name"].removesuffix("_kernel_time"),
        arguments["op_name"],
        len(inputs) + len(arguments["output_type_shape"]),
        tuple(shape),
    )
