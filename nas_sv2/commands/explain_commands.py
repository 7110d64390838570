"""The command `explain`: why a network is slow or fast on a device."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.commands.options import ARCH_HELP, STORAGE, AsJson, Storage, print_json, print_notes
from nas_sv2.errors import ConfigError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nas_sv2.latency.guidelines.waste import Waste
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import Target
    from nas_sv2.space.graph.operators import Graph


def explain(
    arch: Annotated[str, typer.Argument(help=ARCH_HELP)],
    target: Annotated[str, typer.Option(help="A target: arm, cpu or a device.")],
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Say why a network is slow or fast: its blocks' time, guidelines, and what would be faster.

    Each counterfactual differs from the network in one thing and is timed against it in one
    session.
    """
    from rich.console import Console

    from nas_sv2.latency.breakdown.profiled import profile_of
    from nas_sv2.latency.breakdown.what_if import gains_of
    from nas_sv2.latency.measurements.store import MeasurementStore
    from nas_sv2.latency.targets.targets import open_target, target_names
    from nas_sv2.show.explain_tables import (
        Explanation,
        block_table,
        explanation_data,
        explanation_notes,
        gain_lines,
    )
    from nas_sv2.show.tables import output
    from nas_sv2.space.graph.block_scores import blocks_of, scores_by_block
    from nas_sv2.space.graph.cost import cost_of
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.units.architecture import Architecture
    from nas_sv2.studies.storage.named_networks import find_network

    if len(target_names(target)) > 1:
        raise ConfigError("target", target, "must be one target")
    found = find_network(arch, storage)
    graph = lower(found.network)
    with (
        closing(MeasurementStore.open(storage)) as store,
        Console(stderr=True).status(f"asking {target}") as status,
        closing(open_target(target, store=store, told=status.update)) as opened,
    ):
        status.update(f"timing the operators on {target}")
        profile = profile_of(opened, found.network)
        waste, unknown = _waste(opened, store, graph)
        status.update(f"timing counterfactuals on {target}")
        network = found.network
        gains = gains_of(opened, network) if isinstance(network, Architecture) else None
    costs = {block: cost_of(part) for block, part in blocks_of(graph).items()}
    explained = Explanation(
        found.name, target, profile, costs, scores_by_block(graph), waste, unknown, gains
    )
    if as_json:
        print_json({"digest": found.network.digest, **explanation_data(explained)})
        return
    output().print(block_table(explained))
    print_notes(explanation_notes(explained))
    print()
    print_notes(gain_lines(gains))


def _waste(
    target: "Target", store: "MeasurementStore", graph: "Graph"
) -> "tuple[Mapping[str, Waste] | None, str]":
    """What each block wastes by the target's guideline profile, or why that is not known."""
    from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore

    profiles = ProfileStore.beside(store)
    profile = profiles.find(DeviceKey.of(target))
    if profile is None:
        stale = profiles.find_of_name(target.name) is not None
        why = "its profile is of another device, runtime or protocol" if stale else "not measured"
        made = f"nas-sv2 guidelines --target {target.name} makes one"
        return None, f"what the blocks waste on {target.name} is not known: {why}; {made}"
    try:
        return profile.waste_by_block(graph), ""
    except MeasurementError as error:
        return None, f"what the blocks waste on {target.name} is not known: {error}"
