"""Cycles of a basic block on a core, by LLVM's scheduling model (llvm-mca).

A block is taken as a loop that runs on its own, so that its cycles are what it costs in steady
state with every load a hit in the first cache and every branch foreseen.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# All that code compiled for a newer core may contain, so that every block can be written as text.
FEATURES = "+v8.2a,+fp-armv8,+neon,+crc,+crypto,+lse,+rcpc,+dotprod,+fullfp16,+i8mm,+bf16,+sve"
# Instructions that llvm-mca cannot schedule (system calls, hints, barriers) stand as nop.
UNSCHEDULED = re.compile(r"^(svc|hint|dmb|dsb|isb|brk|udf)\b")
ITERATIONS = 100  # filling the pipeline, about 10 cycles, is then little even of a short block
AT_ONCE = 200  # blocks a call of llvm-mca: fast enough, and its output stays small
INSTRUCTION_BYTES = 4


@dataclass(frozen=True, slots=True)
class BlockCycles:
    """llvm-mca for one core, with a file that remembers.

    Attributes:
        tools: The folder with llvm-mc and llvm-mca.
        environment: What they run with.
        core: As `-mcpu` names it.
        memory: A JSON file: code as hexadecimal digits to cycles.
    """

    tools: Path
    environment: dict[str, str]
    core: str
    memory: Path

    def of(self, blocks: Iterable[bytes]) -> dict[bytes, float]:
        """Cycles of each block."""
        wanted = set(blocks)
        known: dict[str, float] = (
            json.loads(self.memory.read_text()) if self.memory.exists() else {}
        )
        new = sorted(code for code in wanted if code.hex() not in known)
        for start in range(0, len(new), AT_ONCE):
            for code, cycles in self._price(new[start : start + AT_ONCE]):
                known[code.hex()] = cycles
        if new:
            self.memory.write_text(json.dumps(known))
        return {code: known[code.hex()] for code in wanted}

    def _price(self, blocks: Sequence[bytes]) -> Iterable[tuple[bytes, float]]:
        lines = iter(self._disassemble(blocks))
        text: list[str] = []
        for number, code in enumerate(blocks):
            text.append(f"# LLVM-MCA-BEGIN {number}")
            text += [next(lines) for _ in range(len(code) // INSTRUCTION_BYTES)]
            text.append("# LLVM-MCA-END")
        report = json.loads(
            self._tool(
                "llvm-mca-19",
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
        output = self._tool(
            "llvm-mc-19", "-triple=aarch64", "--disassemble", text="\n".join(words) + "\n"
        )
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(".text")]
        if len(lines) != len(words):
            raise RuntimeError(f"{len(lines)} of {len(words)} instructions were disassembled")
        return ["nop" if UNSCHEDULED.match(line) else line for line in lines]

    def _tool(self, name: str, *arguments: str, text: str) -> str:
        done = subprocess.run(
            [self.tools / name, *arguments, f"-mattr={FEATURES}", "-"],
            input=text,
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr[:1000]}")
        return done.stdout
