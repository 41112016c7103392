"""The word that somebody may have meant. Pure."""

from collections.abc import Iterable
from difflib import get_close_matches

ALIKE = 0.6  # share of the letters that must agree


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean x?`` with the nearest known word, upper and lower case taken as one; or nothing."""
    words = {one.lower(): one for one in known}
    near = get_close_matches(word.lower(), words, n=1, cutoff=ALIKE)
    return f"did you mean {words[near[0]]}?" if near else ""
