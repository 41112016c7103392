"""The likely fix of dead letters as links: to a comparison, to codes, to the help, to the destination. The command is
for engineers.
"""

from collections.abc import Iterable, Sequence

from engine.model.site.permissions import CHANGING
from engine.model.texts.phrases import PageText
from engine.model.texts.reasons import ReasonCode as R
from engine.store.operations.dead_letters import likely_fix
from engine.store.queries.reader import Reader
from engine.store.queries.tallies import list_unmapped
from engine.web.cells import quoted
from engine.web.pages.doing import CONFLICT
from engine.web.pages.frame import Asking
from engine.web.pages.words import Words

CONFLICTS = frozenset({R.CONFLICT.value, R.IDENTITY_CONFLICT.value})
CODES, MAPPING, DESTINATION = "codes", "mapping", "destination"
KINDS: dict[str, tuple[R, ...]] = {
    CODES: (R.UNMAPPED_CODE, R.UNMAPPED_UNIT),
    MAPPING: (R.UNMAPPED_STATUS, R.BAD_VALUE, R.UNREAD_SEGMENT, R.REQUIRED_ABSENT, R.COUNT_MISMATCH),
    DESTINATION: (
        R.REFUSED,
        R.REFUSED_LATE,
        R.NEGATIVE_ACK,
        R.NO_ANSWER,
        R.GAVE_UP,
        R.SET_ASIDE,
        R.CORRECTION_SET_ASIDE,
    ),
}
WORDS: dict[str, PageText] = {
    CODES: "Unmapped codes",
    MAPPING: "How a mapping is corrected",
    DESTINATION: "Look at the destination",
}
MEANS: PageText = "Say what it means"
CODE = "/codes/row"  # the draft of a code's row, for who may give this verb
VERB = "table_set"


def fix(
    reader: Reader, asking: Asking, reason: str | None, channels: Iterable[str], destination: str, message: int
) -> dict[str, object]:
    """``steps``: words and addresses; ``command``: empty for who is no engineer. ``message``: one of the letters."""
    named = [*channels]
    of = named[0] if len(named) == 1 else ""
    command = likely_fix(reason or "", of) if asking.principal.may(CHANGING) else ""
    if reason in CONFLICTS:
        return {"steps": [compare(asking.words, message)], "command": command}
    return {"steps": _steps(reader, asking, reason, of, destination), "command": command}


def compare(words: Words, message: int) -> tuple[str, str]:
    return words.say("Compare"), words.href(CONFLICT.replace("{number}", str(message)))


def _steps(
    reader: Reader, asking: Asking, reason: str | None, channel: str, destination: str
) -> Sequence[tuple[str, str]]:
    words = asking.words
    kind = next((name for name, codes in KINDS.items() if reason in [one.value for one in codes]), "")
    if kind == CODES:
        found = list_unmapped(reader, channel) if channel and VERB in asking.may else []
        if len(found) == 1 and f"{found[0].code}{found[0].unit}".isprintable():
            return [(words.say(MEANS), words.href(CODE, gap=found[0].id))]
        return [(words.say(WORDS[kind]), words.href("/codes", channel=channel))]
    if kind == MAPPING and asking.principal.may(CHANGING):
        return [(words.say(WORDS[kind]), words.href("/help/mapping"))]
    if kind == DESTINATION and destination in {one.name for one in asking.site.destinations}:
        return [(words.say(WORDS[kind]), words.href(f"/destinations/{quoted(destination)}"))]
    return []
