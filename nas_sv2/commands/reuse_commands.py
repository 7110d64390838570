"""The command `reuse`: which channels a network's blocks hand on, and how they are weighed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_sv2.commands.options import ARCH_HELP, STORAGE, AsJson, Storage, print_json, print_notes

if TYPE_CHECKING:
    from nas_sv2.studies.storage.kept_weights import KeptWeights


def reuse(
    arch: Annotated[str, typer.Argument(help=ARCH_HELP)],
    weights: Annotated[
        str | None,
        typer.Option(help="FILE.safetensors or STUDY:NUMBER; else those of ARCH, if a trial."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Draw heat maps to this PNG.")] = None,
    storage: Storage = STORAGE,
    as_json: AsJson = False,
) -> None:
    """Print which channels connect a network's blocks untouched, and how they are weighed.

    The paper's Figure 4 for any network, exact from its operators.
    """
    from nas_sv2.show.measure_tables import network_name
    from nas_sv2.show.reuse_tables import reuse_data, reuse_notes, reuse_table
    from nas_sv2.show.tables import output
    from nas_sv2.space.networks.lowering import lower
    from nas_sv2.space.reuse.channel_reuse import channel_reuse
    from nas_sv2.studies.storage.named_networks import find_network

    found = find_network(arch, storage)
    network, kept, weighed = found.network, _kept(arch, weights, storage), None
    if kept is not None:
        from nas_sv2.space.reuse.reused_weights import as_trained, reused_weights

        network = as_trained(network, kept.weights)
        weighed = reused_weights(lower(network), kept.weights)
    connected = channel_reuse(lower(network))
    if out is not None:
        from nas_sv2.studies.pages.reuse_picture import draw_reuse

        network_is = f"{found.name}: network {network_name(found.network.digest)}"
        caption = [f"{network_is} · shares exact from the graph"]
        caption += [] if kept is None else [kept.describe()]
        draw_reuse(connected, weighed, caption, out)
    if as_json:
        print_json(
            {
                "name": found.name,
                "digest": found.network.digest,
                **reuse_data(connected, weighed),
                "weights": None
                if kept is None
                else {
                    "source": kept.source,
                    "recipe": kept.recipe,
                    "seed": kept.seed,
                    "data": kept.data,
                },
            }
        )
        return
    output().print(reuse_table(found.name, connected, weighed))
    print_notes(reuse_notes(connected) + ([] if kept is None else [kept.describe()]))


def _kept(arch: str, weights: str | None, storage: str) -> "KeptWeights | None":
    """What the user named, else what was kept of a trial; says where nothing was."""
    from nas_sv2.studies.storage.named_networks import trial_named

    if weights is not None:
        from nas_sv2.studies.storage.kept_weights import weights_named

        return weights_named(weights, storage)
    trial = trial_named(arch)
    if trial is None:
        return None
    from nas_sv2.studies.storage.kept_weights import weights_of_trial

    found = weights_of_trial(*trial, storage)
    if found is None:
        print(f"the weights of {arch} were not kept; export it to have them", file=sys.stderr)
    return found
