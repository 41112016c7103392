"""An act that comes with a key is carried out once: the same key gets the answer of the act that was done.

The key is in the journal before the act begins, and the answer once it has ended, so that a restart changes nothing
(`engine.store.operations.kept_answers`). An act goes on without a waiting caller, who may come again. One that was
begun and has no answer may have been done: it is not begun again.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import orjson

from engine.actions import control
from engine.actions.control import Request
from engine.actions.declaring import Verb
from engine.model import errors
from engine.model.texts.phrases import R_
from engine.store.journal import Journal
from engine.store.operations import kept_answers
from engine.store.queries.acts import is_kept

logger = logging.getLogger("labrelay.actions")

OTHER_BODY = "give another key with another request"
CUT_SHORT = R_("this was cut short, and may have been done. Look before you do it again")
AT_ONCE = R_("too many acts are under way. Please try again in a moment")
ANSWERED = 1  # `Kept.status` of an act that has an answer
_TRACE_BYTES = 8
_LATER = (errors.LockedError, errors.LockedOutError, errors.OccupiedError, errors.UnreachableError, errors.StoreError)
_FOR_GOOD = (errors.AbsentError, errors.ErasedError, errors.TooSlowError)  # errors of a store that works


Work = Callable[[], Awaitable[Mapping[str, Any]]]


class Room(NamedTuple):
    """How many acts of these callers may be under way, and how many are kept within two days.

    Programs end where persons do not: no program takes the place of a person.
    """

    under_way: int
    kept: int


PROGRAMS, PERSONS = Room(32, 100_000), Room(96, 110_000)


class Answer(NamedTuple):
    """What became of an act.

    Attributes:
        result: of the verb; empty where it was refused.
        error: why it was not done; None: it was.
        trace: an id of the refusal, for the log and the caller.
        again: it was given to an earlier request with the same key.
    """

    result: Mapping[str, Any]
    error: Exception | None = None
    trace: str = ""
    again: bool = False

    def packed(self) -> bytes:
        """As the journal keeps it: an error by its kind and its words, that of a fault of ours without them."""
        if self.error is None:
            return orjson.dumps({"result": self.result})
        words = control.said(self.error) if isinstance(self.error, errors.LabRelayError) else {}
        return orjson.dumps({"trace": self.trace, **words})

    @classmethod
    def unpacked(cls, packed: bytes) -> "Answer":
        given = orjson.loads(packed)
        if "result" in given:
            return cls(given["result"], again=True)
        error = control.error_of(given) if "error" in given else RuntimeError("the act failed inside, earlier")
        return cls({}, error, given["trace"], again=True)


class KeptActs:
    """Acts, each given once for each key.

    Attributes:
        verbs: of the control socket.
    """

    def __init__(self, verbs: Mapping[str, Verb], journal: Journal) -> None:
        self.verbs = verbs
        self._journal = journal
        self._under_way: dict[bytes, tuple[bytes, asyncio.Future[Answer]]] = {}  # by key: request, and answer

    def given(self, verbs: Mapping[str, Verb]) -> "KeptActs":
        """The same, of other verbs: a key is one caller's, and counts for both."""
        other = KeptActs(verbs, self._journal)
        other._under_way = self._under_way
        return other

    async def stop(self) -> None:
        """End what is under way; a key without an answer stays one."""
        tasks = [task for _, task in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def give(self, asked: Request, key: Sequence[bytes], said: Sequence[bytes], room: Room = PERSONS) -> Answer:
        """Carry out an act, or answer it again; all else as of `once`."""
        return await self.once(asked.actor, key, said, partial(self.verbs[asked.verb].work, asked), room)

    async def once(
        self, actor: str, key: Sequence[bytes], said: Sequence[bytes], work: Work, room: Room = PERSONS
    ) -> Answer:
        """Do some work, or answer it again.

        Args:
            key: of the caller's own.
            said: all that another request with the same key must not differ in.

        Raises:
            LabRelayError: it was not begun; or it could not be done just now, and the same key is tried again.
        """
        token, digest = self._token(actor, key), self._journal.vault.request_token(*said)
        if token not in self._under_way:
            if len(self._under_way) >= room.under_way:
                raise errors.OccupiedError(AT_ONCE)
            begun = asyncio.ensure_future(self._begin(token, digest, work, room))
            self._under_way[token] = digest, begun
            begun.add_done_callback(lambda ended: self._ended(token, ended))
        same, task = self._under_way[token]
        if same != digest:
            raise errors.ProblemError("other-body", OTHER_BODY)
        return await asyncio.shield(task)

    async def was_given(self, actor: str, key: Sequence[bytes]) -> bool:
        """Whether `give` would answer by an act that was begun before."""
        token = self._token(actor, key)
        return token in self._under_way or await asyncio.to_thread(is_kept, self._journal, token)

    def _token(self, actor: str, key: Sequence[bytes]) -> bytes:
        return self._journal.vault.request_token(actor.encode(), *key)

    def _ended(self, token: bytes, task: asyncio.Future[Answer]) -> None:
        del self._under_way[token]
        if not task.cancelled():
            task.exception()  # a waiting caller gets it

    async def _begin(self, token: bytes, digest: bytes, work: Work, room: Room) -> Answer:
        kept = await self._journal.run(kept_answers.begin, token, digest, most=room.kept)
        if kept is None:
            return await self._carry_out(token, work)
        if kept.request != digest:
            raise errors.ProblemError("other-body", OTHER_BODY)
        if not kept.status:
            raise errors.CutShortError(CUT_SHORT)
        return Answer.unpacked(kept.answer)

    async def _carry_out(self, token: bytes, work: Work) -> Answer:
        try:
            answer = Answer(orjson.loads(orjson.dumps(await work(), default=str)))  # as it will be given again
        except _LATER as error:
            if not isinstance(error, _FOR_GOOD):
                await self._passed_over(token, error)
                raise
            answer = _refused(error)
        except Exception as error:
            answer = _refused(error)
        with suppress(errors.StoreError):  # then the key stays without an answer, and the act is not begun again
            await self._journal.run(kept_answers.end, token, ANSWERED, answer.packed())
        return answer

    async def _passed_over(self, token: bytes, error: Exception) -> None:
        """An act that could not be done just now has no answer that is kept: the same key is tried again, unless the
        store failed amid the act. A part may be done then, so the key stays one without an answer.
        """
        if not isinstance(error, errors.StoreError) or isinstance(error, errors.NoRoomError):
            with suppress(errors.StoreError):
                await self._journal.run(kept_answers.forget, token)


def _refused(error: Exception) -> Answer:
    answer = Answer({}, error, secrets.token_hex(_TRACE_BYTES))
    if not isinstance(error, errors.LabRelayError):
        logger.error("an act failed inside", extra={"trace": answer.trace}, exc_info=error)
    return answer
