"""Why a network is slow or fast: its cost, its time by operator and block, its reused channels."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.api.arguments import Notify, database_of, ignore
from nas_sv2.database import DEFAULT_STORAGE
from nas_sv2.database.database import Database
from nas_sv2.errors import MeasurementError, naming_network
from nas_sv2.latency.breakdown.profiled import Profile, profile_of, profiles_of
from nas_sv2.latency.breakdown.what_if import Gains, gains_of
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.guidelines.waste import Waste
from nas_sv2.latency.measurements.head_to_head import check_number
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.choices.levels import paper_limits
from nas_sv2.space.families.published import PaperNetwork
from nas_sv2.space.graph.cost import Cost, cost_of
from nas_sv2.space.graph.guidelines import blocks_of, scores_by_block
from nas_sv2.space.graph.operators import Graph
from nas_sv2.space.graph.peak_memory import PeakMemory
from nas_sv2.space.networks.lowering import Classifier, Network, costs_of, lower
from nas_sv2.space.onnx_models.model import Shapes
from nas_sv2.space.reuse.channel_reuse import (
    Reuse,
    ReusedWeights,
    as_trained,
    channel_reuse,
    reused_weights,
)
from nas_sv2.space.runtimes.memory_plan import PLANNED, memory_in
from nas_sv2.space.units.architecture import Architecture
from nas_sv2.studies.storage.named_networks import (
    KeptWeights,
    Named,
    find_network,
    find_networks,
    trial_named,
    weights_named,
    weights_of_trial,
)

Scores = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """A network on paper.

    Attributes:
        named: The network and its name.
        cost: Its cost; of an ONNX file, that of one run.
        memory: The most memory that it needs at once.
        planned: The memory that runtimes set aside for it, by runtime; none of an ONNX file.
        excesses: How far it is beyond each guideline of the paper, as a share of the limit; empty
            for an ONNX file, which is of no family.
    """

    named: Named[Network]
    cost: Cost
    memory: PeakMemory
    planned: Mapping[str, PeakMemory]
    excesses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a network is slow or fast on a target.

    Attributes:
        name: The user's name of the network.
        digest: The digest of the network.
        target: The name of the target.
        profile: How its time divides.
        costs: The cost of each block on paper.
        scores: G1–G4 of each block, as the paper has them.
        waste: The waste of each block by the device's own guidelines; None if it has none.
        unknown_waste: Why the waste is unknown; empty if it is known.
        gains: The times of its variants; None for a network outside the space.
    """

    name: str
    digest: str
    target: str
    profile: Profile
    costs: Mapping[str, Cost]
    scores: Mapping[str, Scores]
    waste: Mapping[str, Waste] | None
    unknown_waste: str
    gains: Gains | None

    def block_ms(self, block: str) -> float:
        """The time of a block in ms."""
        return sum(self.profile.block_ms[block].values())

    def share(self, block: str) -> float:
        """The share of a block in the time of all kernels."""
        return self.block_ms(block) / self.profile.ms

    def time_per_flop(self, block: str) -> float | None:
        """Time for a multiply-add, that of the whole network being 1; None for a block of none.

        Above 1 a block is slower than its multiply-adds suggest.
        """
        flops = self.costs[block].flops / sum(cost.flops for cost in self.costs.values())
        return self.share(block) / flops if flops else None


@dataclass(frozen=True)
class ReuseFound:
    """How the channels of a network connect its blocks.

    Attributes:
        named: The network and its name.
        reuse: Shares, exact from the operators.
        kept: Trained weights, if there are some.
        weighed: How they weigh the channels.
    """

    named: Named[Classifier]
    reuse: Reuse
    kept: KeptWeights | None
    weighed: ReusedWeights | None


def on_paper(
    network: str, *, inputs: Shapes | None = None, storage: str | Database = DEFAULT_STORAGE
) -> NetworkCost:
    """Count the cost of a network, and its distance from the paper's guidelines.

    Args:
        network: A reference name, a file, or `STUDY:NUMBER`.
        inputs: The shape of the input, or those of an ONNX file's, as `measure` takes them.
        storage: The URL of the database of studies, or the `db` of a study.

    Raises:
        ConfigError: There is no such network, or a node of the file cannot be counted.
    """
    (found,) = find_networks([network], database_of(storage), inputs)
    counted, memory = costs_of(found.network)
    if isinstance(found.network, Architecture | PaperNetwork):
        limits, graph = paper_limits(found.network, counted.flops), lower(found.network)
        planned = {runtime: memory_in(graph, runtime) for runtime in PLANNED}
        return NetworkCost(found, counted, memory, planned, limits.excesses(graph))
    return NetworkCost(found, counted, memory, {}, {})


def explain(
    network: str,
    target: str,
    *,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> Explanation:
    """Explain why a network is slow or fast: time by block, guidelines, faster variants.

    Args:
        network: A reference name, a file, or `STUDY:NUMBER`.
        target: The name of one target.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line before each step.

    Raises:
        ConfigError: The network or the target is not known.
        NasError: The target failed.
    """
    book, db = TargetBook.read(), database_of(storage)
    name = book.one(target)
    named = find_network(network, db)
    graph = lower(named.network)
    with closing(book.open(name, store=MeasurementStore(db), notify=notify)) as opened:
        notify(f"timing the operators on {name}")
        profile = profile_of(opened, named.network)
        waste, unknown = _waste(opened, db, graph)
        notify(f"timing variants on {name}")
        found = named.network
        gains = gains_of(opened, found) if isinstance(found, Architecture) else None
    costs = {block: cost_of(part) for block, part in blocks_of(graph).items()}
    return Explanation(
        named.name,
        found.digest,
        name,
        profile,
        costs,
        scores_by_block(graph),
        waste,
        unknown,
        gains,
    )


def profile(
    networks: Sequence[str],
    target: str,
    *,
    inputs: Shapes | None = None,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> list[tuple[Named[Network], Profile]]:
    """Divide the time of networks on a target, by kind of kernel and by block.

    Args:
        networks: Reference names, files, or `STUDY:NUMBER`.
        target: The name of one target.
        inputs: The shape of the input, or those of ONNX files, as `measure` takes them.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line for each wait.

    Raises:
        ConfigError: A network or the target is not known.
        NasError: The target failed.
    """
    book, db = TargetBook.read(), database_of(storage)
    name = book.one(target)
    check_number(len(networks))
    named = find_networks(networks, db, inputs)
    with closing(book.open(name, store=MeasurementStore(db), notify=notify)) as opened:
        if opened.device is not None:
            profiles = profiles_of(opened, [one.network for one in named])
        else:
            profiles = []
            for one in named:
                with naming_network(one.name):
                    profiles.append(profile_of(opened, one.network))
    return list(zip(named, profiles, strict=True))


def draw_profile(found: Sequence[tuple[Named[Network], Profile]], file: Path) -> None:
    """Draw how the time of networks divides, as a PNG file."""
    from nas_sv2.studies.pages.network_pictures import draw_profiles

    draw_profiles([(named.name, profiled) for named, profiled in found], file)


def reuse(
    network: str,
    *,
    weights: str | None = None,
    storage: str | Database = DEFAULT_STORAGE,
    notify: Notify = ignore,
) -> ReuseFound:
    """Find which channels connect the blocks of a network untouched, and how they are weighed.

    Args:
        network: A reference name, a file, or `STUDY:NUMBER`.
        weights: `FILE.safetensors` or `STUDY:NUMBER`; those of the trial if left out.
        storage: The URL of the database, or the `db` of a study.
        notify: Is called with a line if the weights of the trial were not kept.

    Raises:
        ConfigError: The network or the weights are not known, or do not belong together.
        StoreError: The weights cannot be read.
    """
    db = database_of(storage)
    named = find_network(network, db)
    kept = _kept(network, weights, db, notify)
    if kept is None:
        return ReuseFound(named, channel_reuse(lower(named.network)), None, None)
    graph = lower(as_trained(named.network, kept.weights, kept.width_factor))
    return ReuseFound(named, channel_reuse(graph), kept, reused_weights(graph, kept.weights))


def draw_reuse(found: ReuseFound, name: str, file: Path) -> None:
    """Draw the heat maps of a network's channels, as a PNG file; `name` is that of the network."""
    from nas_sv2.studies.pages.network_pictures import draw_reuse as draw

    caption = [f"{found.named.name}: network {name} · shares exact from the graph"]
    caption += [] if found.kept is None else [found.kept.describe()]
    draw(found.reuse, found.weighed, caption, file)


def _waste(target: Target, db: Database, graph: Graph) -> tuple[Mapping[str, Waste] | None, str]:
    """Give the waste of each block by the target's guideline profile, or why it is unknown."""
    profiles = ProfileStore(db)
    profile = profiles.find_of(target)
    if profile is None:
        stale = profiles.find_of_name(target.name) is not None
        why = "its profile is of another device, runtime or protocol" if stale else "not measured"
        unknown = f"what the blocks waste on {target.name} is not known: {why}"
        return None, f"{unknown}; {profiles.remedy(target)}"
    try:
        return profile.waste_by_block(graph), ""
    except MeasurementError as error:
        return None, f"what the blocks waste on {target.name} is not known: {error}"


def _kept(network: str, weights: str | None, db: Database, notify: Notify) -> KeptWeights | None:
    """Find the weights that the user named, or those of a trial; say if there are none."""
    if weights is not None:
        return weights_named(weights, db)
    trial = trial_named(network)
    if trial is None:
        return None
    found = weights_of_trial(*trial, db)
    if found is None:
        notify(f"the weights of {network} were not kept; export it to have them")
    return found
