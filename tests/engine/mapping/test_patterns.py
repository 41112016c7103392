"""Patterns of `matches`: what is taken answers at once, whatever a sender writes; what could not is refused."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.mapping.compiler.terms.patterns import MAX_TEXT, compiled
from engine.model.errors import PatternError
from tests.support.examples import examples

HANG_S = 5.0  # no measure: a pattern that runs away takes years


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^QC", "QC-1", True),
        ("^[A-Za-z].*[A-Za-z]{3}", "Glucose", True),
        (r"^-?\d+(\.\d+)?$", "14.80", True),
        (r"^\d+[.,]\d+$", "14", False),
        (r"^(?:POS|NEG|[+-]{1,4})$", "+++", True),
        (r"(?i)control.*level", "CONTROL, LEVEL 2", True),
        (r"^[]\]x]+$", "]x]", True),
        (r"^a{b}{}$", "a{b}{}", True),
        (r"\x41\u0042$", "AB", True),
        (r"^(ab){2,}$", "ababab", True),
        (r"\d{1,3}/\d{1,3}", "120/80", True),
        (r"^(a|b){3}$", "aba", True),
    ],
)
def test_plain_patterns_are_taken(pattern: str, text: str, found: bool) -> None:
    assert (compiled(pattern).search(text) is not None) is found


@pytest.mark.parametrize(
    ("pattern", "at", "why"),
    [
        ("(a+)+b", 0, "repeat inside a repeat"),
        ("x((a*)*)*b", 2, "repeat inside a repeat"),
        ("(?:a?){2,30}b", 0, "repeat inside a repeat"),
        ("(a|aa)+$", 0, "alternation that repeats"),
        ("(a|b|ab){1,30}c", 0, "alternation that repeats"),
        (".*.*=", 2, "second repeat without an end"),
        ("^.*.*.*=", 5, "second repeat without an end"),
        (r"\s+$|(\d+)x(\d+)", 11, "second repeat without an end"),
        ("a{0,500}a{0,500}b", 8, "second repeat without an end"),
        ("a{,}b{,}c", 4, "second repeat without an end"),
        ("(a+){9}b", 0, "second repeat without an end"),
        ("^a?a?a?a?b", 7, "more than 3 variable repeats"),
        (".*" + "a" * 60 + "b", 0, "could take too long"),
        ("(a|a)" * 30 + "b", 0, "could take too long"),
        ("^(a|b){50}c", 0, "could take too long"),
        ("^(a|b){500}c", 1, "repeated often"),
        ("(?=a)b", 0, r"only \(\?:"),
        ("(?<!a)b", 0, r"only \(\?:"),
        ("(?P<x>a)b", 0, r"only \(\?:"),
        ("(?>a)b", 0, r"only \(\?:"),
        ("(?m)^a", 0, r"only \(\?:"),
        (r"(a)\1", 3, "references backwards"),
        ("a*+b", 2, "possessive"),
        ("a{2000}", 0, "repeat less often"),
        ("[[a]", 0, "not a regular expression"),
        ("a(", 1, "not a regular expression"),
        ("a{99999999999}", 0, "not a regular expression"),
    ],
)
def test_what_could_run_away_is_refused_at_its_place(pattern: str, at: int, why: str) -> None:
    with pytest.raises(PatternError, match=why) as caught:
        compiled(pattern)
    assert caught.value.at == at


atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^b]", r"\w", r"\d", "^", "$", r"\b", "a{2}"])
repeats = st.sampled_from(["", "", "*", "+", "?", "{0,3}", "{2,}", "{1,50}", "{3}", "*?", "{0,200}"])
patterns = st.recursive(
    st.builds("{}{}".format, atoms, repeats),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda found: f"(?:{'|'.join(found)})"),
        st.builds("({}){}".format, inner, repeats),
    ),
    max_leaves=8,
)
HOSTILE = ("a" * 200, "ab" * 100, "a" * 199 + "!", "b" * 199 + "!", "1" * 199 + "!", " a" * 100)


@settings(max_examples=examples(300))
@given(patterns)
def test_every_pattern_that_is_taken_answers_on_hostile_texts(pattern: str) -> None:
    try:
        found = compiled(pattern)
    except PatternError:
        return
    with hang_guard():
        for text in HOSTILE:
            found.search(text)


@pytest.mark.parametrize("pattern", ["^.*.*=", ".*aaaaaaaaaaaaaab", "a{0,99}a{,9}b", ".*a?a?b", "^(a|a){9}(a|a){4}b"])
def test_the_worst_that_is_taken_answers_on_the_longest_text(pattern: str) -> None:
    with hang_guard():
        assert compiled(pattern).search("a" * MAX_TEXT) is None


@contextmanager
def hang_guard() -> Iterator[None]:
    """Ends a search that never would; the engine looks for signals as it goes."""

    def too_long(number: int, frame: FrameType | None) -> None:
        raise AssertionError("the search has no end")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
