"""The runtime ncnn of the agent: `.param` and `.bin` files, one image at a time.

The text is sent with the agent: Python 3.8, the standard library, numpy and ncnn.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

if __name__ != "__main__":  # piped, these names are here already
    from nas_sv2.latency.agent.needed import Refusal, errors_of, needed
    from nas_sv2.latency.agent.timed_runs import Network

if TYPE_CHECKING:
    Json = dict[str, Any]

HALF_PRECISION = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
"""ncnn's options that are on by default, and take effect as far as the processor has fp16."""


class Ncnn:
    """ncnn on a CPU."""

    module = "ncnn"

    @staticmethod
    def facts(plan: Json) -> Json:
        """Return the part of the fingerprint that ncnn knows."""
        ncnn = needed(Ncnn.module)
        return {
            "runtime_version": ncnn.__version__,
            "provider": "CPU",
            "fp16_arithmetic": bool(ncnn.cpu_support_arm_asimdhp()),
        }

    @staticmethod
    def load(body: bytes, plan: Json) -> Network:
        """Load the two files, with a random image as input, the one that onnxruntime is given.

        A run makes an extractor, as ncnn's users do for each image.
        """
        numpy, ncnn = needed("numpy"), needed(Ncnn.module)
        with errors_of("ncnn"):
            length, _, files = body.partition(b"\n")
            param, weights = files[: int(length)].decode(), files[int(length) :]
            network = _opened(ncnn, param, weights, plan)
            source, shape = _input_of(param)
            output = _only("output", network.output_names())
            generator = numpy.random.default_rng(plan["seed"])
            numbers = generator.standard_normal(shape).astype("float32")
            image = ncnn.Mat(numbers).clone()  # a Mat does not keep the array that it stands on

            def run() -> Any:
                extractor = network.create_extractor()
                extractor.input(source, image)
                return extractor.extract(output)

            failed, found = run()
            if failed:
                raise Refusal("model", f"ncnn: the network does not run (code {failed})")
            outputs = numpy.array(found).ravel()
        return Network(run, outputs, lambda kept: {})

    @staticmethod
    def nodes(body: bytes, plan: Json) -> list[list[Any]]:
        """Refuse: the package has no profiler of layers."""
        raise Refusal("device", "ncnn's package for Python gives no times of nodes")


def _opened(ncnn: Any, param: str, weights: bytes, plan: Json) -> Any:
    """Load a network; the weights go through a file, which ncnn reads to memory of its own."""
    network = ncnn.Net()
    network.opt.num_threads = plan["threads"]
    if plan["precision"] == "fp32":
        for option in HALF_PRECISION:
            setattr(network.opt, option, False)
    if network.load_param_mem(param):
        raise Refusal("model", "ncnn refuses the .param")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.bin")
        with open(path, "wb") as file:
            file.write(weights)
        if network.load_model(path):
            raise Refusal("model", "ncnn refuses the .bin")
    return network


def _input_of(param: str) -> tuple[str, list[int]]:
    """Return name and (C, H, W) of the input, which the text gives as 0=W 1=H 2=C."""
    layers = [line.split() for line in param.splitlines()]
    found = {words[4]: words[5:] for words in layers if words[:1] == ["Input"]}
    name = _only("input", list(found))
    sizes = dict(word.split("=", 1) for word in found[name])
    if not all(sizes.get(key, "").isdigit() for key in "210"):
        line = f"Input {name} 0 1 {name} 0=WIDTH 1=HEIGHT 2=CHANNELS"
        raise Refusal("model", f"ncnn: the .param has no size of its input; write there: {line}")
    return name, [int(sizes[key]) for key in "210"]


def _only(what: str, names: list[str]) -> str:
    """Return the only name; a run has one image and gives one result."""
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise Refusal("model", f"ncnn: the file must have one {what}, and has {found}")
    return names[0]
