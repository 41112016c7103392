"""What must hold at the end of a history with orders, for any program between laboratory systems and analyzers.

    STRANGER   no reply has a test that was not ordered for its tube, a tube of two patients, or one not asked for
    STALE      no answer has a test that was cancelled, replaced, on hold or measured when it was asked for
    OMITTED    an answer has each order that waits for this analyzer
    TWICE      no reply has a test of a tube twice
    ANSWER     a laboratory system is told the truth of each order
    ORDERS     each order is on the worklist once, with its tube and patient: none is lost or doubled
    STATE      its state is that which the laboratory system said last, and what was measured; a result closes the order
               of its own test, tube and patient alone
    REASON     an order that is open says why it does not go on
    LOGGED     each question has its answer, and is in the log with it, or with why there was no order
    NEWS       a laboratory system hears of each result of its orders once, in order; of a panel at its end

Nothing here is the product's: it walks through what was said, step by step. Where two steps may take effect in either
order (a result is processed while a cancel comes), both ends are right.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from tests.histories import model
from tests.histories.history import PANEL, UNREAD, Asking, History, Json, ordered_as
from tests.histories.model import Fault
from tests.histories.order_book import CONFLICT, HELD, OPEN, REPLACED, Book, Key, Measured, Version
from tests.histories.seen import Kept, Reply, Seen

INVARIANTS = (
    "STRANGER", "STALE", "OMITTED", "TWICE", "ANSWER", "ORDERS", "STATE", "REASON", "LOGGED", "NEWS",
)  # fmt: skip
EVERY = model.INVARIANTS + INVARIANTS
"""Those of results, and these."""

OLD_RESULT = "OLD_RESULT"  # a result that was measured before the order came does not close it
HELD_RESULT = "HELD_RESULT"  # a result that is held for a person, or was rejected, closes no order
AWAITED = frozenset({OLD_RESULT, HELD_RESULT})
DEMANDED: frozenset[str] = AWAITED
"""Of `AWAITED`, what the product must keep already. What is not here may be either way."""


def judge(history: History, seen: Seen, place: int, *, calm: bool) -> list[Fault]:
    """Every way in which the orders of ``history`` ended wrongly.

    Args:
        place: of the history, whose digits are in its numbers.
        calm: the daemon was never killed.
    """
    if not seen.quiet or seen.orders is None:
        return []  # that is told elsewhere
    book = Book(history, seen, seen.orders, place, calm)
    return [
        *book.faults,
        *_replies(book),
        *_worklist(book),
        *_log(book),
        *_news(book),
    ]


def is_moving(orders: Json, unasked: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether orders are still to go unasked, to these channels with these tests, or are under way."""
    for one in orders["items"]:
        near = [tests for name, tests in unasked.items() if name.partition("c")[0] == one["source"].partition("c")[0]]
        waits = one["state"] == "waiting" and one["reason"] in ("", "MAYBE_KNOWN")
        if waits and any(one["test"] == ordered_as(test) for tests in near for test in tests):
            return True
    return any(one["open"] for one in orders["questions"])


# -- replies -----------------------------------------------------------------------------------------------------------


def _replies(book: Book) -> Iterator[Fault]:
    for channel, replies in book.orders.replies.items():
        for reply in replies:
            yield from _reply(book, channel, reply)
    for ident in book.orders.unanswered:
        yield Fault("LOGGED", "a question has no answer", ident)


def _reply(book: Book, channel: int, reply: Reply) -> Iterator[Fault]:
    at = reply.asking if reply.asking >= 0 else reply.step
    asked = book.steps.get(reply.asking)
    tubes = {book.of_place(tube) for tube in asked.tubes} if isinstance(asked, Asking) else set()
    yield from _work_steps(book, reply, at)
    for (tube, test), times in Counter(reply.orders).items():
        if times > 1 and len(set(reply.steps)) < len(reply.orders):  # of IHE LAW two orders are two work steps
            yield Fault("TWICE", f"{test} is {times} times in a reply", at)
        ordered = [
            one
            for one in book.on(tube)
            if one.test == ordered_as(test) and one.step < at + (reply.asking < 0) and book.serves(one, channel)
        ]
        if (tubes and tube not in tubes) or not ordered:
            yield Fault("STRANGER", f"{test} is in a reply, and was not ordered for that tube", at)
        elif all(0 < one.doubted < at for one in ordered):
            yield Fault("STRANGER", f"{test} is in a reply for a tube that two patients have", at)
        elif reply.asking >= 0 and not any(_may_be_told(book, one, at) for one in ordered):
            yield Fault("STALE", f"{test} is in a reply, and was not to be run any more", at)
    if isinstance(asked, Asking) and reply.whole and len(asked.tubes) == 1:
        (tube,) = tubes
        for one in book.on(tube):
            if _must_be_told(book, one, channel, at) and (tube, one.test) not in {
                (there, ordered_as(test)) for there, test in reply.orders
            }:
                yield Fault("OMITTED", f"{one.test} waits, and is not in the answer", at)


def _work_steps(book: Book, reply: Reply, at: int) -> Iterator[Fault]:
    """Each work step is the number of an order for that test of that tube; only what was cancelled is taken back."""
    tests = {f"W{item.number}": (item.tube, item.test) for item in book.orders.items}
    for step, (tube, test) in zip(reply.steps, reply.back or reply.orders, strict=False):
        if tests.get(step) != (tube, ordered_as(test)):
            yield Fault("STRANGER", f"{step} is in a message for {test}, and is no order for that test of the tube", at)
    for tube, test in reply.back:
        if not any(one.test == ordered_as(test) and one.wish not in OPEN for one in book.on(tube)):
            yield Fault("STRANGER", f"{test} is taken back, and was not cancelled", at)


def _may_be_told(book: Book, one: Version, at: int) -> bool:
    if not one.is_open_at(at) or one.is_held_at(at):
        return False
    closes = [
        each for each in book.results_of(one) if each.final and each.step < at and _surely_closes(book, one, each)
    ]
    return not any(each.step < rest < at for each in closes for rest in book.rests)


def _must_be_told(book: Book, one: Version, channel: int, at: int) -> bool:
    """Whether an order waits for this analyzer beyond doubt."""
    return (
        one.is_open_at(at)
        and not one.is_held_at(at)
        and not 0 < one.doubted < at
        and one.wish != CONFLICT
        and one.key not in book.blurred
        and book.serves(one, channel)
        and not any(each.step < at for each in book.results_of(one))
        and not book.may_have(one, at, but=channel)
        and not any(other.key == one.key and other.step < one.step for other in book.siblings(one))
    )


def _surely_closes(book: Book, one: Version, each: Measured) -> bool:
    """Whether a result closes the order, as long as it is open."""
    return not (_doubtful(one, each) or book.siblings(one))


def _doubtful(one: Version, each: Measured) -> bool:
    return each.old or each.born < one.step or each.held or each.stated not in ("", one.number)


def _cannot_close(each: Measured) -> bool:
    return (each.old and OLD_RESULT in DEMANDED) or (each.held and HELD_RESULT in DEMANDED)


# -- the worklist ------------------------------------------------------------------------------------------------------


def _worklist(book: Book) -> Iterator[Fault]:
    items: dict[Key, list[Kept]] = defaultdict(list)
    rejected: Counter[Key] = Counter()
    for item in book.orders.items:
        if item.state == "rejected":
            rejected[item.lis, item.placer, item.test] += 1
        else:
            items[item.lis, item.placer, item.test].append(item)
    versions: dict[Key, list[Version]] = defaultdict(list)
    for one in book.versions:
        versions[one.key].append(one)
    for key in sorted(items.keys() | versions.keys()):
        meant, found = versions[key], items[key]
        if key in book.blurred:
            if meant and not found:
                yield Fault("ORDERS", f"{key[2]} is not on the worklist", meant[0].step)
            continue
        if len(meant) != len(found):
            how = "lost" if len(found) < len(meant) else "doubled"
            yield Fault("ORDERS", f"{key[2]} was ordered {len(meant)} times, and is there {len(found)}: {how}",
                        meant[-1].step if meant else -1)  # fmt: skip
            continue
        for one, item in zip(meant, found, strict=True):
            yield from _item(book, one, item)
    for key in book.refused:
        if not rejected[key]:
            yield Fault("ORDERS", f"{key[2]} can never run, and is not shown")


def _item(book: Book, one: Version, item: Kept) -> Iterator[Fault]:
    if (item.tube, item.patient) != (one.tube, book.of_place(one.number)):
        yield Fault("ORDERS", f"{one.test} is on the worklist with another tube or patient", one.step)
    wanted = _states(book, one)
    if item.state not in wanted:
        states = " or ".join(sorted(wanted))
        yield Fault("STATE", f"{one.test} ({one.wish}) is {item.state} {item.reason}, not {states}", one.step)
        return
    reasons = _reasons(book, one, item.state)
    if item.reason not in reasons:
        said = " or ".join(sorted(reason or "none" for reason in reasons))
        yield Fault(
            "REASON", f"{one.test} is {item.state}, its reason is {item.reason or 'none'}, not {said}", one.step
        )


def _states(book: Book, one: Version) -> set[str]:
    results = [each for each in book.results_of(one) if not _cannot_close(each)]
    if one.wish not in OPEN:
        ends = {one.wish}
        if book.may_have(one, one.ended) or any(each.step < one.ended for each in results):
            ends |= {"cancel_pending", "cancelled"}
            if any(each.final for each in results):
                ends.add("resulted")
        return ends
    finals = [each for each in results if each.final]
    sure = any(_surely_closes(book, one, each) and not 0 < one.doubted < each.step for each in finals)
    if sure and one.wish != CONFLICT and not _races(one, finals):
        return {"resulted"}
    found = _open_states(book, one, results)
    return found | {"resulted"} if finals else found


def _races(one: Version, finals: list[Measured]) -> bool:
    """Whether the tube may have been held while its result was processed."""
    return one.doubted > 0 and all(each.step < one.doubted for each in finals)


def _open_states(book: Book, one: Version, results: list[Measured]) -> set[str]:
    if one.doubted or one.wish in (HELD, CONFLICT):
        return {"held"}
    begun = [each for each in results if not each.final]
    if any(_surely_closes(book, one, each) for each in begun) and not one.holds:
        return {"in_progress"}
    found = {"waiting"} | ({"in_progress"} if _waits_for_a_person(book, one) else set())
    if book.may_have(one):
        found |= {"offered", "accepted"} if book.may_confirm(one) else {"offered"}
    return found | {"in_progress"} if begun else found


def _reasons(book: Book, one: Version, state: str) -> set[str]:
    if state == "held":
        reasons = {"SPECIMEN_CONFLICT"} if one.doubted else set()
        return reasons | (
            {"HELD_BY_LIS"} if one.wish == HELD else {"ORDER_CONFLICT"} if one.wish == CONFLICT else set()
        )
    unsure = not book.calm or any(
        isinstance(step, Asking) and step.cut is not None and step.id > one.step for step in book.history.steps
    )
    maybe = {"MAYBE_KNOWN"} if unsure and book.may_have(one) else set()
    if state == "waiting":
        wishes = {other.wish for other in book.siblings(one)}
        after = {"AFTER_CANCEL"} if REPLACED in wishes else set()
        if book.given(one, whole=True):  # an analyzer has it, or another order for the same test
            return maybe | (after | {""} if wishes.intersection(OPEN) else set())
        return {"", "UNMAPPED_CODE"} | maybe | after
    if state in ("in_progress", "cancel_pending") and _waits_for_a_person(book, one):
        return {"", "RESULT_HELD"}
    return {""} | maybe if state == "offered" else {""}


def _waits_for_a_person(book: Book, one: Version) -> bool:
    """Whether a result of the order is held."""
    return any(each.waits for each in book.results_of(one))


# -- the log, the news -------------------------------------------------------------------------------------------------


def _log(book: Book) -> Iterator[Fault]:
    rows = defaultdict(list)
    for row in book.orders.log:
        rows[row.asking].append(row)
        if not row.ended or not (row.outcome or row.none):
            yield Fault("LOGGED", "a question is under way without end, or says nothing", row.asking)
    tests = {item.number: (item.tube, item.test) for item in book.orders.items}
    for ident in set(book.orders.asked):
        asked = book.steps[ident]
        if not rows[ident]:
            yield Fault("LOGGED", "a question is in no log", ident)
            continue
        last = rows[ident][-1]
        is_unread = isinstance(asked, Asking) and asked.tubes == (UNREAD,)
        if is_unread and last.none != ("unread",) and last.outcome != "interrupted":
            yield Fault("LOGGED", f"an unread number is {last.none}", ident)
    for replies in book.orders.replies.values():
        for reply in replies:
            if reply.asking < 0 or not reply.whole:
                continue
            told = {(tube, ordered_as(test)) for tube, test in reply.orders}
            logs = [{tests[number] for number in row.items if number in tests} for row in rows[reply.asking]]
            if told not in logs:
                yield Fault("LOGGED", "an answer is in the log with other orders than it had", reply.asking)


def _news(book: Book) -> Iterator[Fault]:
    for lis, told in book.orders.told.items():
        heard = [one.control for one in book.orders.news.get(lis, ())]
        if list(dict.fromkeys(heard)) != list(told):
            yield Fault("NEWS", f"{len(told)} changes were to be told, and {len(set(heard))} were, or in another order")
        if book.calm and len(heard) != len(set(heard)):
            yield Fault("NEWS", "a change was told twice")
        ends = Counter(
            (one.placer, one.test)
            for one in {one.control: one for one in book.orders.news.get(lis, ())}.values()
            if (one.order, one.status) == ("SC", "CM")
        )
        mine = [item for item in book.orders.items if item.lis == lis]
        alone = Counter((item.placer, item.named) for item in mine if item.state == "resulted" and not _is_part(item))
        told_alone = Counter({of: times for of, times in ends.items() if of[1] != PANEL[0]})
        if told_alone != alone:
            yield Fault("NEWS", f"{alone.total()} orders have their result, and {told_alone.total()} were told so")
        for placer in {item.placer for item in mine if _is_part(item)} | {of for of, test in ends if test == PANEL[0]}:
            parts = [item for item in mine if item.placer == placer and _is_part(item)]
            yield from _news_of_panel(parts, ends[placer, PANEL[0]])


def _is_part(item: Kept) -> bool:
    return item.named == PANEL[0]


def _news_of_panel(parts: list[Kept], told: int) -> Iterator[Fault]:
    """Args: told: how often its laboratory system heard that the panel is complete."""
    asked = [item for item in parts if item.state not in ("rejected", "superseded")]
    by_test: dict[str, list[Kept]] = defaultdict(list)
    for item in asked:
        by_test[item.test].append(item)
    never_ended = any(all(_is_open(item) for item in items) for items in by_test.values())
    has_result = any(item.state == "resulted" for item in asked)
    if told and (never_ended or not has_result):
        yield Fault("NEWS", "a panel was told complete of which a test has not ended, or none has a result")
    if has_result and not told and not any(map(_is_open, asked)):
        yield Fault("NEWS", "all tests of a panel have ended, and it was not told complete")
    if told > len(asked):
        yield Fault("NEWS", f"a panel of {len(asked)} tests was told complete {told} times")


def _is_open(item: Kept) -> bool:
    return item.state in ("waiting", "held", "offered", "accepted", "in_progress", "cancel_pending")
