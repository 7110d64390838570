"""The ARM cores that can be emulated, and the facts that an emulated processor reports.

onnxruntime chooses its kernels by the abilities of the processor. We ran ShuffleNet V2 1× on all
four cores. In float32 all execute the same code. In int8 the newer two, which have a dot product,
execute other code than the older two. There are therefore two guests. LiteRT (XNNPACK) has kernels
for single cores, so each core is a guest of its own there, and with ncnn. A core is a guest with
one of LLVM's scheduling models, which gives the cycles of its instructions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from nas_sv2.errors import ConfigError
from nas_sv2.latency.kernels.kernel import ArmPrecision, ArmRuntime

PRECISIONS: tuple[ArmPrecision, ...] = ("fp32", "int8")
"""Those of onnxruntime's kernels."""
RUNTIMES: tuple[ArmRuntime, ...] = get_args(ArmRuntime)


@dataclass(frozen=True, slots=True)
class Guest:
    """An emulated processor.

    Attributes:
        name: The name in files.
        qemu: The name for qemu's `-cpu`.
        part: The part number, as Linux writes it into /proc/cpuinfo.
        features: The features, as Linux writes them into /proc/cpuinfo.
    """

    name: str
    qemu: str
    part: str
    features: str

    @property
    def cpuinfo(self) -> str:
        """The text of /proc/cpuinfo; without it onnxruntime crashes under qemu-user."""
        lines = {
            "processor": "0",
            "BogoMIPS": "38.40",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": "0x1",
            "CPU part": self.part,
            "CPU revision": "1",
        }
        return "".join(f"{name}\t: {value}\n" for name, value in lines.items())


ARMV8 = Guest("armv8", "cortex-a57", "0xd07", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid")
ARMV8_DOT = Guest(
    "armv8_dot",
    "cortex-a76",
    "0xd0b",
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp",
)


A57_GHZ = 1.958  # Snapdragon 810, on which the paper's ARM speeds were taken
# One factor between cycles and milliseconds, fitted by benchmarks/arm_fidelity.py to 18 published
# speeds of whole networks, as a share of the clock.
EFFICIENCY = 1.337 / A57_GHZ


@dataclass(frozen=True, slots=True)
class PublishedFit:
    """The numbers of a core that were fitted to published speeds of whole networks in a runtime.

    Each device has four or five networks, one thread, and a scale of its own
    (`benchmarks/runtimes_published.py`).

    Attributes:
        cycles_per_byte: Cycles for each byte of the maps that a kernel reads and writes.
        efficiency: The mean scale of the devices, as a share of the clock.
        devices: The devices in words.
        typical: Mean error, as a share.
        worst: Largest error.
        precision: The number format of the figures, and of the kernels.
    """

    cycles_per_byte: float
    efficiency: float
    devices: str
    typical: float
    worst: float
    precision: ArmPrecision = "fp32"


# The optima are flat: 0.25 is the best for the Cortex-A76, and 0.6 for the two Cortex-A75.
_OUT_OF_ORDER = PublishedFit(0.4, 0.81, "a Cortex-A76 and two Cortex-A75", 0.023, 0.05)
FITS: Mapping[ArmRuntime, Mapping[str, PublishedFit]] = {
    "litert": {
        "cortex-a55": PublishedFit(1.25, 0.66, "three Cortex-A55", 0.018, 0.06),
        "cortex-a57": _OUT_OF_ORDER,
        "cortex-a76": _OUT_OF_ORDER,
    },
    "ncnn": {
        "cortex-a53": PublishedFit(0.25, 0.8, "three Cortex-A53", 0.048, 0.17),
        "cortex-a57": PublishedFit(
            0.1, 0.65, "two Cortex-A57, two Cortex-A72 and four Cortex-A73", 0.05, 0.14
        ),
        "cortex-a55": PublishedFit(0.3, 0.73, "four Cortex-A55", 0.055, 0.15, "fp16"),
        "cortex-a76": PublishedFit(
            0.0, 0.89, "four Cortex-A76 and two Cortex-A78AE", 0.063, 0.27, "fp16"
        ),
    },
}
"""The cores whose kernels are priced, by runtime but onnxruntime.

XNNPACK and ncnn schedule kernels by hand, in which LLVM's model of the Cortex-A53 stalls: the
scale of a published device would be above its clock. LiteRT therefore lacks this core. ncnn's
kernels are priced by the model of the Cortex-A55, its successor. On the Cortex-A55 and
A76 ncnn's own default is fp16, and few figures in float32 are published."""
TITLES: Mapping[ArmRuntime, str] = {
    "onnxruntime": "onnxruntime",
    "litert": "LiteRT",
    "ncnn": "ncnn",
}


@dataclass(frozen=True, slots=True)
class Core:
    """A core whose latencies can be emulated.

    Attributes:
        name: The name that users give.
        title: The name that its maker gives.
        llvm: LLVM's `-mcpu`, whose scheduling model gives the cycles of instructions.
        guest: The emulated processor for int8.
        part: The part number, as Linux writes it into /proc/cpuinfo.
        clock_ghz: The clock of a typical board, in GHz.
        board: The typical board.
    """

    name: str
    title: str
    llvm: str
    guest: Guest
    part: str
    clock_ghz: float
    board: str

    def guest_for(self, precision: ArmPrecision, runtime: ArmRuntime = "onnxruntime") -> Guest:
        """Return the guest to emulate; in float32 all cores share one in onnxruntime."""
        if runtime != "onnxruntime":
            return replace(self.guest, name=f"{runtime}_{self.name}", part=self.part)
        return ARMV8 if precision == "fp32" else self.guest

    def model_for(self, runtime: ArmRuntime) -> str:
        """Return LLVM's `-mcpu` whose scheduling model prices the kernels of a runtime."""
        stalls = (runtime, self.name) == ("ncnn", "cortex-a53")
        return "cortex-a55" if stalls else self.llvm

    def efficiency(self, runtime: ArmRuntime) -> float:
        """Return the scale as a share of the clock."""
        return EFFICIENCY if runtime == "onnxruntime" else FITS[runtime][self.name].efficiency

    def cycles_per_ms(
        self, clock_ghz: float | None = None, runtime: ArmRuntime = "onnxruntime"
    ) -> float:
        """Return the scale, at the clock of a typical board or at `clock_ghz`."""
        return (clock_ghz or self.clock_ghz) * self.efficiency(runtime) * 1e6


CORES: dict[str, Core] = {
    core.name: core
    for core in (
        Core("cortex-a53", "Cortex-A53", "cortex-a53", ARMV8, "0xd03", 1.4, "Raspberry Pi 3B+"),
        Core(
            "cortex-a55",
            "Cortex-A55",
            "cortex-a55",
            ARMV8_DOT,
            "0xd05",
            1.8,
            "RK3588, small cores",
        ),
        Core("cortex-a57", "Cortex-A57", "cortex-a57", ARMV8, "0xd07", A57_GHZ, "Snapdragon 810"),
        Core("cortex-a76", "Cortex-A76", "neoverse-n1", ARMV8_DOT, "0xd0b", 2.4, "Raspberry Pi 5"),
    )
}
CORE_NAMES = tuple(CORES)


def core_named(name: str) -> Core:
    """Return the core of this name.

    Raises:
        ConfigError: No core has this name.
    """
    if name not in CORES:
        raise ConfigError("core", name, "must be one of " + ", ".join(CORES))
    return CORES[name]


def runtime_named(name: str) -> ArmRuntime:
    """Return the runtime of this name.

    Raises:
        ConfigError: Its kernels are not known.
    """
    for runtime in RUNTIMES:
        if runtime == name:
            return runtime
    raise ConfigError("runtime", name, "must be one of " + ", ".join(RUNTIMES))


def precision_named(name: str) -> ArmPrecision:
    """Return the precision of this name.

    Raises:
        ConfigError: No runtime's kernels are known in it.
    """
    known: tuple[ArmPrecision, ...] = get_args(ArmPrecision)
    for precision in known:
        if precision == name:
            return precision
    raise ConfigError("precision", name, "must be one of " + ", ".join(known))


def precisions_known(core: str, runtime: ArmRuntime) -> Sequence[ArmPrecision]:
    """Return the precisions in which a runtime's kernels have a trustworthy cost on a core.

    Raises:
        ConfigError: There are none.
    """
    if runtime == "onnxruntime":
        return PRECISIONS
    known = FITS[runtime]
    if core not in known:
        allowed = (
            f"must be one of {', '.join(known)} with {runtime}: its kernels for this core are "
            "not priced well; those of onnxruntime are"
        )
        raise ConfigError("core", core, allowed)
    return (known[core].precision,)


def check_kernels_known(core: str, runtime: ArmRuntime, precision: ArmPrecision) -> None:
    """Refuse a runtime on a core or in a precision whose kernels have no trustworthy cost.

    Raises:
        ConfigError: The kernels are not known.
    """
    known = precisions_known(core, runtime)
    if precision not in known:
        allowed = (
            f"must be {' or '.join(known)} with {runtime} on the {core}: its kernels in "
            f"{precision} are not known"
        )
        raise ConfigError("precision", precision, allowed)
