"""Cycles of a basic block on a core, by LLVM's scheduling model (llvm-mca).

A block counts as a loop that runs alone. Its cycles are those of the steady state, in which every
load hits the first cache and every branch is predicted.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.errors import MeasurementError
from nas_sv2.files import write_whole

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
    """

    llvm_mc: Path
    llvm_mca: Path
    core: str
    memory: Path

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
        return [schedulable(line) for line in lines]


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
