"""Runs a graph through its lowerings, to compare what comes out."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

import ncnn
import numpy as np
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter

from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.runtimes.ncnn_lowering import NcnnFiles
from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights
from nas_sv2.space.runtimes.weights import Array, random_weights


def weights_with_statistics(graph: Graph, seed: int) -> dict[str, Array]:
    """Random weights whose batch norms are not the identity, so that folding is seen."""
    generator = np.random.default_rng(seed)
    weights = random_weights(graph, seed)
    for name, array in weights.items():
        if ".norm." in name or name.endswith("bias"):
            weights[name] = array + generator.uniform(0, 0.5, array.shape).astype(np.float32)
    return weights


def run_torch(graph: Graph, weights: Mapping[str, Array], images: Array) -> Array:
    module = build_module(graph)
    load_weights(module, graph, weights)
    with torch.no_grad():
        logits: Array = module.eval()(torch.from_numpy(images)).numpy()
    return logits


def run_onnx(model: bytes, images: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"input": images})
    return np.asarray(logits)


def run_ncnn(files: NcnnFiles, images: Array) -> Array:
    """One image after the other, in float32: half precision is off."""
    network = ncnn.Net()
    network.opt.num_threads = 1
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = network.opt.use_bf16_storage = False
    with tempfile.TemporaryDirectory() as folder:
        param, weights = Path(folder, "model.param"), Path(folder, "model.bin")
        param.write_bytes(files.param)
        weights.write_bytes(files.weights)
        assert network.load_param(str(param)) == 0
        assert network.load_model(str(weights)) == 0
    found = []
    for image in images:
        extractor = network.create_extractor()
        extractor.input("input", ncnn.Mat(image).clone())
        failed, logits = extractor.extract("logits")
        assert not failed
        found.append(np.array(logits))  # copied, before its network is gone
    return np.stack(found)


def run_tflite(model: bytes, images: Array) -> Array:
    network = Interpreter(model_content=model, num_threads=1)
    network.allocate_tensors()
    (read,), (written,) = network.get_input_details(), network.get_output_details()
    network.set_tensor(read["index"], np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    network.invoke()
    found = np.asarray(network.get_tensor(written["index"]))
    return found.transpose(0, 3, 1, 2) if found.ndim == 4 else found


def assert_close(left: Array, right: Array) -> None:
    np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4 * float(abs(left).max()))
