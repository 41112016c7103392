"""Suggest the known word nearest to a misspelt one. Pure."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

ALIKE = 0.6  # share of the letters that must agree


def did_you_mean(word: str, known: Iterable[str], alike: float = ALIKE) -> str:
    """``did you mean x?`` with the nearest known word, or two that are equally near, in any case; or nothing."""
    words = {one.lower(): one for one in known}
    near = get_close_matches(word.lower(), words, n=2, cutoff=alike)
    if len(near) == 2 and _alike(word, near[0]) != _alike(word, near[1]):
        near.pop()
    near = [one for one in near if sorted(one) == sorted(word.lower())] or near  # letters in the wrong order: MHS
    return f"did you mean {' or '.join(sorted(words[one] for one in near))}?" if near else ""


def suggestion(name: str, known: Iterable[str]) -> str:
    """``did you mean x?``, or the choices where they are few, or nothing."""
    choices = list(known)
    close = did_you_mean(name, choices)
    if close:
        return f"; {close}"
    return f"; known are {', '.join(sorted(choices))}" if 0 < len(choices) <= 12 else ""


def _alike(word: str, other: str) -> float:
    return SequenceMatcher(None, other, word.lower()).ratio()
