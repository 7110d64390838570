"""What a network's time consists of on a target, priced and not run: for reasons, not for figures.

An emulated core prices every kernel by its table. A measured target that has a guideline profile
is priced by the profile's formulas. Others have no breakdown, and none is made up for them.
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
        source: Where prices come from, for people.
        shares: Of a network, by kind of operator (`node_costs.share_of`); they add up to 1.
            Raises `MeasurementError` where an operator has no price.
    """

    source: str
    shares: Callable[[Network], Mapping[str, float]]


def breakdown_of(target: Target, network: Network, profiles: ProfileStore) -> Breakdown | None:
    """Give the breakdown of an open target; None if nothing prices its operators.

    Args:
        target: The target, with its own prices or a guideline profile.
        network: One of the networks that are asked for later.
        profiles: The stored guideline profiles.

    Raises:
        DeviceError: The device does not say what it is.
        StoreError: Profiles cannot be read.
    """
    if _has_prices(target, network):
        return _of_prices(target)
    profile = profiles.find_of(target)
    return None if profile is None else _of_profile(target.name, profile)


def breakdown_behind(
    book: TargetBook, name: str, network: Network, latency: Latency, profiles: ProfileStore
) -> Breakdown | None:
    """Give the breakdown of the device that gave `latency`, even if it has gone since.

    Args:
        book: The targets that are known now.
        name: The user's name for the target.
        network: The network that `latency` is of.
        latency: One of its latencies; another device of that name does not count.
        profiles: The stored guideline profiles.

    Raises:
        StoreError: Profiles cannot be read.
    """
    if latency.provenance == "emulated":
        try:
            with closing(book.open(name)) as target:
                identity = target.identity()
                same = identity is not None and identity.description == latency.device
                return _of_prices(target) if same and _has_prices(target, network) else None
        except NasError:  # the user has removed it since
            return None
    profile = profiles.find_of_name(name)
    if profile is None or profile.device != latency.device:
        return None
    return _of_profile(name, profile)


def _has_prices(target: Target, network: Network) -> bool:
    """Whether the target prices operators, though perhaps not all of this network."""
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
