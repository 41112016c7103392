"""Blocks that come whole while the reader waits: they are stored and answered without a step of the reader's task.

    one read of the socket = one block = one message        as nearly always, where a sender waits for each answer

All else is the reader's (`engine.receiving.channel`): other bytes, several messages, large ones, bytes that come while
a block is under way, and whatever fails. So there is one block under way on a connection, here or there, and answers
keep their order.

Invariant (P1), as there: the answer is written in the callback of the journal's future for the message.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, cast

from engine.model.errors import StoreError
from engine.model.message import Stored
from engine.model.ports import BlockLink, PushingStream
from engine.model.process.receive_memory import SMALL_BYTES
from engine.receiving.channel_parts import Connection


class BlockChannel(Protocol):
    """The channel of the connection, as far as a block needs it.

    Attributes:
        answers_when_durable: a stored message is answered, and its deliveries are not waited for.
    """

    answers_when_durable: bool

    def store_block(self, connection: Connection, payload: bytes) -> "asyncio.Future[Stored] | None":
        """Hand the message to the journal; None where the block is not one message and nothing else.

        Raises:
            StoreError: the journal takes nothing.
        """

    def answer_block(self, connection: Connection, payload: bytes) -> bytes:
        """The framed answer to a block that is stored; may be empty."""

    def block_durable(self, connection: Connection, stored: Stored, *, answered: bool) -> None:
        """Count it, and have it processed. ``answered``: the answer was written."""


@contextmanager
def taken(channel: BlockChannel, connection: Connection) -> Iterator[None]:
    """Take whole blocks of a connection within this context, where its stream and its link can do so."""
    can = hasattr(connection.stream, "taker") and hasattr(connection.link, "whole")
    if not can or not channel.answers_when_durable:
        yield
        return
    pushing = cast(PushingStream, connection.stream)
    pushing.taker = partial(_take, channel, connection)
    try:
        yield
    finally:
        pushing.taker = None


def _take(channel: BlockChannel, connection: Connection, data: bytes) -> bool:
    """Hand a whole block to the journal. False: the reader has to take the bytes."""
    if not connection.heard or connection.held or len(data) > SMALL_BYTES:
        return False
    block = cast(BlockLink, connection.link).whole(data)
    if block is None:
        return False
    try:
        future = channel.store_block(connection, block.payload)
    except StoreError:
        return False
    if future is None:
        return False
    future.add_done_callback(partial(_stored, channel, connection, block.payload))
    return True


def _stored(channel: BlockChannel, connection: Connection, payload: bytes, done: "asyncio.Future[Stored]") -> None:
    """Answer, then have the message processed. What was not stored the reader stores again, and handles the error."""
    stream = cast(PushingStream, connection.stream)
    if done.exception() is not None:
        stream.go_on(connection.link.wrap(payload))
        return
    error: Exception | None = None
    try:
        if answer := channel.answer_block(connection, payload):
            stream.send(answer)
    except Exception as failed:  # the reader raises it, as if it had answered
        error = failed
    stream.go_on(error=error)
    channel.block_durable(connection, done.result(), answered=error is None)
