"""Where the time of a network goes, kernel by kernel: the paper's Figure 2 for any network.

A kernel is what the runtime ran at once. A convolution with the activation and the sum that the
runtime melted into it is one kernel and counts as a convolution; the operators inside are named.
Kinds are the paper's five, with depthwise convolutions apart from the others:

- `conv`: convolutions, dense, grouped and 1×1, with what is melted into them;
- `depthwise`: the same with one group a channel. The paper counts them as convolutions here and
  as element-wise in G4; apart, both can be read off;
- `element-wise`: activations, sums, products, norms that stand alone;
- `shuffle`: what the network moves without computing: shuffles, splits, concats, selections;
- `data`: what the runtime inserted: changes of layout, copies, quantisation at the ends;
- `other`: pools, the classifier, the two small convolutions of squeeze-and-excitation.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, assert_never, get_args

from nas_sv2.errors import ConfigError
from nas_sv2.latency.device import NodeTime
from nas_sv2.latency.emulated import EmulatedArm
from nas_sv2.latency.kernels import kernels_of
from nas_sv2.latency.measured_target import MeasuredTarget
from nas_sv2.latency.measurement import Latency
from nas_sv2.latency.node_places import placed
from nas_sv2.latency.plan import Lowering
from nas_sv2.latency.targets import Target
from nas_sv2.space.cost import is_depthwise
from nas_sv2.space.graph import (
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalAveragePool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Op,
    Select,
    Shift,
    Shuffle,
    Split,
)
from nas_sv2.space.lowering import lower
from nas_sv2.space.network import Network
from nas_sv2.space.shuffle_free import without_shuffles

RunKind = Literal["conv", "depthwise", "element-wise", "shuffle", "data", "other"]
RUN_KINDS: Final[tuple[RunKind, ...]] = get_args(RunKind)


@dataclass(frozen=True, slots=True)
class RunKernel:
    """What ran at once.

    Attributes:
        name: Of the operator it is named after; of what the runtime inserted, its name there.
        runs_as: The runtime's name for what it does, `FusedConv`; of an emulator, the kernel.
        ops: Operators of the network that it carries out, in running order. Empty where it was
            inserted; the same for all kernels of one operator, as a shuffle has three.
        block: Where it belongs (`Op.block`); of what was inserted, whom it serves.
        kind: Of the work.
        us: Its time for one run of the network, in µs.
    """

    name: str
    runs_as: str
    ops: tuple[str, ...]
    block: str
    kind: RunKind
    us: float


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
    if isinstance(target, EmulatedArm):
        return [_emulated(target, network) for network in networks]
    if not isinstance(target, MeasuredTarget):
        raise ConfigError("--target", target.name, "a target that is measured or emulated")
    times = [target.node_times(network) for network in networks]
    measured = target.measure_together(networks)
    lowering = target.plan.lowering
    return [
        _profile(_form(network, lowering), nodes, measurement.latency(target.name))
        for network, nodes, measurement in zip(networks, times, measured, strict=True)
    ]


def _emulated(target: EmulatedArm, network: Network) -> Profile:
    graph = _form(network, target.lowering)
    kernels = kernels_of(graph, target.table.precision)
    us = 1e3 / target.table.cycles_per_ms
    nodes = [
        NodeTime(kernel.ops[0], kernel.key, us * cycles)
        for kernel, (_, cycles) in zip(kernels, target.price(graph), strict=True)
    ]
    return _profile(graph, nodes, target.estimate(network))


def _form(network: Network, lowering: Lowering) -> Graph:
    """The operators as they are sent to the device."""
    graph = lower(network)
    return without_shuffles(graph, {})[0] if lowering == "shuffle_free" else graph


def _profile(graph: Graph, nodes: Iterable[NodeTime], whole: Latency) -> Profile:
    blocks = tuple(dict.fromkeys(op.block for op in graph.ops))
    return Profile(kernels_run(graph, nodes), blocks, whole)


def kernels_run(graph: Graph, nodes: Iterable[NodeTime]) -> tuple[RunKernel, ...]:
    """What the nodes of a runtime are in the network; every node is in it, with its time.

    Args:
        graph: The operators as they were sent.
        nodes: In the order in which they ran.
    """
    places = {
        name: place for place, op in enumerate(graph.ops) for name in (op.name, op.output.name)
    }
    found = placed(nodes, places)
    named = {graph.ops[at.place].name for at in found if not at.inserted}
    carried = _carried_out(graph, named)
    by_name = {op.name: op for op in graph.ops}
    kernels = []
    for node, place, inserted in found:
        op = graph.ops[place]
        ops = () if inserted else carried.get(op.name, (op.name,))
        kernels.append(
            RunKernel(
                name=node.name if inserted else op.name,
                runs_as=node.operator,
                ops=ops,
                block=op.block,
                kind="data" if inserted else kind_of(by_name[ops[0]]),
                us=node.us,
            )
        )
    return tuple(kernels)


def _carried_out(graph: Graph, named: set[str]) -> Mapping[str, tuple[str, ...]]:
    """By each operator that a node is named after: it and those that have no node of their own.

    Which operators melt together differs from processor to processor, and a node that does three
    may have the name of any. What may melt is known (`kernels_of`), what did is what has no node.
    """
    carried: dict[str, list[str]] = {}
    bearer: dict[str, str] = {}  # of each value: the operator whose node writes it
    by_name = {op.name: op for op in graph.ops}
    for kernel in kernels_of(graph):
        waiting: list[str] = []
        last = None
        for name in kernel.ops:
            waiting.append(name)
            if name in named:
                carried[name], waiting, last = waiting, [], name
        last = last or bearer.get(kernel.source.name)
        if last is None:
            continue
        carried[last] += waiting
        bearer |= {value.name: last for name in kernel.ops for value in by_name[name].outputs}
    return {name: tuple(ops) for name, ops in carried.items()}


def kind_of(op: Op) -> RunKind:
    """The kind of the kernel that begins with `op`."""
    match op.kind:
        case Conv(bias=True, batch_norm=False):  # a gate (`GraphBuilder.gate`)
            return "other"
        case Conv():
            return "depthwise" if is_depthwise(op) else "conv"
        case Activation() | Add() | Multiply() | Norm():
            return "element-wise"
        case Shuffle() | Split() | Concat() | Select() | Shift():
            return "shuffle"
        case MaxPool() | AveragePool() | GlobalAveragePool() | Linear():
            return "other"
        case _:
            assert_never(op.kind)
