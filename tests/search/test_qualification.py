"""A qualification: what is trained, what is known already, what is refused."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import evaluation_of

from nas_sv2.database.database import Database
from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.datasets import open_data
from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.search import qualification
from nas_sv2.search.qualification import QualifyRequest, qualify
from nas_sv2.show.recipe_tables import certificate_markdown
from nas_sv2.studies.storage.recipe_evidence import CertificateStore

open_once = functools.cache(open_data)
SPACE = str(Path(__file__).parents[2] / "docs" / "lab" / "certificates" / "space.yaml")


class Trainings:
    """Answers at once; accuracy grows with the widths, so that counting is right."""

    def __init__(self, ends_after: int | None = None) -> None:
        self.done: list[tuple[str, int]] = []
        self.ends_after = ends_after

    def __call__(
        self, trainings: Sequence[Any], asked: QualifyRequest, jobs: int
    ) -> Iterator[tuple[Any, Evaluation]]:
        for one in trainings:
            if len(self.done) == self.ends_after:
                raise KeyboardInterrupt
            self.done.append((one.recipe.name, one.seed))
            width = sum(stage.width for stage in one.architecture.stages)
            accuracy = 0.5 + width / 1000 + 0.0001 * one.seed
            yield (
                one,
                dataclasses.replace(
                    evaluation_of(accuracy),
                    recipe=one.recipe.name,
                    recipe_digest=one.recipe.digest,
                    data=open_once("animals").provenance,
                    seed=one.seed,
                    device="cpu, 1 threads",
                    train_images=100 * one.recipe.epochs,
                    scores=(accuracy,),
                ),
            )


def request(folder: Path, **changes: Any) -> QualifyRequest:
    plain = QualifyRequest("smoke", "animals", space=SPACE, trajectories=1, matched=3)
    return dataclasses.replace(plain, **changes)


def database(folder: Path) -> Database:
    return Database.open(f"sqlite:///{folder / 'q.db'}")


@pytest.fixture(autouse=True)
def no_untrained_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    def counts(*_: object) -> dict[str, float]:
        return {"flops": 1.0}

    monkeypatch.setattr(qualification, "untrained_scores", counts)


def test_what_was_trained_before_a_kill_is_not_trained_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str] = []
    first, second, third = Trainings(ends_after=9), Trainings(), Trainings()
    monkeypatch.setattr(qualification, "_run", first)
    with pytest.raises(KeyboardInterrupt):
        qualify(request(tmp_path), database(tmp_path), told.append, lambda done, total: None)
    monkeypatch.setattr(qualification, "_run", second)
    counted: list[tuple[int, int]] = []
    found = qualify(
        request(tmp_path), database(tmp_path), told.append, lambda *now: counted.append(now)
    )
    assert "44 trainings, 9 of them known" in told[-1]
    assert len(first.done) + len(second.done) == 44
    assert (counted[0], counted[-1]) == ((9, 44), (44, 44))
    assert sorted({name for name, _ in second.done}) == ["smoke", "smoke ×8"]
    monkeypatch.setattr(qualification, "_run", third)
    again = qualify(request(tmp_path), database(tmp_path), told.append, lambda done, total: None)
    assert not third.done
    assert again == found


def test_images_that_cannot_be_read_are_left_out_only_if_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Callable[..., Path]
) -> None:
    root = folder()
    (root / "cat" / "torn.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr(qualification, "_run", Trainings(ends_after=0))
    asked = request(tmp_path, data=f"imagefolder:{root}")
    with pytest.raises(ConfigError, match=r"1 of 21 images cannot be read: 'cat/torn.png'"):
        qualify(asked, database(tmp_path), lambda line: None, lambda done, total: None)
    asked = dataclasses.replace(asked, skip_unreadable=True)
    with pytest.raises(KeyboardInterrupt):  # by the first training
        qualify(asked, database(tmp_path), lambda line: None, lambda done, total: None)


def test_the_certificate_is_of_what_was_asked_and_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(qualification, "_run", Trainings())
    found = qualify(
        request(tmp_path), database(tmp_path), lambda line: None, lambda done, total: None
    )
    assert (len(found.joint), len(found.matched), found.seeds) == (8, 3, 2)
    assert found.longer == 8
    assert found.ranking(found.joint).tau.value == pytest.approx(1)
    assert found.noise == pytest.approx(0, abs=1e-9)  # a seed for all moves no order
    db = database(tmp_path)
    assert CertificateStore(db).find(found.recipe_digest, found.data) == found
    db.close()


def table_of(labels: np.ndarray, folder: Path) -> str:
    images = np.random.default_rng(0).integers(0, 255, (60, 32, 32), np.uint8)
    np.savez(folder / "drawn.npz", images=images, labels=labels)
    return f"npz:{folder / 'drawn.npz'}"


@pytest.mark.parametrize(
    ("score", "labels", "said"),
    [
        ("mean_ap", np.eye(3)[np.arange(60) % 3] + (np.arange(60) % 2)[:, None], "mean average"),
        ("mae", np.arange(60.0), "minus mean absolute error; higher is better"),
    ],
)
def test_several_labels_and_numbers_are_qualified_by_their_score(
    score: str, labels: np.ndarray, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Wider networks are better, and errors are smaller then: FLOPs order both alike."""
    data = table_of(np.minimum(labels, 1) if score == "mean_ap" else labels, tmp_path)
    opened = open_data(data, numbers=score == "mae")

    def run(
        trainings: Sequence[Any], asked: QualifyRequest, jobs: int
    ) -> Iterator[tuple[Any, Evaluation]]:
        assert asked.data == data
        for one, plain in Trainings()(trainings, asked, jobs):
            value = plain.scores[0]
            found = dataclasses.replace(
                plain,
                accuracy=None,
                data=opened.provenance,
                scored_by=score,
                scores=(value if score == "mean_ap" else value - 10,),
                mean_ap=value if score == "mean_ap" else None,
                mae=10 - value if score == "mae" else None,
            )
            yield one, found

    monkeypatch.setattr(qualification, "_run", run)
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"nas_sv2_recipe: 1\nepochs: 1\nscore: {score}\n")
    asked = request(tmp_path, data=data, recipe=str(recipe))
    found = qualify(asked, database(tmp_path), lambda line: None, lambda done, total: None)
    assert found.scored_by == score
    assert found.ranking(found.joint).tau.value == pytest.approx(1)
    assert "MAE" in found.describe() if score == "mae" else "points are ties" in found.describe()
    page = certificate_markdown(found)
    assert f"- scores: {said}" in page
    if score == "mae":
        lowest = min(one.scores[0] for one in found.joint)
        assert f"| -{-lowest:.4g} -" in page


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": "paper"}, "recipe .*; got 'paper'"),
        ({"reference": "megvii"}, "reference .*; got 'megvii'"),
        ({"reference": "smoke"}, "reference .* than smoke, which agrees with itself; got 'smoke'"),
        ({"trajectories": 0}, "trajectories .*; got 0"),
        ({"seeds": 0}, "seeds .*; got 0"),
        ({"trajectories": 10**9}, "trajectories .* from 1 to 10000; got 1000000000"),
        ({"seeds": 10**9}, "seeds .* from 1 to 10000; got 1000000000"),
        ({"matched": 2}, "matched .*; got 2"),
        ({"matched": 10**9}, "matched .* from 3 to 10000; got 1000000000"),
        ({"workers": 0}, "workers .*; got 0"),
        ({"space": "12M"}, "space .*; got '12M'"),
    ],
)
def test_what_cannot_be_meant_is_named_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        qualify(
            request(tmp_path, **changes),
            database(tmp_path),
            lambda line: None,
            lambda done, total: None,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("score_form: int8", "with score_form int8, as own; it has fp32"),
        ("score: mae", "for labels that are numbers, score: mae, as own"),
    ],
)
def test_a_reference_of_another_form_is_refused(field: str, said: str, tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"nas_sv2_recipe: 1\nepochs: 1\n{field}\n")
    with pytest.raises(ConfigError, match=f"reference must be a recipe {said}.*; got 'smoke'"):
        qualify(
            request(tmp_path, recipe=str(recipe), reference="smoke"),
            database(tmp_path),
            lambda line: None,
            lambda done, total: None,
        )
