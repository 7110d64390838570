"""Contract tests of targets.

`TargetTests` holds the tests that every target must pass. Your own class inherits them and
gives a fixture `target`:

    from nas_sv2.testing import TargetTests

    class TestMyBoard(TargetTests):
        @pytest.fixture
        def target(self):
            return MyBoard()

Needs pytest.
"""

import math
from typing import get_args

import pytest

from nas_sv2.errors import ConfigError, NasError
from nas_sv2.latency.measurements.measurement import Provenance
from nas_sv2.latency.targets.target import Target
from nas_sv2.latency.targets.user_target import LatencySource, UserTarget
from nas_sv2.space.networks.lowering import Network
from nas_sv2.space.units.reference import reference

SPREAD = 0.5
"""The largest relative difference between two latencies of one network.

It is wide, because a contract test does not measure noise."""


class TargetTests:
    """Tests that every target must pass."""

    @pytest.fixture
    def target(self) -> LatencySource:
        """Give the target; your class overrides this."""
        raise NotImplementedError("give a fixture `target`")

    @pytest.fixture
    def network(self) -> Network:
        """Give a network that the target covers; override it if yours covers another."""
        return reference("shufflenet_v2_x0_5")

    @pytest.fixture
    def larger(self) -> Network:
        """Give a network that takes longer than `network`."""
        return reference("shufflenet_v2_x2_0")

    @pytest.fixture
    def whole(self, target: LatencySource) -> Target:
        """Give the target as nas-sv2 uses it, with every member."""
        return UserTarget(target)

    def test_its_name_and_provenance_can_be_used(self, target: LatencySource) -> None:
        """The name suits budgets and file names; the provenance is a known one."""
        whole = UserTarget(target)  # checks both
        assert whole.name == target.name
        assert whole.provenance in get_args(Provenance)

    def test_a_latency_is_a_number_of_ms_and_says_its_origin(
        self, whole: Target, network: Network
    ) -> None:
        """The latency is finite and above 0, and names its provenance and device."""
        latency = whole.estimate(network)
        assert math.isfinite(latency.ms)
        assert latency.ms > 0
        assert latency.provenance == whole.provenance
        assert latency.device
        if latency.ci_ms is not None:
            low, high = latency.ci_ms
            assert low <= latency.ms <= high

    def test_a_larger_network_takes_longer(
        self, whole: Target, network: Network, larger: Network
    ) -> None:
        """A target that gives all networks the same latency cannot guide a search."""
        assert whole.estimate(larger).ms > whole.estimate(network).ms

    def test_a_network_has_one_latency(self, whole: Target, network: Network) -> None:
        """Two answers come from one device and are close to each other."""
        first, second = whole.estimate(network), whole.estimate(network)
        assert first.device == second.device
        assert abs(first.ms - second.ms) <= SPREAD * first.ms

    def test_a_latency_can_be_stored(self, whole: Target, network: Network) -> None:
        """A latency survives writing and reading."""
        latency = whole.estimate(network)
        assert type(latency).from_json(latency.to_json()) == latency

    def test_the_graph_it_runs_is_of_the_network(self, whole: Target, network: Network) -> None:
        """Input and output stay; only operators between them may differ."""
        graph = whole.graph_of(network)
        assert graph.ops
        assert (graph.input.channels, graph.input.height) == (
            network.channels,
            network.resolution,
        )

    def test_times_of_kernels_are_times_or_are_refused(
        self, whole: Target, network: Network
    ) -> None:
        """A target without kernel times gives None; a device that cannot time them raises."""
        try:
            times = whole.kernel_times(network)
        except NasError as error:
            assert whole.name in str(error)
            return
        assert times is None or all(node.us >= 0 for node in times)

    def test_shares_of_operators_add_up(self, whole: Target, network: Network) -> None:
        """A target without prices of operators gives None."""
        shares = whole.operator_shares(network)
        assert shares is None or math.isclose(sum(shares.values()), 1.0)

    def test_a_network_with_a_latency_is_covered(self, whole: Target, network: Network) -> None:
        """`uncovered` names kernels only of networks that `estimate` refuses."""
        whole.estimate(network)
        assert not whole.uncovered(network)

    def test_a_plan_that_it_lacks_cannot_be_changed(self, whole: Target) -> None:
        """A target without a plan refuses changes with an error that names the field."""
        if whole.device is not None:
            assert whole.with_plan(seed=1).name == whole.name
            return
        with pytest.raises(ConfigError, match="threads"):
            whole.with_plan(threads=4)

    def test_closing_twice_is_closing_once(self, whole: Target) -> None:
        """A command may close a target more than once."""
        whole.close()
        whole.close()
