"""One message: what it says, as its features show it, its way with times, and behind tabs its time line (each attempt
of each delivery, people's acts about it) and its contents (`engine.web.pages.contents`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web

from engine.model.errors import ConfigError, StoreError, TooSlowError
from engine.model.journal.journal_views import DeliveryView, Trace
from engine.model.routes import ChannelRoutes
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import N_, PageText, Span
from engine.store.queries.messages import ends_of, neighbours_of, trace_of
from engine.store.queries.reader import Reader, why_absent
from engine.views.as_sent import mappings_of
from engine.views.letter_in_full import outcome, outcome_words
from engine.views.message_in_full import acts_about, without_reasons
from engine.views.messages import issue_words
from engine.web.asked import MOST_COUNTED, counted, number
from engine.web.cells import Badge
from engine.web.pages import states
from engine.web.pages.contents import PARTS, TRACE, contents_of, href_of
from engine.web.pages.doing import purpose_of
from engine.web.pages.frame import Asking, Frame, Gone, Page, Values, told
from engine.web.pages.messages import NUMBERS, asked_of, filter_of, flags_of, opens
from engine.web.pages.messages import PATH as LIST
from engine.web.pages.panels import PANELS, Section
from engine.web.pages.words import Words, grouped, iso, shown
from engine.web.routes import Route

PATH = "/messages/{number}"
LONGEST = 500  # signs of a remark
REVEAL = "shown"  # the verb before contents are shown
NEIGHBOURS = N_(
    (
        "A person made it from message {n}",
        "A person corrected it: message {n} took its place",
        "It repeats message {n}",
        "Its bytes are those of message {n}",
    )
)
ACTS: dict[str, PageText] = {  # about a message
    "unmask": "looked at the contents",
    "release": "released",
    "reject": "rejected",
    "dismiss": "closed",
    "retry": "queued again",
}
FAILED = Badge("attention", "retry", "failed")


class Step(NamedTuple):
    """A step of the time line.

    Attributes:
        at_us: 0: it has not come yet.
        what: one sentence.
        badge: None: the sentence says it all.
        code: a reason code, with its meaning.
        links: words and address.
        more: lines of small print.
        passed: what passed on the line meanwhile.
    """

    at_us: int
    what: str
    badge: Badge | None = None
    code: str = ""
    meaning: str = ""
    links: Sequence[tuple[str, str]] = ()
    more: Sequence[str] = ()
    passed: Sequence[NamedTuple] = ()


def routes(frame: Frame) -> Sequence[Route]:
    return (Route(PATH, partial(_show, frame), LOOKING),)


async def _show(frame: Frame, request: web.Request) -> web.Response:
    asked = number(frame.asking(request).found["number"])
    sections = [await panels.of_message(frame, request, asked) for panels in PANELS.each()]
    found = partial(_found, frame, [one for one in sections if one], await purpose_of(frame, request, asked))
    return await frame.show(request, _page, found)


def _page(asking: Asking) -> Page:
    asked, among = number(asking.found["number"]), asked_of(asking)
    return Page("message", {"number": asked, "list": among.href(), "walk": None})


def _found(frame: Frame, sections: Sequence[Section], purpose: str, reader: Reader, asking: Asking) -> Values | Gone:
    words, asked = asking.words, number(asking.found["number"])
    trace = trace_of(reader, asked)
    if trace is None:
        return Gone(told(why_absent(reader, "message", asked), words))
    if not asking.principal.reads_reasons:
        trace = without_reasons(trace)
    message = trace.message
    end = ends_of(reader, [asked]).get(asked, "")
    steps = [*_of_message(trace, words), *_of_deliveries(trace, words), *_of_acts(reader, trace, asking)]
    done = sorted((step for step in steps if step.at_us), key=lambda step: step.at_us)
    return {
        "state": states.message(message.state, words, end),
        "about": f"{message.channel}, {words.time(message.received_us)}",
        "sections": sections,
        "way": [*_way(trace, words)],
        **_part(frame, trace, purpose, reader, asking),
        "facts": _facts(trace, asking),
        "flags": flags_of(message, words),
        "changed": _is_changed(trace, frame.channels().get(message.channel)),
        "walk": _walk(reader, asked, asking),
        "offers": [link for panels in PANELS.each() for link in panels.offers(asking, trace)],
        "neighbours": [
            *_neighbours(trace, words),
            *(link for panels in PANELS.each() for link in panels.neighbours(reader, asked, words)),
        ],
        "steps": [step_row(step, words) for step in (*done, *(step for step in steps if not step.at_us))],
    }


def _part(frame: Frame, trace: Trace, purpose: str, reader: Reader, asking: Asking) -> Values:
    """The part that is asked for: the time line, or contents, once their purpose is stated."""
    part, sees = asking.query.get("part", ""), REVEAL in asking.may
    part = part if sees and part in PARTS else TRACE
    tos = {name: href_of(asking, name) for name in PARTS}
    tabs = [(asking.words.say(text), f"{tos[name]}#part", name == part) for name, text in PARTS.items()]
    action = href_of(asking, part, path="/contents") if part != TRACE and not purpose else ""
    values = {"part": part, "tos": tos, "tabs": tabs if sees else [], "purpose": purpose, "action": action}
    values["not_shown"] = ""
    if part != TRACE and purpose:
        try:
            values |= contents_of(reader, frame.channels, trace, part, asking)
        except (StoreError, ConfigError) as error:
            values["not_shown"] = frame.why_not(error, asking.words)[1]
    return values


def _way(trace: Trace, words: Words) -> Iterator[tuple[str, str, str, str]]:
    """Each step: its level, its name, when, and what became of it."""
    message = trace.message
    frames = words.say("frames: {n}", n=len(trace.frames)) if trace.frames else ""
    yield "", words.say("Received and stored"), words.exact(message.received_us), frames
    look = states.message(message.state, words)
    ended = "" if message.state == "mapped" else look.word
    names = ", ".join(one.partition("@")[0] for one in trace.mapping.split(","))
    why = filter(None, (shown(names), ended, words.reason(message.reason)))
    yield _level(look), words.say("Mapping"), _after(message.received_us, trace.processed_us, words), "; ".join(why)
    for one in trace.deliveries:
        look = states.delivery(one.shown_state, words)
        failed = words.say("attempts failed: {n}", n=len(one.attempts)) if one.attempts else ""
        ended = "" if one.state == "delivered" else look.word
        why = filter(None, (ended, failed, words.reason(one.cause) if ended else ""))
        yield _level(look), one.destination, _after(message.received_us, one.settled_us, words), "; ".join(why)


def _level(look: Badge) -> str:
    return {"ok": "", "calm": "open"}.get(look.level, look.level)


def _after(start_us: int, at_us: int, words: Words) -> str:
    """How long after its receipt; empty: it has not come yet."""
    if not at_us:
        return ""
    after_us = max(at_us - start_us, 0)
    short = after_us < 1_000_000
    return f"+ {words.say('{n} ms', n=after_us // 1000) if short else Span(after_us / 1e6).say(words.catalogue)}"


def _is_changed(trace: Trace, routes: ChannelRoutes | None) -> bool:
    """Whether a mapping that made its documents is another one now, or is gone."""
    return bool(routes is not None and trace.mapping and set(trace.mapping.split(",")) - set(mappings_of(routes)))


def _walk(reader: Reader, message: int, asking: Asking) -> Mapping[str, Any] | None:
    """Its place in the list that led here, and its neighbours there; None: no list led here."""
    among, words = asked_of(asking), asking.words
    if not among.top or any(among.get(name) for name in NUMBERS[1:]):  # sealed: only that list asks who may know
        return None
    try:
        wanted = filter_of(among, asking)
        if opens(wanted):
            return None
        found = neighbours_of(reader, wanted, message, top=among.top, most=MOST_COUNTED + 1)
    except (ValueError, TooSlowError):  # the message itself is shown all the same
        return None

    count, part = counted(found.total), asking.query.get("part", "")
    others = ((words.say("Previous"), found.newer, "prev"), (words.say("Next"), found.older, "next"))
    return {
        "place": words.say("{n} of {count}", n=grouped(found.place), count=count) if found.place else "",
        "links": [
            (name, among.href(path=f"{LIST}/{other}", top=among.top, part=part), rel)
            for name, other, rel in others
            if other
        ],
    }


def _facts(trace: Trace, asking: Asking) -> list[tuple[str, str]]:
    message, words = trace.message, asking.words
    config = trace.config
    if config and config != asking.site.config_hash:
        config = words.say("{hash}, not the one in force", hash=config)
    facts = [
        (words.say("Type"), message.message_type),
        (words.say("Size"), words.say("{n} bytes", n=grouped(message.size))),
        (words.say("Mapping"), trace.mapping),
        (words.say("Configuration"), config),
        (words.say("Sender"), message.peer),
    ]
    return [(label, shown(text)) for label, text in facts if text]


def _neighbours(trace: Trace, words: Words) -> list[tuple[str, str]]:
    """Sentences about messages that belong to this one, each with the address of that message."""
    others = (trace.edited_from, trace.edited_as, trace.message.repeat_of, trace.message.equal_to)
    return [
        (words.say(text, n=other), words.href(f"{LIST}/{other}"))
        for text, other in zip(NEIGHBOURS, others, strict=True)
        if other
    ]


def _of_message(trace: Trace, words: Words) -> Iterator[Step]:
    message = trace.message
    more = [words.say("frames: {n}", n=len(trace.frames))] if trace.frames else []
    yield Step(message.received_us, words.say("Received and stored"), more=more)
    if trace.times > 1:
        yield Step(trace.last_us, words.say("It came again, {n} times in all; it is kept once", n=trace.times))
    if message.state == "stored":
        yield Step(0, words.say("It waits to be mapped"))
        return
    more = [trace.detail] if trace.detail else []
    more += [issue_words(issue) for issue in trace.issues]
    more += [text for facts in trace.facts.values() for panels in PANELS.each() for text in panels.remarks(facts)]
    more += [
        words.say("document {n}: {kind}, {size} bytes stored", n=one.id, kind=one.media_type, size=one.stored_bytes)
        for one in trace.documents
    ]
    yield Step(
        trace.processed_us,
        words.say("Mapped by {mapping}", mapping=trace.mapping) if trace.mapping else words.say("Processed"),
        states.message(message.state, words),
        message.reason,
        words.reason(message.reason),
        more=more,
    )


def _of_deliveries(trace: Trace, words: Words) -> Iterator[Step]:
    for one in trace.deliveries:
        failed = FAILED._replace(word=words.say("failed"))
        for tried in one.attempts:
            what = words.say("Attempt {n} to send it to {destination}", n=tried.n, destination=one.destination)
            more = [tried.detail] if tried.detail else []
            more += [outcome_words(issue) for issue in outcome(tried.answer, masked=True)]
            yield Step(tried.at_us, what, failed, tried.cause, words.reason(tried.cause), more=more)
        yield _end_of(one, words)


def _end_of(one: DeliveryView, words: Words) -> Step:
    state, more = one.shown_state, []
    ended = state in ("delivered", "superseded")  # its attempts show why it failed before
    if one.maybe_delivered:
        more.append(words.say("it may have been delivered before: the answer was lost"))
    if one.detail and not ended and one.detail not in {tried.detail for tried in one.attempts}:
        more.append(one.detail)
    if one.answer and not ended and one.answer not in {tried.answer for tried in one.attempts}:
        more += [outcome_words(issue) for issue in outcome(one.answer, masked=True)]
    if state == "waiting" and one.not_before_us and one.attempt:
        more.append(words.say("next try {time}", time=words.time(one.not_before_us)))
    what = words.say("Delivery to {destination}", destination=one.destination)
    code = "" if ended else one.cause
    return Step(one.settled_us, what, states.delivery(state, words), code, words.reason(code), more=more)


def _of_acts(reader: Reader, trace: Trace, asking: Asking) -> Iterator[Step]:
    """A person's reason may name a patient, so it is only for those who may see patients, or administer."""
    reads = asking.principal.reads_reasons
    for act in acts_about(reader, trace.message.id):
        said = asking.words.say(ACTS[act["act"]]) if act["act"] in ACTS else act["act"]
        what = asking.words.say("{who}: {act}", who=act["actor"], act=said)
        yield Step(int(act["at"].timestamp() * 1e6), what, more=[act["reason"]] if act["reason"] and reads else [])


def step_row(step: Step, words: Words) -> dict[str, Any]:
    return {
        **step._asdict(),
        "at": words.exact(step.at_us),
        "iso": iso(step.at_us),
        "what": shown(step.what, LONGEST),
        "more": [shown(text, LONGEST) for text in step.more],
    }
