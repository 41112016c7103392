"""Acts of a person on one order: cancel, release, send once more, match with a result, undo that. Each is asked for
with what it comes to, and needs a reason; the verbs are those of the control socket.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.features.orders.pages.orders import ONE
from engine.features.orders.pages.words import reason_of, state_of
from engine.features.orders.rows import reading
from engine.features.orders.rows.holding import MATCHED
from engine.features.orders.rows.reading import ItemDetails, WithoutOrder
from engine.model.errors import AbsentError, LabRelayError, RefusedError
from engine.model.orders import ANSWERED_STATES, OPEN_STATES, ItemReason, ItemState, WorkItem, item_id, item_number
from engine.model.texts.phrases import N_, PageText, Said
from engine.store.queries.reader import Reader
from engine.web.asked import number
from engine.web.forms import Form
from engine.web.pages.frame import Asking, Frame
from engine.web.pages.words import Words, shown
from engine.web.routes import Route

NO_ORDER = N_("There is no order {order}.")
_S = ItemState
MATCH, UNMATCH = "match", "unmatch"
AT_ANALYZER = frozenset({_S.OFFERED, _S.ACCEPTED, _S.IN_PROGRESS})


class Deed(NamedTuple):
    """An act as the page offers it.

    Attributes:
        verb: of the control socket.
        what: the question. button: of the confirmation, and the link.
        then: what it comes to.
        states: in which it is offered.
    """

    verb: str
    what: PageText
    button: PageText
    then: PageText
    states: frozenset[ItemState]


DEEDS: Mapping[str, Deed] = {
    "release": Deed(
        "order_release",
        "Release order {order}?",
        "Release",
        "The analyzer gets it when it asks for the tube. Of a number with two patients you say by this whose the tube "
        "is: cancel the orders of the other patient first.",
        frozenset({_S.HELD}),
    ),
    "resend": Deed(
        "order_resend",
        "Send order {order} once more?",
        "Send once more",
        "It waits again, and the analyzer gets it when it asks for the tube.",
        AT_ANALYZER | {_S.REFUSED, _S.EXPIRED},
    ),
    "cancel": Deed(
        "order_cancel",
        "Cancel order {order}?",
        "Cancel the order",
        "It is given to no analyzer any more. A result that still comes is delivered, and marked as late.",
        OPEN_STATES | {_S.REFUSED},
    ),
    MATCH: Deed(
        "order_match",
        "Is this the result of order {order}?",
        "It is its result",
        "The order is closed as measured. This can be undone until the result is delivered with it.",
        ANSWERED_STATES,
    ),
    UNMATCH: Deed(
        "order_unmatch",
        "Undo the match of order {order}?",
        "Undo the match",
        "The order is as it was before, and the result is without an order again.",
        frozenset({_S.RESULTED}),
    ),
}
COMPARE = N_("Specimen number and patient must be the same. Look at both first.")
MAY_HAVE = N_("The analyzer may have it, and measure it twice.")
FIRST_STEP = N_("The analyzer may have it: it is cancelled once the analyzer gives it up, or once you cancel it again.")
SECOND_STEP = N_("By this you say that the analyzer does not measure it.")


def routes(frame: Frame) -> Iterator[Route]:
    for name, deed in DEEDS.items():
        yield from frame.forms(f"{ONE}/{name}", deed.verb, partial(_take, name), partial(_ask, name))


def offers(asking: Asking, one: ItemDetails) -> list[tuple[str, str]]:
    """Links to the acts that its state allows, where this person may."""
    item, matched = one.item, one.history[-1].cause == MATCHED
    return [
        (asking.words.say(deed.button), address(asking, name, item.number))
        for name, deed in DEEDS.items()
        if deed.verb in asking.may and item.state in deed.states and (matched if name == UNMATCH else name != MATCH)
        if item.origin != "analyzer" or name != "resend"
    ]


def matches(asking: Asking, item: WorkItem, results: Sequence[WithoutOrder]) -> list[tuple[str, str]]:
    """Links to match an order with each of these results, which are of its specimen number."""
    deed = DEEDS[MATCH]
    if deed.verb not in asking.may or item.state not in deed.states or item.origin == "analyzer":
        return []
    return [
        (
            asking.words.say("Match with message {n}", n=one.message_id),
            address(asking, MATCH, item.number, one.message_id),
        )
        for one in results
    ]


def address(asking: Asking, name: str, number: int, message: int = 0) -> str:
    return asking.words.href(f"{ONE}/{name}", item=item_id(number), message=message)


def _number(asking: Asking) -> int:
    return item_number(asking.query.get("item", "").strip().upper()) or 0


def _around(asking: Asking, name: str) -> dict[str, Any]:
    deed, words, order = DEEDS[name], asking.words, _number(asking)
    return {
        "what": words.say(deed.what, order=item_id(order) if order else "?"),
        "button": words.say(deed.button),
        "action": address(asking, name, order),
        "back": words.href(ONE, item=item_id(order)),
        "back_words": words.say("Back to the order"),
    }


async def _ask(name: str, frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    deed, words, message = DEEDS[name], asking.words, number(asking.query.get("message", ""))
    try:
        item, result = await frame.read(_read, _number(asking), message if name == MATCH else 0)
        if item.state not in deed.states:
            state = state_of(item.state, words).word
            raise RefusedError(words.say("Its state does not allow this: {state}.", state=state))
    except LabRelayError as error:
        return await _refused(frame, name, request, *frame.refused(request, error))
    return await frame.desk.page(
        request,
        "question",
        **_around(asking, name),
        warnings=_warnings(name, item, asking),
        facts=[
            (words.say("Test"), shown(f"{item.line.test} {item.line.test_name}".strip())),
            (words.say("Analyzer"), item.channel or ", ".join(item.line.targets) or words.say("all that have a code")),
            (words.say("State"), state_of(item.state, words).word),
            *([(words.say("Why"), reason_of(item.reason, words))] if item.reason else []),
            *(_of_result(result, words) if result is not None else ()),
        ],
        then=words.say(deed.then),
        hidden={"message": message} if result is not None else {},
        trouble="",
    )


def _read(reader: Reader, asked: int, message: int) -> tuple[WorkItem, WithoutOrder | None]:
    """The order, and the results of its tube in a message; 0: of none."""
    found = reading.item(reader, asked)
    if found is None:
        raise AbsentError(Said(NO_ORDER, order=item_id(asked)))
    if not message:
        return found.item, None
    without = reading.tube(reader, found.item.line.specimen).without
    result = next((one for one in without if one.message_id == message), None)
    if result is None:
        raise RefusedError(f"message {message} has no result without an order of the tube of {item_id(asked)}")
    return found.item, result


def _of_result(result: WithoutOrder, words: Words) -> list[tuple[str, str]]:
    return [
        (words.say("Result in message"), str(result.message_id)),
        (words.say("Analyzer of the result"), result.channel),
        (words.say("Codes of results without order"), shown(result.codes)),
        (words.say("Received"), words.time(result.at_us)),
    ]


def _warnings(name: str, item: WorkItem, asking: Asking) -> list[str]:
    known = item.state in AT_ANALYZER or item.reason is ItemReason.MAYBE_KNOWN
    if name == MATCH:
        return [asking.words.say(COMPARE)]
    if name == "cancel" and item.state is ItemState.CANCEL_PENDING:
        return [asking.words.say(SECOND_STEP)]
    if name == "cancel" and known:
        return [asking.words.say(FIRST_STEP)]
    return [asking.words.say(MAY_HAVE)] if name == "resend" and known else []


async def _refused(
    frame: Frame, name: str, request: web.Request, status: int, trouble: str, _form: Form | None = None
) -> web.Response:
    return await frame.desk.page(request, "question", status, **_around(frame.asking(request), name), trouble=trouble)


async def _take(name: str, frame: Frame, request: web.Request) -> web.Response:
    asking = frame.asking(request)
    order = _number(asking)

    def asked(form: Form) -> tuple[str, dict[str, Any]]:
        message = {"message": number(form["message"])} if name == MATCH else {}
        return DEEDS[name].verb, {"order": order, "reason": form["reason"], **message}

    return await frame.take(
        request,
        asked,
        partial(_refused, frame, name),
        lambda form, done: frame.desk.go(request, f"{ONE}?item={item_id(order)}"),
    )
