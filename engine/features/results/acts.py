"""What people do with this feature, and the arguments of each act.

Decisions of a named person about dead letters and held results: dismiss, release, reject.

A named person decides whose results they are: whether two records under one patient number belong to one person, and
whether an order that moves to another patient is withdrawn from the first.

Acts of a person who decides about dead letters and held results, and whose results they are.

The steps of operations (`engine.store.operations.bulk`) on held deliveries: release, reject.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Annotated, Any

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared, Message, Purpose, Reason, Selected
from engine.actions.operations import BulkAct, Slice, actor_of
from engine.actions.running_site import Result, RunningSite
from engine.actions.selection import Selection, each_letter, held_results
from engine.actions.underway import ANSWER_WITHIN_S, Acts, begin_bulk_act, process_again
from engine.features.results.lists.held_results import MOST_AT_ONCE, held_of, results_held
from engine.features.results.lists.whose import whose
from engine.features.results.rows import hold_queue, moved_orders, number_bearers
from engine.features.results.rows.hold_queue import TAKEN_BACK
from engine.features.rework.rows import letter_steps
from engine.model.errors import LeftOutError, RefusedError
from engine.model.journal.records import Decision
from engine.model.site.permissions import ACTING, SEEING_PATIENTS
from engine.store.core.writing.batch import Batch
from engine.store.operations import audit
from engine.store.operations.bulk import Done, Member, Operation, as_counted, why_left
from engine.store.queries.letters import dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import Rows, stored_message
from engine.views.view import Row


def release(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Release held deliveries; the outcomes are those of `hold_queue.release`."""
    still, outcomes = _still_held(batch, members, counted_us)
    lanes = set[tuple[str, str]]()
    if still:
        done, lanes = hold_queue.release(batch, still, actor=actor, reason=reason)
        outcomes.update(done)
    return Done(outcomes, frozenset(lanes))


def reject(batch: Batch, members: Sequence[Member], *, counted_us: int, actor: str, reason: str) -> Done:
    """Reject held deliveries for good."""
    still, outcomes = _still_held(batch, members, counted_us)
    if still:
        outcomes.update(hold_queue.reject(batch, still, actor=actor, reason=reason))
    return Done(outcomes)


def _still_held(batch: Batch, members: Sequence[Member], counted_us: int) -> tuple[list[int], Counter[str]]:
    """The deliveries that are held as they were counted, and the outcomes of the others."""
    still = [one.delivery_id for one in members if as_counted(batch, one.delivery_id, "held", counted_us)]
    others = [one for one in members if one.delivery_id not in still]
    return still, Counter(why_left(batch, one) for one in others)


async def _decide(
    acts: Acts, selection: Selection, *, decision: str, actor: str, reason: str, dry_run: bool = False,
    within_s: float = ANSWER_WITHIN_S,
) -> dict[str, Any]:  # fmt: skip
    """Do it to what is selected; the journal keeps person, time and ``reason``."""
    noun, pages, slices = DECISIONS[decision]
    if not reason.strip():
        raise RefusedError(f"a {noun} needs a reason")
    if decision == "release" and (why := await asyncio.to_thread(_taken_back, acts, selection)):
        raise RefusedError(why)
    return await begin_bulk_act(
        acts, slices, decision, pages, selection, actor=actor, reason=reason, dry_run=dry_run, within_s=within_s
    )


def _taken_back(acts: Acts, selection: Selection) -> str:
    """Why nothing of the selected messages can be released: their sender has withdrawn what was held; empty: it can, or
    there is nothing of them."""
    if not selection.ids or any(True for _ in each_letter(acts.journal, held_results, selection)):
        return ""
    for number in selection.ids:
        trace = trace_of(acts.journal, number)
        for one in () if trace is None else trace.deliveries:
            if one.state == "superseded" and one.detail.startswith(TAKEN_BACK):
                return f"message {number} is not held any more: it was {one.detail}"
    return ""


async def dismissing(order: Operation, members: Sequence[Member]) -> Slice:
    return _slice(order, len(members), partial(letter_steps.dismiss, members=members))


async def releasing(order: Operation, members: Sequence[Member]) -> Slice:
    return _slice(order, len(members), partial(release, members=members))


async def rejecting(order: Operation, members: Sequence[Member]) -> Slice:
    return _slice(order, len(members), partial(reject, members=members))


def _slice(order: Operation, members: int, work: Callable[..., Done]) -> Slice:
    named = {"counted_us": order.counted_us, "actor": actor_of(order), "reason": order.what["reason"]}
    return Slice(members, partial(work, **named))


DECISIONS = {
    "dismiss": ("dismissal", dead_letters, dismissing),
    "release": ("release", held_results, releasing),
    "reject": ("rejection", held_results, rejecting),
}
"""Its noun, what it is about, and its slices."""
dismiss_letters = partial(_decide, decision="dismiss")
release_held = partial(_decide, decision="release")
reject_held = partial(_decide, decision="reject")


async def tell_patients_apart(
    acts: Acts, message: int, said: str, mark: str, *, actor: str, reason: str, dry_run: bool = False
) -> dict[str, Any]:
    """Answer for one person of a message, and for all messages with that number and record; they are processed again in
    their order. A message that asks about others, too, waits until each of them is answered.

    For a message that was let through because it seems to be the same person, the answer covers only later messages.

    Args:
        said: ``same``: the record belongs to the person who bears the number. ``other``: it does not, and that person's
            results get a Patient of their own. ``withdraw``, ``both``: for an order that moves to another patient
            (`engine.features.results.rows.moved_orders`).
        mark: of the two persons, as they were compared.

    Raises:
        RefusedError: nothing is asked of the message; or no longer about these two persons; or no reason is given.
    """
    if said not in ANSWERS:
        raise RefusedError(f"the answer is one of {', '.join(ANSWERS)}")
    if not reason.strip():
        raise RefusedError("an answer needs a reason")
    compared, covered = await asyncio.to_thread(_compared, acts, message, mark)
    if said not in compared["answers"]:
        raise RefusedError(f"message {message} is answered by one of {', '.join(compared['answers'])}")
    if said in moved_orders.ANSWERS:
        if said == "both" and await asyncio.to_thread(_is_unique, acts, message):
            raise RefusedError("numbers of this channel are unique, both results would be one: withdraw, or reject")
        decision = Decision(again=True, moved=said, moved_from=frozenset([compared["known_message"]]))
        work = partial(_process_all, acts, [message], decision)
    else:
        work = partial(_tell_apart, acts, message, mark, said == "same")
    about = Selection(ids=(message,))
    return await acts.act(actor, "tell_apart", about, covered, dry_run, work, answer=said, mark=mark, reason=reason)


def _compared(acts: Acts, message: int, mark: str) -> tuple[Row, int]:
    """The comparison that has this mark, and how many messages its answer covers."""
    rows = whose(acts.journal, acts.channels(), message, held_of(acts.journal, message))
    found = next((row for row in rows if row["mark"] == mark), None)
    if found is None:
        stored_message(acts.journal, message)  # raises where there is no such message
        if not rows:
            raise RefusedError(f"message {message} is not held for its patient number or its order")
        raise RefusedError(f"the persons of message {message} are not those that were compared: compare them again")
    with acts.journal.snapshot() as execute:
        asked = number_bearers.questions(Rows(execute, acts.journal.vault), message)
        covered = [len(number_bearers.covered(execute, one)) for one in asked if one.mark == mark]
    return found, max([1, *covered])


def _is_unique(acts: Acts, message: int) -> bool:
    channel = acts.channels().get(stored_message(acts.journal, message).channel)
    return channel is not None and channel.context.specimen_ids == "unique"


async def _tell_apart(acts: Acts, message: int, mark: str, same: bool) -> dict[str, int]:
    answered = await acts.journal.run(number_bearers.answer, message, mark, same=same)
    if answered is None:
        raise RefusedError(f"the persons of message {message} are not those that were compared: compare them again")
    waiting, others = answered
    acts.journal.others.update(others)
    return await _process_all(acts, waiting, Decision(again=True))


async def _process_all(acts: Acts, messages: Sequence[int], decision: Decision) -> dict[str, int]:
    done = {"processed": 0, "held": 0, "still_dead": 0, "skipped": 0}
    for message in messages:
        outcome = await _process_held(acts, message, decision)
        done[outcome] = done.get(outcome, 0) + 1
    return done


async def _process_held(acts: Acts, message: int, decision: Decision) -> str:
    """Map a held message again, with today's knowledge; return the counter of its result."""
    try:
        recorded = await process_again(acts, message, decision)
    except LeftOutError as left:
        return left.outcome
    if recorded is None:
        return "skipped"
    return "still_dead" if recorded.state == "dead" else "held" if recorded.held else "processed"


Mark = Annotated[str, Field(min_length=1, max_length=40)]
ACTS = Declared(2)
ANSWERS = (*number_bearers.ANSWERS, *moved_orders.ANSWERS)


def _decided(name: str, decide: Callable[..., Awaitable[Result]], slices: BulkAct, api: str) -> None:
    @ACTS.act(name, ACTING, api=api, counted=True, slices=lambda acts: slices)
    async def work(
        site: RunningSite, request: Request, *, reason: Reason = None, dry_run: bool = False, selection: Selected
    ) -> Result:
        if name == "release" and not (dry_run or request.sees_contents):
            await asyncio.to_thread(_refuse_unread, site.acts, selection)
        return await decide(
            site.acts, selection, actor=request.actor, reason=reason or "", dry_run=dry_run, within_s=site.within_s
        )


def _refuse_unread(acts: Acts, selection: Selection) -> None:
    """Refuse a release of results that the one who asks can see nowhere.

    Raises:
        RefusedError: some are there.
    """
    letters = iter(each_letter(acts.journal, held_results, selection))
    while some := list(islice(letters, MOST_AT_ONCE)):
        results = results_held(acts.journal, acts.channels(), some, masked=True)
        for one in some:
            if results[str(one.delivery_id)] is None:
                raise RefusedError(
                    f"the results of message {one.message_id} cannot be read here: who may see its contents releases it"
                )


_decided("dismiss", dismiss_letters, dismissing, "close dead letters for good")
_decided("release", release_held, releasing, "let held results go to their destination")
_decided("reject", reject_held, rejecting, "decide that held results are never delivered")


@ACTS.act("tell_apart", ACTING | SEEING_PATIENTS, api="say whose a held result is", place=4)
async def tell_apart(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    message: Message,
    answer: str,
    mark: Mark,
) -> Result:
    """``mark``: of the two persons that were compared, as held-results has it."""
    return await tell_patients_apart(
        site.acts, message, answer, mark, actor=request.actor, reason=reason or "", dry_run=dry_run
    )


@ACTS.act("held_look", ACTING, not_in_api="values are read by POST /held-results: answers to acts are kept")
async def held_look(site: RunningSite, request: Request, *, message: Message, purpose: Purpose) -> Result:
    """A person who decides sees what is held; recorded before they do. Who may release may see what a release sends."""
    journal, channels = site.journal, site.acts.channels()
    await journal.run(audit.note, request.actor, "unmask", {"message": message, "purpose": purpose})
    found = await asyncio.to_thread(held_of, journal, message)
    persons = await asyncio.to_thread(whose, journal, channels, message, found) if request.sees_contents else None
    return {"results": await asyncio.to_thread(results_held, journal, channels, found), "whose": persons}
