"""The ShuffleNet V2 unit (section 3.2, figure 3 c and d) with its options, as operators.

A block is described here once, by how it lowers; it is then costed, trained, measured and exported
like any other.
"""

from nas_sv2.space.graph.operators import GraphBuilder, Value
from nas_sv2.space.units.architecture import Downsample, Stage


def basic_unit(build: GraphBuilder, name: str, source: Value, stage: Stage) -> Value:
    """The unit that keeps the width: split, convolve c′ channels, concatenate, shuffle."""
    passed = stage.width - stage.convolved
    keep, convolve = build.split(f"{name}.split", source, (passed, stage.convolved))
    main = _main_branch(
        build, f"{name}.main", convolve, stage, stage.convolved, stride=1, residual=stage.residual
    )
    return build.shuffle(f"{name}.shuffle", build.concat(f"{name}.concat", keep, main))


def downsample_unit(
    build: GraphBuilder, name: str, source: Value, stage: Stage, downsample: Downsample
) -> Value:
    """The unit that changes the width: both branches convolve all channels, then concatenate.

    The authors' code keeps c_in channels on the shortcut and emits c − c_in from the main branch
    (ShuffleNet-Series, ShuffleNetV2/blocks.py). That of torchvision emits c − c′ and c′.
    """
    shortcut_width = source.channels if downsample == "paper" else stage.width - stage.convolved
    shortcut = build.conv(
        f"{name}.shortcut.depthwise",
        source,
        source.channels,
        stage.kernel,
        stride=stage.stride,
        depthwise=True,
    )
    shortcut = build.conv(f"{name}.shortcut.project", shortcut, shortcut_width, activation="relu")
    main = _main_branch(
        build,
        f"{name}.main",
        source,
        stage,
        stage.width - shortcut_width,
        stride=stage.stride,
        residual=False,
    )
    return build.shuffle(f"{name}.shuffle", build.concat(f"{name}.concat", shortcut, main))


def _main_branch(
    build: GraphBuilder,
    name: str,
    source: Value,
    stage: Stage,
    width: int,
    *,
    stride: int,
    residual: bool,
) -> Value:
    """1×1, depthwise, 1×1; with a residual the last ReLU comes after the sum."""
    middle = stage.convolved
    value = source
    if stage.wide_field:
        value = build.conv(f"{name}.field", value, value.channels, 3, depthwise=True)
    value = build.conv(f"{name}.expand", value, middle, activation="relu")
    value = build.conv(
        f"{name}.depthwise", value, middle, stage.kernel, stride=stride, depthwise=True
    )
    value = build.conv(f"{name}.project", value, width, activation=None if residual else "relu")
    if stage.se:
        # c/2: stated for SE-ShuffleNet v2-164 (appendix, table 2) and taken for all
        value = squeeze_excite(build, f"{name}.se", value, hidden=stage.width // 2)
    if residual:
        value = build.activation(f"{name}.relu", build.add(f"{name}.add", source, value), "relu")
    return value


def squeeze_excite(build: GraphBuilder, name: str, source: Value, hidden: int) -> Value:
    """Scale each channel by a gate from all channels (Hu et al. 2018); `hidden` is its width."""
    gates = build.global_average_pool(f"{name}.pool", source)
    gates = build.gate(f"{name}.reduce", gates, hidden)
    gates = build.activation(f"{name}.relu", gates, "relu")
    gates = build.gate(f"{name}.expand", gates, source.channels)
    gates = build.activation(f"{name}.sigmoid", gates, "sigmoid")
    return build.multiply(f"{name}.scale", source, gates)
