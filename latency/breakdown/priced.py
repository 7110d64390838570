"""What a network's time consists of on a target, priced and not run: for reasons, not for figures.

An emulated core prices every kernel by its table. A measured target that has a guideline profile
is priced by the profile's formulas. Others have no breakdown, and none is made up for them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from nas_sv2.errors import NasError
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import DeviceKey, ProfileStore
from nas_sv2.latency.guidelines.waste import price
from nas_sv2.latency.kernels.kernel import Kernel
from nas_sv2.latency.kernels.node_costs import pieces_of_graph, share_of
from nas_sv2.latency.kernels.of_graph import kernels_of
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.measured_target import MeasuredTarget
from nas_sv2.latency.targets.targets import Target, open_target
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.networks.network import Network
from nas_sv2.space.runtimes.shuffle_free import without_shuffles


@dataclass(frozen=True)
class Breakdown:
    """The shares of a network's time on one target.

    Attributes:
        source: Where prices come from, for people.
        shares: Of a network, by kind of operator (`node_costs.share_of`); they add up to 1.
            Raises `MeasurementError` where an operator has no price.
    """

    source: str
    shares: Callable[[Network], Mapping[str, float]]


def breakdown_of(target: Target, profiles: ProfileStore) -> Breakdown | None:
    """The breakdown of an open target; None where nothing prices its operators.

    Raises:
        DeviceError: The device does not say what it is.
        StoreError: Profiles cannot be read.
    """
    if isinstance(target, EmulatedArm):
        return _of_table(target)
    if isinstance(target, MeasuredTarget):
        profile = profiles.find(DeviceKey.of(target))
        return None if profile is None else _of_profile(target.name, profile)
    return None


def breakdown_behind(name: str, latency: Latency, profiles: ProfileStore) -> Breakdown | None:
    """The breakdown of the device that gave `latency`, which need not be at hand any more.

    Args:
        name: What the user called the target.
        latency: One of its figures; another device of that name is not meant.
        profiles: Where guideline profiles are.

    Raises:
        StoreError: Profiles cannot be read.
    """
    if latency.provenance == "emulated":
        try:
            target = open_target(name)
        except NasError:  # the user has removed it since
            return None
        if isinstance(target, EmulatedArm) and target.device == latency.device:
            return _of_table(target)
        target.close()
        return None
    profile = profiles.find_of_name(name)
    if profile is None or profile.device != latency.device:
        return None
    return _of_profile(name, profile)


def _of_table(target: EmulatedArm) -> Breakdown:
    def shares(network: Network) -> Mapping[str, float]:
        graph = lower(network)
        if target.lowering == "shuffle_free":
            graph, _ = without_shuffles(graph, {})
        kernels = kernels_of(graph, target.table.precision)
        return _by_kind((kernel, target.table.cycles(kernel)) for kernel in kernels)

    return Breakdown(f"the kernel prices of {target.name}", shares)


def _of_profile(name: str, profile: GuidelineProfile) -> Breakdown:
    def shares(network: Network) -> Mapping[str, float]:
        pieces = pieces_of_graph(lower(network), profile.lowering)
        return _by_kind((piece.kernel, price(piece, profile.costs)) for piece in pieces)

    return Breakdown(f"the guideline profile of {name}", shares)


def _by_kind(priced: Iterable[tuple[Kernel, float]]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for kernel, cost in priced:
        found[share_of(kernel)] += cost
    whole = sum(found.values())
    return {kind: cost / whole for kind, cost in found.items()}
