"""The measuring protocol as a value: what is run, how often, when to stop and when to give up.

Two measurements may be compared only if their plans are equal, so a plan has a `key` that stands
in the key of every stored measurement.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from nas_sv2.errors import ConfigError

Runtime = Literal["onnxruntime", "torch"]
TorchDevice = Literal["cuda", "cpu"]
Lowering = Literal["shuffle_free", "plain"]


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """How one network is measured.

    The numbers were chosen on a virtual machine of two shared x86 cores, ShuffleNet V2 1× (5 ms):
    medians of 50 runs (0.25 s) scattered by 1.8 % around the median of half a minute, those of
    0.75 s by 1.0 %, and of 2 s by 0.7 %. 0.75 s keeps an answer under 2 s with all start-up.

    Attributes:
        runtime: What executes the network.
        torch_device: Where the runtime `torch` executes it; `onnxruntime` uses the CPU.
        batch: Images a run.
        threads: Threads within an operator; 1 is the paper's protocol on ARM.
        lowering: Which ONNX form is measured: `plain` shuffles channels as written,
            `shuffle_free` has the shuffle folded into the next kernels, at equal outputs. The
            runtime `torch` runs the network as written, so it takes `plain` only.
        seed: Of weights and input.
        warmup_runs: Runs in a warm-up window; at least two windows are run.
        warmup_agreement: Warm-up ends when the medians of two windows in a row differ by no more
            than this share. 2 %: twice the scatter above, so that a steady device passes at once.
        warmup_limit_s: Warm-up ends after this time even so; the measurement then says that it
            was not stationary.
        min_runs: Timed runs that are made whatever they cost.
        max_runs: Timed runs after which measuring ends.
        ci_width: Measuring ends when the 95 % interval of the median is no wider than this share
            of the median.
        time_limit_s: Measuring ends after this time even so, once `min_runs` are made, unless the
            interval is wider than `noisy_width`.
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
    torch_device: TorchDevice = "cuda"
    batch: int = 1
    threads: int = 1
    lowering: Lowering = "shuffle_free"
    seed: int = 0
    warmup_runs: int = 10
    warmup_agreement: float = 0.02
    warmup_limit_s: float = 1.0
    min_runs: int = 50
    max_runs: int = 2000
    ci_width: float = 0.01
    time_limit_s: float = 0.75
    noisy_width: float = 0.05
    noisy_time_limit_s: float = 2.5
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, naming the field."""
        _one_of("plan.runtime", self.runtime, get_args(Runtime))
        _one_of("plan.torch_device", self.torch_device, get_args(TorchDevice))
        _one_of("plan.lowering", self.lowering, get_args(Lowering))
        if self.runtime == "torch":
            _one_of("plan.lowering", self.lowering, ("plain",))
        for field in ("batch", "threads", "warmup_runs", "min_runs"):
            _whole(f"plan.{field}", getattr(self, field), least=1)
        _whole("plan.max_runs", self.max_runs, least=self.min_runs)
        _whole("plan.seed", self.seed, least=0)
        for field in (
            "warmup_agreement",
            "warmup_limit_s",
            "ci_width",
            "time_limit_s",
            "noisy_width",
            "noisy_time_limit_s",
            "timeout_s",
        ):
            _positive(f"plan.{field}", getattr(self, field))

    @property
    def cpu_time_is_latency(self) -> bool:
        """Whether the CPU time of the calling thread is the time of the network.

        True when that one thread does all the work; not with a pool of threads, nor when it waits
        for a GPU.
        """
        on_cpu = self.runtime == "onnxruntime" or self.torch_device == "cpu"
        return self.threads == 1 and on_cpu

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
        names = [field.name for field in dataclasses.fields(cls)]
        for name in document:
            _one_of("plan", name, tuple(names))
        return cls(**document)


def _one_of(field: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(field, value, "one of " + ", ".join(map(str, allowed)))


def _whole(field: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(field, value, f"a whole number, at least {least}")


def _positive(field: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):  # type: ignore[operator]
        raise ConfigError(field, value, "a number above 0")
