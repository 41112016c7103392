"""The last 24 hours of a channel as a small picture: a bar for each hour, and below the line those with dead letters.

Pure: the shapes are paths of SVG (SVG 2, 9.3) in a box of `WIDTH` by `HEIGHT` units; a template draws them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

WIDTH, BAR, HEIGHT = 24, 8, 10  # what is dead hangs below the bars, so that its place says it, not its colour alone
KEPT = 2048  # pictures: a channel has a new one every five minutes at most


class Sparkline(NamedTuple):
    """Attributes:
    received, dead: paths; empty where there is none.
    """

    received: str
    dead: str


@lru_cache(maxsize=KEPT)
def sparkline(received: Sequence[int], dead: Sequence[int]) -> Sparkline:
    """The picture of these hours, the oldest first."""
    return Sparkline(
        _bars(received, BAR), "".join(f"M{n} {BAR}h1v{HEIGHT - BAR}h-1z" for n, one in enumerate(dead) if one > 0)
    )


def _bars(counts: Sequence[int], height: int) -> str:
    most = max(counts, default=0)
    bars = ((n, max(1, round(height * one / most))) for n, one in enumerate(counts) if one > 0)
    return "".join(f"M{n} {BAR}h1v-{tall}h-1z" for n, tall in bars)
