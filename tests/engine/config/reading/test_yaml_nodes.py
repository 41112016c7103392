"""YAML nodes: every scalar is its text, and what would surprise is refused with its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.reading.yaml_nodes import Node, read, read_file
from engine.model.errors import ConfigError


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(text, "a.yaml")
    return caught.value.problems


def test_scalars_keep_their_text_and_place() -> None:
    node = read("a: NO\nb:\n  - 22:00\n  - '1.50'\n  - |\n    two\n    lines\nc: {d: =x, e: }\n", "a.yaml")
    assert node.kind == "map"
    assert list(node.keys()) == ["a", "b", "c"]
    a, b, c = (node.get(key) for key in "abc")
    assert a is not None
    assert b is not None
    assert c is not None
    assert (a.value, a.plain, a.place) == ("NO", True, "a.yaml:1:4")
    assert [item.value for item in b.items] == ["22:00", "1.50", "two\nlines\n"]
    assert [item.plain for item in b.items] == [True, False, False]
    assert [item.value for _, item in c.pairs] == ["=x", ""]
    assert node.get("z") is None


def test_an_empty_file_is_an_empty_map() -> None:
    assert read("", "a.yaml") == Node(kind="map", file="a.yaml", line=1, column=1)
    assert read("# only words\n", "a.yaml").pairs == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1: key 'a' is here a second time (first in line 1); remove one"),
        ("a: &x 1\n", "a.yaml:1:4: anchor &x is not allowed; write the value out"),
        ("a: !!python/name:os.system x\n", "a.yaml:1:4: tag !!python/name:os.system is not allowed; "),
        ("a: 1\n---\nb: 1\n", "a.yaml:2:1: a second document (---) is not allowed; "),
        ("? [1, 2]\n: x\n", "a.yaml:1:3: a key must be a plain text; put quotes around it"),
        ("a: {b: =PID-3[*], c: 1}\n", "a.yaml:1:"),
        ("a:\n\t- b\n", "a.yaml:2:1: not readable as YAML: "),
        ("[" * 100, "a.yaml:1:65: nested deeper than 64 levels; flatten it"),
        ("a: \x01\n", "a.yaml:1:1: not readable as YAML: a control character; remove it"),
    ],
)
def test_what_would_surprise_is_refused_with_its_place(text: str, line: str) -> None:
    assert problems(text)[0].startswith(line)


def test_an_alias_is_refused_even_where_it_would_resolve() -> None:
    found = problems("a: &x [1]\nb: *x\n")
    assert [line.split(":")[1] for line in found] == ["1", "2"]


def test_a_bad_expression_in_flow_style_gets_the_hint() -> None:
    assert "put quotes around an expression" in problems("a: {b: =PID-3[*], c: 1}\n")[0]


def test_offsets_into_a_scalar_give_its_column() -> None:
    node = read("a: =PID-3\nb: '=''x'' y'\n", "a.yaml")
    plain, quoted = node.pairs[0][1], node.pairs[1][1]
    assert plain.problem("here", offset=1) == "a.yaml:1:5: here"
    assert quoted.value == "='x' y"
    assert quoted.at(5) == (2, 12)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_file(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_file(tmp_path / "latin.yaml", "latin.yaml")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert list(read_file(tmp_path / "bom.yaml").keys()) == ["a"]


@given(st.text(max_size=60))
def test_any_text_gives_a_node_or_a_config_error(text: str) -> None:
    found: tuple[str, ...] = ()
    try:
        read(text, "a.yaml")
    except ConfigError as error:
        found = error.problems or ("no problem named",)
    assert all(line.startswith("a.yaml:") for line in found)
