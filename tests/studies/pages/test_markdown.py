"""Texts of others in our Markdown, read by a parser of Markdown."""

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nas_sv2.studies.pages.markdown import code, escaped, table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKUP = st.text(st.sampled_from("\\`*_{}[]()<>#+-.!|~&:@ \n1axw="), max_size=30)
ANY = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30) | MARKUP


def shown(markdown: str, kind: str) -> list[str]:
    """The texts of a document whose only inline tokens are of one kind."""
    inline = [token for token in PARSER.parse(markdown) if token.type == "inline"]
    children = [child for token in inline for child in token.children or []]
    assert {child.type for child in children} <= {kind}
    return ["".join(child.content for child in token.children or []) for token in inline]


@settings(deadline=None)  # of time, on a busy machine
@given(ANY)
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    assert shown(f"x{escaped(text)}x", "text") == [f"x{' '.join(text.split())}x"]


@settings(deadline=None)  # of time, on a busy machine
@given(ANY, ANY)
def test_a_cell_stays_a_cell(first: str, second: str) -> None:
    lines = table(("name", "value"), (f"x{first}x", f"x{second}x"))
    cells = ["name", "value", f"x{first}x", f"x{second}x"]
    assert shown("\n".join(lines), "text") == [" ".join(cell.split()) for cell in cells]


@settings(deadline=None)  # of time, on a busy machine
@given(ANY)
def test_code_is_shown_as_it_is(text: str) -> None:
    assert shown(code(f"x{text}x"), "code_inline") == [" ".join(f"x{text}x".split())]
