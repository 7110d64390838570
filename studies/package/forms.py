"""The forms in which a trained network is shipped: how each is made and run.

Weights next to 0 are 0 in all of them, so that no processor meets denormal numbers.
"""

import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from nas_sv2.documents import check_choice
from nas_sv2.errors import StoreError
from nas_sv2.evaluate.data.data_sample import DataSample
from nas_sv2.evaluate.data.image_data import Part
from nas_sv2.evaluate.fitting.augment import Normalise, centre_of
from nas_sv2.evaluate.fitting.determinism import cpu_threads
from nas_sv2.evaluate.recipes.scores import LabelKind
from nas_sv2.files import write_whole
from nas_sv2.latency.agent.ncnn_run import HALF_PRECISION
from nas_sv2.latency.measurements.plan import Runtime
from nas_sv2.resolution import Resolution, height_and_width
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Classifier, lower, network_to_yaml
from nas_sv2.space.runtimes.ncnn_lowering import NcnnFiles, build_ncnn, require_ncnn
from nas_sv2.space.runtimes.onnx_form import onnx_form, shuffle_free_onnx
from nas_sv2.space.runtimes.onnx_lowering import INPUT, OPSET, OUTPUT, with_metadata
from nas_sv2.space.runtimes.quantization import Range, largest_inputs, quantize
from nas_sv2.space.runtimes.shuffle_free import without_shuffles
from nas_sv2.space.runtimes.source_lowering import build_plain, source_of
from nas_sv2.space.runtimes.tflite_int8 import Scale, find_scales, quantize_tflite, scales_in
from nas_sv2.space.runtimes.tflite_lowering import build_tflite, require_litert, without_kernel
from nas_sv2.space.runtimes.weights import Array, Weights, flush, random_weights
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.package.folder import ARCHITECTURE as ARCHITECTURE
from nas_sv2.studies.package.folder import TIMING as TIMING
from nas_sv2.studies.package.form_checks import BATCH, Agreement, Form, Labels, agreements, noise
from nas_sv2.version import __version__

if TYPE_CHECKING:
    import torch

TRAINED = "trained.yaml"
MODEL, MODEL_INT8 = "model.onnx", "model_int8.onnx"
TIMING_INT8 = "timing_int8.onnx"
MODEL_TFLITE, TIMING_TFLITE = "model.tflite", "timing.tflite"
MODEL_TFLITE_INT8, TIMING_TFLITE_INT8 = "model_int8.tflite", "timing_int8.tflite"
MODEL_NCNN, TIMING_NCNN = "model.ncnn.param", "timing.ncnn.param"
MODEL_NCNN_INT8, TIMING_NCNN_INT8 = "model_int8.ncnn.param", "timing_int8.ncnn.param"
WEIGHTS, SOURCE = "weights.safetensors", "model.py"
INT8_OF = {
    MODEL_INT8: MODEL,
    TIMING_INT8: TIMING,
    MODEL_TFLITE_INT8: MODEL_TFLITE,
    TIMING_TFLITE_INT8: TIMING_TFLITE,
    MODEL_NCNN_INT8: MODEL_NCNN,
    TIMING_NCNN_INT8: TIMING_NCNN,
}
"""Float32 file of the same network, by int8 file."""
INT8 = tuple(INT8_OF)
TFLITE_INT8 = (MODEL_TFLITE_INT8, TIMING_TFLITE_INT8)
MODELS = (MODEL, MODEL_INT8, MODEL_TFLITE, MODEL_TFLITE_INT8, MODEL_NCNN, MODEL_NCNN_INT8)
"""Files of trained weights that a runtime reads."""
TIMINGS = (
    *(TIMING, TIMING_INT8, TIMING_TFLITE, TIMING_TFLITE_INT8),
    *(TIMING_NCNN, TIMING_NCNN_INT8),
)
"""Files of random weights at the resolution of the latency."""
FORMATS: Mapping[str, Runtime] = {"onnx": "onnxruntime", "tflite": "litert", "ncnn": "ncnn"}
"""The formats of models, with the runtime that each is timed in."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network with the data that its forms are made from and checked on.

    Attributes:
        found: Network as found by the search, at the resolution of its latency.
        trained: Form in which the network was trained; equal to `found` if nothing was adapted.
        weights: Weights of `trained`, as they were trained.
        normalise: Function from grey levels to the network's input.
        class_names: Names of the classes, in the order of the logits; None if the recipe drew
            some of the data's classes.
        fit: How a picture of the data took the shape of the images.
        validation: Validation images at the resolution of `trained`; None if the data changed.
        calibration: Normalised training images at the resolution of `trained`, (N, C, H, W).
        kind: The kind of the labels.
        ranges: Ranges that a training with the rounding of int8 has learned, for ONNX; None if all
            come from the calibration.
    """

    found: Classifier
    trained: Classifier
    weights: Weights
    normalise: Normalise
    class_names: tuple[str, ...] | None
    fit: str
    validation: Part | None
    calibration: Array
    kind: LabelKind = "classes"
    ranges: Mapping[str, Range] | None = None

    @classmethod
    def of(
        cls,
        found: Classifier,
        trained: Classifier,
        weights: Weights,
        normalise: Normalise,
        data: DataSample,
        validation: Part | None,
    ) -> "TrainedNetwork":
        """Take images from `data`, and crop them to the centre if they are too large.

        Args:
            found: As the attribute.
            trained: As the attribute.
            weights: As the attribute.
            normalise: As the attribute.
            data: Part of the data of the training.
            validation: Validation images of the training; None if they are not known any more.
        """
        size = trained.resolution
        calibration = normalise(centre_of(data.images, size))
        if validation is not None:
            validation = Part(centre_of(validation.images, size), validation.labels)
        return cls(
            found,
            trained,
            weights,
            normalise,
            data.class_names if len(data.class_names) == trained.classes else None,
            data.fit,
            validation,
            np.ascontiguousarray(calibration.numpy()),
            data.kind,
        )

    @property
    def no_int8(self) -> str:
        """The reason for which trained forms in int8 are not made; empty if they are."""
        if self.kind != "numbers":
            return ""
        return "an answer in int8 has 256 steps from 0 on, which is too coarse for a number"

    @property
    def shipped(self) -> dict[str, Array]:
        """The weights as they are exported."""
        # safetensors writes memory as it lies and does not check that it is contiguous.
        return {name: np.ascontiguousarray(flush(a)) for name, a in self.weights.items()}

    def files(
        self, int8: bool = True, opset: int = OPSET, formats: Collection[str] = ("onnx",)
    ) -> dict[str, bytes]:
        """Return the content of every form by the name of its file.

        Args:
            int8: Whether to make int8 forms; trained ones are left out if `no_int8` has a reason.
            opset: Version of ONNX's operators.
            formats: Formats of the models, of `FORMATS`.

        Raises:
            ConfigError: If the opset is not one that can be written, or a format needs a package
                that is not installed.
        """
        mean, deviation = self.normalise.mean.tolist(), self.normalise.deviation.tolist()
        weights, graph = self.shipped, lower(self.trained)
        size = self.trained.resolution
        facts = metadata(self.class_names, mean, deviation, size, self.fit, __version__, self.kind)
        trained_int8 = int8 and not self.no_int8
        files = {ARCHITECTURE: network_to_yaml(self.found).encode(), WEIGHTS: save(weights)}
        if "onnx" in formats:
            model = shuffle_free_onnx(graph, weights, opset)
            files[MODEL] = with_metadata(model, facts)
            if trained_int8:
                model = quantize(model, self.calibration, self.ranges)
                files[MODEL_INT8] = with_metadata(model, facts)
        if "tflite" in formats:
            files[MODEL_TFLITE] = plain = shuffle_free_tflite(graph, weights, facts)
            if trained_int8:
                scales = find_scales(plain, self.calibration)
                files[MODEL_TFLITE_INT8] = quantize_tflite(plain, scales)
        if "ncnn" in formats:
            files |= ncnn_files(MODEL_NCNN, shuffle_free_ncnn(graph, weights))
            if trained_int8:
                quantised = shuffle_free_ncnn(graph, weights, self.calibration)
                files |= ncnn_files(MODEL_NCNN_INT8, quantised)
        if isinstance(self.trained, Architecture):
            text = source_of(self.trained, mean, deviation, WEIGHTS, self.class_names, self.fit)
            files[SOURCE] = text.encode()
        if self.trained != self.found:
            files[TRAINED] = network_to_yaml(self.trained).encode()
            files |= _timing_files(self.found, int8, opset, formats)
        return files

    def checked(self, files: dict[str, bytes]) -> "Checked":
        """Compare each form with torch on `checked_on` and on noise.

        Raises:
            StoreError: If a form disagrees on the images; the message names it.
        """
        with cpu_threads(1):  # on two, beside other programs, 25 times as long
            network = torch_form(self.trained, self.weights)
            forms = {TORCH: network, **forms_of(files, self.shipped)}
            found = agreements(network, forms, self._batches(), self.kind)
            for name, agreement in found.items():
                agreement.check(name, name in INT8)
            images = noise(self.trained.channels, self.trained.resolution)
            of_noise = agreements(network, forms, images, self.kind)
        scales = {name: scales_in(files[name]) for name in TFLITE_INT8 if name in files}
        return Checked(found, of_noise, scales)

    @property
    def checked_on(self) -> str:
        """The images on which forms are compared, in words."""
        if self.validation is None:
            return f"{len(self.calibration):,} training images that the study kept"
        return f"{len(self.validation):,} validation images"

    def _batches(self) -> Iterator[tuple[Array, Labels | None]]:
        if self.validation is not None:
            yield from batches_of(self.validation, self.normalise)
            return
        for start in range(0, len(self.calibration), BATCH):
            yield self.calibration[start : start + BATCH], None


def notify_of_slow_forms(
    network: Classifier, formats: Collection[str], notify: Callable[[str], None]
) -> None:
    """Say which forms are slow for a reason that the network's latency elsewhere does not show."""
    if "tflite" in formats and (side := without_kernel(lower(network))):
        notify(
            f"LiteRT has no kernel for depthwise convolutions of {side}×{side}: the .tflite files "
            "are many times slower than with 5×5, above all in int8; measure them before you ship"
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """The agreement of a network's forms with it, by form.

    Attributes:
        images: Agreement on the images of `TrainedNetwork.checked_on`; no form was refused.
        noise: Agreement on noise, which any machine can repeat and on which int8 is far off.
        tflite_scales: Scales and zero points that int8 files for LiteRT hold, by file.
    """

    images: dict[str, Agreement]
    noise: dict[str, Agreement]
    tflite_scales: Mapping[str, Sequence[Scale]]


TORCH = "torch"
"""Name of the network itself among its forms."""


def metadata(
    class_names: Sequence[str] | None,
    mean: Sequence[float],
    deviation: Sequence[float],
    resolution: Resolution,
    fit: str,
    version: str,
    kind: LabelKind = "classes",
) -> dict[str, str]:
    """Return the facts that an ONNX file of a trained network carries; lists are JSON.

    Args:
        class_names: Names of the classes, in the order of the logits; left out if None.
        mean: Mean of the training images for each channel, grey levels 0 to 255.
        deviation: Their standard deviation.
        resolution: Side of the input, or its height and width, in pixels.
        fit: How a picture takes the input's shape: `crop`, `pad` or `stretch`.
        version: Version of nas-sv2 that wrote the file.
        kind: The kind of the labels; said only if it is not one class each.
    """
    facts: dict[str, Any] = {"mean": mean, "deviation": deviation, "side": resolution}
    facts["fit"] = fit
    if class_names is not None:
        facts["class_names"] = class_names
    if kind == "labels":
        facts["several_labels"] = True
    if kind == "numbers":
        facts["number"] = True
    return {"nas_sv2": version, **{name: json.dumps(fact) for name, fact in facts.items()}}


def shuffle_free_tflite(
    graph: Graph, weights: Weights, facts: Mapping[str, str] | None = None
) -> bytes:
    """Return the `.tflite` file with as few shuffles as possible, for one image."""
    return build_tflite(*without_shuffles(graph, weights), facts=facts)


def shuffle_free_ncnn(graph: Graph, weights: Weights, images: Array | None = None) -> NcnnFiles:
    """Return the files for ncnn with as few shuffles as possible, in int8 if images are given."""
    free = without_shuffles(graph, weights)
    return build_ncnn(*free, None if images is None else largest_inputs(*free, images))


def ncnn_files(param: str, model: NcnnFiles) -> dict[str, bytes]:
    """Return the two files of a network for ncnn by their names, that of the `.param` given."""
    return {param: model.param, ncnn_weights_of(param): model.weights}


def ncnn_weights_of(param: str) -> str:
    """Return the name of the `.bin` that belongs to a `.param`."""
    return param.removesuffix("param") + "bin"


def format_of(model: str) -> str:
    """Return the format of a model's file, one of `FORMATS`."""
    suffix = model.rpartition(".")[2]
    return "ncnn" if suffix == "param" else suffix


def check_formats(formats: Collection[str]) -> None:
    """Refuse formats that nas-sv2 does not write, or whose runtime is missing here for the check.

    Raises:
        ConfigError: The error names the format or the package that is missing.
    """
    needs = {"tflite": require_litert, "ncnn": require_ncnn}
    for form in formats:
        check_choice("form", form, tuple(FORMATS))
        if form in needs:
            needs[form]()


def _timing_files(
    found: Classifier, int8: bool, opset: int, formats: Collection[str]
) -> dict[str, bytes]:
    """Return models at the resolution of the latency; random weights take the same time."""
    graph, files = lower(found), {}
    weights = random_weights(graph, seed=0)
    shape = (4, found.channels, *height_and_width(found.resolution))
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    if "onnx" in formats:
        files[TIMING] = shuffle_free_onnx(graph, weights, opset)
        if int8:
            files[TIMING_INT8] = quantize(files[TIMING], images)
    if "tflite" in formats:
        files[TIMING_TFLITE] = plain = shuffle_free_tflite(graph, weights)
        if int8:
            files[TIMING_TFLITE_INT8] = quantize_tflite(plain, find_scales(plain, images))
    if "ncnn" in formats:
        files |= ncnn_files(TIMING_NCNN, shuffle_free_ncnn(graph, weights))
        if int8:
            files |= ncnn_files(TIMING_NCNN_INT8, shuffle_free_ncnn(graph, weights, images))
    return files


def batches_of(part: Part, normalise: Normalise) -> Iterator[tuple[Array, Labels]]:
    """Yield normalised images, float32 (N, C, H, W), with their labels."""
    for start in range(0, len(part), BATCH):
        images = normalise(part.images[start : start + BATCH])
        yield np.ascontiguousarray(images.numpy()), part.labels[start : start + BATCH].numpy()


def forms_of(files: dict[str, bytes], weights: Weights) -> dict[str, Form]:
    """Return the forms among `files` that can be run, without those of random weights.

    The text of `model.py` is run, so it must be trusted or written by `source_of`.
    """
    forms: dict[str, Form] = {}
    if SOURCE in files:
        forms[SOURCE] = source_form(files[SOURCE], weights)
    for name in MODELS:
        if name in files:
            forms[name] = _runtime_form(name, files)
    return forms


def _runtime_form(name: str, files: Mapping[str, bytes]) -> Form:
    match format_of(name):
        case "tflite":
            return tflite_form(files[name])
        case "ncnn":
            return ncnn_form(files[name], files[ncnn_weights_of(name)])
        case _:
            return onnx_form(files[name])


def torch_form(network: Classifier, weights: Weights) -> Form:
    """Build the network as nas-sv2 trains it."""
    from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights

    graph = lower(network)
    module = build_module(graph)
    load_weights(module, graph, weights)
    return _asked(module.eval())


def source_form(text: bytes, weights: Weights) -> Form:
    """Run the text of a `model.py` and return the network that it builds.

    Raises:
        StoreError: If the text does not run, or builds another network.
    """
    import torch

    names = {"__name__": "model", "__file__": SOURCE}
    try:
        with torch.random.fork_rng(devices=[]):  # leaves the global generator as it was
            exec(compile(text, SOURCE, "exec"), names)
            module: torch.nn.Module = names["build"]()  # type: ignore[operator]
        module.load_state_dict(_state(weights))
        return _asked(module.eval())
    except Exception as error:  # whatever the text does
        raise StoreError(f"{SOURCE} cannot be run: {error!r}") from error


def plain_module(network: Architecture, weights: Weights) -> "torch.nn.Module":
    """Build the module of `model.py` with its weights, in evaluation mode."""
    import torch

    with torch.device("meta"):  # draws nothing from torch's global generator
        module = build_plain(network)
    module.load_state_dict(_state(weights), assign=True)
    return module.eval()


def tflite_form(model: bytes) -> Form:
    """Load the file into LiteRT on this machine's CPU.

    Raises:
        ConfigError: If LiteRT is not installed.
        StoreError: If LiteRT refuses the file.
    """
    import torch

    require_litert()
    from ai_edge_litert.interpreter import Interpreter

    try:
        network = Interpreter(model_content=model, num_threads=torch.get_num_threads())
        network.allocate_tensors()
    except Exception as error:  # LiteRT raises several kinds, all about the file
        raise StoreError(f"LiteRT refuses the file: {error}") from error
    taken, given = (
        ends[0]["index"] for ends in (network.get_input_details(), network.get_output_details())
    )

    def ask(images: Array) -> Array:
        logits = []
        for image in np.ascontiguousarray(images.transpose(0, 2, 3, 1)):
            network.set_tensor(taken, image[None])
            network.invoke()
            logits.append(network.get_tensor(given)[0])
        return np.stack(logits)

    return ask


def ncnn_form(param: bytes, weights: bytes) -> Form:
    """Load the two files into ncnn on this machine's CPU, without half precision.

    Raises:
        ConfigError: If ncnn is not installed.
        StoreError: If ncnn refuses the files.
    """
    import torch

    ncnn = require_ncnn()
    network = ncnn.Net()
    network.opt.num_threads = torch.get_num_threads()
    for option in HALF_PRECISION:
        setattr(network.opt, option, False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.bin")
        write_whole(file, weights)
        if network.load_param_mem(param.decode()) or network.load_model(str(file)):
            raise StoreError("ncnn refuses the files")

    def ask(images: Array) -> Array:
        logits = []
        for image in np.ascontiguousarray(images):
            extractor = network.create_extractor()
            extractor.input(INPUT, ncnn.Mat(image).clone())
            failed, found = extractor.extract(OUTPUT)
            if failed:
                raise StoreError("ncnn cannot run the network")
            logits.append(np.array(found))
        return np.stack(logits)

    return ask


def _state(weights: Weights) -> "dict[str, torch.Tensor]":
    """Copy the weights into tensors, as arrays that were read from a file are not writable."""
    import torch

    return {name: torch.tensor(array) for name, array in weights.items()}


def _asked(module: "torch.nn.Module") -> Form:
    import torch

    def ask(images: Array) -> Array:
        with torch.no_grad():
            logits: Array = module(torch.from_numpy(images)).numpy()
        return logits

    return ask
