"""What is timed are the files, and each figure says what it is of."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from doubles import FakeTarget
from packages import TINY, data_in, winner_of

from nas_sv2.errors import DeviceError
from nas_sv2.latency.devices.local import CPU_PLAN, GPU_PLAN, local_device
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.devices.payload import Payload
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.kernels.kernel import ArmPrecision
from nas_sv2.latency.measurements.measurement import Measurement
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.show.network_tables import exported_lines
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.package.build import Exported
from nas_sv2.studies.package.card import latency_section
from nas_sv2.studies.package.file_latency import FileLatency, latencies_of
from nas_sv2.studies.package.forms import (
    FORMATS,
    INT8,
    MODEL,
    MODEL_INT8,
    MODEL_NCNN,
    MODEL_TFLITE,
    MODEL_TFLITE_INT8,
    MODELS,
    TIMING,
    TIMING_INT8,
    TIMING_NCNN,
    TIMING_TFLITE,
    TIMINGS,
    TrainedNetwork,
    format_of,
    notify_of_slow_forms,
)
from nas_sv2.studies.pages.markdown import escaped
from nas_sv2.testing import CONTRACT_PLAN, FakeDevice

FILES = (*MODELS, *TIMINGS)


@dataclass
class Listening:
    """A device that keeps what it was given."""

    inner: FakeDevice = field(default_factory=FakeDevice)
    given: list[Payload] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def measure(
        self,
        payloads: Sequence[Payload],
        plan: MeasurePlan,
        *,
        reference: Payload | None = None,
    ) -> list[Measurement]:
        self.given += payloads
        return self.inner.measure(payloads, plan, reference=reference)


@pytest.fixture(scope="module")
def winner(tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    return winner_of(data_in(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def files(winner: TrainedNetwork) -> dict[str, bytes]:
    return winner.files(formats=FORMATS)


def by_file(rows: Sequence[FileLatency]) -> Mapping[str, FileLatency]:
    assert tuple(row.file for row in rows) == FILES
    return {row.file: row for row in rows}


def test_the_very_files_are_timed_in_one_session(winner: TrainedNetwork) -> None:
    files = {name: name.encode() for name in (*FILES, "weights.safetensors")}
    ms = {MODEL: 2.0, MODEL_INT8: 1.0, TIMING: 8.0, TIMING_INT8: 6.0}
    device = Listening(FakeDevice(ms_of=lambda sent: ms.get(sent.body.decode(errors="ignore"), 4)))
    # The precision is the study's; files are what they are.
    plan = CPU_PLAN.changed(precision="int8", sessions=1)
    target = MeasuredTarget(MeasuredDevice("board", device, plan))  # type: ignore[arg-type]
    rows = by_file(latencies_of(target, winner, files))
    read = [name for name in FILES if name.endswith(".onnx")]
    sent = [hashlib.sha256(name.encode()).hexdigest() for name in read]
    assert [payload.digest for payload in device.given] == sent
    for name, row in rows.items():
        if name not in read:
            assert row.latency is None
            assert row.why == "board runs networks through onnxruntime alone"
            continue
        assert row.latency is not None and row.why == ""
        assert row.latency.ms == pytest.approx(ms[name])
        assert row.latency.ratio == pytest.approx(ms[name] / 4)
        assert row.latency.provenance == "measured"
        assert row.latency.device.endswith("int8") == (name in INT8)
        assert row.side == (64 if name.startswith("timing") else 32)
    assert rows[MODEL].against is None and rows[TIMING].against is None
    for name, ratio in ((MODEL_INT8, 0.5), (TIMING_INT8, 0.75)):
        against = rows[name].against
        assert against is not None and against[0] == pytest.approx(ratio)


@pytest.mark.parametrize("form", FORMATS)
def test_a_real_device_times_what_its_runtime_reads(
    form: str, winner: TrainedNetwork, files: dict[str, bytes]
) -> None:
    device = local_device("cpu")
    plan = CONTRACT_PLAN.changed(reference=None, runtime=FORMATS[form])
    try:
        rows = latencies_of(MeasuredTarget(MeasuredDevice("cpu", device, plan)), winner, files)
    finally:
        device.close()
    assert {row.file for row in by_file(rows).values() if row.latency is not None} == {
        name for name in FILES if format_of(name) == form
    }
    for row in rows:
        if row.latency is None:
            continue
        assert row.latency.ms > 0
        assert row.latency.runs is not None and row.latency.runs >= CONTRACT_PLAN.min_runs
        assert row.to_json()["latency"]["provenance"] == "measured"


def test_an_emulated_core_prices_both_precisions_and_says_so(winner: TrainedNetwork) -> None:
    files = dict.fromkeys(FILES, b"")
    target = EmulatedArm.open("cortex-a55", "int8", name="arm", clock_ghz=1.0)
    rows = by_file(latencies_of(target, winner, files))
    for name in (TIMING, TIMING_INT8):
        row = rows[name]
        assert row.latency is not None and row.latency.provenance == "emulated"
        assert "it was not run" in row.why
        core = EmulatedArm.open(
            "cortex-a55", "int8" if name in INT8 else "fp32", name="arm", clock_ghz=1.0
        )
        assert row.latency == core.estimate(TINY)
    against, prices = rows[TIMING_INT8].against, [rows[n].latency for n in (TIMING, TIMING_INT8)]
    assert against is not None and prices[0] is not None and prices[1] is not None
    assert against == (prices[1].ms / prices[0].ms, None)


def test_a_core_with_kernels_of_litert_prices_the_files_of_litert(winner: TrainedNetwork) -> None:
    target = EmulatedArm.open("cortex-a76", name="phone", runtime="litert")
    rows = by_file(latencies_of(target, winner, dict.fromkeys(FILES, b"")))
    assert rows[TIMING_TFLITE].latency == target.estimate(TINY)
    assert {file for file, row in rows.items() if row.latency is not None} == {
        MODEL_TFLITE,
        TIMING_TFLITE,
    }
    assert rows[TIMING].why == "phone prices kernels of litert alone"
    assert "int8" in rows[MODEL_TFLITE_INT8].why


@pytest.mark.parametrize(("core", "precision"), [("cortex-a57", "fp32"), ("cortex-a76", "fp16")])
def test_ncnn_runs_its_files_in_float32_in_the_precision_of_the_core(
    core: str, precision: ArmPrecision, winner: TrainedNetwork
) -> None:
    target = EmulatedArm.open(core, precision, name="board", runtime="ncnn")
    rows = by_file(latencies_of(target, winner, dict.fromkeys(FILES, b"")))
    assert rows[TIMING_NCNN].latency == target.estimate(TINY)
    assert {file for file, row in rows.items() if row.latency is not None} == {
        MODEL_NCNN,
        TIMING_NCNN,
    }


def test_files_without_a_latency_are_named_together_by_their_reason(
    winner: TrainedNetwork,
) -> None:
    target = EmulatedArm.open("cortex-a76", name="phone", runtime="litert")
    rows = latencies_of(target, winner, dict.fromkeys(FILES, b""))
    others = ", ".join(name for name in FILES if format_of(name) != "tflite")
    priced = f"{MODEL_TFLITE}, {TIMING_TFLITE}"

    (title,), table, notes = latency_section({"latency": [row.to_json() for row in rows]}, "")
    assert title == "## Latency of the files"
    assert [line.split(" | ")[0] for line in table[2:]] == ["| model.tflite", "| timing.tflite"]
    no_latency = f"- {escaped(others)}: no latency: phone prices kernels of litert alone"
    assert notes[0] == no_latency
    not_run = "priced by the operators that the file holds; it was not run"
    assert notes[1] == f"- {priced} on phone: {not_run}"
    assert len(notes) == len(set(notes)) and sum(" on phone: emulated" in n for n in notes) == 1

    lines = exported_lines(Exported(2, {}, rows))
    assert [line.split(", ")[0] for line in lines[:2]] == [MODEL_TFLITE, TIMING_TFLITE]
    assert lines[2] == f"no latency of {others}: phone prices kernels of litert alone"
    assert lines[3].startswith("no latency of model_int8.tflite, timing_int8.tflite: phone: ")
    assert len(lines) == 4


def at_side(winner: TrainedNetwork, side: int) -> TrainedNetwork:
    assert isinstance(winner.trained, Architecture)
    trained = dataclasses.replace(
        winner.trained, resolution=side, channels=1, stem_stride=1, stem_pool=False
    )
    return dataclasses.replace(winner, trained=trained)


def test_files_for_small_grey_images_have_a_latency_on_an_emulated_core(
    winner: TrainedNetwork,
) -> None:
    files = dict.fromkeys(FILES, b"")
    rows = by_file(latencies_of(EmulatedArm.open(), at_side(winner, 28), files))
    latency = rows[MODEL].latency
    assert latency is not None and "by a formula of the map" in latency.note


def test_a_map_that_the_table_lacks_is_said_and_not_guessed(winner: TrainedNetwork) -> None:
    huge = at_side(winner, 1100)
    rows = by_file(latencies_of(EmulatedArm.open(), huge, dict.fromkeys(FILES, b"")))
    assert rows[MODEL].latency is None and "no price" in rows[MODEL].why
    assert rows[TIMING].latency is not None


def test_what_runs_no_files_says_so(winner: TrainedNetwork) -> None:
    gpu = MeasuredTarget(MeasuredDevice("gpu", FakeDevice(), GPU_PLAN))
    files = dict.fromkeys(FILES, b"")
    for row in latencies_of(gpu, winner, files):
        assert row.latency is None and row.why == "gpu runs networks through torch alone"
    for row in latencies_of(FakeTarget(), winner, files):
        why = "fake prices networks, and the operators of .onnx files alone"
        if format_of(row.file) == "onnx":
            precision = "int8" if row.file in INT8 else "fp32"
            why = f"fake: it cannot be asked for {precision}"
        assert row.latency is None and row.why == why


def test_a_batch_that_a_file_is_not_for_is_said(winner: TrainedNetwork) -> None:
    plan = MeasurePlan(runtime="litert", batch=8)
    target = MeasuredTarget(MeasuredDevice("board", FakeDevice(), plan))
    (row,) = latencies_of(target, winner, {MODEL_TFLITE: b""})
    assert row.latency is None and row.why.endswith("batches of 8, and the file is for one image")


def test_a_device_that_is_away_is_an_error(winner: TrainedNetwork) -> None:
    away = FakeDevice(fault=lambda number: DeviceError("unplugged"))
    with pytest.raises(DeviceError, match="unplugged"):
        latencies_of(
            MeasuredTarget(MeasuredDevice("cpu", away, CPU_PLAN)),
            winner,
            dict.fromkeys(FILES, b""),
        )


def test_a_depthwise_kernel_that_litert_lacks_is_said_for_its_files_alone() -> None:
    stages = tuple(dataclasses.replace(stage, kernel=7) for stage in TINY.stages)
    wide = dataclasses.replace(TINY, stages=stages)
    said = list[str]()
    notify_of_slow_forms(wide, ("onnx", "ncnn"), said.append)
    notify_of_slow_forms(TINY, ("tflite",), said.append)
    assert not said
    notify_of_slow_forms(wide, ("onnx", "tflite"), said.append)
    assert "LiteRT has no kernel for depthwise convolutions of 7×7" in said[0]
