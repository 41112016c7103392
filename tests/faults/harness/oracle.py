"""The judge of every fault test: compares what senders and destinations wrote down with what the journal says.

It passes when

- everything acknowledged is in the journal, byte for byte;
- every message in the journal has one account: delivered, filtered, dead, dismissed, superseded, rejected, held or open
  (per destination, where it has deliveries), or incomplete, as text that a sender broke off;
- what the journal calls delivered was taken by the destination, and what a destination took is in the journal;
- what a destination took twice came under one key, and no message was taken twice under two;
- the order of each lane at the destination is that of the journal;
- `labrelay verify --deep` finds nothing.

It reads the journal as any other reader does, without the daemon's help, and asks nothing of the daemon.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from engine.model.journal.records import KIND_MESSAGE, MANUAL, RELEASED
from engine.store.integrity import verify
from engine.store.operations.dedup import TOKEN_BYTES
from engine.store.queries.bulk import running_operations
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.reader import Reader, stored_payload
from tests.faults.harness.ledger import Ledger, digest
from tests.faults.harness.tally import Tally

_SHOWN = 5  # examples of a fault
_ENDS = {"delivered", "dead", "dismissed", "superseded", "rejected", "held", "waiting", "sending"}
_OPEN = {"waiting": "open", "sending": "open", "stored": "open"}


@dataclass(slots=True)
class Judgement:
    """Attributes:
    tally: the figures.
    wrong: every way in which it does not pass, in words; never a payload.
    """

    tally: Tally = field(default_factory=Tally)
    wrong: list[str] = field(default_factory=list)

    def blame(self, words: str, which: "list[object] | list[str] | list[int]") -> int:
        if which:
            shown = ", ".join(map(str, which[:_SHOWN])) + (" ..." if len(which) > _SHOWN else "")
            self.wrong.append(f"{words}: {len(which)} ({shown})")
        return len(which)

    def must_pass(self) -> Tally:
        """
        Raises:
            AssertionError: with everything that is wrong.
        """
        assert not self.wrong, "\n".join([self.tally.line(), *self.wrong])
        return self.tally


@dataclass(frozen=True, slots=True)
class _Delivery:
    id: int
    lane: tuple[str, str]
    seq: int
    message: int
    key: str
    state: str
    flags: int


DEADLINE_S = 600.0  # for one read of all there is; after an hour under load that is a million messages


def is_settled(data: Path) -> bool:
    """Whether nothing is open in the journal; it may be asked while the daemon runs."""
    journal = Reader.beside(data)
    try:
        return not (
            any(view.stored for view in list_channels(journal))
            or any(view.open for view in list_lanes(journal))
            or running_operations(journal)  # a replay that a kill has cut short goes on after the next start
        )
    finally:
        journal.close()


def judge(
    data: Path,
    ledger: Ledger,
    *,
    settled: bool = False,
    unordered: bool = False,
    repeats_are_known: bool = True,
    deep: bool = True,
) -> Judgement:
    """Judge the journal in ``data``; the daemon may run, but what is under way is then counted as open.

    Args:
        settled: nothing may be open any more.
        unordered: the routes keep no order (``order: none``).
        repeats_are_known: the same bytes on the same channel are a repeat and must not go out as two messages.
        deep: also read every row, document and link of the chain (`engine.store.integrity.verify`).
    """
    found = Judgement()
    tally = found.tally
    tally.sent, tally.acked = len(ledger.sent), len(ledger.acked)
    journal = Reader.beside(data)
    journal.deadline_s = DEADLINE_S
    try:
        with journal.snapshot() as execute:
            messages = execute(
                "SELECT j.id, j.channel, coalesce(s.state, 'stored'), coalesce(s.reason, '') FROM journal j"
                " LEFT JOIN message_state s ON s.id = j.id WHERE j.kind = ? ORDER BY j.id",
                (KIND_MESSAGE,),
            ).fetchall()
            flagged = {
                number
                for (number,) in execute(
                    "SELECT id FROM journal WHERE kind = ? AND length(token) > ?", (KIND_MESSAGE, TOKEN_BYTES)
                )
            }
            deliveries = [
                _Delivery(row[0], (row[1], row[2]), row[3], row[4], row[5].hex(), row[6], row[7])
                for row in execute(
                    "SELECT d.id, l.channel, l.destination, d.seq, d.message_id, d.key, d.state, d.flags"
                    " FROM delivery d JOIN lane l ON l.id = d.lane ORDER BY d.id"
                )
            ]
        payloads = {row[0]: digest(stored_payload(journal, row[0])) for row in messages}
    finally:
        journal.close()

    tally.journaled = len(messages)
    _acknowledged(found, ledger, messages, payloads)
    _accounts(found, messages, deliveries, settled)
    _destinations(found, ledger, deliveries, unordered)
    if repeats_are_known:
        _repeats(found, messages, payloads, deliveries, flagged)
    if deep:
        found.blame("verify finds", [finding.text for finding in verify.run(data, deep=True)])
    return found


def _acknowledged(
    found: Judgement, ledger: Ledger, messages: list[tuple[int, str, str, str]], payloads: dict[int, str]
) -> None:
    """S is a subset of J. An incomplete text is no message: it does not redeem an acknowledgement."""
    kept = {(channel, payloads[number]) for number, channel, state, _ in messages if state != "incomplete"}
    lost = [f"{channel}:{content[:8]}" for channel, content in ledger.acked if (channel, content) not in kept]
    found.tally.lost += found.blame("acknowledged and not in the journal", lost)


def _accounts(
    found: Judgement, messages: list[tuple[int, str, str, str]], deliveries: list[_Delivery], settled: bool
) -> None:
    """Every message and every delivery ends in one of the states that P2 allows, or is open."""
    tally = found.tally
    rest: Counter[str] = Counter()
    of_message: dict[int, list[_Delivery]] = defaultdict(list)
    for delivery in deliveries:
        of_message[delivery.message].append(delivery)
    nowhere = []
    for number, _, state, _ in messages:
        if state == "mapped":
            if not of_message[number]:
                nowhere.append(number)
        elif state == "filtered":
            tally.filtered += 1
        elif state == "dead":
            tally.dead += 1
        else:
            rest[_OPEN.get(state, state)] += 1
    for delivery in deliveries:
        if delivery.state == "delivered":
            tally.delivered += 1
        elif delivery.state == "dead":
            tally.dead += 1
        else:
            rest[_OPEN.get(delivery.state, delivery.state)] += 1
    tally.rest = dict(rest)
    tally.lost += found.blame("mapped, and for no destination", nowhere)
    known = {row[0] for row in messages}
    orphans = [one.id for one in deliveries if one.message not in known]
    tally.lost += found.blame("deliveries whose message is not in the journal", orphans)
    found.blame("deliveries in a state nobody knows", [one.id for one in deliveries if one.state not in _ENDS])
    if settled and rest["open"]:
        found.wrong.append(f"still open: {rest['open']}")


def _destinations(found: Judgement, ledger: Ledger, deliveries: list[_Delivery], unordered: bool) -> None:
    tally = found.tally
    by_key: dict[tuple[str, str], list[_Delivery]] = defaultdict(list)
    for delivery in deliveries:
        by_key[delivery.lane[1], delivery.key].append(delivery)
    times = Counter((taken.destination, taken.key) for taken in ledger.taken)
    never = [
        one.id
        for one in deliveries
        if one.state == "delivered" and one.lane[1] in ledger.watched and (one.lane[1], one.key) not in times
    ]
    tally.lost += found.blame("called delivered, and never taken", never)
    unknown = [key or "(no key)" for (destination, key) in times if (destination, key) not in by_key]
    tally.dup_unflagged += found.blame("taken under a key that the journal does not know", unknown)
    tally.dup_flagged += sum(count - 1 for count in times.values())
    if unordered:
        return
    newest: dict[tuple[str, str], int] = defaultdict(int)
    late = []
    for destination, key in times:  # in the order of the first time
        for delivery in by_key.get((destination, key), ())[:1]:
            if delivery.flags & (MANUAL | RELEASED):  # a person took it out of its place
                continue
            if delivery.seq < newest[delivery.lane]:
                late.append(delivery.id)
            newest[delivery.lane] = max(newest[delivery.lane], delivery.seq)
    tally.reordered += found.blame("taken out of order", late)


def _repeats(
    found: Judgement,
    messages: list[tuple[int, str, str, str]],
    payloads: dict[int, str],
    deliveries: list[_Delivery],
    flagged: set[int],
) -> None:
    """The same bytes of the same channel must not have become two messages that are both delivered, unless the second
    is flagged: nothing showed that it was a repeat."""
    delivered = {one.message for one in deliveries if one.state == "delivered"} - flagged
    found.tally.dup_flagged += len(flagged)
    times = Counter((channel, payloads[number]) for number, channel, _, _ in messages if number in delivered)
    twice = [f"{channel}:{content[:8]}" for (channel, content), count in times.items() if count > 1]
    found.tally.dup_unflagged += found.blame("the same bytes were delivered as two messages", twice)
