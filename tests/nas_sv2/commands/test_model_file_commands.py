"""`measure` of a file for LiteRT or ncnn: it is run as it is, and nothing else is said of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packages import data_in, write_winner

import nas_sv2 as nas
from nas_sv2.errors import NasError
from nas_sv2.latency.devices.payload import payload_of
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.space.model_files.model_file import join_ncnn, load_model_file

Run = Callable[..., tuple[int, str, str]]
QUICK = {
    "min_runs": 10, "max_runs": 20, "warmup_runs": 3, "loads": 1,
    "time_limit_s": 0.1, "noisy_time_limit_s": 0.1,
}  # fmt: skip
CUT = b"\x1c\0\0\0TFL3 and no more"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_winner(folder / "winner", data_in(folder), formats=["onnx", "tflite", "ncnn"])
    return folder / "winner"


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("model.tflite", "litert"),
        ("model_int8.tflite", "litert"),
        ("model.ncnn.param", "ncnn"),
        ("model_int8.ncnn.param", "ncnn"),
    ],
)
def test_a_file_is_measured_as_it_is(
    name: str, runtime: Any, exported: Path, tmp_path: Path
) -> None:
    pytest.importorskip({"litert": "ai_edge_litert", "ncnn": "ncnn"}[runtime])
    file, storage = exported / name, f"sqlite:///{tmp_path / 'm.db'}"
    found = nas.measure(
        [str(file)], target="cpu", storage=storage, plan={**QUICK, "runtime": runtime}
    )
    assert found.names == [str(file)]
    (latency,) = found.latencies
    assert latency.provenance == "measured" and 0 < latency.ms < 1000
    assert latency.ratio is not None and latency.ratio < 1  # V2 1× is larger
    body = payload_of(load_model_file(file), MeasurePlan(runtime=runtime)).body
    content, weights = file.read_bytes(), file.with_suffix(".bin")
    assert body == (join_ncnn(content, weights.read_bytes()) if runtime == "ncnn" else content)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("measure", "m.tflite", "-t", "cpu"), "runtime must be litert to run m.tflite"),
        (("measure", "m.tflite", "-t", "arm"), "can only be measured, on a device that runs"),
        (("network", "cost", "m.tflite"), "can only be measured, on a device that runs litert"),
        (("network", "cost", "m.param"), "can only be measured, on a device that runs ncnn"),
        (
            ("measure", "m.tflite", "-t", "cpu", "--runtime", "litert", "--precision", "int8"),
            "precision must be left out: m.tflite is run as it is",
        ),
        (
            ("measure", "m.tflite", "-t", "cpu", "--runtime", "litert", "--input", "1x3x8x8"),
            "--input must be left out beside m.tflite, which holds its sizes",
        ),
        (("measure", "none.tflite", "-t", "cpu"), "readable file (No such file"),
        (("measure", "text.tflite", "-t", "cpu"), "must be a whole TensorFlow Lite file"),
        (("measure", "text.param", "-t", "cpu"), "must be the text of an ncnn network"),
        (("measure", "alone.param", "-t", "cpu"), "alone.bin"),
        (
            ("network", "train", "m.tflite", "-d", "animals", "--recipe", "smoke", "--out", "o"),
            ".tflite and .param files for measure",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    words: tuple[str, ...],
    message: str,
    command_line: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.tflite").write_bytes(CUT)
    for name in ("m.param", "alone.param"):
        (tmp_path / name).write_text("7767517\n1 1\nInput in 0 1 in 0=8 1=8 2=3\n")
    (tmp_path / "m.bin").touch()
    for name in ("text.tflite", "text.param"):
        (tmp_path / name).write_text("nothing of the kind\n")
    code, _, err = command_line(*words)
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err


def test_a_file_that_the_runtime_refuses_is_told(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "m.tflite").write_bytes(CUT)
    storage, plan = f"sqlite:///{tmp_path / 'm.db'}", {**QUICK, "runtime": "litert"}
    with pytest.raises(NasError, match="LiteRT"):
        nas.measure([str(tmp_path / "m.tflite")], target="cpu", plan=plan, storage=storage)
