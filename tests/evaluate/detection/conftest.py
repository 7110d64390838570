"""Data of detectors that are small enough to train on in a test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed_detector_training
import numpy as np
import pytest
from PIL import Image

from nas_sv2.evaluate.detection import drawn
from nas_sv2.evaluate.detection.scenes import SceneData

Document = dict[str, Any]
SIDES = (60, 40)  # width and height


@pytest.fixture
def few_drawn(monkeypatch: pytest.MonkeyPatch) -> SceneData:
    """The demo data with few images."""
    monkeypatch.setattr(drawn, "TRAIN", killed_detector_training.TRAIN)
    monkeypatch.setattr(drawn, "VAL", killed_detector_training.VAL)
    return drawn.open_drawn()


def annotations(number: int, images: int) -> Document:
    """A correct annotation file. Image `i` is all of level 50·i in train, 50·i + 25 in val."""
    return {
        "info": {"year": 2017},
        "images": [
            {"id": 100 + i, "file_name": f"{i}.png", "width": SIDES[0], "height": SIDES[1]}
            for i in range(images)
        ],
        "annotations": [
            {
                "id": number + i,
                "image_id": 100 + i,
                "category_id": 7 if i % 2 else 3,
                "bbox": [5.0 + i, 4.0, 20.0, 10.0],
                "area": 150.0,
                "iscrowd": 0,
            }
            for i in range(images)
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


Change = Callable[[Document], None]


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder in COCO's layout; `change` alters the training annotations first."""

    def write(change: Change = lambda document: None) -> Path:
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True)
        for part, images, level in (("train2017", 4, 0), ("val2017", 2, 25)):
            (root / part).mkdir()
            for i in range(images):
                pixels = np.full((SIDES[1], SIDES[0], 3), 50 * i + level, np.uint8)
                Image.fromarray(pixels).save(root / part / f"{i}.png")
            document = annotations(1, images)
            if part.startswith("train"):
                change(document)
            file = root / "annotations" / f"instances_{part}.json"
            file.write_text(json.dumps(document))
        return root

    return write
