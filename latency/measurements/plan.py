"""The measuring protocol as a value: what is run, how often, when to stop and when to give up.

Two measurements may be compared only if their plans are equal, so a plan has a `key` that stands
in the key of every stored measurement.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from nas_sv2.documents import (
    AboveZero,
    FromZero,
    Positive,
    Whole,
    check_choice,
    check_fields,
    read_fields,
)
from nas_sv2.errors import ConfigError
from nas_sv2.space.units.reference import reference

Runtime = Literal["onnxruntime", "torch"]
Processor = Literal["cpu", "cuda"]
Lowering = Literal["shuffle_free", "plain"]
Precision = Literal["fp32", "int8", "fp16"]


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """How one network is measured.

    The numbers were chosen on a virtual machine of two shared x86 cores, ShuffleNet V2 1× (5 ms):
    medians of 50 runs (0.25 s) scattered by 1.8 % around the median of half a minute, those of
    0.75 s by 1.0 %, and of 2 s by 0.7 %. 0.75 s keeps an answer under 2 s with all start-up.

    Attributes:
        runtime: What executes the network.
        processor: Where.
        precision: `int8` is onnxruntime's static quantisation (QDQ) on a CPU, `fp16` torch's half
            precision on a GPU.
        batch: Images a run.
        threads: Threads within an operator; 1 is the paper's protocol on ARM.
        affinity: Cores that the agent keeps to; None for all that it is started with.
        reference: The reference network that is timed in alternation with every network; None for
            none. The ratio to it is free of whatever slows the device for longer than a round.
        lowering: Which ONNX form is measured: `plain` shuffles channels as written,
            `shuffle_free` has the shuffle folded into the next kernels, at equal outputs. The
            runtime `torch` runs the network as written, so it takes `plain` only.
        seed: Of weights and input.
        heat_s: The first network runs for so long before anything is timed, for the figure of a
            device that has heated up.
        settle_s: At the start of its turn in a round a network runs for so long, and at least
            once, without being timed. After another network V2 0.5× took 33, 12, 3 and 2 % more in
            its first runs of 1.3 ms, 1× 7-9 and 3-4 % in its first of 4.2 ms.
        block_s: A network's timed part of a round.
        min_block_runs: The fewest runs of that part.
        loads: How often each network is loaded anew, in another order, over the measurement. Where
            its memory happens to lie moved the same network by up to 1.5 % from load to load, for
            as long as it was loaded.
        warmup_runs: Runs in a warm-up window; at least two windows are run.
        warmup_agreement: Warm-up ends when the medians of two windows in a row differ by no more
            than this share. 2 %: twice the scatter above, so that a steady device passes at once.
        warmup_limit_s: Warm-up ends after this time even so; the measurement then says that it
            was not stationary.
        min_runs: Timed runs that are made whatever they cost.
        max_runs: Timed runs of each network after which measuring ends, with the round.
        ci_width: Measuring ends when the 95 % intervals of the medians, and of the ratios, are no
            wider than this share of them.
        time_limit_s: Measuring ends after this time for each network in alternation even so, once
            `min_runs` are made, unless an interval is wider than `noisy_width`.
        noisy_width: An interval wider than this share is not accepted at `time_limit_s`. 5 %: at
            rest it is 1-3 % wide; a spell in which the host slowed a whole measurement by 22 %
            showed as 9 %.
        noisy_time_limit_s: When measuring ends even then; such spells lasted 0.5 to 2 s.
        timeout_s: The agent is killed when it has not answered after this time. The largest
            network of the paper, 12.7 GFLOPs, takes about 25 s for `min_runs` on a slow core.

    Raises:
        ConfigError: A value out of range; names the field.
    """

    runtime: Runtime = "onnxruntime"
    processor: Processor = "cpu"
    precision: Precision = "fp32"
    batch: Positive = 1
    threads: Positive = 1
    affinity: tuple[Whole, ...] | None = None
    reference: str | None = "shufflenet_v2_x1_0"
    lowering: Lowering = "shuffle_free"
    seed: Whole = 0
    heat_s: FromZero = 0.0
    settle_s: AboveZero = 0.01
    block_s: AboveZero = 0.03
    min_block_runs: Positive = 3
    loads: Positive = 4
    warmup_runs: Positive = 10
    warmup_agreement: AboveZero = 0.02
    warmup_limit_s: AboveZero = 1.0
    min_runs: Positive = 50
    max_runs: Positive = 2000
    ci_width: AboveZero = 0.01
    time_limit_s: AboveZero = 0.75
    noisy_width: AboveZero = 0.05
    noisy_time_limit_s: AboveZero = 2.5
    timeout_s: AboveZero = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, naming the field."""
        check_fields(self)
        if self.runtime == "torch":
            check_choice("lowering", self.lowering, ("plain",))
        possible = {("onnxruntime", "cpu"): ("fp32", "int8"), ("torch", "cuda"): ("fp32", "fp16")}
        kinds = possible.get((self.runtime, self.processor), ("fp32",))
        field = f"precision with {self.runtime} on {self.processor}"
        check_choice(field, self.precision, kinds)
        if self.affinity == ():
            raise ConfigError("affinity", [], "must be a list of cores, or nothing")
        if self.reference is not None:
            reference(self.reference)
        if self.max_runs < self.min_runs:
            sentence = f"must be at least min_runs, {self.min_runs}"
            raise ConfigError("max_runs", self.max_runs, sentence)

    @property
    def cpu_time_is_latency(self) -> bool:
        """Whether the CPU time of the calling thread is the time of the network.

        True when that one thread does all the work; not with a pool of threads, nor when it waits
        for a GPU.
        """
        return self.threads == 1 and self.processor == "cpu"

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name the content."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; a field that is absent takes its default.

        Raises:
            ConfigError: An unknown field or a value out of range.
        """
        return read_fields(cls, document, "plan")
