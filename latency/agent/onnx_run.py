"""The runtime onnxruntime of the agent: ONNX models.

The text is sent with the agent: Python 3.8, the standard library, numpy and onnxruntime.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

if __name__ != "__main__":  # piped, these names are here already
    from nas_sv2.latency.agent.host_facts import cuda_facts
    from nas_sv2.latency.agent.needed import Refusal, errors_of, needed
    from nas_sv2.latency.agent.node_times import node_providers, node_times
    from nas_sv2.latency.agent.timed_runs import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

PROVIDER = "ExecutionProvider"
"""The end of onnxruntime's names of its execution providers."""
CPU_PROVIDER = "CPU" + PROVIDER
LEAST_ONNXRUNTIME = (1, 12)
"""Opset 17, which our networks are written in, came with 1.12."""
LEAST_FOR_BATCHES = (1, 14)
"""1.12 and 1.13 compute 1×1 convolutions of several images wrongly on a CPU: outputs were off by
26 to 75 % (onnxruntime's issue 13515)."""
FED_KINDS = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
"""Kinds of numbers that an input may have, as numpy names them."""


class OnnxRuntime:
    """onnxruntime, on a CPU, with CUDA or with another execution provider."""

    module = "onnxruntime"

    @staticmethod
    def facts(plan: Json) -> Json:
        """Return the part of the fingerprint that onnxruntime knows."""
        onnxruntime = _onnxruntime(plan)
        provider = _provider(onnxruntime, plan)
        facts = {"runtime_version": onnxruntime.__version__, "provider": provider}
        if plan["processor"] == "cuda":
            facts.update(cuda_facts())
        if hasattr(onnxruntime, "get_build_info"):  # since 1.15
            facts["runtime_build"] = onnxruntime.get_build_info()
        return facts

    @staticmethod
    def load(body: bytes, plan: Json) -> Network:
        """Load a model, with random numbers as input."""
        session, feed = onnx_session(body, plan)
        with errors_of("onnxruntime"):
            arrays = session.run(None, feed)
            run = _bound(session, feed) if plan["processor"] == "cuda" else None
        numpy = needed("numpy")
        numbers = numpy.concatenate([numpy.zeros(0, "float32"), *_numbers(arrays)])
        run = run or (lambda: session.run(None, feed))
        return Network(run, numbers, lambda kept: {}, _fallen_back(body, plan))

    @staticmethod
    def nodes(body: bytes, plan: Json) -> list[list[Any]]:
        """Time each node of a model."""
        if plan["processor"] != "cpu":
            raise Refusal("device", "onnxruntime gives times of nodes on a CPU only; use torch")

        times: list[list[Any]] = _profiled(body, plan, node_times)
        return times


def _numbers(value: Any) -> Iterator[Any]:
    """Yield the numbers of an output as arrays; it may be a sequence or map, and texts have none.

    An array stays one: a map for each class of an image has millions of numbers.
    """
    if isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
    elif isinstance(value, float):
        yield [value]
    elif hasattr(value, "dtype") and value.dtype.kind in "biuf":
        yield value.ravel()


def _profiled(body: bytes, plan: Json, read: Callable[..., Any]) -> Any:
    """Return what a function of `node_times.py` reads from onnxruntime's profile."""

    def profiled(prefix: str) -> tuple[Any, Callable[[], object]]:
        session, feed = onnx_session(body, plan, profile_to=prefix)
        return session, lambda: session.run(None, feed)

    try:
        return read(profiled)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else "it was cut off"  # and is no JSON
        raise Refusal(
            "device",
            f"onnxruntime's profile cannot be written there ({reason}); free some disk, or "
            "set TMPDIR there to a folder that can be written",
        ) from error


def _fallen_back(body: bytes, plan: Json) -> tuple[int, int] | None:
    """Count the nodes that run on the CPU although another provider is asked for, and all.

    onnxruntime gives a node to its CPU provider if the one that is asked for cannot run it, and
    says nothing.
    """
    asked = _provider(_onnxruntime(plan), plan)
    if asked == CPU_PROVIDER:
        return None
    providers = list(_profiled(body, plan, node_providers).values())
    fallen = sum(provider != asked for provider in providers)
    if fallen == len(providers):
        text = f"{asked} runs none of its {len(providers)} nodes, all fall back to the CPU"
        raise Refusal("runtime", f"{text}; leave provider out")
    return fallen, len(providers)


def _onnxruntime(plan: Json) -> Any:
    """Import onnxruntime; refuse one that cannot run our networks, or runs them wrongly."""
    onnxruntime = needed("onnxruntime")
    version = onnxruntime.__version__
    batches = plan["batch"] > 1 and plan["processor"] == "cpu"
    least = LEAST_FOR_BATCHES if batches else LEAST_ONNXRUNTIME
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < least:
        wanted = ".".join(map(str, least))
        use = f"for batch {plan['batch']}" if batches else ""
        raise Refusal(
            "device",
            f"onnxruntime {version} is too old {use}".strip() + f", {wanted} is the least; "
            f"install it there: {sys.executable} -m pip install 'onnxruntime>={wanted}'",
        )
    _provider(onnxruntime, plan)
    return onnxruntime


def _provider(onnxruntime: Any, plan: Json) -> str:
    """Return onnxruntime's name of the plan's execution provider; refuse one that it lacks."""
    asked = plan.get("provider") or ("cuda" if plan["processor"] == "cuda" else "cpu")
    names: list[str] = onnxruntime.get_available_providers()
    there = {name[: -len(PROVIDER)].lower(): name for name in names}
    if asked not in there:
        has, version = ", ".join(sorted(there)), onnxruntime.__version__
        text = f"onnxruntime {version} there has no provider {asked}, but {has}"
        raise Refusal("runtime", text + "; install onnxruntime-gpu" * (asked == "cuda"))
    return there[asked]


def onnx_session(body: bytes, plan: Json, profile_to: str = "") -> tuple[Any, Json]:
    """Open a session with a random input; profile into files of a prefix, if one is given."""
    numpy, onnxruntime = needed("numpy"), _onnxruntime(plan)
    provider = _provider(onnxruntime, plan)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = plan["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Idle workers that spin would eat into the next run's clock and into other programs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Denormal numbers, which some weights make of activations, take a hundred times as long.
    # onnxruntime heeds the first session of a process, and then changes the process as a whole.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Else bytes that are an ONNX model may be run as another one, in onnxruntime's own format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 3
    if profile_to:
        options.enable_profiling, options.profile_file_prefix = True, profile_to
    with errors_of("onnxruntime"):
        # XNNPACK has threads of its own.
        own = {"intra_op_num_threads": str(plan["threads"])}
        asked = (provider, own) if provider == "Xnnpack" + PROVIDER else provider
        session = onnxruntime.InferenceSession(body, options, providers=[asked])
        if provider not in session.get_providers():
            text = f"onnxruntime cannot start {provider} there, and would run on the CPU instead"
            raise Refusal("runtime", text)
        generator = numpy.random.default_rng(plan["seed"])
        feed = {
            value.name: _random_feed(numpy, generator, value, plan["batch"])
            for value in session.get_inputs()
        }
    return session, feed


def _bound(session: Any, feed: Json) -> Callable[[], object]:
    """Return a run that keeps input and output on the GPU, so that no copies are timed."""
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_cpu_input(name, array)
    for value in session.get_outputs():
        binding.bind_output(value.name, "cuda")

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    run()
    return run


def _random_feed(numpy: Any, generator: Any, value: Any, batch: int) -> Any:
    """Return random numbers for an input; ones if it is of whole numbers.

    Those are mostly indices or masks: any table has an entry 1, and a mask of ones hides nothing.
    """
    shape = [size if isinstance(size, int) else batch for size in value.shape]
    kind = value.type[len("tensor(") : -1].replace("double", "float64")
    kind = "float32" if kind == "float" else kind
    if kind not in FED_KINDS:
        raise Refusal("model", f"input {value.name} is {value.type}, not of numbers")
    if kind.startswith("float"):
        return generator.standard_normal(shape).astype(kind)
    return numpy.ones(shape, kind)
