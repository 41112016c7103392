"""Tokens of patients who have shared their profile at a counter.

A token is counted for each laboratory, counter and day. It counts once the gateway has taken our answer: then its row
names the patient, by his number alone, and the profile is here, sealed, until its messages are made
(`share_messages`); where no channel wants them it is deleted at once.

The messages that tell laboratory systems of patients who have shared their profile: one of each token, made once.

The message and the note that it is made are one transaction. One that cannot be written is a dead letter of its channel
(`NOT_WRITTEN`), and the next ones go on.

Reading the tokens of patients who have shared their profile at a counter.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from engine.features.abdm.rows import change, contexts, patients, sealing
from engine.features.abdm.rows.contexts import Context
from engine.features.abdm.rules.abha import masked_name
from engine.features.abdm.rules.shares import Profile, Shared
from engine.model.errors import IntegrityError
from engine.model.message import Received, Stored
from engine.model.texts.reasons import ReasonCode
from engine.model.values import value
from engine.store.core.connecting import Rows
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import append
from engine.store.queries.reader import Reader
from engine.store.queries.reader import Rows as Read

TABLE = "abdm_share"
MOST_TOKENS = 9_999  # of one counter and day
VALID_US = 1_800_000_000  # one who scans again within this time has the same token


@value(kw_only=True)
class Token:
    """``number``: of its row. ``is_new``: no token of his was in force."""

    number: int
    token: int
    until_us: int
    is_new: bool


def take(batch: Batch, facility: str, counter: str, patient: int, pending: int) -> Token | None:
    """Give a patient a token, or the one that he has; None: the counter has given all of this day.

    Args:
        patient: 0: he is not known yet.
        pending: number of a token of his that does not count yet; 0: there is none.
    """
    row = batch.execute(
        "SELECT number, token, until_us FROM abdm_share WHERE (number = ? OR (patient = ? AND patient > 0"
        " AND facility = ? AND counter = ?)) AND until_us > ? ORDER BY number DESC LIMIT 1",
        (pending, patient, facility, counter, batch.now_us),
    ).fetchone()
    if row is not None:
        return Token(number=row[0], token=row[1], until_us=row[2], is_new=False)
    day = batch.day_of(batch.now_us)
    (token,) = batch.execute(
        "SELECT coalesce(max(token), 0) + 1 FROM abdm_share WHERE facility = ? AND counter = ? AND day = ?",
        (facility, counter, day),
    ).fetchone()
    if token > MOST_TOKENS:
        return None
    (number,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM abdm_share").fetchone()
    until_us = batch.now_us + VALID_US
    batch.execute(
        "INSERT INTO abdm_share (number, facility, counter, day, token, patient, until_us, made_us, changed_us,"
        " content) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, x'')",
        (number, facility, counter, day, token, until_us, batch.now_us, batch.now_us),
    )
    return Token(number=number, token=token, until_us=until_us, is_new=True)


def count(batch: Batch, number: int, patient: int, profile: Profile) -> None:
    """A token counts; nothing follows where it counted before."""
    batch.execute(
        "UPDATE abdm_share SET patient = ?, changed_us = ?, content = ? WHERE number = ? AND patient = 0",
        (patient, batch.now_us, sealing.sealed(batch, TABLE, "content", number, asdict(profile)), number),
    )


def waiting(rows: Rows, facility: str, reasons: Collection[str], most: int) -> list[Context]:
    """The newest reports of a facility that wait for a patient for one of these reasons."""
    select = (
        "SELECT number FROM abdm_context WHERE state = 'waiting' AND facility = ? AND patient = 0"  # noqa: S608 - question marks
        f" AND reason IN ({', '.join('?' * len(reasons))}) ORDER BY number DESC LIMIT ?"
    )
    found = rows.execute(select, (facility, *reasons, most)).fetchall()
    return [one for (number,) in found if (one := contexts.by_number(rows, number)) is not None]


def give(batch: Batch, numbers: Iterable[int], patient: int) -> None:
    """Reports that waited are this patient's."""
    batch.executemany(
        "UPDATE abdm_context SET patient = ?, state = 'ready', reason = '', changed_us = ?"
        " WHERE number = ? AND state = 'waiting'",
        [(patient, batch.now_us, number) for number in numbers],
    )


def forget(batch: Batch, patient: int) -> None:
    """The patient has left the network, or is erased: no message is made of what he has shared."""
    batch.execute(
        "UPDATE abdm_share SET content = x'', patient = 0, changed_us = ? WHERE patient = ?", (batch.now_us, patient)
    )


def sweep(batch: Batch, before_us: int, most: int) -> bool:
    """Delete tokens of long ago; return True where there may be more. The newest stays: numbers are counted from it."""
    rows = batch.execute(
        "SELECT number FROM abdm_share WHERE changed_us < ? AND number < (SELECT max(number) FROM abdm_share)"
        " ORDER BY changed_us LIMIT ?",
        (before_us, most),
    ).fetchall()
    batch.executemany("DELETE FROM abdm_share WHERE number = ?", rows)
    return len(rows) == most


def to_announce(rows: Rows) -> bool:
    """Whether a token waits for its messages."""
    return rows.execute("SELECT 1 FROM abdm_share WHERE content <> x'' LIMIT 1").fetchone() is not None


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


def has_shares(reader: Reader) -> bool:
    """Whether a patient has shared his profile and no message was made of it."""
    with reader.snapshot() as execute:
        return to_announce(Read(execute, reader.vault))


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token of the day. ``name``: of the patient, masked but for first letters; empty: he has left."""

    facility: str
    counter: str
    token: int
    made_us: int
    until_us: int
    name: str = field(repr=False)


def tokens(reader: Reader, day: str, most: int) -> list[TokenView]:
    """The newest tokens of a day (ISO, in the site's zone), for the desk."""
    with reader.snapshot() as execute:
        rows = Read(execute, reader.vault)
        found = execute(
            "SELECT facility, counter, token, made_us, until_us, patient FROM abdm_share WHERE day = ?"
            " ORDER BY number DESC LIMIT ?",
            (day, most),
        ).fetchall()
        return [
            TokenView(facility, counter, token, made_us, until_us, _name(rows, patient))
            for facility, counter, token, made_us, until_us, patient in found
        ]


def _name(rows: Rows, patient: int) -> str:
    one = patients.by_number(rows, patient)
    return masked_name(one.person.name) if one is not None and one.person is not None else ""
