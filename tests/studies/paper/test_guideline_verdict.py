"""Tables 1 to 4 as published, and whether a device keeps to their order."""

import pytest

from nas_sv2.latency.devices.local import GPU_PLAN
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.guidelines.experiment_run import TimedTable, time_table
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.space.experiments.further import further_tables
from nas_sv2.space.experiments.paper import paper_tables
from nas_sv2.studies.paper.guidelines import CHAINS, chain_verdicts, summary
from nas_sv2.studies.paper.published_figures import published_speeds
from nas_sv2.testing import FakeDevice

G1, G2, G3, G4 = paper_tables("GPU")


def timed(ms: dict[str, float]) -> TimedTable:
    """Table 1 on a device on which each variant takes so long, in every width."""
    times = {each.network.digest: ms[each.variant] for each in G1.experiments}
    device = FakeDevice(ms_of=lambda payload: times.get(payload.architecture, 1.0))
    return time_table(
        MeasuredTarget(MeasuredDevice("fake", device, GPU_PLAN.changed(sessions=1))), G1
    )


def test_every_figure_of_the_papers_tables_is_there_and_has_its_experiment() -> None:
    count = 0
    for platform in ("GPU", "ARM"):
        for table in paper_tables("GPU" if platform == "GPU" else "ARM"):
            published = published_speeds(table)
            assert set(published) == set(table.experiments)
            count += sum(
                "GPU" in each if platform == "GPU" else "ARM" in each
                for each in published.values()
            )
    assert count == 102
    assert not any(any(published_speeds(table).values()) for table in further_tables())


@pytest.mark.parametrize(
    ("place", "platform", "per_second", "first"),
    [(7, "ARM", 15.1, 21.7), (11, "GPU", 163, 232), (0, "GPU", 1480, 1480)],
)
def test_relative_times_are_speeds_the_other_way_round(
    place: int, platform: str, per_second: float, first: float
) -> None:
    speed = published_speeds(G1)[G1.experiments[place]]["ARM" if platform == "ARM" else "GPU"]
    assert speed.per_second == per_second
    assert speed.relative_time == pytest.approx(first / per_second)


def test_single_figures_stand_where_the_paper_has_them() -> None:
    grouped = published_speeds(G2)[G2.experiments[7]]
    assert (grouped["GPU"].per_second, grouped["ARM"].per_second) == (445, 7.5)
    fragments = published_speeds(G3)[G3.experiments[4]]
    assert (fragments["GPU"].per_second, fragments["ARM"].per_second) == (691, 35.0)
    bare = published_speeds(G4)[G4.experiments[11]]
    assert (bare["GPU"].per_second, bare["ARM"].per_second) == (1782, 5.4)


def test_every_chain_names_variants_of_its_table() -> None:
    tables = {table.name: table for table in (G1, G2, G3, G4, *further_tables())}
    for name in CHAINS:
        table = tables[name]
        variants = {each.variant for each in table.experiments}
        for chain in CHAINS[table.name]:
            assert set(chain) <= variants


def test_an_order_that_is_kept_is_reproduced() -> None:
    found = timed({"1:1": 1.0, "1:2": 1.2, "1:6": 1.5, "1:12": 2.0})
    verdicts = chain_verdicts(found)
    assert [verdict.standing for verdict in verdicts] == ["reproduced"] * 3
    assert verdicts[0].ends == pytest.approx(2)
    assert verdicts[0].describe() == "1:12 takes × 2.00 of 1:1"
    assert "reproduced 3, tie 0, contrary 0" in summary("G1", verdicts)


def test_neighbours_as_fast_are_ties_and_do_not_contradict() -> None:
    verdicts = chain_verdicts(timed({"1:1": 1.0, "1:2": 1.0, "1:6": 1.5, "1:12": 1.5}))
    assert [verdict.standing for verdict in verdicts] == ["reproduced"] * 3
    assert verdicts[0].ties == (("1:1", "1:2"), ("1:6", "1:12"))
    assert "ties: 1:1 and 1:2, 1:6 and 1:12" in verdicts[0].describe()


def test_all_as_fast_is_a_tie() -> None:
    verdicts = chain_verdicts(timed(dict.fromkeys(("1:1", "1:2", "1:6", "1:12"), 1.0)))
    assert [verdict.standing for verdict in verdicts] == ["tie"] * 3
    assert "a tie" in verdicts[0].describe()
    assert "reproduced 0, tie 3, contrary 0" in summary("G1", verdicts)


def test_what_is_faster_than_it_should_be_is_named() -> None:
    verdicts = chain_verdicts(timed({"1:1": 1.0, "1:2": 1.3, "1:6": 1.1, "1:12": 2.0}))
    assert [verdict.standing for verdict in verdicts] == ["contrary"] * 3
    assert verdicts[0].contrary == (("1:6", "1:2"),)
    assert "not in order: 1:6 is faster than 1:2" in verdicts[0].describe()
    backwards = chain_verdicts(timed({"1:1": 2.0, "1:2": 1.5, "1:6": 1.2, "1:12": 1.0}))
    assert backwards[0].ends == pytest.approx(0.5)
    assert len(backwards[0].contrary) == 6
    assert summary("G1", backwards).endswith("fastest in 0")


def test_a_table_of_which_nothing_is_covered_has_no_verdict() -> None:
    assert "not covered" in summary("G2", [])
