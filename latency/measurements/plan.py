"""The measuring protocol as a value: runtime, number of runs, and time limits.

Two measurements may be compared only if their plans are equal. The `key` of a plan is therefore
part of the key of every stored measurement. The number of sessions is not part of it: more
sessions tell the same latency more exactly.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from msgspec import Meta

from nas_sv2.documents import (
    AboveZero,
    Positive,
    Seed,
    Whole,
    check_choice,
    check_fields,
    read_fields,
)
from nas_sv2.errors import ConfigError
from nas_sv2.space.units.reference import reference

Runtime = Literal["onnxruntime", "litert", "ncnn", "torch"]
Processor = Literal["cpu", "cuda"]
DAY_S = 86_400
MOST_SESSIONS = 100
Seconds = Annotated[float, Meta(gt=0, le=DAY_S)]
Sessions = Annotated[int, Meta(ge=1, le=MOST_SESSIONS)]
Lowering = Literal["shuffle_free", "plain"]
Precision = Literal["fp32", "int8", "fp16"]
PRECISIONS_OF_RUNTIME: Mapping[tuple[Runtime, Processor], tuple[Precision, ...]] = {
    ("onnxruntime", "cpu"): ("fp32", "int8"),
    ("onnxruntime", "cuda"): ("fp32",),
    ("litert", "cpu"): ("fp32", "int8"),
    ("ncnn", "cpu"): ("fp32", "fp16", "int8"),
    ("torch", "cpu"): ("fp32",),
    ("torch", "cuda"): ("fp32", "fp16"),
}
"""The number formats of each runtime on each processor that it runs on."""
OWN_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "onnxruntime": {"precision": "fp32", "lowering": "shuffle_free"},
    "litert": {"precision": "fp32", "lowering": "shuffle_free"},
    "ncnn": {"precision": "fp16", "lowering": "shuffle_free"},
    "torch": {"precision": "fp32", "lowering": "plain"},
}
"""The fields of a plan that depend on its runtime, if the user leaves them out.

They are as the runtime is shipped: ncnn uses half precision unless its user forbids it."""
CPU_PROVIDERS = ("xnnpack",)
"""Execution providers that compute in the calling thread if there is one thread."""
PACKAGES: Mapping[Runtime, tuple[str, ...]] = {
    "onnxruntime": ("numpy", "onnxruntime"),
    "litert": ("numpy", "ai-edge-litert"),
    "ncnn": ("numpy", "ncnn"),
    "torch": ("numpy", "torch", "nas-sv2"),
}
"""The packages, by pip's names, that a device needs for each runtime."""


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """The protocol of a measurement.

    The numbers were chosen on a virtual machine of two shared x86 cores with ShuffleNet V2 1×
    (5 ms). Medians were compared with the median of half a minute. They scattered by 1.8 % after
    50 runs (0.25 s), by 1.0 % after 0.75 s and by 0.7 % after 2 s. 0.75 s keeps a whole
    measurement, with start-up, under 2 s.

    Attributes:
        runtime: The runtime that executes the network.
        processor: The processor that executes it.
        provider: The execution provider of onnxruntime, by its name without the ending, such as
            `xnnpack`, `coreml` or `openvino`; None for its own on that processor.
        precision: The number format. `int8` is static quantisation on a CPU, by onnxruntime (QDQ),
            LiteRT or ncnn. `fp16` is torch's half precision on a GPU, or ncnn as it comes: it
            calculates in half precision on ARM cores that can, and in float32 elsewhere.
        batch: Images in each run; ncnn takes one.
        threads: Threads within an operator; 1 is the paper's protocol on ARM.
        affinity: Cores that the agent keeps to, in ascending order; None for all that it is
            started with.
        reference: The reference network that is timed in alternation with every network; None for
            no reference. Slowdowns that outlast a round cancel in the ratio to it.
        lowering: The form of the network. `plain` shuffles channels as written. `shuffle_free`
            has the shuffle folded into the next kernels, with equal outputs. The runtime `torch`
            runs the network as written, so it takes `plain` only.
        seed: Seed of weights and input.
        heat_s: Seconds that the first network runs before anything is timed, to measure a device
            that has heated up.
        settle_s: Untimed seconds at the start of a network's turn in a round; at least one run.
            After another network, the first runs of V2 0.5× (1.3 ms) took 33, 12, 3 and 2 % more;
            those of 1× (4.2 ms) took 7-9 and 3-4 % more.
        block_s: Timed seconds of a network in a round.
        min_block_runs: The fewest timed runs of a network in a round.
        loads: Number of times that each network is loaded, in changing order. The place in memory
            changed the time of a network by up to 1.5 % from load to load.
        warmup_runs: Runs in a warm-up window; at least two windows are run.
        warmup_agreement: Warm-up ends when the medians of two windows in a row differ by no more
            than this share. 2 % is twice the scatter above, so that a steady device passes at
            once.
        warmup_limit_s: Time limit of the warm-up, in seconds. A measurement that reaches it is
            marked as not stationary.
        min_runs: The fewest timed runs, however long they take. There are at least 6 rounds, or
            one for each 8 of these runs if those are fewer.
        max_runs: Timed runs of each network after which measuring ends, with the round.
        ci_width: Measuring ends when no 95 % interval of a median or a ratio is wider than this
            share of it.
        time_limit_s: Time limit for each network in alternation, in seconds. It holds once
            `min_runs` are made, unless an interval is wider than `noisy_width`.
        noisy_width: An interval wider than this share is not accepted at `time_limit_s`. At rest
            it is 1-3 % wide; when the host slowed a whole measurement by 22 %, it was 9 % wide.
        noisy_time_limit_s: Time limit for such wide intervals, in seconds; slow spells lasted 0.5
            to 2 s.
        timeout_s: The agent is killed if it has not answered after this time. The largest
            network of the paper, 12.7 GFLOPs, takes about 25 s for `min_runs` on a slow core.
        sessions: Number of sessions, each in a process of its own, that share loads, runs and
            time limits; None for as many as a few seconds hold. Plans that differ only in it are
            equal.

    Raises:
        ConfigError: A value is out of range; the error names the field.
    """

    runtime: Runtime = "onnxruntime"
    processor: Processor = "cpu"
    provider: str | None = None
    precision: Precision = "fp32"
    batch: Positive = 1
    threads: Positive = 1
    affinity: tuple[Whole, ...] | None = None
    reference: str | None = "shufflenet_v2_x1_0"
    lowering: Lowering = "shuffle_free"
    seed: Seed = 0
    heat_s: Annotated[float, Meta(ge=0, le=DAY_S)] = 0.0
    settle_s: Seconds = 0.01
    block_s: Seconds = 0.03
    min_block_runs: Positive = 3
    loads: Positive = 4
    warmup_runs: Positive = 10
    warmup_agreement: AboveZero = 0.02
    warmup_limit_s: Seconds = 1.0
    min_runs: Positive = 50
    max_runs: Positive = 2000
    ci_width: AboveZero = 0.01
    time_limit_s: Seconds = 0.75
    noisy_width: AboveZero = 0.05
    noisy_time_limit_s: Seconds = 2.5
    timeout_s: Seconds = 120.0
    sessions: Sessions | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check the fields, each alone and together."""
        if isinstance(self.provider, str):  # onnxruntime's own name is allowed too
            short = self.provider.lower().removesuffix("executionprovider")
            own = "cuda" if self.processor == "cuda" else "cpu"
            object.__setattr__(self, "provider", None if short == own else short)
        check_fields(self)
        self._check_provider()
        if self.runtime == "torch":
            check_choice("lowering", self.lowering, ("plain",))
        if self.runtime == "ncnn" and self.batch != 1:
            raise ConfigError("batch with ncnn", self.batch, "must be 1: it takes one image")
        pairs = PRECISIONS_OF_RUNTIME
        processors = tuple(there for runtime, there in pairs if runtime == self.runtime)
        check_choice(f"processor with {self.runtime}", self.processor, processors)
        field = f"precision with {self.runtime} on {self.processor}"
        check_choice(field, self.precision, pairs[self.runtime, self.processor])
        if self.affinity == ():
            raise ConfigError("affinity", [], "must be a list of cores, or nothing")
        if self.affinity is not None:  # 1,0 and 0,1,1 are the same cores
            object.__setattr__(self, "affinity", tuple(sorted(set(self.affinity))))
        if self.reference is not None:
            _check_reference(self.reference)
        if self.max_runs < self.min_runs:
            sentence = f"must be at least min_runs, {self.min_runs}"
            raise ConfigError("max_runs", self.max_runs, sentence)

    def _check_provider(self) -> None:
        if self.provider is None:
            return
        if self.runtime != "onnxruntime":
            raise ConfigError(f"provider with {self.runtime}", self.provider, "must be left out")
        if not re.fullmatch(r"[0-9a-z]{1,40}", self.provider):
            allowed = "must be the name of an execution provider, as xnnpack"
            raise ConfigError("provider", self.provider, allowed)
        if self.provider == "cuda":
            allowed = "must be left out: processor=cuda runs onnxruntime with CUDA"
            raise ConfigError("provider", self.provider, allowed)

    def changed(self, **changes: Any) -> Self:
        """Return the plan with other values.

        Another runtime brings its `OWN_DEFAULTS` for fields that stood at those of the former.

        Raises:
            ConfigError: A value is out of range.
        """
        before = OWN_DEFAULTS[self.runtime]
        # An unknown runtime is refused by the plan.
        after = OWN_DEFAULTS.get(changes.get("runtime", self.runtime), before)
        kept = {name: getattr(self, name) == before[name] for name in before}
        own = {name: value for name, value in after.items() if kept[name]}
        return dataclasses.replace(self, **{**own, **changes})

    def part(self, number: int, count: int, fewest: int | None = None) -> Self:
        """Return the plan of a session, which has its share of the loads, runs and time limits.

        A noisy session is not prolonged: further sessions tell more. Only the first one heats.

        Args:
            number: Number of the session, from 0.
            count: Number of sessions; one alone has the whole plan.
            fewest: Number of sessions that are certain, which share the runs; `count` if None.
        """
        if count == 1:
            return self
        time_s, certain = self.time_limit_s / count, fewest or count
        return dataclasses.replace(
            self,
            heat_s=0.0 if number else self.heat_s,
            loads=math.ceil(self.loads / count),
            min_runs=math.ceil(self.min_runs / certain),
            max_runs=math.ceil(self.max_runs / certain),
            time_limit_s=time_s,
            noisy_time_limit_s=time_s,
        )

    @property
    def cpu_time_is_latency(self) -> bool:
        """Whether the CPU time of the calling thread is the time of the network.

        It is if that thread does all the work: without a pool of threads and without a GPU or
        another accelerator.
        """
        on_cpu = self.processor == "cpu" and self.provider in (None, *CPU_PROVIDERS)
        return self.threads == 1 and on_cpu

    @property
    def key(self) -> str:
        """16 hexadecimal digits that name the content."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name that make measurements comparable.

        Without a provider they are as before plans had one.
        """
        fields = dataclasses.asdict(self)
        del fields["sessions"]
        if self.provider is None:
            del fields["provider"]
        return fields

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read a plan from plain data; a field that is absent takes its default.

        Raises:
            ConfigError: A field is unknown or a value is out of range.
        """
        return read_fields(cls, {**own_defaults(document.get("runtime")), **document}, "plan")


def own_defaults(runtime: object) -> Mapping[str, str]:
    """Return the `OWN_DEFAULTS` of a runtime that a user named; none for anything else."""
    return OWN_DEFAULTS.get(runtime, {}) if isinstance(runtime, str) else {}


def no_plan(name: str, field: str, value: object) -> ConfigError:
    """Return the error for a change of a plan that the target `name` does not have."""
    sentence = f"must be left out: {name} has no such setting"
    return ConfigError(f"plan.{field}", value, sentence)


def _check_reference(name: str) -> None:
    try:
        reference(name)
    except ConfigError as error:
        raise ConfigError("reference", name, error.sentence) from None
