"""`nas-sv2 devices calibrate` and `refit`: tables of emulated cores, made anew or set right."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.commands.options import STORAGE, Storage
from nas_sv2.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from nas_sv2.latency.kernels.kernel import ArmPrecision

REFIT_NETWORKS = (
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "shufflenet_v2_se_x1_0",
    "shufflenet_v2_residual_x1_0",
    "shufflenet_v2_star_x0_5",
    "torchvision_shufflenet_v2_x1_0",
)
"""What a scale is refitted with: the paper's sizes, and one of each kind of operator."""
ARM_MACHINES = ("aarch64", "arm64")

Emulated = Annotated[
    str, typer.Option(help="The core: cortex-a53, cortex-a55, cortex-a57 or cortex-a76.")
]
Out = Annotated[Path | None, typer.Option(help="The table to write; CORE.json if left out.")]


def calibrate(
    emulated: Emulated,
    out: Out = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where all is kept, so that it can go on.")
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32 or int8, repeatable; both if left out.")
    ] = None,
    resolution: Annotated[
        list[int] | None, typer.Option(help="Side of an input, repeatable; all if left out.")
    ] = None,
) -> None:
    """Make the table of an emulated core anew, for the onnxruntime installed here."""
    from nas_sv2.latency.calibration.grid import RESOLUTIONS
    from nas_sv2.latency.calibration.tables import calibrate as make_table
    from nas_sv2.show.tables import output

    precisions = _precisions(precision or ["fp32", "int8"])
    place = folder or Path(typer.get_app_dir("nas-sv2"), "calibration")
    target = _checked(out or Path(f"{emulated}.json"))
    console = output()
    with console.status("preparing") as status:

        def progress(what: str, share: float) -> None:
            status.update(f"{share:4.0%} {what}")

        written = make_table(
            emulated, place, target, progress, precisions, resolution or RESOLUTIONS
        )
    print(f"{written} holds the table; use it with: {_use(emulated, written)}")


def refit(
    name: Annotated[str, typer.Argument(help="A device that is a real ARM core of that kind.")],
    emulated: Emulated,
    table: Annotated[
        Path | None, typer.Option(help="A table that calibrate wrote, not the shipped one.")
    ] = None,
    out: Out = None,
    storage: Storage = STORAGE,
) -> None:
    """Set an emulated core's milliseconds right by a real one: measure eight networks on it."""
    from nas_sv2.latency.calibration.refit import save_refit
    from nas_sv2.latency.emulated.arm_cores import core_named
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.measured_target import MeasuredTarget
    from nas_sv2.latency.targets.targets import open_target
    from nas_sv2.show.tables import output
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.runtimes.shuffle_free import without_shuffles
    from nas_sv2.space.units.reference import reference

    core = core_named(emulated).name
    target_file = _checked(out or Path(f"{emulated}.json"))
    with (
        closing(MeasurementStore.open(storage)) as store,
        output().status(f"measuring on {name}") as status,
        closing(open_target(name, store=store, told=status.update)) as target,
    ):
        if not isinstance(target, MeasuredTarget):
            allowed = (
                f"must be a device that is measured; figures of this one are {target.provenance}"
            )
            raise ConfigError("name", name, allowed)
        plan = target.plan
        machine = target.device.fingerprint(plan).facts.get("machine")
        if machine not in ARM_MACHINES:
            raise ConfigError("name", name, f"must be a 64-bit ARM; this one is {machine}")
        if (plan.runtime, plan.threads, plan.batch) != ("onnxruntime", 1, 1):
            allowed = "must be a device with a plan of onnxruntime, one thread and batch 1"
            raise ConfigError("name", name, allowed)
        (precision,) = _precisions([plan.precision])
        pairs = []
        for number, network in enumerate(REFIT_NETWORKS, 1):
            status.update(f"measuring {network} on {name}, {number} of {len(REFIT_NETWORKS)}")
            architecture = reference(network)
            graph = lower(architecture)
            if plan.lowering == "shuffle_free":
                graph, _ = without_shuffles(graph, {})
            pairs.append((graph, target.estimate(architecture).ms))
    try:
        error = save_refit(table or core, precision, pairs, target_file)
    except OSError as fault:
        raise StoreError(f"{target_file} cannot be written: {fault}") from fault
    print(error)
    print(f"{target_file} holds the table; use it with: {_use(core, target_file)}")


def _precisions(names: list[str]) -> "list[ArmPrecision]":
    from nas_sv2.latency.emulated.arm_cores import PRECISIONS

    for name in names:
        if name not in PRECISIONS:
            raise ConfigError("precision", name, "must be one of " + ", ".join(PRECISIONS))
    return [known for known in PRECISIONS if known in names]


def _checked(out: Path) -> Path:
    """`out`, refused now and not after half an hour if it is there or its folder is not."""
    if out.exists() or not out.absolute().parent.is_dir():
        raise ConfigError("out", str(out), "must name a new file in a folder that exists")
    return out


def _use(core: str, file: Path) -> str:
    return f"nas-sv2 device add {core} --emulated {core} --table {file}"
