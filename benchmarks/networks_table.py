"""Write the table of docs/reference/networks.md: every hand-designed network and its counts.

python benchmarks/networks_table.py            # prints the table
python benchmarks/networks_table.py --write    # puts it into docs/reference/networks.md
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas_sv2.space.families.published import STRUCTURES, published_network
from nas_sv2.space.graph.cost import cost_of
from nas_sv2.space.networks.lowering import lower
from nas_sv2.space.units.reference import REFERENCES
from nas_sv2.studies.paper.published_figures import table8

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "networks.md"
START, END = "<!-- networks_table.py: begin -->", "<!-- networks_table.py: end -->"
HEADER = "| name | family | MFLOPs | the paper's | off | params | source |"
RULE = "| --- | --- | ---: | ---: | ---: | ---: | --- |"


@dataclass(frozen=True, slots=True)
class Form:
    """Family and source of the networks of our own space whose names begin alike."""

    family: str
    source: str
    left_open: str = ""


AUTHORS = "the paper, table 5; ShuffleNet-Series, ShuffleNetV2/blocks.py"
SE_WIDTH = "the hidden width of SE is not stated for this size; c/2 is taken from v2-164"
FORMS = {  # the longest beginning that fits counts
    "shufflenet_v2_x": Form("ShuffleNet V2", AUTHORS),
    "shufflenet_v2_star_": Form(
        "ShuffleNet V2*",
        f"{AUTHORS}; section 4, larger receptive field",
        "the layers after the added depthwise convolution are not stated; a batch norm, no ReLU",
    ),
    "shufflenet_v2_se_": Form("ShuffleNet V2 with SE", f"{AUTHORS}; appendix", SE_WIDTH),
    "shufflenet_v2_residual_": Form(
        "ShuffleNet V2 with residual", f"{AUTHORS}; appendix; ShuffleNetV2.Large/network.py"
    ),
    "shufflenet_v2_se_residual_": Form(
        "ShuffleNet V2 with SE and residual", f"{AUTHORS}; appendix", SE_WIDTH
    ),
    "shufflenet_v2_50": Form("ShuffleNet V2", "the paper's appendix, table 2"),
    "se_shufflenet_v2_164": Form(
        "ShuffleNet V2 with SE and residual", "the paper's appendix, table 2"
    ),
    "torchvision_shufflenet_v2_": Form(
        "ShuffleNet V2 (torchvision)", "torchvision, models/shufflenetv2.py"
    ),
}
TABLE_6 = {"shufflenet_v2_50": 2300, "se_shufflenet_v2_164": 12_700}


@dataclass(frozen=True, slots=True)
class Entry:
    """A network with its family, its source and the paper's count."""

    name: str
    family: str
    paper_mflops: float | None
    source: str
    left_open: str

    @property
    def note(self) -> str:
        """Source of its structure, and the part that the source leaves open."""
        note = self.source + (f". **Reconstructed**: {self.left_open}" if self.left_open else "")
        return note[0].upper() + note[1:]

    def row(self, number: int) -> str:
        """Line of the table; it refers to the note by `number`."""
        cost = cost_of(lower(published_network(self.name)))
        mflops, paper = cost.flops / 1e6, self.paper_mflops
        cells = (
            f"`{self.name}`",
            self.family,
            f"{mflops:,.1f}",
            "" if paper is None else f"{paper:,.0f}",
            "" if paper is None else f"{round(100 * (mflops / paper - 1), 1) + 0:+g} %",
            f"{cost.params / 1e6:.2f} M",
            f"{number}, reconstructed" if self.left_open else f"{number}",
        )
        return f"| {' | '.join(cells)} |"


def entries() -> Iterator[Entry]:
    """Every network: those of our own space first."""
    published = {row.network: row.mflops for row in table8()}
    for name in REFERENCES:
        form = FORMS[max(filter(name.startswith, FORMS), key=len)]
        mflops = TABLE_6.get(name, published.get(name))
        yield Entry(name, form.family, mflops, form.source, form.left_open)
    for name, structure in STRUCTURES.items():
        mflops = structure.paper_mflops
        yield Entry(name, structure.family, mflops, structure.source, structure.reconstructed)


def listed() -> str:
    """The table and the notes it refers to, in Markdown."""
    found = list(entries())
    numbers: dict[str, int] = {}
    for entry in found:
        numbers.setdefault(entry.note, len(numbers) + 1)
    table = [HEADER, RULE, *(entry.row(numbers[entry.note]) for entry in found)]
    notes = [f"{number}. {note}." for note, number in numbers.items()]
    return "\n".join([*table, "", *notes])


def main() -> None:
    """Print it, or write it into the page."""
    if sys.argv[1:] != ["--write"]:
        print(listed())
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{listed()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
