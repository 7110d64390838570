"""The curve of a training: top-1 accuracy and the minimised loss, epoch by epoch."""

import io

from matplotlib.ticker import MaxNLocator

from nas_sv2.evaluate.fitting.evaluation import Evaluation
from nas_sv2.studies.pages.picture_style import CAPTION_SIZE, COLOURS, DPI, new_figure


def curve_png(evaluation: Evaluation) -> bytes:
    """Draw `evaluation.history`, which must not be empty, as a PNG."""
    passes = range(1, len(evaluation.history) + 1)
    figure = new_figure(5.0, 3.6)
    top = figure.add_subplot()
    validated = [
        (at, each.accuracy * 100)
        for at, each in zip(passes, evaluation.history, strict=True)
        if each.accuracy is not None
    ]
    losses = [each.train_loss for each in evaluation.history]
    lines = top.plot(
        [at for at, _ in validated],
        [percent for _, percent in validated],
        "o-",
        color=COLOURS[0],
        markersize=5,
        label="top-1, validation images (%)",
    )
    bottom = top.twinx()
    lines += bottom.plot(
        passes, losses, "s--", color=COLOURS[1], markersize=3, label="training loss (nats)"
    )
    top.set_xlabel("passes over the training images")
    top.set_ylabel("top-1 (%)", color=COLOURS[0])
    bottom.set_ylabel("loss (nats)", color=COLOURS[1])
    top.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    top.set_xlim(0.5, len(evaluation.history) + 0.5)
    top.grid(alpha=0.3)
    figure.legend(handles=lines, fontsize=CAPTION_SIZE, loc="outside lower center", ncols=2)
    said = f"recipe {evaluation.recipe}, seed {evaluation.seed}, {evaluation.data}"
    figure.suptitle(said.replace("$", r"\$"), fontsize=CAPTION_SIZE)
    file = io.BytesIO()
    figure.savefig(file, dpi=DPI, format="png")
    return file.getvalue()
