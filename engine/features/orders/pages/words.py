"""States, reasons and events of orders, and answers to questions, as a page says them; each text once."""

from collections.abc import Mapping

from engine.model.orders import ItemReason, ItemState, NoOrder, Priority
from engine.model.texts.phrases import PageText
from engine.web.cells import Badge
from engine.web.pages.states import Look, badge
from engine.web.pages.words import Words

STATES: Mapping[ItemState, Look] = {
    ItemState.WAITING: Look("waiting", "calm", "retry"),
    ItemState.HELD: Look("held back", "attention", "pause"),
    ItemState.REJECTED: Look("not taken", "attention", "dead"),
    ItemState.OFFERED: Look("given to the analyzer", "ok", "ok"),
    ItemState.ACCEPTED: Look("accepted", "ok", "ok"),
    ItemState.IN_PROGRESS: Look("being measured", "ok", "retry"),
    ItemState.RESULTED: Look("measured", "ok", "ok"),
    ItemState.REFUSED: Look("refused", "problem", "problem"),
    ItemState.CANCEL_PENDING: Look("cancel not confirmed", "attention", "attention"),
    ItemState.CANCELLED: Look("cancelled", "calm", "off"),
    ItemState.EXPIRED: Look("time is over", "calm", "quiet"),
    ItemState.SUPERSEDED: Look("replaced by a newer one", "ok", "ok"),
}
REASONS: Mapping[ItemReason, PageText] = {
    ItemReason.ORDER_CONFLICT: "The same order came with other content.",
    ItemReason.SPECIMEN_CONFLICT: "Orders of two patients have this specimen number.",
    ItemReason.UNKNOWN_ACTION: "The LIS did not say what is to be done.",
    ItemReason.UNKNOWN_TEST: "No analyzer here has a code for this test.",
    ItemReason.UNMAPPED_CODE: "The analyzer that asked has no code for this test.",
    ItemReason.NO_SPECIMEN: "The LIS gave no specimen number.",
    ItemReason.UNKNOWN_CHANNEL: "The LIS names an analyzer that is not here.",
    ItemReason.CONTROL_NUMBER: "This is the number of a control material.",
    ItemReason.HELD_BY_LIS: "The LIS asked to hold it.",
    ItemReason.ANALYZER_REFUSED: "The analyzer does not measure it.",
    ItemReason.DILUTION_UNSUPPORTED: "The analyzer takes no dilution with an order.",
    ItemReason.RESULT_HELD: "Its result is there, and is held back for a person.",
    ItemReason.RESULT_WITHDRAWN: "The analyzer has taken its result back: it has none.",
    ItemReason.MAYBE_KNOWN: "It was sent and not confirmed: the analyzer may have it.",
    ItemReason.AFTER_CANCEL: "It waits until the analyzer has given up the version before it.",
    ItemReason.TOO_LATE: "This came after the result.",
    ItemReason.NO_SUCH_ORDER: "No order here has this number.",
    ItemReason.TOO_MANY_LINES: "The message has too many tests.",
    ItemReason.TOO_MANY_ITEMS: "This specimen has too many orders.",
}
PRIORITIES: Mapping[Priority, PageText] = {
    "stat": "urgent",
    "asap": "as soon as possible",
    "routine": "routine",
    "callback": "with a call",
    "timed": "at a set time",
    "pre-op": "before surgery",
}
EVENTS: Mapping[str, PageText] = {
    "taken": "ordered",
    "sent": "given to the analyzer",
    "not_sent": "not sent",
    "maybe_sent": "sent, and not confirmed",
    "accepted": "accepted",
    "refused": "refused",
    "preliminary": "a preliminary result came",
    "final": "the result came",
    "one_more": "one more result came",
    "result_held": "a result came, and is held back",
    "withdrawn": "the analyzer has taken its result back",
    "put_back": "the result was not released",
    "reopened": "its result was given up, and it is open again",
    "cancel": "cancelled",
    "cancel_confirmed": "the analyzer has given it up",
    "cancel_sent": "the analyzer was asked to give it up",
    "cancel_refused": "the analyzer does not give it up",
    "close": "closed by a person",
    "hold": "held by the LIS",
    "release": "released by the LIS",
    "free": "released by a person",
    "conflict": "another patient has the same number",
    "replace": "replaced by a newer one",
    "resend": "to be sent once more",
    "expire": "time is over",
    "freed": "the version before it is given up",
    "placed": "the LIS has named where the tube is",
    "unmapped": "the analyzer has no code for it",
    "unmatch": "match undone",
    "erased": "contents erased",
}
NONE: Mapping[str, PageText] = {
    NoOrder.UNKNOWN: "no order has this number",
    NoOrder.UNREAD: "the analyzer could not read the number",
    NoOrder.CONFLICT: "two patients have this number",
    NoOrder.HELD: "its orders are held back",
    NoOrder.DONE: "its orders have ended",
    NoOrder.EXPIRED: "the time of its orders is over",
    NoOrder.UNMAPPED: "the analyzer has no code for its tests",
    NoOrder.ELSEWHERE: "another analyzer has its orders",
    NoOrder.NOT_SUPPORTED: "such a question is not answered here",
}
OUTCOMES: Mapping[str, PageText] = {
    "sent": "sent",
    "accepted": "accepted",
    "refused": "refused",
    "asked again": "asked again",
    "asked_again": "asked again",
    "cancel": "the analyzer took it back",
    "cancelled": "the analyzer took it back",
    "taken_back": "the analyzer took it back",
    "late": "not ready in time",
    "fault": "an error of LabRelay",
    "silent": "no answer can be written",
    "closed": "the connection ended",
    "contention": "the analyzer sent something first",
    "interrupted": "LabRelay ended meanwhile",
    "no-answer": "the analyzer did not answer on the line",
    "busy": "the analyzer was busy",
    "no_connection": "no connection to the analyzer",
    "rejected": "the analyzer did not take a frame",
    "put_off": "put off: the analyzer sent something first",
    "unconfirmed": "sent, and not confirmed",
    "measured elsewhere": "another analyzer has measured it",
    "reflex": "the analyzer ordered it itself, because of the result of another order",
    "ordered at the analyzer": "the analyzer ordered it itself",
    "left_out": "not all of it was sent",
    "erased": "contents erased",
}
KINDS: Mapping[str, PageText] = {
    "specimens": "tubes: {n}",
    "all": "all open orders",
    "numbers": "tubes of a range of numbers",
    "range": "orders of a time",
    "patients": "orders of patients",
    "demographics": "the name of a patient",
    "cancel": "it takes its question back",
    "rack": "a place in a rack",
    "tray": "a place on a tray",
    "download": "sent without a question",
}
_GOOD = frozenset({"sent", "accepted"})
_CALM = frozenset({"put_off", "asked again", "asked_again", "cancel", "cancelled", "taken_back", "erased"})
_CALM_NONE = frozenset({NoOrder.DONE, NoOrder.ELSEWHERE})


def state_of(state: ItemState, words: Words) -> Badge:
    return badge(STATES[state], words)


def reason_of(reason: ItemReason, words: Words) -> str:
    """Empty for none."""
    return words.say(REASONS[reason]) if reason else ""


def reason_of_code(code: str, words: Words) -> str:
    """As `reason_of`; empty for one that this version does not know."""
    return reason_of(ItemReason(code), words) if code in set(ItemReason) else ""


def event_of(event: str, words: Words) -> str:
    return words.say(EVENTS[event]) if event in EVENTS else event


def cause_of(cause: str, words: Words) -> str:
    """Why an item changed, where that is no act of a person; as it is where this version does not know it."""
    return words.say(OUTCOMES[cause]) if cause in OUTCOMES else cause


def none_of(none: str, words: Words) -> str:
    return words.say(NONE[none]) if none in NONE else none


def outcome_of(outcome: str, ended_us: int, none: tuple[str, ...], words: Words, *, orders: int) -> Badge:
    """What became of an answer: of one without an order that, unless it did not reach the analyzer.

    Args:
        orders: how many it has.
    """
    if not ended_us:
        return Badge("calm", "retry", words.say("under way"))
    if not outcome or (not orders and outcome == "sent"):
        calm = not none or _CALM_NONE.issuperset(none)
        return Badge("calm" if calm else "attention", "quiet" if calm else "attention", words.say("no order"))
    word = cause_of(outcome, words)
    if outcome in _GOOD:
        return Badge("ok", "ok", word)
    return Badge("calm", "quiet", word) if outcome in _CALM else Badge("problem", "problem", word)
