"""Documents that ask for hours, for all memory, or for what cannot be known are refused."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_sv2 import plain_data
from nas_sv2.documents import read_document
from nas_sv2.errors import ConfigError
from nas_sv2.plain_data import parse_json, parse_toml, parse_yaml

ALIAS_BOMB = "a0: &a0 [1, 2]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)
)
YAML = {
    "an integer tag": "a: !!int ''",
    "a boolean tag": "a: !!bool x",
    "a timestamp tag": "a: !!timestamp x",
    "a Python tag": "a: !!python/name:os.system",
    "deep": "[" * 5000,
    "deep in mappings": "{a: " * 5000,
    "deep in blocks": "- " * 5000,
    "400 digits": "a: " + "1" * 400,
    "hexadecimal digits": "a: 0x" + "f" * 5000,
    "base 60": "a: 1" + ":59" * 100_000,
    "a month 13": "a: 2024-13-45",
    "no binary digits": "a: 0b_",
    "aliases of aliases": ALIAS_BOMB,
    "merges of merges": MERGE_BOMB,
    "itself": "&a [*a]",
    "a key twice": "a: 1\na: 2",
    "an inner key twice": "a:\n- {b: 1, c: 2, b: 1}",
    "NUL": "a: \0",
    "two documents": "a: 1\n---\na: 2",
    "many values": "- a\n" * 300_000,
    "a list as key": "? [a]\n: 1",
}
TOML = {
    "deep": "a = " + "[" * 5000,
    "5,000 digits": "a = " + "1" * 5000,
    "400 digits": "a = " + "1" * 400,
    "hexadecimal digits": "a = 0x" + "f" * 5000,
    "a dotted key": "a" + ".a" * 16_000 + " = 1",
    "a dotted table": "[a" + ".a" * 16_000 + "]",
    "an inner dotted key": "a = {b = 1, a" + ".a" * 16_000 + " = 1}",
    "many tables": "[[a]]\n" * 100_000,
    "a key twice": "a = 1\na = 2",
    "NUL": "a = \0",
}
JSON = {
    "deep": "[" * 100_000,
    "deep enough to be read": "[" * 60 + "]" * 60,
    "NaN": "[NaN]",
    "infinity": "[-Infinity]",
    "beyond a float": "[1e999]",
    "400 digits": "1" * 400,
    "5,000 digits": "1" * 5000,
    "a key twice": '{"a": 1, "b": {"c": 1, "c": 1}}',
    "empty lists": "[" + "[]," * 600_000 + "[]]",
    "NUL": '{"a": "\0"}',
    "cut": '{"a": [1, 2',
}
CASES = [
    pytest.param(parse, text, id=f"{form} {name}")
    for form, parse, texts in (
        ("YAML", parse_yaml, YAML),
        ("TOML", parse_toml, TOML),
        ("JSON", parse_json, JSON),
    )
    for name, text in texts.items()
]


@pytest.mark.parametrize(("parse", "text"), CASES)
def test_a_text_that_is_refused_at_once(parse: Callable[[str], object], text: str) -> None:
    began = time.thread_time()
    with pytest.raises(ValueError) as refused:
        parse(text)
    assert "\n" not in str(refused.value)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("a: &x [1, 2]\nb: *x\n", {"a": [1, 2], "b": [1, 2]}),
        (
            "a: &x {w: 1, s: 2}\nb: {<<: *x, w: 3}\n",
            {"a": {"w": 1, "s": 2}, "b": {"w": 3, "s": 2}},
        ),
        ("note: 1" + "0" * 200 + " networks", {"note": "1" + "0" * 200 + " networks"}),
        ("'" + "7" * 400 + "'", "7" * 400),
        ("a: 9223372036854775807", {"a": 2**63 - 1}),
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        ("", None),
    ],
)
def test_what_yaml_may_say(text: str, reads: object) -> None:
    assert parse_yaml(text) == reads


@pytest.mark.parametrize("ending", ["yaml", "toml"])
@pytest.mark.parametrize(
    ("content", "reads"),
    [
        (b"\xef\xbb\xbfwidth = 8\r\nstem = 2\r\n", True),
        ("width = 8\n".encode("utf-16"), "UTF-16"),
        ("width = 8\n".encode("utf-16-le"), "."),
        ("# 8 m\xe8tres\nwidth = 8\n".encode("latin-1"), "no UTF-8"),
        (b"width = \x00\n", "."),
        (b"x" * ((1 << 20) + 1), "more than 1,048,576 bytes"),
    ],
)
def test_encodings_of_a_file(tmp_path: Path, content: bytes, reads: Any, ending: str) -> None:
    path = tmp_path / f"network.{ending}"
    path.write_bytes(content if ending == "toml" else content.replace(b"=", b":"))
    if reads is True:
        assert read_document(path) == {"width": 8, "stem": 2}
        return
    with pytest.raises(ConfigError, match=reads) as refused:
        read_document(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


# PyYAML writes these line breaks as they are, and folds them when it reads them back.
words = st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029")
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(words, max_size=9)
)
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(words, max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(plain, st.booleans())
def test_both_loaders_read_equal_data(data: object, flow: bool) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True)
    read = parse_yaml(text)
    assert read == data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_data, "LOADER", yaml.SafeLoader)
        assert parse_yaml(text) == read


@pytest.mark.parametrize("text", [text for text in YAML.values() if len(text) < 30_000])
def test_the_pure_loader_refuses_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_data, "LOADER", yaml.SafeLoader)
    with pytest.raises(ValueError):
        parse_yaml(text)


@settings(max_examples=60)
@given(plain)
def test_json_that_was_written_is_read(data: object) -> None:
    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError:
        return
    assert parse_json(text) == data
