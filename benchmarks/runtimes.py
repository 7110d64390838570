"""Asks runtimes for the logits of exported forms: the rows of docs/reference/runtimes.md.

python benchmarks/runtimes.py make FOLDER    # writes models, an input and the expected logits
python benchmarks/runtimes.py ask FOLDER     # asks every runtime that this Python can import
python benchmarks/runtimes.py check FOLDER   # the same, and fails if the page says otherwise

Logits in float32 are compared with torch's, those in int8 with onnxruntime's of the same file,
because int8 is off from torch by more than the runtimes are apart.

`ask` needs numpy and a runtime only, and Python 3.8, so that old runtimes can be asked by theirs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Form = Callable[[Any], Any]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "runtimes.md"
SIDE, BATCH = 64, 4
OPSETS = (13, 17)
COLUMNS = [
    (precision, opset, batch)
    for precision in ("float32", "int8")
    for opset in OPSETS
    for batch in (1, BATCH)
]
"""Precision, opset, images at once: a cell of each runtime's row."""
CLOSE = {"float32": 5e-3, "int8": 0.25}
"""Largest difference of right logits, as a share of the largest; int8 kernels round apart."""


def make(folder: Path) -> None:
    """Write two networks of the space with every option and unaligned widths, in every form."""
    from fractions import Fraction

    import torch

    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.runtimes.ncnn_lowering import build_ncnn
    from nas_sv2.space.runtimes.onnx_lowering import build_onnx
    from nas_sv2.space.runtimes.quantization import largest_inputs, quantize
    from nas_sv2.space.runtimes.shuffle_free import without_shuffles
    from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights
    from nas_sv2.space.runtimes.weights import random_weights
    from nas_sv2.space.units.architecture import Architecture, Stage

    plain = (Stage(2, 44), Stage(2, 100, kernel=5), Stage(2, 200))
    options = (
        Stage(3, 44, residual=True),
        Stage(3, 100, Fraction(3, 4), residual=True, se=True),
        Stage(2, 200, wide_field=True, kernel=7),
    )
    images = np.random.default_rng(0).standard_normal((BATCH, 3, SIDE, SIDE)).astype(np.float32)
    np.save(folder / "images.npy", images)
    for name, stages in (("plain", plain), ("options", options)):
        network = Architecture((16,), stages, head=128, resolution=SIDE, classes=10)
        graph, generator = lower(network), np.random.default_rng(1)
        weights = random_weights(graph, 0)
        for key, array in weights.items():
            if array.ndim == 1:  # batch norms that are not the identity
                weights[key] = array + generator.uniform(0, 0.5, array.shape).astype(np.float32)
        module = build_module(graph)
        load_weights(module, graph, weights)
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(images)).numpy()
        np.save(folder / f"{name}-float32.npy", expected)
        for opset in OPSETS:
            for batch in (1, None):
                model = build_onnx(*without_shuffles(graph, weights), batch, opset)
                size = BATCH if batch is None else 1
                (folder / f"{name}-float32-{opset}-{size}.onnx").write_bytes(model)
                int8 = quantize(model, images)
                path = folder / f"{name}-int8-{opset}-{size}.onnx"
                path.write_bytes(int8)
        np.save(folder / f"{name}-int8.npy", onnxruntime_form(path)(images))
        free = without_shuffles(graph, weights)
        for precision, largest in (("float32", None), ("int8", largest_inputs(*free, images))):
            files = build_ncnn(*free, largest)
            (folder / f"{name}-{precision}.param").write_bytes(files.param)
            (folder / f"{name}-{precision}.bin").write_bytes(files.weights)


def onnxruntime_form(path: Path) -> Form:
    """The model in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"input": images})[0]


def onnx_form(path: Path) -> Form:
    """The model in ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(str(path))
    return lambda images: evaluator.run(None, {"input": images})[0]


def openvino_form(path: Path) -> Form:
    """The model in OpenVINO, which calculates in bfloat16 on some processors if it may."""
    import openvino

    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", hint)
    return lambda images: compiled([images])[compiled.output(0)]


def cv2_form(path: Path) -> Form:
    """The model in OpenCV."""
    import cv2

    network = cv2.dnn.readNetFromONNX(str(path))

    def ask(images: Any) -> Any:
        network.setInput(images)
        return network.forward()

    return ask


def ncnn_form(path: Path) -> Form:
    """The model in ncnn, through pnnx, which writes it for images of one shape."""
    import pnnx

    batch = int(path.stem.rpartition("-")[2])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "model.onnx"
        copy.write_bytes(path.read_bytes())
        shape = [1, 3, SIDE, SIDE]
        pnnx.convert(str(copy), input_shapes=[shape], input_types=["f32"], fp16=False)
        form = ncnn_files_form(Path(folder) / "model.ncnn.param")
    if batch > 1:
        raise RuntimeError("ncnn takes one image at a time")
    return form


def ncnn_files_form(param: Path) -> Form:
    """The `.param`, and the `.bin` of its name, in ncnn without half precision."""
    import ncnn

    network = ncnn.Net()
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = False
    weights = param.with_suffix(".bin")
    if network.load_param(str(param)) or network.load_model(str(weights)):
        raise RuntimeError("ncnn refuses the files")
    (source,), (logits,) = network.input_names(), network.output_names()

    def ask(images: Any) -> Any:
        found = []
        for image in images:
            extractor = network.create_extractor()
            extractor.input(source, ncnn.Mat(np.ascontiguousarray(image)).clone())
            found.append(np.array(extractor.extract(logits)[1]))
        return np.stack(found)

    return ask


RUNTIMES: dict[str, Callable[[Path], Form]] = {
    "onnxruntime": onnxruntime_form,
    "onnx": onnx_form,
    "openvino": openvino_form,
    "cv2": cv2_form,
    "ncnn": ncnn_form,
}
READER = {"ncnn": "pnnx"}
"""The package by which a runtime reads ONNX, if it is not its own."""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """No output of native libraries, which they write past Python."""
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(1), os.dup(2)
        os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept[0], 1), os.dup2(kept[1], 2)


def cell(runtime: str, folder: Path, column: tuple[str, int, int]) -> str:
    """The largest difference over both networks, as a share; or why there is none."""
    precision, opset, batch = column
    images = np.load(folder / "images.npy")[:batch]
    worst = 0.0
    for name in ("plain", "options"):
        expected = np.load(folder / f"{name}-{precision}.npy")[:batch]
        path = folder / f"{name}-{precision}-{opset}-{batch}.onnx"
        path.stat()  # a file that was not made is no answer of the runtime
        try:
            with silenced():
                logits = np.asarray(RUNTIMES[runtime](path)(images))
        except Exception:  # each runtime has errors of its own
            return "fails"
        if logits.shape != expected.shape:
            return "wrong"
        worst = max(worst, float(np.abs(logits - expected).max() / np.abs(expected).max()))
    return f"{worst:.0e}" if worst <= CLOSE[precision] else "wrong"


def ask(folder: Path) -> dict[tuple[str, str], list[str]]:
    """A row of the page for each runtime that can be imported, by its name."""
    rows = {}
    for runtime in RUNTIMES:
        try:
            with silenced():
                module = __import__(runtime)
                __import__(READER.get(runtime, runtime))
        except ImportError:
            continue
        version = module.__version__.partition("-")[0]
        rows[runtime, version] = [cell(runtime, folder, each) for each in COLUMNS]
    return rows


def ncnn_files(folder: Path) -> str:
    """How far our files for ncnn are from torch, and onnxruntime's int8 for comparison."""
    images, lines = np.load(folder / "images.npy"), []
    for name in ("plain", "options"):
        expected = np.load(folder / f"{name}-float32.npy")
        spread = (expected - expected.mean(1, keepdims=True)).std()
        found = {
            f"ncnn {precision}": ncnn_files_form(folder / f"{name}-{precision}.param")(images)
            for precision in ("float32", "int8")
        }
        found["onnxruntime int8"] = np.load(folder / f"{name}-int8.npy")
        errors = {key: float((each - expected).std() / spread) for key, each in found.items()}
        said = ", ".join(f"{key} {error:.1e}" for key, error in errors.items())
        lines.append(f"our files, {name}: {said}")
    return "\n".join(lines)


def line_of(name: str, version: str, cells: list[str]) -> str:
    """The row as Markdown."""
    return "| " + " | ".join([name, version, *cells]) + " |"


def stated() -> dict[tuple[str, str], list[str]]:
    """The cells that the page states, by runtime and version, and by runtime for other versions.

    A version that has no row is held to the newest.
    """
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in RUNTIMES and len(cells) == 2 + len(COLUMNS):
            found[cells[0], cells[1]] = found[cells[0], ""] = cells[2:]
    return found


def verdict(text: str) -> str:
    """`reads`, `fails` or `wrong`."""
    return text if text in ("fails", "wrong") else "reads"


def main() -> None:
    """Make, ask or check, as the first argument says."""
    action, folder = sys.argv[1], Path(sys.argv[2])
    if action == "make":
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        return
    rows = ask(folder)
    for (name, version), cells in rows.items():
        print(line_of(name, version, cells), flush=True)
    with contextlib.suppress(ImportError):
        print(ncnn_files(folder), flush=True)
    if action == "check":
        page = stated()
        others = [
            f"{name} {version}"
            for (name, version), cells in rows.items()
            if list(map(verdict, page.get((name, version)) or page[name, ""]))
            != list(map(verdict, cells))
        ]
        if others:
            sys.exit(f"{PAGE.name} states otherwise for {', '.join(others)}")


if __name__ == "__main__":
    main()
