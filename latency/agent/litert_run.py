"""The runtime LiteRT of the agent: `.tflite` files, in PyPI's `ai-edge-litert`.

The text is sent with the agent: Python 3.8, the standard library, numpy and LiteRT.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if __name__ != "__main__":  # piped, these names are here already
    from nas_sv2.latency.agent.needed import Refusal, errors_of, needed
    from nas_sv2.latency.agent.timed_runs import Network

if TYPE_CHECKING:
    Json = dict[str, Any]


class LiteRt:
    """LiteRT on a CPU, with XNNPACK, its default there."""

    module = "ai_edge_litert"

    @staticmethod
    def facts(plan: Json) -> Json:
        """Return the part of the fingerprint that LiteRT knows."""
        return {"runtime_version": _litert().__version__, "provider": "XNNPACK"}

    @staticmethod
    def load(body: bytes, plan: Json) -> Network:
        """Load a file, with random images as input.

        A run is `invoke` alone: input and output stay in the runtime's own memory. The numbers of
        the images are those that onnxruntime is given, in another order.
        """
        numpy, _ = needed("numpy"), _litert()
        interpreter = importlib.import_module("ai_edge_litert.interpreter")
        with errors_of("LiteRT"):
            network = interpreter.Interpreter(model_content=body, num_threads=plan["threads"])
            network.allocate_tensors()
            generator = numpy.random.default_rng(plan["seed"])
            for value in network.get_input_details():
                images = _images(numpy, generator, value, plan["batch"])
                network.set_tensor(value["index"], images)
            network.invoke()
            arrays = [network.get_tensor(v["index"]) for v in network.get_output_details()]
        numbers = numpy.concatenate([array.ravel() for array in arrays])
        return Network(network.invoke, numbers, lambda kept: {})

    @staticmethod
    def nodes(body: bytes, plan: Json) -> list[list[Any]]:
        """Refuse: the package has no profiler of operators."""
        raise Refusal("device", "LiteRT's package for Python gives no times of nodes")


def _litert() -> Any:
    return needed(LiteRt.module, "ai-edge-litert")


def _images(numpy: Any, generator: Any, value: Json, batch: int) -> Any:
    shape = [int(size) for size in value["shape"]]
    if not shape or shape[0] != batch:
        text = f"input {value['name']} has shape {shape}, but the plan says batch {batch}"
        raise Refusal("model", text)
    if value["dtype"] is not numpy.float32:
        raise Refusal("model", f"input {value['name']} is {value['dtype'].__name__}, not float32")
    if len(shape) != 4:
        return generator.standard_normal(shape).astype("float32")
    count, height, width, channels = shape
    images = generator.standard_normal((count, channels, height, width)).astype("float32")
    return numpy.ascontiguousarray(images.transpose(0, 2, 3, 1))
