"""Write the tables of the lab page on the guidelines: several devices beside the paper.

nas-sv2 device guidelines --target cpu --json > cpu.json
nas-sv2 device guidelines --target arm --json > arm.json
python benchmarks/guidelines_tables.py cpu.json arm.json            # prints the tables
python benchmarks/guidelines_tables.py cpu.json arm.json --write    # puts them into the page
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "lab" / "2026-11-25-guidelines.md"
START, END = "<!-- guidelines_tables.py: begin -->", "<!-- guidelines_tables.py: end -->"
PLATFORMS = ("ARM", "GPU")


def listed(runs: list[dict[str, Any]]) -> str:
    """All tables in Markdown, then the verdicts on the paper's."""
    lines = [f"- `{run['target']}`: {_described(run)}" for run in runs]
    for tables in zip(*(run["tables"] for run in runs), strict=True):
        lines += ["", f"**{tables[0]['name']}**: {tables[0]['title']}", ""]
        lines += _table(runs, tables)
        lines += _verdicts(runs, tables)
    return "\n".join(lines)


def _described(run: dict[str, Any]) -> str:
    latencies = [row["latency"] for table in run["tables"] for row in table["rows"]]
    known = [latency for latency in latencies if latency]
    contended = sum(bool(latency["contended"]) for latency in known)
    text = f"{run['device']} · {run['provenance']}"
    return text + (f" · contended in {contended} of {len(known)} networks" if contended else "")


def _table(runs: list[dict[str, Any]], tables: tuple[dict[str, Any], ...]) -> Iterator[str]:
    papers = [name for name in PLATFORMS if name in tables[0]["rows"][0]["paper"]]
    heads = ["", "", *(f"paper, {name}" for name in papers), *(run["target"] for run in runs)]
    yield f"| {' | '.join(heads)} |"
    yield "|".join(["", " --- ", " --- ", *[" ---: "] * (len(heads) - 2), ""])
    group = ""
    for rows in zip(*(table["rows"] for table in tables), strict=True):
        cells = ["" if rows[0]["group"] == group else rows[0]["group"], rows[0]["variant"]]
        group = rows[0]["group"]
        cells += [f"{rows[0]['paper'][name]['relative_time']:.2f}" for name in papers]
        cells += [_cell(row) for row in rows]
        yield f"| {' | '.join(cells)} |"


def _cell(row: dict[str, Any]) -> str:
    if row["latency"] is None:
        return "not covered"
    ms = f"{row['latency']['ms']:.3g} ms"
    return ms if row["relative"] is None else f"{row['relative']:.2f} ({ms})"


def _verdicts(runs: list[dict[str, Any]], tables: tuple[dict[str, Any], ...]) -> Iterator[str]:
    for run, table in zip(runs, tables, strict=True):
        if table["verdict"]:
            yield ""
            yield f"`{run['target']}`, {table['verdict']}."
            against = [
                f"{order['group']}: {faster} is faster than {slower}"
                for order in table["orders"]
                for faster, slower in order["contrary"]
            ]
            if against:
                yield "Against it: " + "; ".join(dict.fromkeys(against)) + "."


def main() -> None:
    """Print them, or write them into the page."""
    files = [Path(name) for name in sys.argv[1:] if name != "--write"]
    text = listed([json.loads(file.read_text(encoding="utf-8")) for file in files])
    if "--write" not in sys.argv:
        print(text)
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
