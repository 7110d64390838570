"""The shares of operators in a network's time on a target, priced and not run.

They explain differences and are not latencies. An emulated core prices every kernel by its table.
A measured target is priced by the formulas of its guideline profile. A target without either has
no breakdown.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from nas_sv2.errors import MeasurementError, NasError
from nas_sv2.latency.guidelines.profile import GuidelineProfile
from nas_sv2.latency.guidelines.store import ProfileStore
from nas_sv2.latency.guidelines.waste import price
from nas_sv2.latency.kernels.node_costs import pieces_of_graph, shares_of
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import Target
from nas_sv2.space.networks.lowering import Network, lower


@dataclass(frozen=True)
class Breakdown:
    """The shares of a network's time on one target.

    Attributes:
        source: Origin of the prices, in words.
        shares: Function from a network to its shares by kind of operator (`node_costs.share_of`),
            which add up to 1. It raises `MeasurementError` if an operator has no price.
    """

    source: str
    shares: Callable[[Network], Mapping[str, float]]


def breakdown_of(target: Target, network: Network, profiles: ProfileStore) -> Breakdown | None:
    """Return the breakdown of an open target; None if its operators have no prices.

    Args:
        target: Target with its own prices or a guideline profile.
        network: One of the networks whose shares are wanted later.
        profiles: Stored guideline profiles.

    Raises:
        DeviceError: If the device does not give its fingerprint.
        StoreError: If profiles cannot be read.
    """
    if _has_prices(target, network):
        return _of_prices(target)
    profile = profiles.find_of(target)
    return None if profile is None else _of_profile(target.name, profile)


def breakdown_behind(
    book: TargetBook, name: str, network: Network, latency: Latency, profiles: ProfileStore
) -> Breakdown | None:
    """Return the breakdown of the device that gave `latency`, even if it is no longer there.

    Args:
        book: Targets that are known now.
        name: User's name of the target.
        network: Network that was timed.
        latency: Latency of the network; it excludes another device of the same name.
        profiles: Stored guideline profiles.

    Raises:
        StoreError: If profiles cannot be read.
    """
    if latency.provenance == "emulated":
        try:
            with closing(book.open(name)) as target:
                identity = target.identity()
                same = identity is not None and identity.description == latency.device
                return _of_prices(target) if same and _has_prices(target, network) else None
        except NasError:  # the user has removed the target since
            return None
    profile = profiles.find_of_name(name, latency.device)
    return None if profile is None else _of_profile(name, profile)


def _has_prices(target: Target, network: Network) -> bool:
    """Return whether the target prices operators, though perhaps not all of this network."""
    try:
        return target.operator_shares(network) is not None
    except MeasurementError:  # one operator has no price
        return True


def _of_prices(target: Target) -> Breakdown:
    def shares(network: Network) -> Mapping[str, float]:
        found = target.operator_shares(network)
        assert found is not None, "`_has_prices` says so"
        return found

    return Breakdown(f"the kernel prices of {target.name}", shares)


def _of_profile(name: str, profile: GuidelineProfile) -> Breakdown:
    def shares(network: Network) -> Mapping[str, float]:
        pieces = pieces_of_graph(lower(network), profile.lowering)
        return shares_of((piece.kernel, price(piece, profile.costs)) for piece in pieces)

    return Breakdown(f"the guideline profile of {name}", shares)
