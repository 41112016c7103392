"""The columns of a list, as its address chooses them: ``columns=received,state``.

The first column of a list names the row, and is always there. Where the address chooses none, the usual ones are shown.
"""

from collections.abc import Mapping
from typing import NamedTuple

from engine.model.texts.phrases import PageText
from engine.web.asked import Asked
from engine.web.pages.frame import Asking
from engine.web.pages.words import shown

COLUMNS = "columns"  # in an address


class Column(NamedTuple):
    """A column that can be chosen.

    Attributes:
        label: its heading, in English.
        usual: it is shown where the address chooses none.
        verb: it is for those alone who may give this verb of the control socket, which records each look.
    """

    label: PageText
    usual: bool = True
    verb: str = ""


class Choice(NamedTuple):
    """The columns of a list, for one person.

    Attributes:
        shown: their names.
        offered: name, heading and whether it is shown, of each that this person may choose.
        withheld: headings of those that the address chooses and this person may not see.
        filter: the rest of the address, by name.
        wrong: why the address cannot be followed; empty: it can.
    """

    shown: frozenset[str]
    offered: list[tuple[str, str, bool]]
    withheld: list[str]
    filter: Mapping[str, str]
    wrong: str


def choice(columns: Mapping[str, Column], asked: Asked, asking: Asking) -> Choice:
    """The columns that an address chooses among ``columns``, by name."""
    words = asking.words
    allowed = {name: one for name, one in columns.items() if not one.verb or one.verb in asking.may}
    names = [name for name in (asked.get(COLUMNS) or "").split(",") if name]
    unknown = [name for name in names if name not in columns]
    picked = frozenset(names or [name for name, one in columns.items() if one.usual])
    return Choice(
        shown=picked & allowed.keys(),
        offered=[(name, words.say(one.label), name in picked) for name, one in allowed.items()],
        withheld=[words.say(columns[name].label) for name in columns if name in picked and name not in allowed],
        filter={name: value for name, value in asked.values.items() if name != COLUMNS},
        wrong=words.say("There is no such column: {name}.", name=shown(unknown[0])) if unknown else "",
    )
