"""Where the time of a network goes on a target: the paper's figure 2 for any network.

By kernel (`run_kernels`), and from these by kind and by block. Nothing is scaled: times are those
that the runtime's profiler told, and what the network takes without it stands beside their sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nas_sv2.errors import ConfigError
from nas_sv2.latency.kernels.run_kernels import RUN_KINDS, RunKernel, RunKind, kernels_run
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.node_time import NodeTime
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.networks.lowering import Network


@dataclass(frozen=True)
class Profile:
    """The kernels of a network on a target.

    Attributes:
        kernels: In the order in which they ran.
        blocks: Names of the network's blocks in its order.
        whole: The network run without a profiler at the same time; of an emulated target, its
            price. Provenance and device stand there.
    """

    kernels: Sequence[RunKernel]
    blocks: Sequence[str]
    whole: Latency

    @property
    def ms(self) -> float:
        """The sum of the kernels; shares are of it."""
        return sum(kernel.us for kernel in self.kernels) / 1e3

    @property
    def beyond(self) -> float:
        """By which share of `ms` the whole takes longer; negative where it takes less.

        Gaps between kernels raise it. What the profiler adds to every kernel lowers it: on an x86
        host onnxruntime's came to 1 to 2 µs a kernel, whatever the network.
        """
        return self.whole.ms / self.ms - 1

    @property
    def kind_ms(self) -> dict[RunKind, float]:
        """Milliseconds by kind; kinds that take none are there too."""
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
    """Where the time of `network` goes on `target`; see `profiles_of`."""
    return profiles_of(target, [network])[0]


def profiles_of(target: Target, networks: Sequence[Network]) -> list[Profile]:
    """Where the time of each network goes; a measured target runs all with no profiler as well.

    Args:
        target: A measured target or an emulated core.
        networks: At most as many as are timed together (`head_to_head.check_number`).

    Raises:
        ConfigError: The target neither runs networks nor prices their kernels.
        DeviceError: The device cannot be used, or its runtime does not tell what nodes take.
        MeasurementError: It failed meanwhile, or an emulated core lacks the price of a kernel.
        StoreError: A measurement cannot be kept.
    """
    times = [target.kernel_times(network) for network in networks]
    known = [nodes for nodes in times if nodes is not None]
    if len(known) < len(networks):
        raise ConfigError("target", target.name, "must be a target that is measured or emulated")
    return [
        _profile(target.graph_of(network), nodes, whole)
        for network, nodes, whole in zip(
            networks, known, _whole_latencies(target, networks), strict=True
        )
    ]


def _whole_latencies(target: Target, networks: Sequence[Network]) -> list[Latency]:
    """Give the latency of each whole network, in one new session if the target runs them."""
    if target.device is None:
        return [target.estimate(network) for network in networks]
    return [one.latency(target.name) for one in target.device.measure_together(networks)]


def _profile(graph: Graph, nodes: Iterable[NodeTime], whole: Latency) -> Profile:
    blocks = tuple(dict.fromkeys(op.block for op in graph.ops))
    return Profile(kernels_run(graph, nodes), blocks, whole)
