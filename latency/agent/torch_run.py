"""The runtime `torch` of the agent, which imports this module only for plans that name torch.

Unlike the rest of the agent it needs nas-sv2 on the device, because only `space` can build the
module. A run on a GPU has a wall time up to `synchronize` and a time between CUDA events around
the kernels. Both are also taken for a CUDA graph of the network. The graph does without launches
of single kernels (the subject of guideline G3), and thus shows their cost. Times of single
operators come from torch's own profiler.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nas_sv2.latency.agent.node_times import COLD_RUNS, PROFILED_RUNS, undisturbed
from nas_sv2.resolution import height_and_width
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import lower, network_from_document
from nas_sv2.space.runtimes.torch_lowering import GraphModule, build_module

Run = Callable[[], object]
Series = dict[str, list[float]]
MoreSeries = Callable[[Sequence[int]], Series]
GRAPH_WARMUP = 3  # runs on the capturing stream, as torch's documentation of CUDA graphs asks
MARK = "nas-sv2 "
"""Prefix of an operator's name in torch's profile."""


def missing(device: str) -> str | None:
    """Say why torch cannot run on `device`, with a remedy; None if it can."""
    if device == "cpu" or torch.cuda.is_available():
        return None
    return (
        f"torch {torch.__version__} sees no CUDA GPU; use a machine where `nvidia-smi` lists one "
        "and torch is a CUDA build (https://pytorch.org/get-started), or another target"
    )


def facts(device: str) -> Mapping[str, object]:
    """Return the part of the fingerprint that torch knows."""
    known: dict[str, object] = {"runtime_version": torch.__version__, "provider": device}
    if device == "cuda":
        driver = Path("/proc/driver/nvidia/version")
        known |= {
            "gpu": torch.cuda.get_device_name(0),
            "driver": driver.read_text().splitlines()[0] if driver.is_file() else None,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return known


def load(body: bytes, plan: Mapping[str, Any]) -> tuple[Run, Any, MoreSeries]:
    """Return the fields of `timed_runs.Network` for a network given as JSON."""
    module, _, image = _built(body, plan)

    def eager() -> torch.Tensor:
        with torch.inference_mode():
            output: torch.Tensor = module(image)
            return output

    numbers = eager().float().flatten().cpu().numpy()
    if image.device.type == "cpu":
        return eager, numbers, lambda kept: {}
    run, spans = _with_events(eager)

    def more_series(kept: Sequence[int]) -> Series:
        runs = len(kept)
        replay, graph_spans = _with_events(_captured(eager))
        for _ in range(runs):  # settles the clocks
            replay()
        graph_ms = [_wall_ms(replay) for _ in range(runs)]
        return {
            "event_ms": _elapsed([spans[number] for number in kept]),
            "graph_ms": graph_ms,
            "graph_event_ms": _elapsed(graph_spans[-runs:]),
        }

    return run, numbers, more_series


def node_times(body: bytes, plan: Mapping[str, Any]) -> list[list[Any]]:
    """Return the operators of a network, in order: name, kind, µs.

    On a GPU the µs are those of its kernels, without the gaps in which it waits for launches. On
    a CPU they last from the start of an operator to its end.
    """
    module, graph, image = _built(body, plan)
    module.wrap_steps(_marked)
    on_gpu = image.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity
    activities = [activity.CPU, activity.CUDA] if on_gpu else [activity.CPU]
    with torch.inference_mode():
        for _ in range(COLD_RUNS):  # unseen by the profiler: cuDNN tries its kernels here
            module(image)
        with torch.profiler.profile(activities=activities) as profiler:
            for _ in range(PROFILED_RUNS):
                module(image)
            if on_gpu:
                torch.cuda.synchronize()
    times: dict[str, list[float]] = {op.name: [] for op in graph.ops}
    for event in profiler.events():
        # The range is listed for the CPU and the GPU; the kernels belong to that of the CPU.
        if event.name.startswith(MARK) and event.device_type.name == "CPU":
            us = event.device_time_total if on_gpu else event.cpu_time_total
            times[event.name.removeprefix(MARK)].append(us)
    return [
        [op.name, type(op.kind).__name__, undisturbed(times[op.name])]
        for op in graph.ops
        if times[op.name]
    ]


def _marked(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    def marked(*values: torch.Tensor) -> Any:
        with torch.profiler.record_function(MARK + name):
            return run(*values)

    return marked


def _built(body: bytes, plan: Mapping[str, Any]) -> tuple[GraphModule, Graph, torch.Tensor]:
    """Build the module on the plan's processor, its graph, and random images for it."""
    torch.set_num_threads(plan["threads"])
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(plan["seed"])  # this process does nothing else
    network = network_from_document(json.loads(body))
    device = torch.device(plan["processor"])
    kind = torch.float16 if plan["precision"] == "fp16" else torch.float32
    graph = lower(network)
    module = build_module(graph).eval().to(device, kind)
    shape = (plan["batch"], network.channels, *height_and_width(network.resolution))
    return module, graph, torch.randn(shape, device=device, dtype=kind)


Span = tuple[torch.cuda.Event, torch.cuda.Event]


def _with_events(run: Run) -> tuple[Run, list[Span]]:
    """Return a run that waits for the GPU, and the list that collects its events."""
    spans: list[Span] = []

    def timed() -> None:
        began = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        began.record()
        run()
        ended.record()
        torch.cuda.synchronize()
        spans.append((began, ended))

    return timed, spans


def _elapsed(spans: Sequence[Span]) -> list[float]:
    return [began.elapsed_time(ended) for began, ended in spans]


def _captured(run: Run) -> Run:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(GRAPH_WARMUP):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _wall_ms(run: Run) -> float:
    began = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - began) / 1e6
