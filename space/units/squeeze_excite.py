"""Squeeze-and-excitation (Hu et al. 2018): every channel scaled by what all channels hold."""

from nas_sv2.space.graph.operators import GraphBuilder, Value


def squeeze_excite(build: GraphBuilder, name: str, source: Value, hidden: int) -> Value:
    """`source` times gates that `hidden` neurons work out from its means."""
    gates = build.global_average_pool(f"{name}.pool", source)
    gates = build.gate(f"{name}.reduce", gates, hidden)
    gates = build.activation(f"{name}.relu", gates, "relu")
    gates = build.gate(f"{name}.expand", gates, source.channels)
    gates = build.activation(f"{name}.sigmoid", gates, "sigmoid")
    return build.multiply(f"{name}.scale", source, gates)
