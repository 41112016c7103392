"""One tube: its orders, and on one time line each change of them, each question for it, its messages, people's acts.

The page is opened by an order (``item=W17``), by a question of an analyzer (``question=5``) or by a message that has
results without an order (``message=7``), so no address has the number of the tube. The number, the patient and the
analyzer's words are shown to a person who may see patients and states a purpose; the audit trail has that first.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.features.orders.pages import acts as order_acts
from engine.features.orders.pages.conflict import beside
from engine.features.orders.pages.orders import MESSAGES, ONE, PATH, order_rows
from engine.features.orders.pages.words import PRIORITIES, cause_of, event_of, none_of, outcome_of, reason_of, state_of
from engine.features.orders.rows import reading
from engine.features.orders.rows.holding import MATCHED
from engine.features.orders.rows.reading import ItemDetails, ItemHistory, TubeQuestion, TubeTimeline, WithoutOrder
from engine.model.errors import LabRelayError
from engine.model.journal.journal_views import Act, Filter, MessageView
from engine.model.orders import WorkItem, item_id, item_number
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_
from engine.model.texts.signs import text
from engine.monitoring.snapshot.channels import line_step
from engine.store.queries.acts import acts_page
from engine.store.queries.messages import ends_of, messages_page, trace_of
from engine.store.queries.reader import Reader
from engine.views.view import printable
from engine.views.wire import exchange_of
from engine.web.asked import number
from engine.web.cells import Badge
from engine.web.identity import PERSON
from engine.web.pages import states
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values
from engine.web.pages.message import LONGEST, Step, step_row
from engine.web.pages.words import Words, grouped, shown
from engine.web.routes import PRINCIPAL, Route

SHOWN = "order_shown"  # the verb before tube and patient are shown
ANSWERS_WITHIN_US = 60_000_000  # of a question whose answer has not ended
MOST_TRACED, MOST_PASSED, MOST_OF_STEP = 10, 100, 2_000  # newest questions, their frames, the bytes of each
MOST_STEPS = 1_000  # of a time line, the newest
MOST_MESSAGES = 50  # that bear the number of the tube
NO_TUBE = N_("Nothing is kept of this tube.")
BY_PERSON = "person"  # the cause of an event; its message is the act


class Passed(NamedTuple):
    """A frame, a block or a sign on the line.

    Attributes:
        text: its bytes; letters are x and digits 9 as long as no purpose is stated.
        verdict: of its checksum.
    """

    at: str
    who: str
    what: str
    text: str
    verdict: Badge | None


def routes(frame: Frame) -> Sequence[Route]:
    shown = Route(ONE, partial(frame.show, page=_page, found=partial(_found, "")), LOOKING)
    return (shown, *frame.forms(ONE, SHOWN, _reveal))


async def _reveal(frame: Frame, request: web.Request) -> web.Response:
    """Tube, patient and the analyzer's words of one order, once the purpose is noted."""
    asking = frame.asking(request)
    form, asked = await frame.desk.form(request), _item(asking)
    request[PERSON] = frame.desk.person(
        request, request[PRINCIPAL]
    )  # its links to languages lead to the page of the form
    purpose, trouble = form["purpose"], ""
    try:
        await frame.give(request, SHOWN, {"order": asked, "purpose": purpose})
    except LabRelayError as error:
        status, trouble = frame.refused(request, error)
        if status < 500:
            trouble = asking.words.say("Say what you look at it for.")
        purpose = ""
    return await frame.show(request, lambda asking: _page(asking)._replace(wrong=trouble), partial(_found, purpose))


def _item(asking: Asking) -> int:
    return item_number(asking.query.get("item", "").strip().upper()) or 0


def _page(asking: Asking) -> Page:
    words, asked = asking.words, _item(asking)
    question, message = (number(asking.query.get(name, "")) for name in ("question", "message"))
    if asked:
        title = words.say("Order {order}", order=item_id(asked))
    elif question:
        title = words.say("Tube of question {n}", n=question)
    else:
        title = words.say("Tube of message {n}", n=message)
    values: Values = {
        "title_words": title,
        "list": words.href(PATH),
        "action": words.href(ONE, item=item_id(asked)) if asked else "",
        "state": None,
        "facts": [],
        "offers": [],
        "rows": [],
        "steps": [],
        "others": [],
        "reveals": bool(asked) and SHOWN in asking.may,
        "revealed": [],
        "purpose": "",
        "conflict": {"compared": [], "answers": []},
    }
    return Page("order", values)


def _found(purpose: str, reader: Reader, asking: Asking) -> Values | Gone:
    """``purpose``: why tube and patient are shown; empty: they are not."""
    words, asked = asking.words, _item(asking)
    tokens = _tubes(reader, asking, asked)
    place = number(asking.query.get("tube", "")) or 1
    if not 0 < place <= len(tokens):
        return Gone(
            words.say(order_acts.NO_ORDER, order=shown(asking.query["item"]))
            if "item" in asking.query
            else words.say(NO_TUBE)
        )
    token = tokens[place - 1]
    one = reading.item(reader, asked) if asked else None
    timeline = reading.tube_of(reader, token)
    if one is not None and not any(other.item.number == asked for other in timeline.items):
        timeline = TubeTimeline(items=(one,), questions=timeline.questions, without=timeline.without)
    rows = order_rows(reader, [other.item for other in reversed(timeline.items)], words)
    steps = sorted(_steps(reader, timeline, asking, purpose), key=lambda step: step.at_us)
    values: dict[str, Any] = {
        "rows": [
            row
            | {"is_here": other.item.number == asked}
            | {"offers": order_acts.matches(asking, other.item, timeline.without)}
            for row, other in zip(rows, reversed(timeline.items), strict=True)
        ],
        "steps": [step_row(step, words) for step in steps[-MOST_STEPS:]],
        "others": _others(asking, len(tokens), place),
    }
    if one is not None:
        conflict = beside(one, timeline.items, asking, sees=bool(purpose))
        answered = {answer["title"] for answer in conflict["answers"]}
        values |= {
            "conflict": conflict,
            "state": state_of(one.item.state, words),
            "reason": one.item.reason.value,
            "why": reason_of(one.item.reason, words),
            "facts": _facts(one, words),
            "offers": [link for link in order_acts.offers(asking, one) if link[0] not in answered],
            "revealed": _revealed(one.item, words) if purpose else [],
            "purpose": purpose,
        }
    return values


def _tubes(reader: Reader, asking: Asking, asked: int) -> Sequence[bytes]:
    """The keyed hashes of the tubes that the address is about. An order without a number is a tube of its own."""
    if "item" in asking.query:
        there = reading.item(reader, asked) is not None if asked else False
        return [reading.tube_of_item(reader, asked)] if there else []
    if question := number(asking.query.get("question", "")):
        return reading.tubes_of_query(reader, question)
    return reading.tubes_of_message(reader, number(asking.query.get("message", "")))


def _others(asking: Asking, count: int, here: int) -> list[tuple[str, str, bool]]:
    """Links to each tube of a question with several."""
    kept = {name: asking.query[name] for name in ("question", "message") if name in asking.query}
    return [
        (asking.words.say("Tube {n}", n=place), asking.words.href(ONE, **kept, tube=place), place == here)
        for place in range(1, count + 1)
        if count > 1
    ]


def _facts(one: ItemDetails, words: Words) -> list[tuple[str, str, str]]:
    """Label, text and, where it leads somewhere, address."""
    item = one.item
    line = item.line

    def order(other: int) -> tuple[str, str]:
        return (item_id(other), words.href(ONE, item=item_id(other))) if other else ("", "")

    by_itself = item.origin == "analyzer"
    by_message = words.href(f"{MESSAGES}/{item.message_id}") if item.origin != "person" else ""
    before = words.say("Reflex of the order") if by_itself else words.say("The run or version before")
    facts = [
        (words.say("Test"), f"{line.test} {line.test_name}".strip(), ""),
        (words.say("Code at the analyzer"), item.code, ""),
        (words.say("Analyzer"), item.channel or ", ".join(one.targets) or words.say("all that have a code"), ""),
        (words.say("Priority"), words.say(PRIORITIES[line.priority]), ""),
        (words.say("Ordered"), words.time(item.created_us), ""),
        (words.say("Ordered by"), words.say("the analyzer itself") if by_itself else "", ""),
        (words.say("Waits until"), words.time(item.expires_us) if item.state.value in ("waiting", "held") else "", ""),
        (words.say("Run"), grouped(item.run) if item.run > 1 else "", ""),
        (before, *order(item.parent)),
        (words.say("Waits for the end of"), *order(one.after)),
        (words.say("Message"), str(item.message_id) if by_message else "", by_message),
    ]
    return [(label, shown(text), href) for label, text, href in facts if text]


def _revealed(item: WorkItem, words: Words) -> list[tuple[str, str]]:
    line, patient = item.line, item.line.patient
    facts = [
        (words.say("Specimen"), line.specimen),
        (words.say("Type"), line.specimen_type),
        (words.say("Order number"), line.placer),
        (words.say("Number of the one who fills it"), line.filler),
        (words.say("Patient"), patient.number),
        (words.say("Name"), " ".join(filter(None, (patient.given, patient.family)))),
        (words.say("Born"), patient.birth_date),
        (words.say("Sex"), patient.sex),
        (words.say("Ward"), patient.ward),
        (words.say("Note"), line.comment),
    ]
    return [(label, shown(text, LONGEST)) for label, text in facts if text]


# -- the time line -------------------------------------------------------------------------------------------------


def _steps(reader: Reader, timeline: TubeTimeline, asking: Asking, purpose: str) -> Iterator[Step]:
    named: set[int] = set()
    for one in timeline.items:
        for event in one.history:
            step = _change(reader, one, event, asking, purpose)
            named.add(event.message_id)
            yield step
    traced = {one.query for one in timeline.questions[-MOST_TRACED:]}
    for question in timeline.questions:
        named.add(question.message_id)
        passed = _passed(reader, question, asking.words, masked=not purpose) if question.query in traced else ()
        yield _question(question, passed, asking.words)
    for without in timeline.without:
        named.add(without.message_id)
        yield _without(without, asking.words)
    specimens = [one.item.line.specimen for one in timeline.items if one.item.line.specimen]
    if specimens:
        found = messages_page(reader, Filter(bears_other=specimens[0]), limit=MOST_MESSAGES)
        rest = [view for view in found if view.id not in named]
        ends = ends_of(reader, [view.id for view in rest])
        for view in rest:
            yield _message(view, ends.get(view.id, ""), asking.words)


def _change(reader: Reader, one: ItemDetails, event: ItemHistory, asking: Asking, purpose: str) -> Step:
    words, item = asking.words, one.item
    said = event_of(event.event, words)
    what = words.say("{order} {test}: {what}", order=item.item_id, test=shown(item.line.test) or "-", what=said)
    more = [event.channel] if event.channel else []
    links = []
    by_hand = event.cause == BY_PERSON or (event.event == "taken" and item.origin == "person")
    if event.message_id and by_hand:
        more += _of_act(reader, event.message_id, asking)
    elif event.message_id and event.event != "erased":
        links.append((words.say("Message {n}", n=event.message_id), words.href(f"{MESSAGES}/{event.message_id}")))
    if event.query:
        links.append((words.say("Question {n}", n=event.query), words.href(ONE, question=event.query)))
    if event.late:
        more.append(words.say("It came after the order was given up. It is delivered all the same."))
    if event.cause == MATCHED:
        more.append(words.say("A person says that this result is of this order."))
    elif event.cause and event.cause != BY_PERSON:
        more.append(cause_of(event.cause, words))
    if purpose and event.detail:
        more.append(event.detail)
    badge = state_of(event.state, words)
    return Step(event.at_us, what, badge, event.reason.value, reason_of(event.reason, words), links, more)


def _of_act(reader: Reader, act: int, asking: Asking) -> list[str]:
    """Who acted, and the reason where this person may read it."""
    found: list[Act] = acts_page(reader, before_id=act + 1, limit=1)
    if not found or found[0].id != act:
        return []
    reason = str(found[0].what.get("reason", "")) if asking.principal.reads_reasons else ""
    said = asking.words.say("by {who}", who=found[0].actor or "?")
    return [f"{said}: {reason}" if reason else said]


def _question(one: TubeQuestion, passed: Sequence[Passed], words: Words) -> Step:
    none = (one.none,) if one.none else ()
    answered = words.say("orders given: {n}", n=one.items) if one.items else none_of(one.none, words)
    links = [(words.say("Message {n}", n=one.message_id), words.href(f"{MESSAGES}/{one.message_id}"))]
    return Step(
        one.at_us,
        words.say("{analyzer} asked: {answer}", analyzer=one.channel, answer=answered)
        if one.message_id
        else words.say("Sent to {analyzer} without a question: {answer}", analyzer=one.channel, answer=answered),
        outcome_of(one.outcome, one.ended_us, none, words, orders=one.items),
        links=links if one.message_id else (),
        passed=passed,
    )


def _passed(reader: Reader, one: TubeQuestion, words: Words, *, masked: bool) -> list[Passed]:
    """The question and its answer as they passed on the line; none where that is not kept any more."""
    trace = trace_of(reader, one.message_id) if one.message_id else None
    session = trace.session if trace is not None else 0
    steps = exchange_of(reader, one.channel, session, one.at_us, one.ended_us or one.at_us + ANSWERS_WITHIN_US)
    found = []
    for step in steps[:MOST_PASSED]:
        said = line_step(step)
        verdict = None
        if said.verdict is not None:
            level = "ok" if said.good else "attention"
            verdict = Badge(level, level, said.verdict.say(words.catalogue))
        who = {"in": one.channel, "out": "LabRelay"}.get(step.way, "")
        data = printable(text(step.data[:MOST_OF_STEP], masked=masked)) if len(step.data) > 1 else ""
        found.append(Passed(words.exact(step.at_us), who, said.words.say(words.catalogue), data, verdict))
    return found


def _without(one: WithoutOrder, words: Words) -> Step:
    return Step(
        one.at_us,
        words.say("Results without order: {n}", n=one.results),
        Badge("attention", "attention", words.say("no order")),
        links=[(words.say("Message {n}", n=one.message_id), words.href(f"{MESSAGES}/{one.message_id}"))],
        more=[one.channel, one.codes, *([words.say("It was measured before the order came.")] if one.older else [])],
    )


def _message(view: MessageView, end: str, words: Words) -> Step:
    return Step(
        view.received_us,
        words.say("Message of {channel}", channel=view.channel),
        states.message(view.state, words, end),
        view.reason or "",
        words.reason(view.reason or ""),
        [(words.say("Message {n}", n=view.id), words.href(f"{MESSAGES}/{view.id}"))],
        [view.message_type] if view.message_type else [],
    )
