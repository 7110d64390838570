"""When the trials of a study ran, as a figure of Plotly's."""

from html import escape
from typing import Any

from nas_sv2.studies.pages.picture_style import COLOURS, GREY
from nas_sv2.studies.report.facts import Facts


def time_chart(facts: Facts) -> dict[str, Any]:
    """When trials ran, in minutes of work: timing, training, and what was turned away."""
    kept = {entry.number for entry in facts.front}
    lanes: dict[str, list[tuple[float, float, str]]] = {
        "turned away": [],
        "training": [],
        "latency": [],
    }
    for step in facts.times.steps:
        head = f"trial {step.number} · {step.verdict} · {step.began:%Y-%m-%d %H:%M:%S} UTC"
        if step.verdict != "finished":
            said = escape(f"{head} · {step.seconds:.1f} s") + "<br>" + escape(step.why)
            lanes["turned away"].append((step.at_s, step.seconds, said))
            continue
        front = " · on the front" if step.number in kept else ""
        timing = f"{head}{front} · {step.timing_s:.1f} s without training"
        lanes["latency"].append((step.at_s, step.timing_s, escape(timing)))
        if step.training_s is not None:
            training = f"{head}{front} · {step.training_s:.1f} s of training"
            began_s = step.at_s + step.timing_s
            lanes["training"].append((began_s, step.training_s, escape(training)))
    colours = {"turned away": GREY, "training": COLOURS[0], "latency": COLOURS[4]}
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": lane,
            "y": [lane] * len(blocks),
            "base": [at / 60 for at, _, _ in blocks],
            "x": [seconds / 60 for _, seconds, _ in blocks],
            "hovertext": [said for _, _, said in blocks],
            "hoverinfo": "text",
            "marker": {"color": colours[lane], "line": {"width": 0.5, "color": colours[lane]}},
            "opacity": 0.85,
        }
        for lane, blocks in lanes.items()
    ]
    axis = {"title": {"text": "minutes of work, pauses left out"}, "rangemode": "tozero"}
    return {"data": data, "layout": {"xaxis": axis, "barmode": "overlay", "showlegend": False}}
