"""What people do about messages: retry, dismiss, replay. The same code in the daemon and, without one, in a command.

A *selection* says which; it is resolved when the act runs, and again when it is repeated, so nothing is closed or sent
that has changed meanwhile. Each act is a row of the journal before it starts and another when it has ended (P2, P5),
so that a crash amid a replay of thousands is known.

    retry     dead deliveries wait again in their old places; dead messages are processed again with today's mapping,
              oldest first. Incomplete messages stay: a prefix is never a result.
    dismiss   a named person says, with a reason, that these need nothing more
    edit      a named person corrects a dead message; its bytes as received stay, and are closed (`engine.correcting`)
    release   a named person lets results go that a rule of their route keeps back; only this does (`engine.holding`)
    reject    a named person says, with a reason, that such results are never delivered
    replay    stored documents go out again at the end of their lanes, at a bounded rate
    reprocess messages are mapped again, and what differs from what was delivered goes out, at a bounded rate
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from engine.clock import Clock, SystemClock
from engine.config import Site
from engine.control import Follower, Handler, RefusedError, Request
from engine.correcting import Corrected
from engine.errors import IntegrityError, LabRelayError
from engine.formats import MEDIA_TYPES
from engine.intake import ChannelRoutes, judge, routed_by
from engine.journal import Journal
from engine.message import Received, Stored
from engine.reading import Reader
from engine.reasons import Reason
from engine.records import DeadLetter, Filter, Trace
from engine.replaying import LookAgain, Order, Replays, Waits
from engine.reprocessing import Finding, examine, with_mapping
from engine.switches import VERBS, Switches, SwitchOrder, target_of
from engine.taps import STAGES

if TYPE_CHECKING:
    from engine.app import App

logger = logging.getLogger("labrelay." + __name__)

PAGE = 500
MAX_SELECTED = 200_000  # more are narrowed by time or channel; bounds memory and the length of an act
AT_ONCE = 1000  # of what is closed or released in one transaction
DEFAULT_RATE = 50.0  # messages per second of a replay, well below what a lane carries, so that live results go first
REPLAY_ANSWER_S = 0.2  # who asked for a replay asks again for its progress
ANSWER_WITHIN_S = 20.0  # an act that takes longer goes on in the daemon, and the command is told so

REPLAY_STATES = ("delivered", "superseded", "dismissed")  # of deliveries whose documents a replay may send again
REPLAYED = frozenset({"delivered", "superseded"})  # ... and does where nothing else is said; the guard looks at each
MOST_BY_NUMBER = 2000  # messages of a replay that was selected by a number: its act lists them
EDIT_REPEAT_WINDOW_S = 30 * 86_400.0  # for so long the same bytes from the analyzer are a repeat of an edited message

KEY_ACTS = {"show": "key-shown", "restored": "key-restored"}  # what a command does with the key by itself -> its act

FHIR = "application/fhir+json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which messages or dead letters: numbers, or a filter, or everything (``all``).

    Attributes:
        ids: message numbers; with them, the rest narrows further.
        specimen, number: of messages that bear this number of a specimen or order, or as their own control id. They
            may be a patient's, and so are no part of an act's record (`without_numbers`).
        after_us, before_us: received within.
    """

    ids: tuple[int, ...] = ()
    channel: str | None = None
    destination: str | None = None
    reason: str | None = None
    state: str | None = None
    after_us: int | None = None
    before_us: int | None = None
    specimen: str | None = None
    number: str | None = None
    all: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing was said: never taken to mean everything."""
        return self == Selection()

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, (), False)}

    @classmethod
    def from_json(cls, given: Any) -> "Selection":
        """Read what came over the socket.

        Raises:
            LabRelayError: not a selection; the command and the daemon may differ in version.
        """
        kinds = {"ids": (list, tuple), "all": (bool,), "after_us": (int,), "before_us": (int,)}
        known = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise LabRelayError("not a selection that this version knows")
        for name, value in given.items():
            if not isinstance(value, kinds.get(name, (str,))):
                raise LabRelayError(f"not a selection: {name} has the wrong kind of value")
        ids = given.get("ids", ())
        if not all(isinstance(number, int) for number in ids):
            raise LabRelayError("not a selection: ids must be numbers")
        return cls(**{**given, "ids": tuple(ids)})

    def filter(self) -> Filter:
        return Filter(
            channel=self.channel,
            destination=self.destination,
            reason=self.reason,
            state=self.state,
            after_us=self.after_us,
            before_us=self.before_us,
            specimen=self.specimen,
            number=self.number,
        )

    def without_numbers(self, found: Sequence[int]) -> "Selection":
        """The same messages for an act's record, which has no number of a specimen in it."""
        if self.specimen is None and self.number is None:
            return self
        return Selection(ids=tuple(found), destination=self.destination, state=self.state)


def letters(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """The dead letters that a selection means now, oldest message first."""
    return _letters(reader.dead, selection)


def held_results(reader: Reader, selection: Selection) -> list[DeadLetter]:
    """The held deliveries that a selection means now, oldest message first."""
    return _letters(reader.held, replace(selection, state=None))


def _letters(pages: Callable[..., list[DeadLetter]], selection: Selection) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    if selection.ids:
        for number in sorted(set(selection.ids)):
            page = pages(selection.filter(), before_id=number + 1, limit=1)
            found += [letter for letter in page if letter.message_id == number]
        return found
    before: int | None = None
    while page := pages(selection.filter(), before_id=before, limit=PAGE):
        found += page
        before = page[-1].message_id
        _bounded(len(found))
    found.sort(key=lambda letter: (letter.message_id, letter.delivery_id))
    return found


def replayable(reader: Reader, selection: Selection) -> list[int]:
    """The numbers of the messages that a replay of a selection is about, oldest first.

    ``state`` and ``destination`` are those of their deliveries here: what was delivered (or superseded) is sent again.
    """
    found = messages(reader, replace(selection, state=None))
    states = replay_states(selection)
    sent: set[int] = set()
    for part in _chunks(found, PAGE):
        sent |= reader.sent(part, states, selection.destination)
    return [number for number in found if number in sent]


def replay_states(selection: Selection) -> frozenset[str]:
    """How a document must stand with its destination for a replay to send it again.

    Raises:
        LabRelayError: there is none such.
    """
    if selection.state is None:
        return REPLAYED
    if selection.state not in REPLAY_STATES:
        raise LabRelayError(f"a replay is of what is {', '.join(REPLAY_STATES)}; for dead letters: labrelay dlq retry")
    return frozenset({selection.state})


def messages(reader: Reader, selection: Selection) -> list[int]:
    """The numbers of the messages that a selection means now, oldest first."""
    wanted = replace(selection.filter(), state=selection.state or "mapped", destination=None)
    if selection.ids:
        return [number for number in sorted(set(selection.ids)) if _has(reader, wanted, number)]
    found: list[int] = []
    before: int | None = None
    while page := reader.messages(wanted, before_id=before, limit=PAGE):
        found += [view.id for view in page]
        before = page[-1].id
        _bounded(len(found))
    return found[::-1]


class Acts:
    """Carries acts out.

    Args:
        channels: the compiled routes in force, by channel; asked for at each use, since a reload replaces them.
        look_again: (channel, destination, added): rows of a lane became waiting; a daemon's worker must read them.
        accept: a message became durable, and waits for its verdict; a daemon's intake takes it.
        waits: why a replay has to wait for a lane (`engine.replaying`); None where nothing is sent from this process.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        channels: Callable[[], Mapping[str, ChannelRoutes]],
        look_again: LookAgain = lambda channel, destination, added: None,
        accept: Callable[[Stored], None] = lambda stored: None,
        clock: Clock | None = None,
        waits: Waits | None = None,
    ) -> None:
        self._journal = journal
        self._channels = channels
        self._look_again = look_again
        self._accept = accept
        self._now_us = (clock or SystemClock()).now_us
        self.replays = Replays(journal, waits=waits, look_again=look_again)
        self._running: set[asyncio.Task[dict[str, int]]] = set()
        self._reprocessing: set[str] = set()  # channels

    async def note(self, actor: str, verb: str, what: dict[str, Any]) -> None:
        """Store an act that is about to be done by the command that asks."""
        await self._journal.act_note(actor, verb, what)

    async def rotate_key(self, data: Path, *, actor: str, discard_old: bool) -> dict[str, Any]:
        """A new key-encryption key; see `engine.rotation`."""
        return asdict(await self._journal.rotate_key(data, actor=actor, discard_old=discard_old))

    async def confirm_sheet(self, *, actor: str) -> None:
        """A person has typed from the recovery sheet of the key in use."""
        await self._journal.confirm_sheet(actor=actor)

    async def retry(
        self, selection: Selection, *, actor: str, because: str = "", dry_run: bool = False
    ) -> dict[str, Any]:
        """Try dead letters again; ``count`` is how many were selected, ``done`` what became of them.

        Args:
            because: why ours takes the place of what the server has, where that is another version (CONFLICT). Without
                it such deliveries stay dead.
        """
        chosen = await asyncio.to_thread(letters, self._journal, selection)
        # Accepting that one number belongs to two patients takes a person who named these very letters.
        accept_conflict = bool(selection.ids) or selection.reason == Reason.IDENTITY_CONFLICT.value
        return await self._act(
            actor,
            "retry",
            selection,
            len(chosen),
            dry_run,
            lambda: self._retry(chosen, accept_conflict, overwrite=bool(because.strip())),
            **({"reason": because} if because else {}),
        )

    async def dismiss(self, selection: Selection, *, actor: str, because: str, dry_run: bool = False) -> dict[str, Any]:
        """Close dead letters; the journal keeps who, when and ``because``."""
        if not because.strip():
            raise RefusedError("a dismissal needs a reason")
        chosen = await asyncio.to_thread(letters, self._journal, selection)
        if dry_run:
            return _answer(len(chosen), None, {})
        changed = 0
        for part in _chunks(chosen, AT_ONCE):
            changed += await self._journal.dismiss(
                messages=[letter.message_id for letter in part if not letter.delivery_id],
                deliveries=[letter.delivery_id for letter in part if letter.delivery_id],
                actor=actor,
                reason=because,
            )
        for lane in {(letter.channel, letter.destination) for letter in chosen if letter.delivery_id}:
            self._look_again(*lane, 0)  # a dead letter may have held its lane
        return _answer(len(chosen), None, {"dismissed": changed})

    async def edit(
        self, message: int, content: bytes, *, actor: str, because: str, dry_run: bool = False
    ) -> dict[str, Any]:
        """Journal a person's correction of a dead letter as a new message, and close the dead letter.

        What would be a dead letter again is not taken: the one there is stays as it is.

        Args:
            content: the whole corrected message.

        Raises:
            LabRelayError: nothing was changed; its text says why.
        """
        if not dry_run and not because.strip():
            raise RefusedError("an edit needs a reason")
        trace = await asyncio.to_thread(self._journal.message, message)
        channel = self._channels().get(trace.message.channel) if trace is not None else None
        if trace is None:
            raise LabRelayError(f"there is no message {message}")
        raise_if_not_editable(trace)
        if channel is None:
            raise LabRelayError(f"its channel {trace.message.channel} is not configured any more")
        before = await asyncio.to_thread(self._journal.payload, message)
        if content == before:
            raise LabRelayError("nothing was changed, so nothing is done")
        _raise_if_not_one(content, channel)
        header = channel.message_format.header(content)
        received = Received(
            channel=channel.channel,
            payload=content,
            received_us=self._now_us(),
            control_id=header.control_id,
            message_type=header.message_type,
            notes=("edited by a person",),
        )
        # In a thread: analyzers are answered meanwhile.
        verdict = await asyncio.to_thread(judge, _as_stored(message, received), channel)
        reason = verdict.reason.value if verdict.reason is not None else ""
        if verdict.state == "dead":
            detail = f": {verdict.detail}" if verdict.detail else ""
            raise LabRelayError(f"the edited message would be a dead letter again: {reason}{detail}")
        to = sorted({name for _, route in verdict.documents for name in route.to})
        told = {"verdict": verdict.state, "reason": reason, "to": to}
        if dry_run:
            return {**_answer(1, None, {}), "message": None, **told}
        future = self._journal.correct(
            message, received, before=before, actor=actor, because=because, repeat_window_s=EDIT_REPEAT_WINDOW_S
        )
        future.add_done_callback(self._corrected)  # in journal order, also where nobody waits any more
        corrected = await asyncio.shield(future)
        if corrected.stored is None:
            raise LabRelayError(corrected.refused)
        for lane in corrected.lanes:
            self._look_again(*lane, 0)  # a dead letter may have held its lane
        return {**_answer(1, None, {"edited": 1}), "message": corrected.stored.id, **told}

    def _corrected(self, done: "asyncio.Future[Corrected]") -> None:
        if not done.cancelled() and done.exception() is None and (stored := done.result().stored) is not None:
            self._accept(stored)

    async def release(self, selection: Selection, *, actor: str, because: str, dry_run: bool = False) -> dict[str, Any]:
        """Let held results go; the journal keeps who, when and ``because``. ``done``: see `engine.holding.release`."""
        if not because.strip():
            raise RefusedError("a release needs a reason")
        chosen = await asyncio.to_thread(held_results, self._journal, selection)
        if dry_run:
            return _answer(len(chosen), None, {})
        done: Counter[str] = Counter()
        for part in _chunks(chosen, AT_ONCE):
            ids = [letter.delivery_id for letter in part]
            ended, lanes = await self._journal.release(ids, actor=actor, because=because)
            done.update(ended)
            for channel, destination in lanes:
                self._look_again(channel, destination, 1)
        return _answer(len(chosen), None, done)

    async def reject(self, selection: Selection, *, actor: str, because: str, dry_run: bool = False) -> dict[str, Any]:
        """Decide that held results are never delivered; the journal keeps them, with who, when and ``because``."""
        if not because.strip():
            raise RefusedError("a rejection needs a reason")
        chosen = await asyncio.to_thread(held_results, self._journal, selection)
        if dry_run:
            return _answer(len(chosen), None, {})
        done: Counter[str] = Counter()
        for part in _chunks(chosen, AT_ONCE):
            ids = [letter.delivery_id for letter in part]
            done.update(await self._journal.reject(ids, actor=actor, because=because))
        return _answer(len(chosen), None, done)

    async def replay(
        self,
        selection: Selection,
        *,
        actor: str,
        to: str = "",
        takes: str = "",
        rate: float = DEFAULT_RATE,
        dry_run: bool = False,
        within_s: float = ANSWER_WITHIN_S,
    ) -> dict[str, Any]:
        """Send stored documents of messages again; ``count`` is the number of messages, ``act`` the replay's own.

        Args:
            selection: its destination is one that they went to, its state how they stand there.
            to: another destination for them; empty: where they went.
            takes: the media type that ``to`` takes, or empty.
            within_s: wait so long for its end; after that it goes on.
        """
        chosen = await asyncio.to_thread(replayable, self._journal, selection)
        new = len(chosen)
        if to:
            for part in _chunks(chosen, PAGE):
                new -= len(await asyncio.to_thread(self._journal.sent, part, REPLAY_STATES, to))
        told = {"new": new} if to else {}
        if dry_run or not chosen:
            return {**_answer(len(chosen), None, {}), **told}
        kept = selection.without_numbers(chosen)
        if len(kept.ids) > max(MOST_BY_NUMBER, len(selection.ids)):
            raise RefusedError(f"more than {MOST_BY_NUMBER} messages bear that number; narrow it by time or channel")
        order = _order(selection, to, takes, rate)
        what = {"selection": kept.to_json(), "count": len(chosen), "to": to, "takes": takes, "rate": rate}
        number = await self.replays.start(chosen, order, actor=actor, what=what)
        return {**await self._so_far(number, len(chosen), within_s), **told}

    async def resume(
        self, number: int, *, actor: str, rate: float | None = None, within_s: float = ANSWER_WITHIN_S
    ) -> dict[str, Any]:
        """Take up a replay again where it was; one that is under way is only waited for."""
        if self.replays.is_running(number):
            return await self._so_far(number, self.replays.progress(number)["total"], within_s)
        found = await asyncio.to_thread(self._journal.unfinished_replay, number)
        if found is None:
            raise LabRelayError(f"replay {number} is not unfinished; `labrelay replay --unfinished` lists those")
        selection = Selection.from_json(found.what.get("selection"))
        chosen = [
            message
            for message in await asyncio.to_thread(replayable, self._journal, selection)
            if found.position < message <= found.last
        ]
        what = found.what
        order = _order(selection, what["to"], what["takes"], rate or what["rate"])
        await self.replays.resume(number, chosen, order, actor=actor)
        return await self._so_far(number, found.total, within_s)

    async def forget_replay(self, number: int, *, actor: str) -> dict[str, Any]:
        """Nobody takes it up again."""
        if self.replays.is_running(number):
            await self.replays.halt(number)
        if await asyncio.to_thread(self._journal.unfinished_replay, number) is None:
            raise LabRelayError(f"replay {number} is not unfinished")
        await self._journal.replay_forget(number, actor=actor)
        return {}

    async def _so_far(self, number: int, count: int, within_s: float) -> dict[str, Any]:
        ended = await self.replays.wait(number, within_s)
        progress = self.replays.progress(number)
        return _answer(count, number, progress["outcome"] if ended else {}, going_on=not ended)

    async def reprocess(
        self,
        selection: Selection,
        *,
        routes: ChannelRoutes,
        actor: str,
        because: str,
        mapping: str = "",
        rate: float = DEFAULT_RATE,
    ) -> dict[str, Any]:
        """Map the messages of a channel again and send what differs; ``count`` is the number of messages looked at.

        Given again, it goes on where it was cut short: what was sent differs no more.

        Args:
            routes: what to map with.
            mapping: its name and digest, for the audit trail, where it is not the channel's own.
        """
        if not because.strip():
            raise RefusedError("reprocessing needs a reason")
        channel = routes.channel
        if selection.channel != channel:
            raise RefusedError("reprocessing is for one channel")
        if channel in self._reprocessing:
            # Both would find the same differences, and send them twice.
            raise RefusedError(f"messages of {channel} are being reprocessed already; try again when that has ended")
        self._reprocessing.add(channel)
        begun: list[None] = []

        async def work() -> dict[str, int]:
            begun.append(None)
            try:
                return await self._reprocess(sorted(chosen), routes, rate)
            finally:
                self._reprocessing.discard(channel)

        try:
            chosen: list[int] = []
            for state in ("mapped", "filtered"):
                chosen += await asyncio.to_thread(messages, self._journal, replace(selection, state=state))
            return await self._act(
                actor,
                "reprocess",
                selection,
                len(chosen),
                False,
                work,
                reason=because,
                mapping=mapping,
                rate=rate,
            )
        finally:
            if not begun:  # it may go on in the background, else
                self._reprocessing.discard(channel)

    async def note_shown(self, actor: str, message: int) -> None:
        """A person is about to see contents: durable before they do."""
        await self._journal.act_note(actor, "unmask", {"message": message})

    async def note_exported(self, actor: str, what: dict[str, Any]) -> None:
        """A person is about to write contents to a file; ``what`` tells which."""
        await self._journal.act_note(actor, "unmask", {"export": what})

    async def give_up(self, acts: Iterable[int]) -> None:
        """Note the end of acts that a crash cut short. Nobody knows how far they came: a person must repeat them."""
        for act in acts:
            await self._journal.act_done(act, {"interrupted": True})
            logger.warning("an act was cut short by the last stop; give its command again", extra={"act": act})

    async def stop(self) -> None:
        """End what is still going on; the next start notes it as cut short."""
        await self.replays.stop()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    # -- how ---------------------------------------------------------------------------------------------------

    async def _act(
        self,
        actor: str,
        verb: str,
        selection: Selection,
        count: int,
        dry_run: bool,
        work: Callable[[], Any],
        **more: Any,
    ) -> dict[str, Any]:
        if dry_run or not count:
            return _answer(count, None, {})
        act = await self._journal.act(actor, verb, {"selection": selection.to_json(), "count": count, **more})
        task = asyncio.create_task(self._finish(act, work))
        self._running.add(task)
        task.add_done_callback(lambda ended: self._ended(act, ended))
        done, _ = await asyncio.wait({task}, timeout=ANSWER_WITHIN_S)
        return _answer(count, act, task.result() if done else {}, going_on=not done)

    def _ended(self, act: int, task: asyncio.Task[dict[str, int]]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever waits hears it too; an act that went on in the background has only this line.
            logger.error("an act failed", extra={"act": act, "detail": type(error).__name__})

    async def _finish(self, act: int, work: Callable[[], Any]) -> dict[str, int]:
        outcome: dict[str, int] = await work()
        await self._journal.act_done(act, outcome)
        return outcome

    async def _retry(self, chosen: Sequence[DeadLetter], accept_conflict: bool, *, overwrite: bool) -> dict[str, int]:
        outcome = {"requeued": 0, "processed": 0, "still_dead": 0, "skipped": 0}
        lanes: dict[tuple[str, str], list[int]] = {}
        conflicts = {letter.delivery_id for letter in chosen if letter.reason == Reason.CONFLICT.value}
        for letter in chosen:
            if letter.delivery_id in conflicts and not overwrite:
                outcome["conflicts"] = outcome.get("conflicts", 0) + 1
            elif letter.delivery_id:
                lanes.setdefault((letter.channel, letter.destination), []).append(letter.delivery_id)
            elif letter.state == "dead":
                outcome[await self._process(letter, accept_conflict)] += 1
            else:
                outcome["skipped"] += 1
        for (channel, destination), ids in lanes.items():
            changed = 0
            for unconditional in (False, True):
                part = [one for one in ids if (one in conflicts) is unconditional]
                if part:
                    changed += await self._journal.requeue(part, unconditional=unconditional)
            outcome["requeued"] += changed
            outcome["skipped"] += len(ids) - changed
            if changed:
                self._look_again(channel, destination, changed)
        return outcome

    async def _process(self, letter: DeadLetter, accept_conflict: bool) -> str:
        """Map a dead message again; the counter that it belongs to."""
        channel = self._channels().get(letter.channel)
        if channel is None:
            return "skipped"  # its channel is not configured any more
        try:
            stored = await asyncio.to_thread(self._journal.stored, letter.message_id)
        except IntegrityError:
            return "skipped"  # damaged; `labrelay verify` says what is wrong
        verdict = judge(stored, channel)
        routed = [routed_by(route, document) for document, route in verdict.documents]
        outcome = await self._journal.map_done(
            stored.id,
            channel=stored.channel,
            routes=routed,
            state=verdict.state,
            reason=verdict.reason,
            detail=verdict.detail,
            mapping=verdict.mapping,
            issues=verdict.issues,
            unmapped=verdict.unmapped,
            reagents=verdict.reagents,
            controls=verdict.controls,
            numbers=verdict.numbers,
            again=True,
            while_dead=True,
            # Under a number that is never used twice the ids are the same, so one result would take the other's place.
            accept_conflict=accept_conflict and channel.context.specimen_ids != "unique",
        )
        if outcome.already:
            return "skipped"  # somebody was quicker
        if outcome.state == "mapped":
            for document in routed:
                for destination in document.destinations:
                    self._look_again(stored.channel, destination, 1)
        return "still_dead" if outcome.state == "dead" else "processed"

    async def _reprocess(self, chosen: Sequence[int], routes: ChannelRoutes, rate: float) -> dict[str, int]:
        outcome: dict[str, int] = {"messages": 0, "deliveries": 0}
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for message_id in chosen:
            # Waited for first: what is found must not have changed when it is sent.
            await asyncio.sleep(max(0.0, begin + outcome["messages"] / rate - loop.time()))
            # In a thread: analyzers are answered meanwhile.
            finding = await asyncio.to_thread(examine, self._journal, message_id, routes)
            if finding.outcome != "changed":
                outcome[finding.outcome] = outcome.get(finding.outcome, 0) + 1
                continue
            queued = await self._send_again(finding, routes.channel)
            if queued is None:
                outcome["conflicts"] = outcome.get("conflicts", 0) + 1
            else:
                outcome["messages"] += 1
                outcome["deliveries"] += queued
        return outcome

    async def _send_again(self, finding: Finding, channel: str) -> int | None:
        """Store a message's new documents and queue them where they differ; how many deliveries.

        None where a number in them has meanwhile become somebody else's: the message is a dead letter then, and shown.
        """
        verdict = finding.verdict
        assert verdict is not None
        outcome = await self._journal.map_done(
            finding.message_id,
            channel=channel,
            routes=finding.send,
            state="mapped",
            mapping=verdict.mapping,
            issues=verdict.issues,
            unmapped=verdict.unmapped,
            reagents=verdict.reagents,
            controls=verdict.controls,
            numbers=verdict.numbers,
            again=True,
            accept_conflict=finding.same_reports,
        )
        if outcome.already:
            return 0  # it was edited meanwhile
        if outcome.state != "mapped":
            return None
        for routed in finding.send:
            for destination in routed.destinations:
                self._look_again(channel, destination, 1)
        return outcome.waiting


def handlers(app: "App", acts: Acts, switches: Switches) -> dict[str, Handler]:
    """What the running site answers on its control socket."""

    def switch(verb: str) -> Handler:
        async def ordered(request: Request) -> dict[str, Any]:
            target = target_of(request.args.get("kind"), request.args.get("name"))
            order = SwitchOrder(verb, target, request.actor, str(request.args.get("reason", "")))
            return await switches.carry_out(order, app.built.site, dry_run=_dry_run(request))

        return ordered

    async def underway(request: Request) -> dict[str, Any]:
        target = target_of(request.args.get("kind"), request.args.get("name"))
        return await asyncio.to_thread(switches.look, target)

    async def status(_: Request) -> dict[str, Any]:
        return app.observer.snapshot().to_json()

    async def reload(request: Request) -> dict[str, Any]:
        before = app.built.site.hash
        site = await app.reload()
        await app.journal.act_note(request.actor, "reload", {"from": before, "to": site.hash})
        return {"config_hash": site.hash, "changed": site.hash != before, "warnings": list(site.warnings)}

    async def retry(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because") or "")
        return await acts.retry(_selection(request), actor=request.actor, because=because, dry_run=_dry_run(request))

    async def dismiss(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because", ""))
        return await acts.dismiss(_selection(request), actor=request.actor, because=because, dry_run=_dry_run(request))

    async def release(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because", ""))
        return await acts.release(_selection(request), actor=request.actor, because=because, dry_run=_dry_run(request))

    async def reject(request: Request) -> dict[str, Any]:
        because = str(request.args.get("because", ""))
        return await acts.reject(_selection(request), actor=request.actor, because=because, dry_run=_dry_run(request))

    async def replay(request: Request) -> dict[str, Any]:
        to, rate = request.args.get("to") or "", request.args.get("rate", DEFAULT_RATE)
        takes = media_type_of(app.built.site, to) if to else ""
        return await acts.replay(
            _selection(request),
            actor=request.actor,
            to=to,
            takes=takes,
            rate=_rate(rate),
            dry_run=_dry_run(request),
            within_s=REPLAY_ANSWER_S,
        )

    async def replay_resume(request: Request) -> dict[str, Any]:
        rate = request.args.get("rate")
        return await acts.resume(
            _number(request),
            actor=request.actor,
            rate=None if rate is None else _rate(rate),
            within_s=REPLAY_ANSWER_S,
        )

    async def replay_status(request: Request) -> dict[str, Any]:
        return acts.replays.progress(_number(request))

    async def replay_stop(request: Request) -> dict[str, Any]:
        return await acts.replays.halt(_number(request))

    async def replay_forget(request: Request) -> dict[str, Any]:
        return await acts.forget_replay(_number(request), actor=request.actor)

    async def reprocess(request: Request) -> dict[str, Any]:
        args, selection = request.args, _selection(request)
        channel, mapping, rate = app.built.channels.get(selection.channel or ""), args.get("mapping"), args.get("rate")
        if channel is None:
            raise LabRelayError(f"there is no channel {selection.channel}; known: {', '.join(app.built.channels)}")
        if not isinstance(rate, int | float) or not 0 < rate <= 100_000:
            raise LabRelayError("rate must be a number of messages per second above 0")
        if args.get("config_hash") != app.built.site.hash:
            raise RefusedError(
                "the daemon runs another configuration than the one that the differences were made with: give "
                "`labrelay reload`, and look at them again"
            )
        routes, named = channel.routes, ""
        if mapping is not None:
            routes, program = await asyncio.to_thread(with_mapping, app.built.site, routes, str(mapping))
            if program.content_hash != args.get("mapping_hash"):
                raise RefusedError(f"{mapping} has changed since the differences were made; look at them again")
            named = f"{program.name}@{program.content_hash[:12]}"
        because = str(args.get("because", ""))
        return await acts.reprocess(
            selection, routes=routes, actor=request.actor, because=because, mapping=named, rate=float(rate)
        )

    async def edit(request: Request) -> dict[str, Any]:
        message = request.args.get("message")
        if not isinstance(message, int):
            raise LabRelayError("which message is edited?")
        because = str(request.args.get("because", ""))
        return await acts.edit(
            message, request.content, actor=request.actor, because=because, dry_run=_dry_run(request)
        )

    async def backup(request: Request) -> dict[str, Any]:
        do = request.args.get("do")
        if do in ("now", "drill"):
            app.backup.ask(do)
        elif do != "state":
            raise LabRelayError("backup: now, drill or state?")
        said = app.backup.snapshot()
        return {"busy": app.backup.is_busy, "running": said.running, "fault": said.fault}

    async def prune(request: Request) -> dict[str, Any]:
        app.journal.let_go_now()
        return {}

    async def shown(request: Request) -> dict[str, Any]:
        message = request.args.get("message")
        if not isinstance(message, int):
            raise LabRelayError("which message is shown?")
        await acts.note_shown(request.actor, message)
        return {}

    async def exported(request: Request) -> dict[str, Any]:
        what = request.args.get("what")
        if not isinstance(what, dict):
            raise LabRelayError("which messages are exported?")
        await acts.note_exported(request.actor, what)
        return {}

    async def key(request: Request) -> dict[str, Any]:
        step = request.args.get("step")
        if step == "rotate":
            discard = request.args.get("discard_old") is True
            return await acts.rotate_key(app.built.site.config.data, actor=request.actor, discard_old=discard)
        if step == "confirm":
            await acts.confirm_sheet(actor=request.actor)
        elif step in KEY_ACTS:
            await acts.note(request.actor, KEY_ACTS[step], {"key": str(request.args.get("key", ""))})
        else:
            raise LabRelayError("what about the key?")
        return {}

    return {
        "status": status,
        "key": key,
        "reload": reload,
        "retry": retry,
        "dismiss": dismiss,
        "edit": edit,
        "release": release,
        "reject": reject,
        "replay": replay,
        "replay_resume": replay_resume,
        "replay_status": replay_status,
        "replay_stop": replay_stop,
        "replay_forget": replay_forget,
        "reprocess": reprocess,
        "prune": prune,
        "backup": backup,
        "shown": shown,
        "exported": exported,
        "underway": underway,
        **{verb: switch(verb) for verb in VERBS},
    }


def raise_if_not_editable(trace: Trace) -> None:
    """Raises LabRelayError where a message is no dead letter that may be edited."""
    number = trace.message.id
    if trace.edited_as:
        raise LabRelayError(f"message {number} was edited already: it is message {trace.edited_as} now")
    if trace.message.state == "incomplete":
        raise LabRelayError(
            f"message {number} is incomplete: what came is a part, and never a result; have the analyzer send it again"
        )
    if trace.message.state != "dead" and not any(delivery.state == "dead" for delivery in trace.deliveries):
        raise LabRelayError(f"message {number} is no dead letter ({trace.message.state}); only these are edited")


def _raise_if_not_one(content: bytes, channel: ChannelRoutes) -> None:
    """Raises LabRelayError where the bytes are not one message of the channel."""
    if not content.strip():
        raise LabRelayError("the edited message is empty; to close a dead letter, use: labrelay dlq dismiss")
    try:
        parts = len(channel.message_format.split(content))
    except Exception as error:  # a fault of ours: what it is about is not told apart any further
        raise LabRelayError("the edited text cannot be read as a message") from error
    if parts != 1:
        raise LabRelayError(f"the edited text holds {parts} messages; one dead letter becomes one message")


def _as_stored(message: int, received: Received) -> Stored:
    return Stored(
        id=message,
        channel=received.channel,
        seq=0,
        payload=received.payload,
        received_us=received.received_us,
        control_id=received.control_id,
        message_type=received.message_type,
    )


def followers(app: "App") -> dict[str, Follower]:
    """What can be followed on the control socket of the running site."""

    async def tap(request: Request) -> AsyncGenerator[dict[str, Any], None]:
        channel, stages = request.args.get("channel"), request.args.get("stages")
        if channel not in app.built.channels:
            raise LabRelayError(f"there is no channel {channel}; known: {', '.join(app.built.channels)}")
        if not isinstance(stages, list) or not stages or not set(stages) <= set(STAGES):
            raise LabRelayError(f"stages are some of {', '.join(STAGES)}")
        if request.args.get("unmask") is not True:
            async with aclosing(app.taps.follow(str(channel), stages, unmask=False)) as lines:
                async for line in lines:
                    yield line
            return
        act = await app.journal.act(request.actor, "unmask", {"export": {"tap": channel, "stages": stages}})
        shown: set[int] = set()
        try:
            async with aclosing(app.taps.follow(str(channel), stages, unmask=True)) as lines:
                async for line in lines:
                    if "message" in line:
                        shown = {min(shown | {line["message"]}), max(shown | {line["message"]})}
                    yield line
        finally:
            await app.journal.act_done(act, {"first": min(shown, default=None), "last": max(shown, default=None)})

    return {"tap": tap}


def _selection(request: Request) -> Selection:
    selection = Selection.from_json(request.args.get("selection"))
    if selection.is_empty:
        raise RefusedError("nothing was selected; name messages or a filter, or say all")
    return selection


def media_type_of(site: Site, destination: str) -> str:
    """What a destination of the site takes, or empty: anything.

    Raises:
        LabRelayError: there is none of that name.
    """
    config = site.config.destinations.get(destination)
    if config is None:
        raise LabRelayError(f"there is no destination {destination}; known: {', '.join(site.config.destinations)}")
    return {"fhir": FHIR, "mllp": MEDIA_TYPES["hl7v2"]}.get(config.kind, "")


def _order(selection: Selection, to: str, takes: str, rate: float) -> Order:
    only = None if selection.destination is None else frozenset({selection.destination})
    return Order(destinations=only, to=to, takes=takes, states=replay_states(selection), rate=rate)


def _rate(given: Any) -> float:
    if not isinstance(given, int | float) or not 0 < given <= 100_000:
        raise LabRelayError("rate must be a number of messages per second above 0")
    return float(given)


def _number(request: Request) -> int:
    number = request.args.get("number")
    if not isinstance(number, int):
        raise LabRelayError("which replay?")
    return number


def _dry_run(request: Request) -> bool:
    return request.args.get("dry_run") is True


def _answer(count: int, act: int | None, done: Mapping[str, int], *, going_on: bool = False) -> dict[str, Any]:
    return {"count": count, "act": act, "done": dict(done), "going_on": going_on}


def _bounded(count: int) -> None:
    if count > MAX_SELECTED:
        raise RefusedError(f"more than {MAX_SELECTED} selected; narrow it by time or channel")


def _has(reader: Reader, wanted: Filter, number: int) -> bool:
    page = reader.messages(wanted, before_id=number + 1, limit=1)
    return bool(page) and page[0].id == number


def _chunks(chosen: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for at in range(0, len(chosen), size):
        yield chosen[at : at + size]
