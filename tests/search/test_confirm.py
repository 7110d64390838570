"""A confirmation: what is measured, trained and claimed, and what is refused before either."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import record_of
from optuna.samplers import RandomSampler

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError, MeasurementError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.recipes.built_in import RECIPES
from nas_sv2.evaluate.recipes.files import recipe_to_document
from nas_sv2.latency.devices.measured_device import MeasuredDevice
from nas_sv2.latency.emulated.emulated_arm import EmulatedArm
from nas_sv2.latency.measurements.measurement import Latency
from nas_sv2.latency.measurements.plan import MeasurePlan
from nas_sv2.latency.measurements.store import MeasurementStore
from nas_sv2.latency.targets.book import TargetBook
from nas_sv2.latency.targets.target import MeasuredTarget
from nas_sv2.search.confirm import confirm as confirming
from nas_sv2.search.confirm.confirm import ConfirmRequest, confirm
from nas_sv2.search.confirm.contestants import finalists_of
from nas_sv2.search.confirm.trainings import Job, Source
from nas_sv2.space.choices.levels import LEVELS
from nas_sv2.space.choices.scaled_family import scaled_family
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import Network, lower
from nas_sv2.space.units.architecture import Architecture, Stage
from nas_sv2.space.units.reference import in_form_of, reference
from nas_sv2.studies.findings.attributes import IDENTITY, KEY_OF, TEST_ACCURACY
from nas_sv2.studies.findings.confirmation import Confirmation
from nas_sv2.studies.findings.front import Front
from nas_sv2.studies.findings.fused_estimate import FusedEstimate
from nas_sv2.studies.findings.record import Record
from nas_sv2.studies.storage.confirmation_store import (
    HeldOutScore,
    confirmation_lines,
    confirmations_of,
)
from nas_sv2.studies.storage.record_store import RecordStore
from nas_sv2.studies.storage.study import create_or_resume, load_study, study_key
from nas_sv2.testing import FakeDevice, ms_of_flops

V2_NAME = "shufflenet_v2_x0_5"
V2 = reference(V2_NAME)
FAST = dataclasses.replace(V2, head=512)
SLOW = dataclasses.replace(V2, head=1280)
OTHER = dataclasses.replace(V2, stages=(*V2.stages[:2], Stage(3, 192)))


def blobs(folder: Path, *, test: bool = True, shade: int = 100) -> str:
    """Two classes in an array file; the brighter half is above or below."""
    generator = np.random.default_rng(5)
    images = generator.integers(0, 120, (300, 16, 16), np.uint8)
    labels = np.arange(300) % 2
    images[labels == 0, :8] += np.uint8(shade)
    images[labels == 1, 8:] += np.uint8(shade)
    parts = {"train": slice(0, 150), "val": slice(150, 220), "test": slice(220, 300)}
    arrays = {
        f"{part}_{name}": values[where]
        for part, where in parts.items()
        if test or part != "test"
        for name, values in (("images", images), ("labels", labels))
    }
    np.savez(folder / "blobs.npz", **arrays)  # type: ignore[arg-type]
    return f"npz:{folder / 'blobs.npz'}"


def made(folder: Path, records: dict[int, Record], **identity: Any) -> str:
    """A study that holds these records."""
    folder.mkdir(exist_ok=True)
    storage, smoke = f"sqlite:///{folder / 's.db'}", RECIPES["smoke"]
    spec = identity.get("data") or blobs(folder)
    study = create_or_resume(
        Database.open(storage),
        "s",
        {
            "targets": {"fake": "measured"},
            "space": "40M",
            "space_digest": LEVELS["40M"].digest,
            "budget": {"flops": 40e6, "params": None, "latency_ms": {}, "tolerance": 0.05},
            "data": spec,
            "data_content": identity.get("data_content") or open_data(spec).provenance,
            "skip_unreadable": False,
            "recipe_document": recipe_to_document(smoke),
            "recipe": smoke.name,
            "guidelines": {},
            "recipe_digest": smoke.digest,
            "seed": 0,
            **identity,
        },
        RandomSampler(seed=0),
    )
    db = Database.open(storage)
    db.migrate()
    for number, record in records.items():
        RecordStore(db, study_key(study)).save(number, record)
    db.close()
    return storage


RECORDS = {
    0: record_of(0.80, 2.0, baseline="shufflenet_v2_x0_5"),
    4: record_of(0.90, 3.0, architecture=SLOW),
    7: record_of(0.85, 1.0, architecture=FAST),
    9: record_of(0.70, 9.0, architecture=OTHER),
}


@dataclasses.dataclass
class Trainings:
    """Answers at once: so much above the baseline by network, with some noise of the seed."""

    gains: dict[str, float]
    figures: Callable[[Job], dict[str, float]] = lambda job: {}
    ends_after: int | None = None
    done: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    def __call__(
        self, jobs: Sequence[Job], source: Source, count: int
    ) -> Iterator[tuple[Job, HeldOutScore]]:
        for job in jobs:
            if len(self.done) == self.ends_after:
                raise KeyboardInterrupt
            self.done.append((job.architecture.digest, job.seed))
            gain = self.gains.get(job.architecture.digest, 0.0)
            own = int(job.architecture.digest[:8], 16) * job.seed % 7  # differs between seeds
            noise = 0.05 * job.seed + 0.001 * own
            figures = {"accuracy": 0.6 + gain + noise, **self.figures(job)}
            floats = {"accuracy": 0.7} if job.recipe.score_form == "int8" else None
            yield job, HeldOutScore(figures, 0.4, 10_000, 9600, 1.0, float_figures=floats)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Behind every target's name."""
    device = FakeDevice(ms_of=ms_of_flops)

    def open_target(
        self: TargetBook, name: str, *, store: MeasurementStore, **_: object
    ) -> MeasuredTarget:
        return MeasuredTarget(MeasuredDevice(name, device, MeasurePlan(sessions=1), store))

    monkeypatch.setattr(TargetBook, "open", open_target)
    return device


Trained = Callable[..., Trainings]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Trained:
    def put(gains: dict[Architecture, float] | None = None, **fields: Any) -> Trainings:
        by_digest = {network.digest: gain for network, gain in (gains or {}).items()}
        trainings = Trainings(by_digest, **fields)
        monkeypatch.setattr(confirming, "trained", trainings)
        return trainings

    return put


def kept(storage: str) -> list[Confirmation]:
    """All confirmations of the study."""
    return confirmations_of(load_study(Database.open(storage), "s"))


def confirmed(storage: str, told: list[str] | None = None, **changes: Any) -> Confirmation:
    request = dataclasses.replace(ConfirmRequest("s", "standard", family=0), **changes)
    lines = [] if told is None else told
    return confirm(request, Database.open(storage), lines.append, lambda done, total: None)


def test_the_best_candidate_is_confirmed_against_the_level_s_baseline(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    trainings = training({SLOW: 0.05})
    storage = made(tmp_path, RECORDS)
    found = confirmed(storage)
    assert [network.trial for network in found.networks] == [4, 0]
    assert found.against == "shufflenet_v2_x0_5"
    assert set(trainings.done) == {(one.digest, seed) for one in (SLOW, V2) for seed in (1, 2, 3)}
    (finding,) = found.findings
    assert finding.score.mean == pytest.approx(0.05, abs=0.005)
    assert finding.score.verdict == "better"
    ratio = ms_ratio(SLOW)
    assert finding.latency["fake"].ratio == pytest.approx(ratio, rel=1e-4)
    assert ratio > 1.01
    assert (finding.latency["fake"].verdict, finding.claim) == ("worse", "no claim")
    assert found.longer == 9600
    assert kept(storage) == [found]


def test_the_network_that_has_no_price_is_named(
    tmp_path: Path, training: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Partial(EmulatedArm):
        def estimate(self, network: Network) -> Latency:
            if network == V2:
                raise MeasurementError("core: no price for stem.0")
            return super().estimate(network)

    monkeypatch.setattr(TargetBook, "open", lambda *_, **__: Partial.open())
    training()
    with pytest.raises(MeasurementError, match=r"^shufflenet_v2_x0_5: core: no price for stem"):
        confirmed(made(tmp_path, RECORDS))


def test_both_neither_and_one_of_two_are_told_apart(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training({FAST: 0.05, OTHER: 0.0})
    found = confirmed(made(tmp_path, RECORDS), trials=["7", "9"])
    first, second = found.findings
    assert (first.trial, first.claim) == (7, "both")
    assert found.together == 4
    assert ms_ratio(FAST) < 0.99
    assert first.latency["fake"].ratio_ci is not None
    assert first.latency["fake"].ratio_ci[1] < 1
    assert second.score.verdict == "tie"
    # One session held all three, and the interval of one is that of the pair.
    assert device.measured == [FAST.digest, OTHER.digest, V2.digest]


def test_how_much_longer_it_was_is_of_all_finalists(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    """The search trained one with 1 image, the other, of another length, with 4."""
    training()
    first, other = RECORDS[7], RECORDS[9]
    stopped = dataclasses.replace(other.evaluation, train_images=4)
    records = {**RECORDS, 9: dataclasses.replace(other, evaluation=stopped)}
    assert first.evaluation.train_images == 1
    for trials in (["7", "9"], ["9", "7"]):
        found = confirmed(made(tmp_path / "".join(trials), records), trials=trials)
        assert (found.longer, found.longest) == (2400, 9600)


def test_what_a_kill_left_is_not_done_again(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    storage = made(tmp_path, RECORDS)
    first = training(ends_after=4)
    with pytest.raises(KeyboardInterrupt):
        confirmed(storage)
    second, told = training(), list[str]()
    found = confirmed(storage, told)
    assert (len(first.done), len(second.done)) == (4, 2)
    assert "6 trainings by standard, 4 of them known" in told[-1]
    assert len(device.measured) == 2  # one session, of before the kill
    third = training()
    again = confirmed(storage)
    assert not third.done
    assert dataclasses.replace(again, at=found.at) == found
    assert len(kept(storage)) == 1
    confirmed(storage, fresh=False, seeds=4)
    assert len(third.done) == 2
    assert len(kept(storage)) == 2


def test_a_study_in_int8_is_confirmed_in_int8(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training()
    recipe = dataclasses.replace(RECIPES["smoke"], score_form="int8")
    plain = confirmed(made(tmp_path / "plain", RECORDS))
    document = recipe_to_document(recipe)
    storage = made(tmp_path / "int8", RECORDS, recipe_document=document)
    found = confirmed(storage)
    assert found.in_int8 and not plain.in_int8
    assert found.recipe_digest != plain.recipe_digest
    assert found.method.startswith("accuracy of the int8 form: recipe standard ")
    assert [network.float_score for network in found.networks] == pytest.approx([0.7, 0.7])
    assert kept(storage) == [found]


def scored_by(score: str) -> dict[str, Any]:
    """The identity of a study that compares by a score."""
    recipe = dataclasses.replace(RECIPES["smoke"], score=score)
    return {"recipe_document": recipe_to_document(recipe), "recipe_digest": recipe.digest}


def test_a_study_by_balanced_accuracy_is_confirmed_by_it_though_top_1_says_the_opposite(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    def figures(job: Job) -> dict[str, float]:
        gain = -0.05 if job.architecture.digest == FAST.digest else 0.0
        return {"balanced_accuracy": 0.5 + gain + 0.01 * job.seed, "macro_f1": 0.3}

    training({FAST: 0.05}, figures=figures)
    plain = confirmed(made(tmp_path / "plain", RECORDS), trials=["7"])
    storage = made(tmp_path / "balanced", RECORDS, **scored_by("balanced_accuracy"))
    found = confirmed(storage, trials=["7"])
    assert (plain.scored_by, plain.findings[0].claim) == ("accuracy", "both")
    assert (found.scored_by, found.findings[0].claim) == ("balanced_accuracy", "no claim")
    assert found.findings[0].score.mean == pytest.approx(-0.05)
    assert found.networks[0].scores == pytest.approx((0.46, 0.47, 0.48))
    assert found.networks[0].accuracies == plain.networks[0].accuracies
    said = found.describe(found.findings[0]), found.method
    assert "; balanced accuracy after standard -5.00 points" in said[0]
    assert said[0].endswith(": worse)") and said[1].startswith("balanced accuracy: recipe")
    assert not any(word in " ".join(said).replace("balanced accuracy", "") for word in TOP_1)
    assert kept(storage) == [found]
    # Every test on classes has it, so that scores are known by the same digest.
    assert found.recipe_digest == plain.recipe_digest


TOP_1 = ("accura", "top-1")


def test_scores_of_before_they_had_names_are_not_trained_again(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    """One of them has no balanced accuracy, and only this one is trained."""
    balanced = {"balanced_accuracy": 0.5}
    training(figures=lambda job: balanced)
    storage = made(tmp_path, RECORDS, **scored_by("balanced_accuracy"))
    confirmed(storage, trials=["7"])
    study = load_study(Database.open(storage), "s")
    names = [name for name in study.user_attrs if name.startswith(TEST_ACCURACY)]
    for name in names:
        old: dict[str, Any] = {"accuracy": 0.6, "loss": 0.4, "images": 10_000, "val_accuracy": 0.9}
        old |= {"train_images": 9600, "seconds": 1.0, "majority": None, "classes": 0}
        old |= {"balanced_accuracy": None if name == names[0] else 0.5, "float_accuracy": None}
        study.set_user_attr(name, json.dumps(old))
    again = training(figures=lambda job: balanced)
    found = confirmed(storage, trials=["7"])
    assert len(names) == 6 and len(again.done) == 1
    assert found.networks[0].scores == pytest.approx((0.5, 0.5, 0.5))


def numbers(folder: Path) -> str:
    """Images whose number is an age."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(5)
    images = generator.integers(0, 255, (60, 16, 16), np.uint8)
    ages = generator.uniform(1, 90, 60).astype(np.float32)
    parts = {"train": slice(0, 30), "val": slice(30, 45), "test": slice(45, 60)}
    arrays = {f"{part}_images": images[where] for part, where in parts.items()}
    arrays |= {f"{part}_labels": ages[where] for part, where in parts.items()}
    np.savez(folder / "ages.npz", **arrays)  # type: ignore[arg-type]
    return f"npz:{folder / 'ages.npz'}"


AGES = "nas_sv2_recipe: 1\nepochs: 2\nscore: mae\n"


def test_numbers_are_confirmed_by_their_error_which_is_better_if_lower(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    def figures(job: Job) -> dict[str, float]:
        own = 0.01 * (int(job.architecture.digest[:8], 16) * job.seed % 7)
        gain = {FAST.digest: -1.0, OTHER.digest: 0.2}.get(job.architecture.digest, 0.0)
        return {"mae": 5.0 + gain + own + 0.1 * job.seed}

    training(figures=figures)
    (tmp_path / "ages.yaml").write_text(AGES)
    recipe = str(tmp_path / "ages.yaml")
    spec = numbers(tmp_path)
    content = open_data(spec, numbers=True).provenance
    document = {"nas_sv2_recipe": 1, "name": "brief", "epochs": 1, "score": "mae"}
    identity = {"data": spec, "data_content": content, "recipe_document": document}
    storage = made(tmp_path, RECORDS, **identity)
    found = confirmed(storage, trials=["7", "9"], margin=0.5, recipe=recipe)
    lower, higher = found.findings
    assert (found.scored_by, found.margin) == ("mae", 0.5)
    assert (lower.score.verdict, lower.claim) == ("better", "both")
    assert lower.score.mean == pytest.approx(1.0, abs=0.07)
    assert higher.score.mean == pytest.approx(-0.2, abs=0.07)
    assert higher.score.verdict == "worse"
    assert higher.not_worse is not None and higher.not_worse.holds
    assert found.networks[0].scores[0] == -figures(Job(FAST, RECIPES["smoke"], 1, tmp_path))["mae"]
    text = found.describe(lower)
    assert text.startswith(f"trial 7 beats {V2_NAME}: faster and better by MAE (")
    assert f"; MAE after ages {-lower.score.mean:.4g}, " in text and ": better; not worse" in text
    end = f"; not worse by 0.5, one-sided 95 % up to +{-higher.not_worse.low:.4g})"
    assert found.describe(higher).endswith(end)
    assert found.method.startswith("MAE (lower is better): recipe ages ")
    assert not any(word in text + found.method for word in (*TOP_1, "points"))
    assert kept(storage) == [found]
    for margin in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="margin must be above 0, in the unit of MAE"):
            confirmed(storage, margin=margin, recipe=recipe)
    with pytest.raises(ConfigError, match="must be mae, because the study compares by MAE"):
        confirmed(storage)
    with pytest.raises(ConfigError, match="must be of classes or labels, because"):
        confirmed(made(tmp_path / "classes", RECORDS), recipe=recipe)


@pytest.mark.parametrize("score", ["mean_ap", "cross_entropy"])
def test_several_labels_are_confirmed_by_mean_ap(
    tmp_path: Path, device: FakeDevice, training: Trained, score: str
) -> None:
    def figures(job: Job) -> dict[str, float]:
        gain = 0.05 if job.architecture.digest == FAST.digest else 0.0
        return {"mean_ap": 0.5 + gain + 0.01 * job.seed}

    training(figures=figures)
    generator = np.random.default_rng(5)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 200), ("val", 200), ("test", 400)):
        arrays[f"{part}_images"] = generator.integers(0, 255, (count, 16, 16), np.uint8)
        arrays[f"{part}_labels"] = generator.integers(0, 2, (count, 3), np.uint8)
    np.savez(tmp_path / "several.npz", **arrays)
    spec = f"npz:{tmp_path / 'several.npz'}"
    identity = {"data": spec, "data_content": open_data(spec).provenance, **scored_by(score)}
    found = confirmed(made(tmp_path, RECORDS, **identity), trials=["7"], margin=1.0)
    assert (found.scored_by, found.margin) == ("mean_ap", 0.01)
    (finding,) = found.findings
    assert finding.score.mean == pytest.approx(0.05)
    text = found.describe(finding)
    assert "faster and better by mean AP (" in text
    assert "; mean AP after standard +5.00 points, " in text
    assert not any(word in text + found.method for word in TOP_1)


def test_a_score_that_the_data_lack_is_refused_before_anything_is_run(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    trainings = training()
    (tmp_path / "several.yaml").write_text("nas_sv2_recipe: 1\nepochs: 2\nscore: mean_ap\n")
    storage = made(tmp_path, RECORDS)
    with pytest.raises(ConfigError, match=r"recipe.score must be one of accuracy"):
        confirmed(storage, recipe=str(tmp_path / "several.yaml"))
    assert not trainings.done and not device.measured


def test_asking_the_test_images_again_is_told(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    storage, told = made(tmp_path, RECORDS), list[str]()
    training()
    confirmed(storage)
    confirmed(storage, told)
    assert "asked the test images" not in told[0]  # the same question once more
    told.clear()
    confirmed(storage, told, trials=["7"])
    assert "asked the test images 1 time before" in told[0]


def test_a_space_of_ones_own_has_v2_of_the_finalist_s_flops_and_form(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training()
    small = dataclasses.replace(SLOW, resolution=64, classes=10, stem_pool=False)
    storage = made(
        tmp_path, {3: record_of(0.5, 1.0, architecture=small)}, space="mine", space_digest="x"
    )
    found = confirmed(storage)
    assert [network.trial for network in found.networks] == [3, None]
    assert found.against == "shufflenet_v2_x0_52"  # of the nearest FLOPs
    same = in_form_of(small, reference(found.against))
    assert found.networks[1].digest == same.digest
    own = {
        0: record_of(0.5, 2.0, baseline="shufflenet_v2_x0_5"),
        3: record_of(0.5, 1.0, architecture=small),
    }
    storage = made(tmp_path / "own", own, space="mine", space_digest="x")
    assert confirmed(storage).against == V2_NAME  # the study's own


def test_finalists_stand_beside_the_scaled_family(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    """Accuracy is 3 points per doubling of the time, and the finalist is 3 points above."""
    family = scaled_family(FAST, flops_of(FAST), flops_of(FAST), 5, [V2_NAME])
    assert V2_NAME in family  # the baseline is one of the widths
    networks = {one: reference(one) for one in family}
    gains = {one: 0.03 * math.log2(flops_of(one) / flops_of(FAST)) for one in networks.values()}
    trainings = training({**gains, FAST: 0.03})
    storage = made(tmp_path, RECORDS)
    found = confirmed(storage, trials=["7"], family=5)
    assert set(found.family) == set(networks)
    assert len(trainings.done) == 6 * 3
    (finding,) = found.findings
    gain = finding.family["fake"]
    assert gain.mean == pytest.approx(0.03, abs=0.002)
    assert gain.speed_up == pytest.approx(2, rel=0.1)
    assert (gain.verdict, finding.claim) == ("better", "both")
    (line,) = found.describe_family(finding)
    assert line.startswith("trial 7 beside V2 at 5 widths on fake: ")
    assert found.together == 3
    assert kept(storage) == [found]


def test_another_study_s_best_is_compared_with_too(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training({FAST: 0.05})
    storage = made(tmp_path, RECORDS)
    other = create_or_resume(
        Database.open(storage),
        "random",
        {"targets": {"fake": "measured"}, "seed": 4, "recipe_document": {"seeds": 2}},
        RandomSampler(seed=0),
    )
    db = Database.open(storage)
    RecordStore(db, study_key(other)).save(5, record_of(0.9, 1.0, architecture=OTHER))
    found = confirmed(storage, trials=["7"], vs_study="random", margin=0.5)
    first, second = found.findings
    assert (first.against, second.against) == (None, "random:5")
    assert found.seeds == (10, 11, 12), "seed 4 of two trainings used 8 and 9"
    assert found.describe(second).startswith("trial 7 beats random:5: faster and more accurate")
    assert [network.name for network in found.networks][1:] == [V2_NAME, "random:5"]
    assert first.not_worse is not None and first.not_worse.holds
    lines = confirmation_lines([found])
    assert sum("confirmed" in line for line in lines) == 2
    small = dataclasses.replace(OTHER, resolution=64)
    RecordStore(db, study_key(other)).save(6, record_of(0.9, 1.0, architecture=small))
    with pytest.raises(ConfigError, match=r"vs_study must be .* 3 × 224 × 224 pixels"):
        confirmed(storage, vs_study="random:6")


def test_seeds_are_none_that_the_search_had(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    """Seed 2 of a recipe with three trainings used 6, 7 and 8."""
    document = {**recipe_to_document(RECIPES["smoke"]), "seeds": 3}
    training()
    assert confirmed(made(tmp_path, RECORDS, seed=2, recipe_document=document)).seeds == (
        9,
        10,
        11,
    )


def test_what_cannot_be_meant_is_named_before_anything_is_run(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    trainings, storage = training(), made(tmp_path, RECORDS)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"seeds": 2}, "seeds must be from 3 to 10000: fewer .*; got 2"),
        ({"seeds": 10_001}, "seeds must be from 3 to 10000: .*; got 10001"),
        ({"workers": 0}, "workers .*; got 0"),
        ({"margin": -1.0}, r"margin must be points of accuracy .*above 0, at most 10; got -1\.0"),
        ({"margin": 0.0}, "margin .*above 0"),
        ({"margin": float("nan")}, "margin .*above 0"),
        ({"family": 4}, "family must be 5 to 16 widths, or 0 .*; got 4"),
        ({"vs_study": "nobody"}, "^vs_study must be a study .*; got 'nobody'"),
        ({"vs_study": "s:99"}, "^vs_study must be a finished trial of s: .*; got 's:99'"),
        ({"vs_study": "s"}, "vs_study must not be s:4 itself"),
        ({"recipe": "eternal"}, "recipe .*; got 'eternal'"),
        ({"study": "nobody"}, "study .*; got 'nobody'"),
        ({"trials": ["0"]}, r"trials .* baselines take part anyway; got \['0'\]"),
        ({"trials": ["4", "4"]}, r"trials .*; got \['4', '4'\]"),
        ({"trials": ["5"]}, r"trials .*4, 7, 9.*; got \['5'\]"),
        ({"trials": ["front"]}, r"trials .*; got \['front'\]"),
    ]
    for changes, named in refused:
        with pytest.raises(ConfigError, match=named):
            confirmed(storage, **changes)
    identity = {"data": "npz:nowhere.npz", "data_content": "npz:nowhere.npz@0"}
    lost = made(tmp_path / "lost", RECORDS, **identity)
    with pytest.raises(ConfigError, match="margin must be points"):  # no image was looked for
        confirmed(lost, margin=20.0)
    assert not trainings.done
    assert not device.measured


def test_data_without_a_test_split_confirm_nothing(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training()
    storage = made(tmp_path, RECORDS, data=blobs(tmp_path, test=False))
    with pytest.raises(ConfigError, match="data have a test split"):
        confirmed(storage)


def test_data_that_have_changed_are_refused(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training()
    storage = made(tmp_path, RECORDS)
    blobs(tmp_path, shade=90)
    with pytest.raises(ConfigError, match="these differ or have changed"):
        confirmed(storage)


def test_data_that_were_moved_are_named_and_nothing_is_asked_twice(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    storage, first = made(tmp_path, RECORDS), training()
    confirmed(storage)
    (tmp_path / "there").mkdir()
    file = (tmp_path / "blobs.npz").rename(tmp_path / "there" / "blobs.npz")
    with pytest.raises(ConfigError, match="give their new place as data"):
        confirmed(storage)
    second, told = training(), list[str]()
    confirmed(storage, told, data=f"npz:{file}")
    assert len(first.done) == 6 and not second.done
    assert not [line for line in told if "asked the test images" in line]
    assert len(kept(storage)) == 1
    with pytest.raises(ConfigError, match=r"data must be .* the data of the study"):
        confirmed(storage, data=blobs(tmp_path, shade=90))


def test_best_is_of_the_front_and_no_baseline() -> None:
    assert finalists_of(Front(RECORDS), ["best"]) == [4]
    only = {0: RECORDS[0], 9: record_of(0.7, 9.0, architecture=OTHER)}
    with pytest.raises(ConfigError, match="no candidate is on the front; candidates are 9"):
        finalists_of(Front(only), ["best"])
    with pytest.raises(ConfigError, match="trials must wait: the study has no candidate yet"):
        finalists_of(Front({0: RECORDS[0]}), ["best"])


def test_best_is_what_the_estimates_believe() -> None:
    fast, slow = (record_of(score, ms) for score, ms in ((0.7, 5.0), (0.71, 9.0)))
    records = {2: fast, 5: dataclasses.replace(slow, architecture=OTHER)}
    assert finalists_of(Front(records), ["best"]) == [5]
    doubtful = FusedEstimate(0.6, 0.5, 0.7, 0.1, None, "accuracy")
    sure = dataclasses.replace(doubtful, mean=0.72)
    assert finalists_of(Front(records, {2: sure, 5: doubtful}), ["best"]) == [2]


def test_two_confirmations_of_a_study_do_not_run_at_once(
    tmp_path: Path, device: FakeDevice, training: Trained
) -> None:
    training()
    storage = made(tmp_path, RECORDS)
    with (
        confirming._hold(Database.open(storage), "s"),
        pytest.raises(ConfigError, match="is being confirmed by process"),
    ):
        confirmed(storage)
    assert not load_study(Database.open(storage), "s").user_attrs.keys() - {IDENTITY, KEY_OF}


def flops_of(network: Architecture) -> float:
    return cost_of(lower(network)).flops


def ms_ratio(network: Architecture) -> float:
    return flops_of(network) / flops_of(V2)
