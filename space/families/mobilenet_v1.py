"""MobileNet V1 (Howard et al. 2017, table 1): depthwise-separable layers, no shortcut."""

from collections.abc import Iterator
from functools import partial

from nas_sv2.space.families.structure import Structure
from nas_sv2.space.graph.operators import GraphBuilder, Value

STEM = 32
LAYERS = (
    # width, stride; a stage begins where the map shrinks
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5,
    (1024, 2), (1024, 1),
)  # fmt: skip


def named_layers() -> Iterator[tuple[str, int, int]]:
    """Name, width and stride of every layer."""
    stage, index = 1, 0
    for channels, stride in LAYERS:
        if stride == 2:
            stage, index = stage + 1, 0
        yield f"stage{stage}.{index}", channels, stride
        index += 1


def mobilenet_v1(build: GraphBuilder, image: Value, classes: int, *, width: float) -> Value:
    """All widths times `width`."""
    value = build.conv("stem.0", image, round(STEM * width), 3, stride=2, activation="relu")
    for name, channels, stride in named_layers():
        value = build.conv(
            f"{name}.depthwise",
            value,
            value.channels,
            3,
            stride=stride,
            depthwise=True,
            activation="relu",
        )
        value = build.conv(f"{name}.project", value, round(channels * width), activation="relu")
    value = build.global_average_pool("head.pool", value)
    return build.linear("head.classifier", value, classes)


STRUCTURES = {
    f"mobilenet_v1_{name}": Structure(
        "MobileNet V1",
        partial(mobilenet_v1, width=width),
        "Howard et al. 2017, table 1",
        paper_mflops=mflops,
    )
    for name, width, mflops in (
        ("x0_25", 0.25, 41),
        ("x0_5", 0.5, 149),
        ("x0_75", 0.75, 325),
        ("x1_0", 1.0, 569),
    )
}
