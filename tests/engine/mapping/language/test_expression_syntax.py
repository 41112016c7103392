"""Expressions as text: what they mean as a tree, and where they are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.mapping.language.rules import Binary, Path, children, walk
from engine.mapping.language.syntax import parse, tokens
from engine.model.errors import ExpressionError


def shape(text: str) -> str:
    """The tree of an expression with every operation in brackets."""

    def show(node: object) -> str:
        name = type(node).__name__
        parts = " ".join(show(child) for child in children(node))  # type: ignore[arg-type]  # nodes only
        keys = ("text", "name", "operator", "number")
        own = next((str(getattr(node, key)) for key in keys if hasattr(node, key)), name)
        return f"{own}({parts})" if parts else own

    return show(parse(text))


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("OBR-3.1 | ORC-3.1 | 'x'", "|(|(OBR-3.1 ORC-3.1) x)"),
        ("a | b ++ c", "|(a ++(b c))"),
        ("a == 'x' and not b or c", "or(and(==(a x) not(b)) c)"),
        ("1 + 2 * 3 - 4", "-(+(1 *(2 3)) 4)"),
        ("-a * 2", "*(-(a) 2)"),
        ("(ORC-12 | OBR-16).1", "1(|(ORC-12 OBR-16))"),
        ("value.1.2", "2(1(value))"),
        ("a if b else c if d else e", "Choice(a b Choice(c d e))"),
        ("kind in ['NM', 'SN'] and number.value", "and(in(kind ListOf(NM SN)) value(number))"),
        ("f(a, [b, 'it''s'], 1.50)", "f(a ListOf(b it's) 1.50)"),
        ("x matches '^QC'", "matches(x ^QC)"),
    ],
)
def test_operators_bind_as_documented(text: str, tree: str) -> None:
    assert shape(text) == tree


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("PID-3", Path(0, "PID", None, 3)),
        ("PID-3[2].4.1", Path(0, "PID", None, 3, 2, 4, 1)),
        ("PID-3[*]", Path(0, "PID", None, 3, 0)),
        ("NTE[*]-3", Path(0, "NTE", 0, 3)),
        ("OBX[2]", Path(0, "OBX", 2)),
        ("OBX", Path(0, "OBX")),
        ("R-4", Path(0, "R", None, 4)),
        ("ZX1-12", Path(0, "ZX1", None, 12)),
    ],
)
def test_paths_are_those_of_the_standards(text: str, path: Path) -> None:
    assert parse(text) == path
    assert path.text == text


def test_a_path_has_no_blanks() -> None:
    assert isinstance(parse("OBX - 3"), Binary)
    assert parse("OBX-3") == Path(0, "OBX", None, 3)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("", 0, "there is nothing after the ="),
        ("a = b", 2, "write =="),
        ("a && b", 2, "write and"),
        ("PID-0", 0, "count from 1"),
        ("PID-3[0]", 0, "count from 1"),
        ("f(a", 3, ") is missing of f()"),
        ("a b", 2, "an operator is missing"),
        ("'abc", 0, "does not end"),
        ("'a\\q'", 2, "means nothing"),
        ("a < b < c", 6, "do not chain"),
        ("a if b", 6, "else is missing"),
        ("a.", 2, "behind the dot"),
        ("value[1.5]", 6, "whole number"),
        ("Value", 0, "lower case"),
        ("{a}", 0, "braces"),
        ("(" * 100, 60, "too deeply nested"),
        ("a" + " | a" * 100, 246, "too many operators"),
        ("a" * 5000, 0, "longer than"),
    ],
)
def test_a_fault_is_found_where_it_is(text: str, at: int, says: str) -> None:
    with pytest.raises(ExpressionError, match=says.replace("(", r"\(").replace(")", r"\)")) as caught:
        parse(text)
    assert caught.value.at == at


@given(st.text(alphabet=st.sampled_from("OBXPIDR-0123456789.[]*()|+=!<>', abcifelsndort\\\n\"~é"), max_size=40))
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    try:
        tree = parse(text)
    except ExpressionError as error:
        found = [error.at]
    else:
        found = [node.at for node in walk(tree)]
    assert all(0 <= at <= len(text) for at in found)


@given(st.text(max_size=30))
def test_a_quoted_text_is_that_text(text: str) -> None:
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    assert tokens(quoted)[0].text == text
