"""The filter of lists of dead letters and held results: analyzer, destination, reason, time."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from engine.model.journal.journal_views import Filter
from engine.model.journal.records import LETTER_STATES
from engine.model.texts.phrases import N_, PageText
from engine.web.asked import NO_CAUSE, NO_DESTINATION, Asked, moment_us
from engine.web.pages import states
from engine.web.pages.columns import Column, choice
from engine.web.pages.frame import Asking, Page
from engine.web.pages.words import Words

LABELS: dict[str, PageText] = {
    "channel": "Analyzer",
    "destination": "Destination",
    "code": "Reason code",
    "cause": "Cause",
    "since": "Since",
    "until": "Until",
    "state": "State",
    "actor": "Person",
    "act": "Act",
    "message": "Message",
    "test": "Test code or LOINC",
    "specimen": "Number of specimen or order",
    "number": "Control id",
    "ids": "Messages",
    "to": "Send to",
}
WRONG_TIME = N_("This time cannot be read. Write it as 2026-03-01T10:30, or an age as 2h or 7d.")


def moments(asked: Asked, words: Words, *, since: str = "since") -> tuple[int | None, int | None]:
    """The first moment that is asked for, and the end.

    Raises:
        ValueError: one cannot be read; with the sentence for people.
    """
    begin, end = asked.get(since), asked.get("until")
    try:
        after_us = moment_us(begin, words.now, words.zone) if begin else None
        return after_us, moment_us(end, words.now, words.zone) if end else None
    except (ValueError, OverflowError):
        raise ValueError(WRONG_TIME) from None


def of_letters(path: str, names: Sequence[str], asking: Asking, *, states: Collection[str] = LETTER_STATES) -> Filter:
    """The filter of an address; raises as `moments`.

    Args:
        states: those that may be asked for; any other is as none.
    """
    asked = Asked.of(path, asking.words.language, asking.query, names)
    after_us, before_us = moments(asked, asking.words)
    return Filter(
        channel=asked.get("channel"),
        destination="" if asked.get("destination") == NO_DESTINATION else asked.get("destination"),
        code=asked.get("code"),
        cause="" if asked.get("cause") == NO_CAUSE else asked.get("cause"),
        state=asked.get("state") if asked.get("state") in states else None,
        after_us=after_us,
        before_us=before_us,
    )


def page_of(
    template: str, path: str, names: Sequence[str], asking: Asking, columns: Mapping[str, Column] = MappingProxyType({})
) -> Page:
    """The page of a list with these fields, before anything was read.

    Args:
        columns: those that can be chosen, by name.
    """
    words, site = asking.words, asking.site
    asked = Asked.of(path, words.language, asking.query, names)
    chosen = choice(columns, asked, asking)
    try:
        moments(asked, words)
        wrong = chosen.wrong
    except ValueError as error:
        wrong = words.say(str(error))
    values = {
        "asked": asked,
        "columns": chosen,
        "chips_shown": asked.chips(
            {name: words.say(LABELS[name]) for name in names if name in LABELS},
            {"state": states.word(asked.get("state") or "", words)},
        ),
        "channels": known([one.name for one in site.channels], asked.get("channel")),
        "destinations": known([one.name for one in site.destinations], asked.get("destination")),
        "rows": [],
        "older": "",
    }
    return Page(template, values, wrong)


def known(names: Sequence[str], asked: str | None) -> list[str]:
    """The names for a field; one that is configured no longer stays in it."""
    return sorted({*names, asked} if asked else names)
