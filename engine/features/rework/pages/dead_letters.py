"""Dead letters: in groups of one reason, cause and destination with their likely fix, and each of them in a list.

The key of a group is its reason code, the rule and field that its letters share, and the destination; it is in the
address of its list, whose count is that of the group. A letter that a person has tried again leaves the group, and is
counted beside it while it is under way; where it comes back, the group says so.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from engine.features.rework.pages import edit
from engine.features.rework.pages.fixes import CONFLICTS, compare, fix
from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.journal.journal_views import DeadLetter
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import PageText
from engine.model.texts.reasons import ReasonCode
from engine.store.operations.dead_letters import Group
from engine.store.queries.letters import count_dead_letters, dead_letters
from engine.store.queries.reader import Reader
from engine.web.asked import NO_CAUSE, NO_DESTINATION, PAGE, Asked
from engine.web.pages import states
from engine.web.pages.columns import COLUMNS, Column
from engine.web.pages.doing import DEEDS, offers
from engine.web.pages.filters import of_letters, page_of
from engine.web.pages.frame import Asking, Frame, Page, Values
from engine.web.pages.messages import PATH as MESSAGES
from engine.web.pages.words import Words, grouped, iso, shown
from engine.web.routes import Route

PATH, EACH = "/dead-letters", "/dead-letters/each"
NAMES = ("channel", "destination", "code", "since", "until", "state", COLUMNS)
VERBS = ("retry", "dismiss")
CLOSED_ALONE = (ReasonCode.IDENTITY_CONFLICT.value, ReasonCode.NOT_PRODUCTION.value)
UNCHANGED: PageText = "Send it unchanged again"
NAMES_OF_EACH = (*NAMES, "cause")
OF_GROUPS = {
    "channels": Column("Analyzers"),
    "destination": Column("Destination"),
    "last": Column("Last"),
    "fix": Column("Likely fix"),
}
OF_EACH = {
    "since": Column("Since"),
    "channel": Column("Analyzer"),
    "destination": Column("Destination"),
    "state": Column("State"),
    "type": Column("Type"),
}


def routes(frame: Frame) -> Sequence[Route]:
    grouped_page = partial(page_of, "dead_letters", PATH, NAMES, columns=OF_GROUPS)
    return (
        Route(PATH, partial(frame.show, page=grouped_page, found=_found_groups), LOOKING),
        Route(EACH, partial(frame.show, page=_page_of_each, found=_found_each), LOOKING),
    )


def _page_of_each(asking: Asking) -> Page:
    page = page_of("dead_letters_each", EACH, NAMES_OF_EACH, asking, OF_EACH)
    return page._replace(values={**page.values, "groups": asking.words.href(PATH)})


def _found_groups(reader: Reader, asking: Asking) -> Values:
    wanted, words = of_letters(PATH, NAMES, asking), asking.words
    asked = Asked.of(PATH, words.language, asking.query, NAMES)
    groups = letter_groups(reader, wanted)
    return {
        "rows": [_group(reader, one, asked, asking) for one in groups],
        "count": grouped(sum(one.count for one in groups)),
        "each": asked.href(path=EACH, columns=""),
    }


def _group(reader: Reader, one: Group, asked: Asked, asking: Asking) -> dict[str, Any]:
    words = asking.words
    key = {"code": one.reason, "cause": one.cause or NO_CAUSE, "destination": one.destination or NO_DESTINATION}
    return {
        "count": grouped(one.count),
        "href": asked.href(path=EACH, columns="", **key),
        "code": one.reason,
        "meaning": words.reason(one.reason),
        "cause": shown(one.cause, 200),
        "channels": sorted(one.channels),
        "destination": one.destination,
        "retried": _retried(one, words),
        "oldest": words.time(one.oldest_us),
        "newest": words.time(one.newest_us),
        "newest_ago": words.ago(one.newest_us),
        "newest_iso": iso(one.newest_us),
        "fix": fix(reader, asking, one.reason, one.channels, one.destination, one.example),
        "offers": _offers(one, asking, asked, key) if one.count else [],
        "example": one.example,
        "example_href": words.href(f"{MESSAGES}/{one.example}"),
    }


def _offers(one: Group, asking: Asking, asked: Asked, key: Mapping[str, str]) -> list[tuple[str, str]]:
    given = offers(asking, _verbs(one.reason), asked, **key)
    return once_more(asking.words, given) if one.reason == ReasonCode.REFUSED.value else given


def once_more(words: Words, given: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of what was refused for its content: to try again the same helps only once the receiver has changed."""
    again, unchanged = words.say(DEEDS["retry"].button), words.say(UNCHANGED)
    others = [one for one in given if one[0] != again]
    return [*others, *((unchanged, href) for said, href in given if said == again)]


def _verbs(code: str | None) -> Sequence[str]:
    """For all letters of a reason: a person compares the messages of each conflict of identity before a retry, and a
    message of training is never sent.
    """
    return VERBS[1:] if code in CLOSED_ALONE else VERBS


def _retried(one: Group, words: Words) -> list[str]:
    """What a person's retries have come to: retried is not repaired."""
    found = []
    if one.retrying:
        found.append(words.say("under way again: {n}", n=grouped(one.retrying)))
    if one.back:
        found.append(
            words.say("came back after a retry: {n}, tried up to {m} times", n=grouped(one.back), m=one.retries)
        )
    if one.last_retry_us and one.count:
        found.append(words.say("new since the last retry: {n}", n=grouped(one.new)))
    return found


def _found_each(reader: Reader, asking: Asking) -> Values:
    words = asking.words
    asked = Asked.of(EACH, words.language, asking.query, NAMES_OF_EACH)
    wanted = of_letters(EACH, NAMES_OF_EACH, asking)
    found = dead_letters(reader, wanted, before_id=asked.before or None, limit=PAGE)
    last = found[-1].message_id if found else 0
    more = len(found) >= PAGE and dead_letters(reader, wanted, before_id=last, limit=1)
    return {
        "rows": [letter_row(one, words) | {"offers": _steps(one, asking)} for one in found],
        "count": grouped(count_dead_letters(reader, wanted)),
        "offers": offers(asking, _verbs(wanted.code), asked),
        "older": asked.href(before=last) if more else "",
    }


def _steps(one: DeadLetter, asking: Asking) -> list[tuple[str, str]]:
    if one.state != "dead":
        return []
    compared = [compare(asking.words, one.message_id)] if one.reason in CONFLICTS else []
    return compared + ([edit.link(asking, one.message_id)] if asking.may >= edit.REQUIRED else [])


def letter_row(one: DeadLetter, words: Words) -> dict[str, Any]:
    """A dead letter or held result as a row."""
    look = states.DELIVERY if one.delivery_id else states.MESSAGE
    return {
        "id": f"l-{one.message_id}-{one.delivery_id}",
        "number": one.message_id,
        "href": words.href(f"{MESSAGES}/{one.message_id}"),
        "channel": one.channel,
        "destination": one.destination,
        "state": states.badge(look[one.state], words),
        "critical": one.critical,
        "code": one.reason,
        "meaning": words.reason(one.reason),
        **words.when(one.at_us),
        "type": shown(one.message_type),
        "why": shown(one.says.get(words.language, one.detail), 300),
        "offers": (),
    }
