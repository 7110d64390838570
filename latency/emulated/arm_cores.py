"""The ARM cores that can be emulated, and the facts that an emulated processor reports.

onnxruntime chooses its kernels by the abilities of the processor. We ran ShuffleNet V2 1× on all
four cores. In float32 all execute the same code. In int8 the newer two, which have a dot product,
execute other code than the older two. There are therefore two guests. A core is one of them with
one of LLVM's scheduling models, which gives the cycles of its instructions.
"""

from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.latency.kernels.kernel import ArmPrecision

PRECISIONS: tuple[ArmPrecision, ...] = ("fp32", "int8")


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
class Core:
    """A core whose latencies can be emulated.

    Attributes:
        name: The name that users give.
        title: The name that its maker gives.
        llvm: LLVM's `-mcpu`, whose scheduling model gives the cycles of instructions.
        guest: The emulated processor for int8.
        clock_ghz: The clock of a typical board, in GHz.
        board: The typical board.
    """

    name: str
    title: str
    llvm: str
    guest: Guest
    clock_ghz: float
    board: str

    def guest_for(self, precision: ArmPrecision) -> Guest:
        """Return the guest to emulate; in float32 all cores run the same code and share one."""
        return ARMV8 if precision == "fp32" else self.guest

    def cycles_per_ms(self, clock_ghz: float | None = None) -> float:
        """Return the scale, at the clock of a typical board or at `clock_ghz`."""
        return (clock_ghz or self.clock_ghz) * EFFICIENCY * 1e6


CORES: dict[str, Core] = {
    core.name: core
    for core in (
        Core("cortex-a53", "Cortex-A53", "cortex-a53", ARMV8, 1.4, "Raspberry Pi 3B+"),
        Core("cortex-a55", "Cortex-A55", "cortex-a55", ARMV8_DOT, 1.8, "RK3588, small cores"),
        Core("cortex-a57", "Cortex-A57", "cortex-a57", ARMV8, A57_GHZ, "Snapdragon 810"),
        Core("cortex-a76", "Cortex-A76", "neoverse-n1", ARMV8_DOT, 2.4, "Raspberry Pi 5"),
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
