"""The messages that tell laboratory systems of patients who have shared their profile: one of each token, made once.

The message and the note that it is made are one transaction. One that cannot be written is a dead letter of its channel
(`NOT_WRITTEN`), and the next ones go on.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from engine.features.abdm.rows import sealing
from engine.features.abdm.rows.shares import TABLE
from engine.features.abdm.rows.tables import change
from engine.features.abdm.rules.shares import Profile, Shared
from engine.model.errors import IntegrityError
from engine.model.message import Received, Stored
from engine.model.reasons import ReasonCode
from engine.model.values import value
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
from engine.store.operations import append

AT_ONCE = 100

logger = logging.getLogger("labrelay.abdm")


@value(kw_only=True)
class Listener:
    """A channel of messages about patients who share their profile.

    Attributes:
        facilities: whose; empty: all.
    """

    channel: str
    facilities: Sequence[str]
    write: Callable[[Shared], Received]


@operation(priority=Priority.RECEIVE)
def announce(batch: Batch, listeners: Sequence[Listener]) -> list[Stored]:
    """Make the messages of the oldest tokens, some at once; return them in their order."""
    rows = batch.execute(
        "SELECT number, facility, counter, day, token, made_us, content FROM abdm_share WHERE content <> x''"
        " ORDER BY number LIMIT ?",
        (AT_ONCE,),
    ).fetchall()
    made: list[Stored] = []
    for number, facility, counter, day, token, made_us, content in rows:
        try:
            said: Mapping[str, str] = sealing.opened(batch, TABLE, "content", number, content)
        except IntegrityError:  # `labrelay verify` has named the row
            said = {}
        if said:
            shared = Shared(
                number=number, facility=facility, counter=counter, day=day, token=token, at_us=made_us,
                profile=Profile(**said),
            )  # fmt: skip
            for one in listeners:
                if not one.facilities or facility in one.facilities:
                    made += _message(batch, one, shared)
        change(batch, "abdm_share", number, content=b"")
    return made


def _message(batch: Batch, listener: Listener, shared: Shared) -> list[Stored]:
    try:
        made = listener.write(shared)
    except Exception as error:  # an error of ours costs this message alone; its words may name the patient
        logger.error(
            "a shared profile cannot be written", extra={"channel": listener.channel, "cause": type(error).__name__}
        )
        text = f"LabRelay could not write the message of token {shared.number}."
        lost = Received(channel=listener.channel, payload=text.encode(), received_us=batch.now_us)
        append.store_dead(batch, lost, ReasonCode.NOT_WRITTEN, type(error).__name__)
        return []
    return [append.store_message(batch, made, repeat_window_s=0.0)]
