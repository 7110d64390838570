"""The most memory that a network needs at once: exact liveness over the order in which it runs.

Weights count, which stay. The input and every value count from the operator that writes them to
the last that reads them, and the output to the end. An operator's inputs and outputs are alive
together. A *view* shares the memory of its input. An operator that runs *in place* writes over
its first input of equal size that nothing reads later. Not counted are the program itself, copies
into the layout of a runtime, the scratch memory of a kernel and gaps between buffers.

Element-wise functions, sums and products run in place. Splits and concats copy. The figure is the
least that a run needs. Runtimes set more aside (`space/runtimes/memory_plan.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nas_sv2.space.graph.cost import BYTES_PER_NUMBER, kernel_shape
from nas_sv2.space.graph.operators import Activation, Add, Conv, Graph, Linear, Multiply, Norm, Op

IN_PLACE = (Activation, Add, Multiply)
UNITS = ("B", "KiB", "MiB", "GiB")


def memory_in_words(size_bytes: float) -> str:
    """Format a size of memory in powers of 1,024: `512 B`, `1 KiB`, `2.531 MiB`."""
    unit, unit_bytes = unit_of(size_bytes)
    return f"{size_bytes / unit_bytes:,.3f}".rstrip("0").rstrip(".") + f" {unit}"


def unit_of(size_bytes: float) -> tuple[str, int]:
    """Return the name and the bytes of the largest unit that a size of memory reaches."""
    fitting = [power for power in range(len(UNITS)) if size_bytes >= 1024**power]
    power = max(fitting, default=0)
    return UNITS[power], 1024**power


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The most memory that one run needs at once.

    Attributes:
        weight_bytes: All weights, with batch norms folded where the graph folds them.
        activation_bytes: The most activations alive at once.
        at: The operator that runs then.
    """

    weight_bytes: int
    activation_bytes: int
    at: str

    @property
    def bytes(self) -> int:
        """Both together."""
        return self.weight_bytes + self.activation_bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One operator as it uses memory.

    Attributes:
        name: Its name.
        reads: Names of the values that it reads.
        writes: Names of the values that it writes.
        in_place: Whether it may write over a value that it reads.
        view: Whether its output is its first input under another shape.
    """

    name: str
    reads: Sequence[str]
    writes: Sequence[str]
    in_place: bool = False
    view: bool = False


def peak_memory_of(graph: Graph) -> PeakMemory:
    """The most memory that one image through `graph` needs at once, in float32."""
    steps, sizes = steps_of(graph)
    activations, at = most_alive(steps, sizes, [graph.input.name], [graph.output.name])
    return PeakMemory(BYTES_PER_NUMBER * sum(map(_weights, graph.ops)), activations, at)


def steps_of(graph: Graph) -> tuple[list[Step], dict[str, int]]:
    """The operators of a graph as they use memory, and the bytes of each value in float32."""
    sizes = {graph.input.name: BYTES_PER_NUMBER * graph.input.elements}
    steps = []
    for op in graph.ops:
        sizes |= {value.name: BYTES_PER_NUMBER * value.elements for value in op.outputs}
        reads, writes = ([value.name for value in values] for values in (op.inputs, op.outputs))
        steps.append(Step(op.name, reads, writes, in_place=isinstance(op.kind, IN_PLACE)))
    return steps, sizes


def most_alive(
    steps: Sequence[Step], sizes: Mapping[str, int], inputs: Iterable[str], outputs: Iterable[str]
) -> tuple[int, str]:
    """The most bytes of values that are alive at once, and the first step at which they are.

    Args:
        steps: The operators in the order in which they run.
        sizes: The bytes of each value.
        inputs: The values that are there before the first step.
        outputs: The values that are read after the last.
    """
    last = {
        name: place for place, step in enumerate(steps) for name in (*step.writes, *step.reads)
    }
    last |= dict.fromkeys(outputs, len(steps))
    buffer_of = {name: name for name in inputs}
    for step in steps:
        buffer_of |= {name: name for name in step.writes}
        if step.view:
            buffer_of[step.writes[0]] = buffer_of[step.reads[0]]
    free_at: dict[str, int] = {}
    for name, buffer in buffer_of.items():
        free_at[buffer] = max(free_at.get(buffer, -1), last.get(name, -1))
    alive = {buffer_of[name]: sizes[name] for name in inputs}
    most, at = sum(alive.values()), steps[0].name if steps else ""
    for place, step in enumerate(steps):
        new = {buffer_of[name]: sizes[name] for name in step.writes}
        new = {buffer: size for buffer, size in new.items() if buffer not in alive}
        taken = _overwritten(step, place, new, alive, free_at, buffer_of)
        if taken is not None:
            del alive[taken]
        alive |= new
        if (now := sum(alive.values())) > most:
            most, at = now, step.name
        alive = {name: size for name, size in alive.items() if free_at[name] > place}
    return most, at


def _overwritten(
    step: Step,
    place: int,
    new: Mapping[str, int],
    alive: Mapping[str, int],
    free_at: Mapping[str, int],
    buffer_of: Mapping[str, str],
) -> str | None:
    """The buffer that a step in place writes over; None if it needs one of its own."""
    if not step.in_place or len(new) != 1:
        return None
    (size,) = new.values()
    for name in step.reads:
        buffer = buffer_of[name]
        if alive.get(buffer) == size and free_at[buffer] == place:
            return buffer
    return None


def _weights(op: Op) -> int:
    """Numbers that an operator holds at inference; a folded batch norm leaves one a channel."""
    kernel = 1
    for size in kernel_shape(op):
        kernel *= size
    match op.kind:
        case Conv(batch_norm=batch_norm, bias=bias):
            return kernel + op.output.channels * (batch_norm or bias)
        case Linear():
            return kernel + op.output.channels
        case Norm():
            return 4 * op.output.channels
        case _:
            return 0
