"""Write the pages that follow from the code: the command line, Python, and shown examples.

python benchmarks/reference_pages.py            # prints which pages differ from the code
python benchmarks/reference_pages.py --write    # writes them
"""

import functools
import inspect
import operator
import pkgutil
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer

import nas_sv2
from nas_sv2.cli import app

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
NAME = "nas-sv2"

CLI_INTRO = """\
# Command line

<!-- Written by benchmarks/reference_pages.py from the program; do not edit. -->

This page lists every command with every option. `nas-sv2 COMMAND --help` prints the same.

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | a fault, or a check that failed |
| 2 | a wrong option, argument or file |
| 3 | no network can keep the budget |
| 130 | interrupted |

Results go to standard output. Progress, notes and errors go to standard error. With `--json` the
output is JSON, one document a line.
"""

PYTHON_INTRO = """\
# Python

<!-- Written by benchmarks/reference_pages.py from the docstrings; do not edit. -->

These are the public names of `nas_sv2`. Every other path may change without notice. Importing
`nas_sv2` loads neither torch nor onnxruntime.
"""

ANSWERS = [
    "nas_sv2.api.measuring:Comparison",
    "nas_sv2.studies.findings.confirmation:Confirmation",
    "nas_sv2.studies.findings.confirmation:Confirmed",
    "nas_sv2.space.graph.cost:Cost",
    "nas_sv2.studies.storage.catalog:Deleted",
    "nas_sv2.studies.findings.front:Entry",
    "nas_sv2.studies.package.build:Exported",
    "nas_sv2.studies.package.detector_export:ExportedDetector",
    "nas_sv2.studies.findings.confirmation:Finding",
    "nas_sv2.studies.findings.front:Front",
    "nas_sv2.studies.findings.fused_estimate:FusedEstimate",
    "nas_sv2.studies.findings.record:Record",
    "nas_sv2.search.replay:Replayed",
    "nas_sv2.studies.storage.facts:StudyFacts",
    "nas_sv2.studies.storage.catalog:StudySummary",
]
"""The classes of what public functions and members give, beside the public names."""

ANSWERS_INTRO = """\
# Answers

Values of these classes come from the functions above. A script reads them, and makes none.
"""

SECTIONS = {"Args", "Returns", "Raises", "Yields", "Attributes"}


def cell(text: object) -> str:
    """Escape a text for a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def commands(command: Any, path: tuple[str, ...] = (NAME,)) -> Iterator[tuple[str, Any]]:
    """Yield the full name of each visible command and group below `command`, groups first."""
    children = getattr(command, "commands", {}).items()
    for name, child in children:
        if not child.hidden:
            yield " ".join([*path, name]), child
            yield from commands(child, (*path, name))


def usage(name: str, command: Any) -> str:
    """Return the line that shows how the command is called."""
    words = [name, "[OPTIONS]"]
    for parameter in command.params:
        if not parameter.opts[0].startswith("-"):
            word = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
            words.append(word if parameter.required else f"[{word}]")
    return " ".join(words)


def spelled(parameter: Any) -> str:
    """Return the spellings of an option, the long one first."""
    spellings = sorted([*parameter.opts, *parameter.secondary_opts], key=len, reverse=True)
    if parameter.secondary_opts:  # a pair: the word that turns on comes first
        spellings = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(f"`{spelling}`" for spelling in spellings)


def default(parameter: Any) -> str:
    """Return the default of an option as it would be typed, or nothing."""
    value = parameter.default
    if parameter.required:
        return "required"
    if isinstance(value, bool):
        return "on" if value else ""
    empty = value is None or value == () or value == []
    return "" if empty or callable(value) else f"`{getattr(value, 'value', value)}`"


def explained(parameter: Any) -> str:
    """Return the help of an option, and the variable that sets it."""
    names = parameter.envvar
    variable = " ".join([names] if isinstance(names, str) else names or [])
    repeatable = " Repeatable." if parameter.multiple and not mentions(parameter) else ""
    return cell(
        (parameter.help or "") + repeatable + (f" Environment: `{variable}`." if variable else "")
    )


def mentions(parameter: Any) -> bool:
    """Whether the help of an option says already that it may be repeated."""
    return "repeat" in (parameter.help or "").lower()


def tables(command: Any) -> Iterator[str]:
    """Yield the tables of arguments and of options, one for each panel of the help."""
    arguments = [one for one in command.params if not one.opts[0].startswith("-")]
    if arguments:
        yield "| argument | |\n| --- | --- |"
        for one in arguments:
            yield f"| `{one.name.upper()}` | {cell(one.help or '')} |"
        yield ""
    panels: dict[str, list[Any]] = {}
    for one in command.params:
        if one.opts[0].startswith("-") and not one.hidden:
            panel = one.rich_help_panel
            panels.setdefault(panel if isinstance(panel, str) else "option", []).append(one)
    for panel, options in panels.items():
        yield f"| {panel} | default | |\n| --- | --- | --- |"
        for one in options:
            yield f"| {spelled(one)} | {default(one)} | {explained(one)} |"
        yield ""


def cli_page() -> str:
    """Return the page of the command line."""
    lines = [CLI_INTRO]
    root: Any = typer.main.get_command(app)
    everything = list(commands(root))
    lines += ["| command | |", "| --- | --- |"]
    for name, command in everything:
        if not hasattr(command, "commands"):
            first = cell(paragraphs(command.help)[0])
            lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {first} |")
    lines += ["", f"Options of `{NAME}` itself:", "", *tables(root)]
    for name, command in everything:
        depth = "#" * len(name.split())
        lines += [f"{depth} {name}", "", *(f"{text}\n" for text in paragraphs(command.help))]
        if not hasattr(command, "commands"):
            lines += [f"```text\n{usage(name, command)}\n```", "", *tables(command)]
    return "\n".join(lines).rstrip() + "\n"


def paragraphs(text: str | None) -> list[str]:
    """Split a help text into its paragraphs."""
    return [" ".join(one.split()) for one in re.split(r"\n\s*\n", text or "") if one.strip()]


def text_of(annotation: object) -> str:
    """Return an annotation as the code spells it, without the modules of its names."""
    bare = without_limits(annotation)
    text = bare if isinstance(bare, str) else inspect.formatannotation(bare)
    return re.sub(r"(?<![\w.])(?!torch\.)[a-z_]\w*(?:\.[a-z_]\w*)*\.(?=[A-Z])", "", text)


def without_limits(annotation: Any) -> Any:
    """Return an annotation without what its numbers are held to."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return without_limits(inner[0])
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, map(without_limits, inner))
    if origin is tuple:
        return tuple[tuple(map(without_limits, inner))]  # type: ignore[misc]
    return annotation


def spelled_out(parameter: inspect.Parameter) -> str:
    """Return a parameter as it stands in a signature."""
    text = re.match(r"\**", str(parameter))[0] + parameter.name  # type: ignore[index]
    if parameter.annotation is not inspect.Parameter.empty:
        text += f": {text_of(parameter.annotation)}"
    if parameter.default is not inspect.Parameter.empty:
        value = parameter.default
        made = callable(value) or repr(value).startswith("<")
        text += " = ..." if made else f" = {value!r}"
    return text


def signature(name: str, thing: Callable[..., object]) -> str:
    """Return the signature of a function or class, a line for each parameter if it is long."""
    found = inspect.signature(thing)
    words, marked = list[str](), False
    for one in found.parameters.values():
        keyword = one.kind is inspect.Parameter.KEYWORD_ONLY
        if keyword and not marked and not any(word.startswith("*") for word in words):
            words.append("*")
        marked = marked or keyword
        if one.name != "self":
            words.append(spelled_out(one))
    result = found.return_annotation
    silent = isinstance(thing, type) or result is inspect.Signature.empty
    arrow = "" if silent else f" -> {text_of(result)}"
    line = f"{name}({', '.join(words)}){arrow}"
    lines = "".join(f"    {word},\n" for word in words)
    return line if len(line) <= 80 else f"{name}(\n{lines}){arrow}"


def rendered(doc: str | None) -> list[str]:
    """Return a docstring as Markdown: its sections become lists."""
    lines, listed = [], False
    for line in inspect.cleandoc(doc or "").splitlines():
        section = line.rstrip().removesuffix(":")
        entry = re.match(r"^    (\*{0,2}[\w. ]+?)(?: \([^)]*\))?: (.*)$", line)
        if line.endswith(":") and section in SECTIONS:
            lines += [f"**{section}**", ""]
            listed = True
        elif listed and entry:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif listed and line.startswith("    "):
            lines.append(f"  {line.strip()}" if lines[-1].startswith(("-", " ")) else line.strip())
        else:
            listed = listed and not line.strip()
            lines.append(line)
    return [*lines, ""]


def members(kind: type) -> Iterator[tuple[str, str, str | None]]:
    """Yield the name, the heading and the docstring of each public method and property."""
    for name, member in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property | functools.cached_property):
            get = member.fget if isinstance(member, property) else member.func
            result = inspect.signature(get).return_annotation  # type: ignore[arg-type]
            yield name, f"{name}: {text_of(result)}", member.__doc__
        elif isinstance(member, classmethod | staticmethod):
            yield name, signature(name, getattr(kind, name)), member.__func__.__doc__
        elif inspect.isfunction(member):
            yield name, signature(name, member), member.__doc__


def described(name: str, thing: Any) -> Iterator[str]:
    """Yield the lines about one public name."""
    yield f"## {name}\n"
    if not isinstance(thing, type) and not callable(thing):
        yield f"```text\n{name}: {type(thing).__name__}\n```\n"
        return
    protocol = getattr(thing, "_is_protocol", False)
    if not protocol and not (isinstance(thing, type) and issubclass(thing, Exception)):
        yield f"```text\n{signature(name, thing)}\n```\n"
    yield from rendered(thing.__doc__)
    if not isinstance(thing, type):
        return
    for member, heading, doc in members(thing):
        yield f"### {name}.{member}\n\n```text\n{heading}\n```\n"
        yield from rendered(doc)


def answered(kind: type) -> Iterator[str]:
    """Yield the lines about a class of answers: what it is, and a line for each member."""
    yield f"## {kind.__name__}\n"
    yield from rendered(kind.__doc__)
    lines = [f"- `{heading}`: {paragraphs(doc)[0]}" for _, heading, doc in members(kind)]
    if lines:
        yield from ["**Members**", "", *lines, ""]


def python_page() -> str:
    """Return the page of the Python API."""
    lines = [PYTHON_INTRO]
    for name in nas_sv2.__all__:
        lines += described(name, getattr(nas_sv2, name))
    lines.append(ANSWERS_INTRO)
    for place in ANSWERS:
        lines += answered(pkgutil.resolve_name(place))
    return "\n".join(lines).rstrip() + "\n"


def plug_in_page() -> str:
    """Return the page on plug-ins with the examples as their files are now."""
    text = (FOLDER / "../how-to/write-a-plug-in.md").read_text(encoding="utf-8")

    def shown(block: re.Match[str]) -> str:
        example = (FOLDER / "../.." / block[1]).read_text(encoding="utf-8")
        return f"<!-- file: {block[1]} -->\n```python\n{example.rstrip()}\n```\n"

    return re.sub(r"<!-- file: (.*) -->\n```python\n(?s:.*?)\n```\n", shown, text)


PAGES = {
    "cli.md": cli_page,
    "python.md": python_page,
    "../how-to/write-a-plug-in.md": plug_in_page,
}


def main() -> None:
    """Write the pages, or print the names of those that differ."""
    for name, page in PAGES.items():
        path = FOLDER / name
        if "--write" in sys.argv:
            path.write_text(page(), encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page():
            print(f"{path} differs from the code; run this with --write")


if __name__ == "__main__":
    main()
