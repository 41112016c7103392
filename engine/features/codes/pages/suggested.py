"""The suggestions of an analyzer's pack beside the draft of a row: each with its source, none in force by itself.

A link fills the draft with one of them, and is offered only for the very code and unit that were sent. The preview and
the act follow, as for a row that a person typed.
"""

from collections.abc import Sequence
from typing import Any

from engine.mapping.code_tables.suggestions import MAKER, Suggestion
from engine.mapping.code_tables.tables import Table
from engine.model.errors import ConfigError
from engine.web.pages.frame import Frame
from engine.web.pages.words import Words, shown

MOST = 20  # suggestions for one code
TEXT = 500


def of_channel(frame: Frame, channel: str) -> Sequence[Suggestion] | None:
    """The suggestions for an analyzer; None where they cannot be read. Call it in a thread."""
    try:
        return frame.suggestions(channel)
    except ConfigError:
        return None


def of_code(frame: Frame, channel: str, table: Table, code: str) -> Sequence[Suggestion] | None:
    """Those for one code, with whatever unit."""
    if table.key[:1] != ("code",) or not code:
        return ()
    found = of_channel(frame, channel)
    return found and [one for one in found if one.code == code][:MOST]


def chosen(found: Sequence[Suggestion], line: int, code: str, unit: str) -> dict[str, str]:
    """The cells of the suggestion of a line of the file, for the draft; none where it is not for this code and unit."""
    return next((one.draft() for one in found if one.line == line and one.is_for(code, unit)), {})


def rows(
    words: Words, path: str, channel: str, table: Table, found: Sequence[Suggestion], unit: str
) -> list[dict[str, Any]]:
    """As the page shows them. ``path``: of the draft."""
    return [
        {
            "analyte": shown(one.analyte, TEXT),
            "of_maker": one.by == MAKER,
            "loinc": one.loinc,
            "display": shown(one.display, TEXT),
            "unit": shown(one.unit_in, TEXT),
            "specimen": shown(one.specimen, TEXT),
            "assumes": shown(one.assumes, TEXT),
            "source": shown(one.source, TEXT),
            "link": shown(one.link, TEXT),
            "fits": one.is_for(one.code, unit),
            "href": words.href(path, channel=channel, table=table.name, code=one.code, unit=unit, suggested=one.line)
            if one.loinc and one.is_for(one.code, unit)
            else "",
        }
        for one in found
    ]
