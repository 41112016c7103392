"""Random histories of orders, cancels, questions, answers and results, against plain dictionaries.

`Expected` is written from the rules in docs/orders.md. Steps are rolled back at random, as a crash does.
"""

from pathlib import Path
from random import Random
from typing import Any

from engine.features.orders import rows as worklist
from engine.model.orders import Asked, OrderedPatient, OrderLine, Question
from engine.model.worklist import AskSettings, ResultOf, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from tests.support.journals import running

HISTORIES = 2_400
AT_ONCE = 200
STEPS = 14
CODES = {"GLU": "10", "UREA": "20"}
CHANNELS = ("chem", "chem2")
SETTINGS = TakeSettings(known_channels={channel: frozenset(CODES) for channel in CHANNELS})
OPEN = ("waiting", "held", "offered", "cancel_pending")

Item = dict[str, Any]


class Expected:
    """The worklist of one history: items in the order of their numbers."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.items: list[Item] = []

    def number(self, item: Item) -> int:
        return self.first + self.items.index(item)

    def order(self, line: OrderLine) -> None:
        content = (line.specimen, line.patient.number, line.dilution)
        same = [one for one in self.items if (one["placer"], one["test"]) == (line.placer, line.test)]
        state, after = "waiting", same[-1] if same and same[-1]["state"] == "cancel_pending" else None
        if same and after is None and same[-1]["state"] != "cancelled":
            if same[-1]["content"] == content:
                return
            state = "held"
        tube = [one for one in self.items if one["specimen"] == line.specimen]
        tied = [one for one in tube if one["state"] in (*OPEN, "resulted") or one["known"] or one["under_way"]]
        if any(one["patient"] != line.patient.number for one in tied):
            state = "held"
            for one in tube:
                if one["state"] in ("waiting", "offered"):
                    one["state"] = "held"
        self.items.append({
            "placer": line.placer, "test": line.test, "content": content, "specimen": line.specimen,
            "patient": line.patient.number, "state": state, "known": False, "under_way": "", "channel": "",
            "after": after,
        })  # fmt: skip

    def cancel(self, placer: str, test: str) -> None:
        for one in self.items:
            if (one["placer"], one["test"]) == (placer, test) and one["state"] in OPEN:
                has = one["known"] or one["under_way"] or one["state"] in ("offered", "cancel_pending")
                one["state"] = "cancel_pending" if has else "cancelled"

    @staticmethod
    def waits_for_another(item: Item) -> bool:
        """Whether the version before it is cancelled, and an analyzer may still have that."""
        return item["after"] is not None and item["after"]["state"] in OPEN

    def ask(self, channel: str, specimen: str) -> list[Item]:
        tube = [one for one in self.items if one["specimen"] == specimen]
        if len({one["patient"] for one in tube if one["state"] in ("waiting", "offered", "cancel_pending")}) > 1:
            return []
        found = [
            one
            for one in tube
            if one["state"] in ("waiting", "offered")
            and not self.waits_for_another(one)
            and not (one["channel"] != channel and (one["state"] == "offered" or one["under_way"]))
        ]
        for one in found:
            one["under_way"] = one["channel"] = channel
        return found

    def settle(self, found: list[Item], how: str) -> None:
        for one in found:
            one["under_way"] = ""
            one["known"] = one["known"] or how != "not"
            if how == "sent" and one["state"] == "waiting":
                one["state"] = "offered"
            elif how == "maybe" and one["state"] == "offered":
                one["state"] = "waiting"
            elif how == "not" and one["state"] == "cancel_pending" and not one["known"]:
                one["state"] = "cancelled"

    def result(self, channel: str, specimen: str, test: str, patient: str) -> None:
        near = [one for one in self.items if (one["specimen"], one["test"]) == (specimen, test)]
        near = [one for one in near if patient in ("", one["patient"])]
        with_analyzer = [one for one in near if one["state"] in ("offered", "cancel_pending")]
        here = [one for one in with_analyzer if one["channel"] == channel]
        chosen = (
            here or with_analyzer or [one for one in near if one["state"] in OPEN and not self.waits_for_another(one)]
        )
        if not chosen:
            chosen = [one for one in near if one["state"] == "resulted"][-1:]
        if not chosen:
            chosen = [one for one in near if one["state"] == "cancelled"][-1:]
        for one in chosen:
            one["known"] = True
            if one["state"] in ("waiting", "offered", "cancel_pending"):
                one["state"] = "resulted"


def history(batch: Batch, random: Random, name: int, first: int, message: int) -> Expected:
    expected = Expected(first)
    pending: dict[str, tuple[int, list[Item]]] = {}
    specimens = [f"{name}-1", f"{name}-01", f"{name}-1a"]

    def settle(channel: str) -> None:
        query, found = pending.pop(channel)
        how = random.choice(("sent", "sent", "not", "maybe"))
        ids = [expected.number(one) for one in found]
        if how == "sent":
            back = worklist.offered(batch, query, ids, channel, 1)
            gone = [expected.number(one) for one in found if one["state"] not in ("waiting", "offered")]
            assert back == gone
        else:
            worklist.not_offered(batch, query, ids, "test", maybe=how == "maybe")
        expected.settle(found, how)

    for step in range(STEPS):
        message += 1
        kind = random.choice(("order", "order", "cancel", "ask", "ask", "settle", "result"))
        channel, specimen = random.choice(CHANNELS), random.choice(specimens)
        line = OrderLine(
            placer=f"{name}-{random.randrange(3)}", test=random.choice(tuple(CODES)), specimen=specimen,
            patient=OrderedPatient(number=f"{name}-{random.choice('AAAAB')}"), dilution=random.choice(("", "", "1:5")),
        )  # fmt: skip
        crashes = random.random() < 0.15
        if crashes:
            batch.execute("SAVEPOINT crash")
        if kind == "order":
            worklist.take_orders(batch, message, "his", [line], SETTINGS)
            if not crashes:
                expected.order(line)
        elif kind == "cancel":
            cancel = OrderLine(action="cancel", placer=line.placer, test=line.test)
            worklist.take_orders(batch, message, "his", [cancel], SETTINGS)
            if not crashes:
                expected.cancel(line.placer, line.test)
        elif kind == "result":
            patient = random.choice(("", line.patient.number))
            worklist.result(batch, message, channel, specimen, patient, [ResultOf(test=line.test)])
            if not crashes:
                expected.result(channel, specimen, line.test, patient)
        elif kind == "ask" and channel not in pending:
            question = Question(kind="specimens", asked=(Asked(specimen=specimen),))
            answered = worklist.answer(batch, message, question, AskSettings(channel=channel, codes=CODES))
            (tube,) = answered.tubes
            assert {one.line.specimen for one in tube.items} <= {specimen}
            assert len({one.line.patient for one in tube.items}) <= 1
            if not crashes:
                found = expected.ask(channel, specimen)
                assert [one.number for one in tube.items] == [expected.number(one) for one in found]
                pending[channel] = answered.query, found
        elif kind == "settle" and channel in pending and not crashes:
            settle(channel)
        if crashes:
            batch.execute("ROLLBACK TO crash")
            batch.execute("RELEASE crash")
        states = [
            row[0] for row in batch.execute("SELECT state FROM order_item WHERE number >= ? ORDER BY number", (first,))
        ]
        assert states == [one["state"] for one in expected.items], (name, step, kind)
    return expected


async def test_no_tube_gets_the_orders_of_another_and_no_order_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "data"

    def several(batch: Batch, start: int) -> int:
        (first,) = batch.execute("SELECT coalesce(max(number), 0) + 1 FROM order_item").fetchone()
        for name in range(start, start + AT_ONCE):
            first += len(history(batch, Random(name), name, first, name * 100).items)
        return first - 1

    taken = 0
    async with running(data) as journal:
        for start in range(0, HISTORIES, AT_ONCE):
            taken = await journal.writer.submit(lambda batch, start=start: several(batch, start))
    assert taken > HISTORIES
    assert verify.run(data) == []
