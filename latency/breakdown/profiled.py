"""The time of each kernel of a network on a target: the paper's figure 2 for any network.

Times of kernels (`run_kernels`) are summed by kind and by block. They are not scaled: they come
from the runtime's profiler, and the network's latency without the profiler is given as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.latency.kernels.model_kernels import WHOLE, kernels_of_model
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKernel, RunKind, kernels_run
from nas_sv2.latency.measurements.measurement import Latency, NodeTime
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.onnx_models.model import OnnxModel


@dataclass(frozen=True)
class Profile:
    """The kernels of a network on a target.

    Attributes:
        kernels: Kernels in running order.
        blocks: Names of the network's blocks, in order.
        whole: Latency of the whole network without a profiler, or its price on an emulated
            target, with provenance and device.
    """

    kernels: Sequence[RunKernel]
    blocks: Sequence[str]
    whole: Latency

    @property
    def ms(self) -> float:
        """Sum of the kernels' times, which shares refer to."""
        return sum(kernel.us for kernel in self.kernels) / 1e3

    @property
    def beyond(self) -> float:
        """Excess of the whole latency over `ms`, as a share of `ms`; negative if it is less.

        Gaps between kernels raise it. The profiler's cost per kernel lowers it: for onnxruntime on
        an x86 host it was 1 to 2 µs for any network.
        """
        return self.whole.ms / self.ms - 1

    @property
    def kind_ms(self) -> dict[RunKind, float]:
        """Milliseconds by kind, including kinds without time."""
        return {
            kind: sum(kernel.us for kernel in self.kernels if kernel.kind == kind) / 1e3
            for kind in RUN_KINDS
        }

    @property
    def block_ms(self) -> dict[str, dict[RunKind, float]]:
        """Milliseconds by block and kind, in the network's order."""
        found = {block: dict.fromkeys(RUN_KINDS, 0.0) for block in self.blocks}
        for kernel in self.kernels:
            found[kernel.block][kernel.kind] += kernel.us / 1e3
        return found


def profile_of(target: Target, network: Network) -> Profile:
    """Profile one network on `target`; see `profiles_of`."""
    return profiles_of(target, [network])[0]


def profiles_of(target: Target, networks: Sequence[Network]) -> list[Profile]:
    """Profile each network; a measured target also runs all of them without the profiler.

    Args:
        target: Measured target or emulated core.
        networks: Networks, at most as many as one session times (`head_to_head.check_number`).

    Raises:
        ConfigError: If the target neither runs networks nor prices their kernels.
        DeviceError: If the device cannot be used or its runtime does not give times of nodes.
        MeasurementError: If the measurement fails, or an emulated core lacks a kernel's price.
        StoreError: If a measurement cannot be stored.
    """
    times = [target.kernel_times(network) for network in networks]
    known = [nodes for nodes in times if nodes is not None]
    if len(known) < len(networks):
        allowed = "must be a target that times or prices each kernel; this one does not"
        raise ConfigError("target", target.name, allowed)
    return [
        _profile(target, network, nodes, whole)
        for network, nodes, whole in zip(
            networks, known, _whole_latencies(target, networks), strict=True
        )
    ]


def _whole_latencies(target: Target, networks: Sequence[Network]) -> list[Latency]:
    """Return the latency of each whole network, from one new session if the target runs them."""
    if target.device is None:
        return [target.estimate(network) for network in networks]
    return [one.latency(target.name) for one in target.device.measure_together(networks)]


def _profile(
    target: Target, network: Network, nodes: Iterable[NodeTime], whole: Latency
) -> Profile:
    if isinstance(network, OnnxModel):
        return Profile(kernels_of_model(network, nodes), (WHOLE,), whole)
    graph = target.graph_of(network)
    blocks = tuple(dict.fromkeys(op.block for op in graph.ops))
    return Profile(kernels_run(graph, nodes), blocks, whole)
