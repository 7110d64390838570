import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = ("space", "latency", "evaluate", "studies", "search", "nas_sv2")
LITERAL = re.compile(r"""(?:set_user_attr\(|user_attrs(?:\.get\(|\[))\s*f?["'](?!\{)""")


def test_the_pattern_finds_a_name_that_is_written_out() -> None:
    assert LITERAL.search('trial.set_user_attr("error", reason)')
    assert LITERAL.search("trial.user_attrs.get('error')")
    assert not LITERAL.search("trial.user_attrs[ERROR]")
    assert not LITERAL.search('study.set_user_attr(f"{RUN}{began}", run)')


def test_the_names_of_attributes_stand_in_one_file() -> None:
    """A name that is written and read in two spellings would lose what it holds."""
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    assert [str(file) for file in files if LITERAL.search(file.read_text("utf-8"))] == []
