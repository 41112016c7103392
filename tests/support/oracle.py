"""People's expectations of each part of the product: one module ``oracle.py`` in the tests of each feature, and one of
the core (`tests/engine/oracle.py`). They are written by hand, and the tests walk all of them together.

    ACTS     act -> who may give it: at the socket, and by the API where that has it
    ABOUT    act of the API -> arguments that name a thing of a unit, as a person gives them; an act that is not here is
             about the whole site. ``{unit}``: the name of one; ``{message}``, ``{order}``, ``{operation}``: a number
    PAGES    address of the page's server -> who is let in; those of acts and lists of the API follow from these
    LISTS    list or document of the API -> who reads it; its name, or some of its names
    TABLES   table -> how its rows are told apart by unit, where its column ``channel``, else ``message_id``, does not
             say it: the table that a row belongs to, `OWN`, `ALL`, `NONE`
    READ     command whose JSON is recorded (`tests/site/test_surface.py`) -> its arguments
"""

from enum import Enum, auto
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

PLACES = Path(__file__).parents[1] / "engine"


class May(Enum):
    """Who may do a thing, as a person who gives out roles understands it."""

    OPEN = auto()  # all, without a log-in
    WATCH = auto()  # a wall screen, too
    LOOK = auto()  # each role
    ACT = auto()  # operator, engineer, admin
    CHANGE = auto()  # engineer, admin
    ADMIN = auto()
    SEE = auto()  # of any role, who sees patients
    EDIT = auto()  # an operator who sees patients
    NEITHER = auto()  # an engineer who sees patients


OPEN, WATCH, LOOK, ACT, CHANGE, ADMIN, SEE, EDIT, NEITHER = May
OWN, ALL, NONE = "by a condition of its own", "all see them", "those of a unit see none"
SELECTED = {"selection": {"channel": "{unit}bench", "last": 99, "counted_us": 2**61}, "reason": "asked"}


@cache
def gathered(name: str) -> dict[str, Any]:
    """One of the tables above, of the core and of all features.

    Raises:
        ValueError: two have a line for the same thing.
    """
    found: dict[str, Any] = {}
    for path in [PLACES / "oracle.py", *sorted(PLACES.glob("features/*/oracle.py"))]:
        parts = path.relative_to(PLACES.parents[1]).with_suffix("").parts
        own = getattr(import_module(".".join(parts)), name, {})
        if again := found.keys() & own.keys():
            raise ValueError(f"{path} has a line that another oracle has, too: {', '.join(again)}")
        found |= own
    return found
