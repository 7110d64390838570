"""A teacher beside a training: the loss, the answers that are kept, and what is refused."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
import torch
from packages import data_in, winner_of, write_winner
from torch import Tensor, nn
from torch.nn import functional

from nas_sv2.errors import ConfigError
from nas_sv2.evaluate.data.image_data import ImageData, Part
from nas_sv2.evaluate.fitting.augment import Normalise
from nas_sv2.evaluate.fitting.evaluation import Figure
from nas_sv2.evaluate.fitting.evaluator import Setting
from nas_sv2.evaluate.fitting.label_scale import LabelScale
from nas_sv2.evaluate.fitting.teaching import OpenTeacher, Teaching, open_teacher
from nas_sv2.evaluate.full import training as full_training
from nas_sv2.evaluate.full.training import FullRun
from nas_sv2.evaluate.proxy import training as proxy_training
from nas_sv2.evaluate.proxy.training import ProxyTraining, choose_recipe
from nas_sv2.evaluate.recipes.files import with_teacher
from nas_sv2.evaluate.recipes.recipe import Recipe
from nas_sv2.evaluate.recipes.teacher import Teacher, content_digest
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.runtimes.torch_lowering import build_module, load_weights
from nas_sv2.space.units.architecture import Architecture, Stage

NETWORK = Architecture(
    stem=(8,), stages=(Stage(1, 16), Stage(1, 32)), head=64, resolution=16, channels=1, classes=2,
    stem_pool=False,
)  # fmt: skip
SHORT = Recipe("short", 2, batch=20, images_per_epoch=100, learning_rate=0.05)


class Halves(nn.Module):
    """Knows the classes of `blobs`: the brighter half is above or below."""

    def __init__(self, scale: float = 4.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        half = images.shape[2] // 2
        above = images[:, :, :half].mean((1, 2, 3)) - images[:, :, half:].mean((1, 2, 3))
        return self.scale * torch.stack([above, -above], 1)


class Number(Halves):
    """Answers 100 for one half and 200 for the other, to grey levels."""

    def forward(self, images: Tensor) -> Tensor:
        return 150 - self.scale / 8 * super().forward(images / self.scale)[:, :1]


class Weak(Halves):
    """Is wrong for a fifth of the images: the level of their first pixel is divided by 5."""

    def forward(self, images: Tensor) -> Tensor:
        is_wrong = images[:, 0, 0, 0].round() % 5 == 0
        return super().forward(images) * torch.where(is_wrong, -1, 1)[:, None]


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `mine` of the user's, with networks."""
    made = ModuleType("mine")
    made.__dict__.update(
        wise=Halves,
        weak=Weak,
        contrary=lambda: Halves(-4.0),
        numbers=Number,
        brief=lambda: Halves().bfloat16(),
        contrary_numbers=lambda: Number(-4.0),
        random=lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 2)),
        number=type("Number", (), {"state_dict": None}),
    )
    monkeypatch.setitem(sys.modules, "mine", made)


def test_weights_in_bfloat16_have_a_digest() -> None:
    assert (
        content_digest("mine:brief") == content_digest("mine:brief") != content_digest("mine:wise")
    )


def taught(recipe: Recipe = SHORT, model: str = "mine:wise", **fields: Any) -> Recipe:
    teacher = Teacher(model, **fields)
    return with_teacher(dataclasses.replace(recipe, teacher=teacher))


def teaching_of(recipe: Recipe, data: ImageData) -> Teaching:
    found = Teaching.of(recipe, data, Normalise.of(data.train.images), "cpu", 1, lambda line: None)
    assert found is not None
    return found


def test_the_loss_is_that_of_hinton(blobs: ImageData) -> None:
    teaching = teaching_of(taught(temperature=3.0, share=0.75), blobs)
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    labels = blobs.train.labels[:6]
    images = teaching.normalise(blobs.train.images[:6])
    hard = functional.cross_entropy(logits, labels)
    p, q = (teaching.ask(images) / 3).softmax(1).double(), (logits / 3).softmax(1).double()
    wanted = 0.25 * hard + 0.75 * 9 * (p * (p / q).log()).sum(1).mean()
    assert float(teaching.loss(hard, logits, images)) == pytest.approx(float(wanted), rel=1e-5)
    own = teaching.ask(images)
    assert float(teaching.loss(torch.tensor(0.0), own, images)) == pytest.approx(0, abs=1e-6)


def several(data: ImageData) -> ImageData:
    """The classes as labels of which an image may have several."""
    parts = [
        Part(part.images, functional.one_hot(part.labels, 2).float())
        for part in (data.train, data.val)
    ]
    return dataclasses.replace(data, train=parts[0], val=parts[1])


def numbers(data: ImageData) -> ImageData:
    """A number for each class, 100 and 200."""
    parts = [
        Part(part.images, 100.0 + 100 * part.labels.float()) for part in (data.train, data.val)
    ]
    return dataclasses.replace(data, class_names=("year",), train=parts[0], val=parts[1])


OF_NUMBERS = dataclasses.replace(SHORT, score="mae", label_smoothing=0, flip=False)


def test_each_of_several_labels_has_a_divergence_of_its_own(blobs: ImageData) -> None:
    """The mean over the labels of T² · KL between yes and no."""
    teaching = teaching_of(taught(temperature=3.0, share=0.75), several(blobs))
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    images = teaching.normalise(blobs.train.images[:6])
    hard = torch.tensor(0.5)
    p, q = (teaching.ask(images) / 3).sigmoid().double(), (logits / 3).sigmoid().double()
    apart = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    wanted = 0.25 * hard + 0.75 * 9 * apart.mean()
    assert float(teaching.loss(hard, logits, images)) == pytest.approx(float(wanted), rel=1e-5)
    own = teaching.ask(images)
    assert float(teaching.loss(torch.tensor(0.0), own, images)) == pytest.approx(0, abs=1e-6)


def test_a_number_of_the_teacher_is_as_far_as_one_of_the_label(blobs: ImageData) -> None:
    data = numbers(blobs)
    teaching = teaching_of(taught(OF_NUMBERS, "mine:numbers", input="levels"), data)
    assert teaching.figure.value < 5
    scale, images = LabelScale.of(data.train.labels), teaching.normalise(data.train.images[:6])
    assert scale is not None and scale.deviation == 50
    answers = teaching.ask(images) + torch.tensor([[25.0], [-25.0]] * 3)
    found = float(teaching.loss(torch.tensor(2.0), answers, images, scale))
    assert found == pytest.approx(0.1 * 2 + 0.9 * 0.5, rel=1e-5)


def test_several_labels_and_numbers_are_learnt_from_a_teacher_alone(blobs: ImageData) -> None:
    data = several(blobs)
    none = Part(blobs.train.images, torch.zeros_like(data.train.labels))
    recipe = dataclasses.replace(SHORT, epochs=4, score="mean_ap", label_smoothing=0)
    found = ProxyTraining(
        taught(recipe, share=1.0), dataclasses.replace(data, train=none), threads=1
    ).evaluate(NETWORK)
    assert found.mean_ap is not None and found.mean_ap > 0.9
    data = numbers(blobs)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    dealt = dataclasses.replace(data, train=Part(data.train.images, data.train.labels[order]))
    recipe = dataclasses.replace(OF_NUMBERS, epochs=6, shift=0)
    teacher: dict[str, Any] = {"model": "mine:numbers", "share": 1.0, "input": "levels"}
    found = ProxyTraining(taught(recipe, **teacher), dealt, threads=1).evaluate(NETWORK)
    assert found.mae is not None and found.mae < 25


@pytest.mark.parametrize(
    ("kind", "model", "said"),
    [
        ("labels", "mine:contrary", r"chance: mean AP \d+.\d+% on 200 validation images, \d+"),
        ("labels", "mine:numbers", "must have the 2 labels of the data; it gives 1"),
        ("numbers", "mine:wise", r"must give one number an image, \(N, 1\); it gives 2"),
        ("numbers", "mine:contrary_numbers", "MAE .* 50 by always answering their median"),
    ],
)
def test_a_teacher_of_other_labels_or_that_knows_nothing_is_refused(
    kind: str, model: str, said: str, blobs: ImageData
) -> None:
    data = several(blobs) if kind == "labels" else numbers(blobs)
    recipe = SHORT if kind == "labels" else OF_NUMBERS
    with pytest.raises(ConfigError, match=said):
        teaching_of(taught(recipe, model, input="levels"), data)


def test_a_student_of_numbers_outgrows_a_teacher_of_a_larger_error(blobs: ImageData) -> None:
    teaching = teaching_of(taught(OF_NUMBERS, "mine:numbers", input="levels"), numbers(blobs))
    own = teaching.figure.value
    assert teaching.describe_limit(Figure("mae", own + 1)) == ""
    said = f"the network has MAE 0.25 on the validation images, its teacher {own:.4g}"
    assert teaching.describe_limit(Figure("mae", 0.25)).startswith(said)


def test_a_number_has_no_temperature() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.temperature must be left out .* got 3"):
        taught(OF_NUMBERS, "mine:numbers", temperature=3.0)


def test_what_is_learnt_is_the_teachers_and_not_the_labels(blobs: ImageData) -> None:
    wrong = Part(blobs.train.images, torch.zeros_like(blobs.train.labels))
    data = dataclasses.replace(blobs, train=wrong)
    recipe = taught(dataclasses.replace(SHORT, epochs=4), share=1.0)
    assert ProxyTraining(recipe, data, threads=1).train(NETWORK).evaluation.figure.value > 0.9
    alone = dataclasses.replace(recipe, teacher=None)
    assert ProxyTraining(alone, data, threads=1).train(NETWORK).evaluation.accuracy == 0.5


@pytest.mark.parametrize("flip", [True, False])
def test_the_teacher_is_asked_once(flip: bool, blobs: ImageData) -> None:
    """By the first candidate alone; without augmentation once for each image of all passes."""
    recipe = taught(dataclasses.replace(SHORT, images_per_epoch=None, shift=0, flip=flip))
    training = ProxyTraining(recipe, blobs, threads=1)
    assert training.teaching is not None
    network = training.teaching.opened.answers
    assert isinstance(network, Halves)
    network.asked = 0
    first = training.train(NETWORK).evaluation
    asked = network.asked
    assert asked == len(blobs.train) * (SHORT.epochs if flip else 1)
    again = training.train(NETWORK).evaluation
    assert network.asked == asked
    assert again.history == first.history


def test_answers_that_do_not_fit_are_not_kept_and_change_nothing(
    blobs: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ProxyTraining(taught(), blobs, threads=1).train(NETWORK)
    monkeypatch.setattr("nas_sv2.evaluate.fitting.teaching.MOST_KEPT_BYTES", 100)
    training = ProxyTraining(taught(), blobs, threads=1)
    found = training.train(NETWORK)
    assert training.teaching is not None and not training.teaching.kept
    for name, array in kept.weights.items():
        assert (found.weights[name] == array).all(), name


def test_a_full_training_keeps_only_answers_that_it_needs_again(
    blobs: ImageData, tmp_path: Path
) -> None:
    for flip, kept in ((True, 0), (False, len(blobs.train))):
        (tmp_path / str(flip)).mkdir()
        recipe = taught(dataclasses.replace(SHORT, images_per_epoch=None, shift=0, flip=flip))
        run = FullRun(recipe, blobs, tmp_path / str(flip))
        run.train(NETWORK)
        assert run.teaching is not None and len(run.teaching.kept) == kept


@pytest.mark.parametrize(("model", "outgrown"), [("mine:wise", False), ("mine:weak", True)])
def test_a_teacher_that_its_student_outgrows_is_told(
    model: str, outgrown: bool, blobs: ImageData, tmp_path: Path
) -> None:
    told: list[str] = []
    recipe = taught(SHORT, model, share=0.1, input="levels")
    run = FullRun(recipe, blobs, tmp_path, notify=told.append)
    accuracy = run.train(NETWORK).passes[-1].validation.accuracy
    assert run.teaching is not None and accuracy is not None
    assert (accuracy > run.teaching.figure.value) == outgrown
    line = f"the network is right for {accuracy:.2%} of the validation images, its teacher for "
    assert any(each.startswith(line) for each in told) == outgrown


def interrupted(at: int) -> Callable[[int, int], None]:
    def progress(done: int, steps: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("flip", [True, False])
def test_killed_and_taken_up_comes_to_the_same_bits(
    flip: bool, blobs: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(proxy_training, "CHECKPOINT_SECONDS", 0.0)
    recipe = taught(dataclasses.replace(SHORT, flip=flip, shift=0))
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    whole = FullRun(recipe, blobs, tmp_path / "whole").train(NETWORK)
    searched = ProxyTraining(recipe, blobs).train(NETWORK)
    with pytest.raises(KeyboardInterrupt):
        FullRun(recipe, blobs, tmp_path / "killed", progress=interrupted(7)).train(NETWORK)
    with pytest.raises(KeyboardInterrupt):
        ProxyTraining(recipe, blobs, checkpoints=tmp_path / "c", progress=interrupted(7)).train(
            NETWORK
        )
    told: list[str] = []
    again = FullRun(recipe, blobs, tmp_path / "killed", notify=told.append).train(NETWORK)
    resumed = ProxyTraining(recipe, blobs, checkpoints=tmp_path / "c", notify=told.append).train(
        NETWORK
    )
    assert sum("step 7 of 10" in line for line in told) == 2, told
    for name, array in whole.weights.items():
        assert (again.weights[name] == array).all(), name
        assert (resumed.weights[name] == searched.weights[name]).all(), name


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network with random weights, and its data."""
    folder = tmp_path_factory.mktemp("exported")
    write_winner(folder / "winner", data_in(folder))
    return folder


def ask(model: Path, data: ImageData, levels: Tensor) -> Tensor:
    teacher = with_teacher(dataclasses.replace(SHORT, teacher=Teacher(str(model)))).teacher
    assert teacher is not None
    student = Normalise(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([7.0, 8.0, 9.0]))
    return open_teacher(teacher, student, data, "cpu", 1).ask(levels)


def test_a_folder_and_its_onnx_file_answer_as_the_network(exported: Path) -> None:
    """To images of another size and with other channels too, by their own normalisation."""
    data = data_in(exported)
    winner = winner_of(data)
    module = build_module(lower(winner.trained))
    load_weights(module, lower(winner.trained), winner.weights)
    images = data.val.images[:5]
    with torch.no_grad():
        wanted = module.eval()(winner.normalise(images))
    for name in ("winner", "winner/model.onnx"):
        torch.testing.assert_close(
            ask(exported / name, data, images), wanted, rtol=1e-3, atol=1e-4
        )
        for other in (images[:, :1], torch.rand(5, 3, 20, 20) * 255):
            assert ask(exported / name, data, other).shape == (5, 3)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("mean", None, "must be an ONNX model"),
        ("deviation", "[1, ", "must be an ONNX model"),
        ("mean", '{"a": 1}', "must be an ONNX model"),
        ("class_names", "[", "must be an ONNX model"),
        ("class_names", "7", "must name its 3 classes in a list; it names 7"),
        ("class_names", '["one", "two"]', "must name its 3 classes in a list; it names .'one'"),
    ],
)
def test_a_file_of_ours_with_damaged_facts_is_refused(
    name: str, value: str | None, said: str, exported: Path
) -> None:
    data = data_in(exported)
    model = onnx.load(exported / "winner" / "model.onnx")
    facts = {prop.key: prop.value for prop in model.metadata_props}
    facts.pop(name)
    if value is not None:
        facts[name] = value
    onnx.helper.set_model_props(model, facts)
    file = exported / "damaged.onnx"
    onnx.save(model, file)
    with pytest.raises(ConfigError, match=f"teacher {said}"):
        recipe = with_teacher(dataclasses.replace(SHORT, teacher=Teacher(str(file))))
        Teaching.of(recipe, data, Normalise.of(data.train.images), "cpu", 1, print)


def test_a_fixed_batch_is_filled_up() -> None:
    seen: list[int] = []

    def answers(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.mean((2, 3))

    same = Normalise(torch.zeros(2), torch.ones(2))
    images = torch.arange(7 * 2 * 16.0).reshape(7, 2, 4, 4)
    found = OpenTeacher(answers, same, batch=3).ask(images)
    assert seen == [3, 3, 3]
    assert torch.equal(found, images.mean((2, 3)))


@pytest.mark.parametrize(
    ("form", "wanted"), [("levels", 51.0), ("unit", 0.2), ("imagenet", (51 - 123.675) / 58.395)]
)
def test_the_form_of_the_images_is_what_the_recipe_says(
    form: str, wanted: float, blobs: ImageData
) -> None:
    teacher = taught(input=form).teacher
    assert teacher is not None
    grey = dataclasses.replace(
        blobs, train=Part(blobs.train.images.repeat(1, 3, 1, 1), blobs.train.labels),
        val=Part(blobs.val.images.repeat(1, 3, 1, 1), blobs.val.labels),
    )  # fmt: skip
    opened = open_teacher(teacher, Normalise.of(grey.train.images), grey, "cpu", 1)
    seen: list[Tensor] = []

    def answers(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    dataclasses.replace(opened, answers=answers).ask(
        torch.full((1, 3, 4, 4), 51, dtype=torch.uint8)
    )
    assert float(seen[0][0, 0, 0, 0]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "field", "said"),
    [
        (lambda: taught(model="mine:contrary"), "teacher", "must be better than chance: 0.00%"),
        (
            lambda: taught(model="mine:random"),
            "teacher",
            "must have the same weights at each call",
        ),
        (lambda: taught(model="mine:number"), "teacher", "must be a torch module, .* is a Number"),
        (lambda: taught(model="mine:nothing"), "teacher", "must be a module:attribute"),
        (lambda: taught(model="no.onnx"), "teacher", "must be readable: no.onnx"),
        (lambda: taught(model="no"), "teacher", "must be a folder of an exported network"),
        (
            lambda: dataclasses.replace(SHORT, teacher=Teacher("mine:wise")),
            "teacher",
            "none: open",
        ),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_before_a_candidate(
    recipe: Callable[[], Recipe], field: str, said: str, blobs: ImageData
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        choose_recipe(recipe()).open(blobs, Setting())
    assert caught.value.field == field


def test_a_teacher_of_other_kinds_of_labels_is_refused(exported: Path) -> None:
    """Its logits would be taken for those of other questions."""
    data, winner = data_in(exported), str(exported / "winner")
    parts = [
        Part(part.images, functional.one_hot(part.labels, 3).float())
        for part in (data.train, data.val)
    ]
    labelled = dataclasses.replace(data, train=parts[0], val=parts[1], test=None)
    for model in (winner, f"{winner}/model.onnx"):
        with pytest.raises(ConfigError, match="must be of images with several labels, as the da"):
            teaching_of(taught(model=model), labelled)


def test_a_teacher_of_other_classes_is_refused(exported: Path, blobs: ImageData) -> None:
    data, winner = data_in(exported), str(exported / "winner")
    with pytest.raises(ConfigError, match="must have the 2 classes of the data; it gives 3"):
        teaching_of(taught(model=winner), blobs)
    renamed = dataclasses.replace(data, class_names=("0", "2", "1"))
    for model in (winner, f"{winner}/model.onnx"):
        with pytest.raises(ConfigError, match=r"in their order: '2', not '1'"):
            teaching_of(taught(model=model), renamed)
    with pytest.raises(ConfigError, match=r"teacher\.input must be left out"):
        teaching_of(taught(model=winner, input="unit"), data)
    with pytest.raises(ConfigError, match=r"recipe\.classes must be left out"):
        teaching_of(taught(dataclasses.replace(SHORT, classes=2), winner), data)


def test_a_teacher_that_changed_since_is_refused(exported: Path, tmp_path: Path) -> None:
    data = data_in(exported)
    write_winner(tmp_path / "winner", data)
    recipe = taught(model=str(tmp_path / "winner"))
    card = json.loads((tmp_path / "winner" / "card.json").read_text())
    card["input"]["mean"][0] += 1
    (tmp_path / "winner" / "card.json").write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="must have the content that the recipe names"):
        teaching_of(recipe, data)
    (tmp_path / "winner" / "card.json").write_text("{}")
    with pytest.raises(ConfigError, match="must be a folder of an exported network"):
        teaching_of(taught(model=str(tmp_path / "winner")), data)
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "winner" / "model.onnx").read_bytes()[:500])
    with pytest.raises(ConfigError, match="must be an ONNX model with one input") as caught:
        teaching_of(taught(model=str(tmp_path / "cut.onnx")), data)
    assert "\n" not in str(caught.value)
