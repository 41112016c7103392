"""What comes of a delivery whose results a newer message has had delivered: sent, closed, or kept for a person.

An older result never takes the place of a newer one, and none that nothing newer has is lost.
"""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from engine.features.results.rows import hold_queue, superseding
from engine.features.results.rows.succession import overtaken, overtaken_by, would_be_superseded
from engine.features.results.rows.superseding import NewerMessage, in_words
from engine.features.rework.rows import dismissal, edit_message
from engine.model.content.search_keys import Number
from engine.model.errors import StoreError
from engine.model.journal.records import Routed
from engine.model.message import Delivery, Document, Report
from engine.model.outcome import Outcome
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.operations import record_outcome
from engine.store.operations.outbox import attempts, claims, decisions, queueing
from engine.succession.statements import loads, resources_in
from tests.engine.features.results.rows.test_held_deliveries import body, later
from tests.engine.store.operations.test_short_memories import rows
from tests.support.journals import DAY_S, received, routed, running, store
from tests.support.waiting import until

REPORT = (Report(b"r" * 16, b"p" * 16),)


def message(*results: str, order: str = "26-4711") -> bytes:
    """An HL7 message of these results, as ``GLU`` or ``GLU.2`` with a sub-id."""
    lines = ["MSH|^~\\&|LABRELAY", "PID|1", f"OBR|1||{order}|CBC^Count^L"]
    for number, result in enumerate(results, 1):
        code, _, sub_id = result.partition(".")
        lines.append(f"OBX|{number}|NM|{code}^Name^L|{sub_id}|5.1")
    return "\r".join([*lines, "OBX|9|NM", ""]).encode()


def segments(*those: str) -> bytes:
    """An HL7 message whose order and results are these."""
    return "\r".join(["MSH|^~\\&|LABRELAY", "PID|1", *those, ""]).encode()


def reported(name: str, *results: str, status: str = "final") -> bytes:
    """As `body`, with a DiagnosticReport of this name."""
    bundle = orjson.loads(body(*results))
    listed = [{"reference": f"urn:uuid:{one}"} for one in results]
    report = {"resourceType": "DiagnosticReport", "id": name, "status": status, "result": listed}
    request = {"method": "PUT", "url": f"DiagnosticReport/{name}"}
    bundle["entry"].append({"fullUrl": f"urn:uuid:{name}", "resource": report, "request": request})
    return orjson.dumps(bundle)


GLUCOSE = "OBX|1|NM|GLU^Glucose^L||5.1"
FHIR = [
    (body("a"), [body("a", value="6")], "whole"),
    (body("a", "b"), [body("a")], "part"),  # one test of a panel is run again
    (body("a", "b"), [body("a"), body("b")], "whole"),
    (body("a", "b"), [body("c")], ""),
    (body("a", "b"), [body("c"), body("b")], "part"),
    (body("a", picture="p"), [body("a")], "part"),
    (body("a", picture="p"), [body("a", picture="p")], "whole"),
    (body("a"), [body()], "part"),  # a report without results: whatever it says, it does not say this one
    (body(update="9"), [body(update="9")], "whole"),
]
OTHERS = [
    (message("GLU", "NA"), [message("GLU", "NA")], "whole"),
    (message("GLU", "NA"), [message("K")], ""),  # another session of the same specimen
    (message("GLU", "NA"), [message("GLU")], "part"),
    (message("GLU"), [message("GLU", order="26-4712")], "part"),
    (message("GLU.1", "GLU.2"), [message("GLU.1")], "part"),
    (message("GLU.1", "GLU.2"), [message("GLU.2", "GLU.1")], "whole"),
    (message(), [message()], "whole"),
    (segments("OBR|1", "OBX|1|NM|GLU"), [segments("OBR|1", "OBX|1|NM|K")], ""),  # whatever follows the code is empty
    (segments("OBR|1", "OBX|1|NM|GLU|1", "OBX|2|NM|GLU|2"), [segments("OBR|1", "OBX|1|NM|GLU|1")], "part"),
    (segments("OBR|1", GLUCOSE), [segments("OBR|1", "OBX|1|NM|GLU^Glucose^LN||5.1")], "part"),  # of another system
    (segments("OBR|1|A7", GLUCOSE), [segments("OBR|1|A8", GLUCOSE)], "part"),
    (segments("OBR|1|A7|26|CBC", GLUCOSE), [segments("OBR|1|A7|26|CBC^Count", GLUCOSE)], "whole"),
    (b"26-4711;GLU;5.1\r\n", [b"26-4711;NA;140\r\n"], "part"),  # nobody can tell
    (body("a"), [b"26-4711;GLU;5.1\r\n"], "part"),
    (b"26-4711;GLU;5.1\r\n", [], ""),
]


@pytest.mark.parametrize(("older", "newer", "outcome"), FHIR + OTHERS)
async def test_what_newer_messages_have_had_delivered(
    tmp_path: Path, older: bytes, newer: list[bytes], outcome: str
) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((older, *newer)):
            (stored,) = await store(journal, b"%d" % number)
            made: list[Routed] = [routed(later(content, number), reports=REPORT)]
            await journal.run(record_outcome.record, stored.id, Outcome("mapped"), made)
        first, *others = await journal.run(claims.claim, "chem", "fhir", 10)
        assert await journal.run(superseding.overtaken_before_sent, first.id) == ""
        for delivery in others:
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
        assert await journal.run(superseding.overtaken_before_sent, first.id) == outcome


def ordered(status: str, test: str, *, order: str = "1||26-4711|CBC^Count^L") -> bytes:
    """An HL7 message of one order with this status (OBR-25) and one result."""
    return segments(f"OBR|{order}" + "|" * 21 + status, f"OBX|1|NM|{test}^Name^L||5.1")


# The older one has one result of a report, the newer ones others: what its status was, and theirs are.
STAGES = [
    ("final", ["final"], ""),
    ("final", ["preliminary"], ""),
    ("preliminary", ["final"], "part"),
    ("preliminary", ["final", "preliminary"], "part"),
    ("preliminary", ["preliminary", "final"], "part"),
    ("registered", ["partial"], "part"),
    ("unknown", ["partial"], "part"),
    ("unknown", ["registered"], ""),
    ("final", ["unknown"], ""),
    ("partial", ["preliminary"], "part"),
    ("preliminary", ["partial"], ""),
    ("final", ["amended"], "part"),
    ("final", ["appended"], "part"),
    ("final", ["corrected"], "part"),
    ("amended", ["corrected"], ""),
    ("corrected", ["appended"], ""),
    ("corrected", ["cancelled"], "part"),
    ("final", ["entered-in-error"], "part"),
    ("cancelled", ["entered-in-error"], ""),
    ("cancelled", ["final"], "part"),  # it would withdraw what is there
    ("entered-in-error", ["registered"], "part"),
]
IN_ORDERS = [
    ("F", "F", ""), ("F", "P", ""), ("P", "F", "part"), ("R", "P", "part"), ("A", "M", "part"), ("M", "P", ""),
    ("I", "A", "part"), ("I", "O", ""), ("", "I", ""), ("F", "", ""), ("F", "C", "part"), ("C", "X", "part"),
    ("X", "F", "part"), ("X", "X", ""),
]  # fmt: skip
REPORTS = [
    *(
        (reported("r", "a", status=own), [reported("r", f"b{n}", status=one) for n, one in enumerate(others)], outcome)
        for own, others, outcome in STAGES
    ),
    *((ordered(own, "GLU"), [ordered(other, "NA")], outcome) for own, other, outcome in IN_ORDERS),
    (reported("r", "a", status="preliminary"), [reported("s", "b")], ""),  # another report
    (body("a"), [reported("r", "b")], ""),
    (reported("r", "a", status="preliminary"), [body("b")], ""),
    (ordered("P", "GLU"), [ordered("F", "NA", order="1||26-4712|CBC^Count^L")], ""),
    (ordered("P", "GLU"), [ordered("F", "NA", order="1|A|26-4711|CBC^Count^L")], ""),
    (ordered("P", "GLU"), [ordered("F", "NA", order="1||26-4711|CHEM^Chemistry^L")], ""),
    (ordered("P", "GLU"), [ordered("F", "NA", order="2||26-4711|CBC")], "part"),
    (ordered("P", "GLU"), [segments("OBR|1", "OBX|1|NM|NA")], ""),
    (  # an order that comes twice in a message stands as its further one
        segments("OBR|1||26" + "|" * 22 + "P", "OBR|2||26" + "|" * 22 + "F", GLUCOSE),
        [segments("OBR|1||26" + "|" * 22 + "F", "OBX|1|NM|NA")],
        "",
    ),
    (
        segments("OBR|1||26" + "|" * 22 + "F", "OBR|2||26" + "|" * 22 + "P", GLUCOSE),
        [segments("OBR|1||26" + "|" * 22 + "F", "OBX|1|NM|NA")],
        "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("older", "newer", "outcome"), REPORTS)
async def test_a_report_is_not_taken_back_by_an_older_message_with_other_tests(
    tmp_path: Path, older: bytes, newer: list[bytes], outcome: str
) -> None:
    """A person who has seen it lets it go: nothing that it tells was overtaken."""
    async with running(tmp_path) as journal:
        for number, content in enumerate((older, *newer)):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record,
                stored.id,
                Outcome("mapped"),
                [replace(routed(later(content, number), reports=REPORT), joins=False)],
            )
            # The sender tells the report as a whole: one without results that it had waits for a person.
            await journal.run(hold_queue.release, [number + 1], actor="ann", reason="asked")
            (delivery,) = await journal.run(claims.claim, "chem", "fhir", 10)
            if number:
                await journal.run(attempts.settle, delivery.id, delivered_us=1)
            else:  # it is refused, and a person tries it again when the others have it
                first = delivery
                await journal.run(attempts.bury, first.id, reason=ReasonCode.REFUSED)
        await journal.run(decisions.requeue, [first.id])
        (first,) = await journal.run(claims.claim, "chem", "fhir", 10)
        assert await journal.run(superseding.overtaken_before_sent, first.id) == outcome
        assert overtaken(journal, first.id) == ""
        await journal.run(decisions.hold, [first.id], cause=ReasonCode.OVERTAKEN)
        await journal.run(hold_queue.release, [first.id], actor="ann", reason="seen")
        (released,) = await journal.run(claims.claim, "chem", "fhir", 10)
        assert await journal.run(superseding.overtaken_before_sent, released.id) == ""


@pytest.mark.parametrize(
    ("older", "newer", "outcome"),
    [
        (message("GLU", "NA"), message("K"), ""),
        (message("GLU", "NA"), message("NA", "GLU", "K"), "whole"),
        (message("GLU", "NA"), message("GLU"), "part"),
        (message("GLU"), message("GLU", order="26-4712"), "part"),
        (message("GLU"), b"26-4711;GLU;5.1\r\n", "part"),
        (message(), message("GLU"), "part"),
    ],
)
async def test_an_hl7_message_that_is_held_is_compared_result_by_result(
    tmp_path: Path, older: bytes, newer: bytes, outcome: str
) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((older, newer)):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        first, second = await journal.run(claims.claim, "chem", "fhir", 10)
        await journal.run(attempts.settle, second.id, delivered_us=1)
        assert overtaken(journal, first.id) == outcome


@pytest.mark.parametrize(("older", "newer", "outcome"), FHIR + OTHERS)
async def test_which_newer_ones_that_may_be_there_are_waited_for(
    tmp_path: Path, older: bytes, newer: list[bytes], outcome: str
) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((older, *newer)):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        first, *others = await journal.run(claims.claim, "chem", "fhir", 10)
        ids = [delivery.id for delivery in others]
        assert await journal.run(superseding.have_in_common, first.id, ids) == (outcome != "")
        await journal.run(claims.unclaim, ids)
        assert await journal.run(superseding.have_in_common, first.id, ids) == (outcome != "")
        await journal.run(dismissal.dismiss, deliveries=ids, actor="ann", reason="sent again")
        assert not await journal.run(superseding.have_in_common, first.id, ids)


BEFORE = [
    (body("a", "b"), body("a"), "whole"),
    (body("a", "b"), body("c"), ""),
    (body("a", "b"), b"26-4711;GLU;5.1\r\n", "whole"),
    (reported("r", "a"), reported("r", "b"), ""),  # the report lists both
    (reported("r", "a"), reported("s", "a"), "whole"),
    (reported("r"), reported("r"), "whole"),  # without results the reports tell
    (reported("r"), reported("s"), ""),
]


@pytest.mark.parametrize(("older", "newer", "outcome"), BEFORE)
async def test_of_what_was_delivered_before_nothing_can_be_lost(
    tmp_path: Path, older: bytes, newer: bytes, outcome: str
) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((older, newer)):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        for delivery in await journal.run(claims.claim, "chem", "fhir", 10):
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
        await journal.run(queueing.replay, [1])
        (again,) = await journal.run(claims.claim, "chem", "fhir", 10)
        assert await journal.run(superseding.overtaken_before_sent, again.id) == outcome


async def test_a_newer_one_that_cannot_be_opened_is_taken_for_the_same(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((body("a"), body("b"))):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        for delivery in await journal.run(claims.claim, "chem", "fhir", 10):
            await journal.run(attempts.settle, delivery.id, delivered_us=1)

        def damage(batch: Batch) -> None:
            batch.execute("UPDATE document SET body = x'00' WHERE id = 2")

        assert journal.writer is not None
        await journal.writer.submit(damage)
        await journal.run(queueing.replay, [1])
        (again,) = await journal.run(claims.claim, "chem", "fhir", 10)
        assert await journal.run(superseding.overtaken_before_sent, again.id) == "whole"


async def test_a_newer_one_that_is_held_keeps_none_back_unless_it_is_known_to_withdraw_it(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((body("a"), body("a", value="6"), b"A;5.1\n")):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        await journal.run(decisions.hold, [1, 2, 3], cause=ReasonCode.HELD_BY_RULE)
        assert (overtaken(journal, 1), overtaken_by(journal, 1)) == ("", [])

        def damage(batch: Batch) -> None:
            batch.execute("UPDATE document SET body = x'00' WHERE id = 2")

        assert journal.writer is not None
        await journal.writer.submit(damage)
        assert (overtaken(journal, 1), overtaken_by(journal, 1)) == ("", [])


@pytest.mark.parametrize("after_days", [0, 91, 400])
async def test_what_a_person_has_edited_is_as_old_as_its_original(tmp_path: Path, after_days: int) -> None:
    """The message that came in between is newer, also where its report was forgotten long before the edit."""
    clock, specimen = ManualClock(), (Number("specimen", "26-4711"),)
    async with running(tmp_path, clock=clock) as journal:
        original, newer = await store(journal, b"wrong", b"newer")
        await journal.run(
            record_outcome.record, original.id, Outcome("dead", ReasonCode.BAD_VALUE)
        )  # its numbers could not be read
        made: list[Routed] = [routed(body("a"), reports=REPORT)]
        await journal.run(record_outcome.record, newer.id, Outcome("mapped", numbers=specimen), made)
        (delivery,) = await journal.run(claims.claim, "chem", "fhir", 10)
        await journal.run(attempts.settle, delivery.id, delivered_us=1)
        clock.advance(after_days * DAY_S)
        await until(lambda: rows(journal, "report") == (0 if after_days else 1))
        right = received(b"right", at_us=clock.now_us())
        corrected = await journal.run(
            edit_message.correct, original.id, right, before=b"wrong", actor="ann", reason="a digit"
        )
        assert corrected.stored is not None
        await journal.run(record_outcome.record, corrected.stored.id, Outcome("mapped", numbers=specimen), made)
        (edited,) = await journal.run(claims.claim, "chem", "fhir", 10)
        assert edited.manual
        assert await journal.run(superseding.overtaken_before_sent, edited.id) == "whole"


@pytest.mark.parametrize(
    ("newer", "superseded"), [([], False), ([body("b")], False), ([body("b"), body("a")], True), ([b"A;5.1\n"], True)]
)
async def test_what_would_be_made_anew_is_superseded_where_a_newer_one_writes_the_same(
    tmp_path: Path, newer: list[bytes], superseded: bool
) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((body("a"), *newer)):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        for delivery in await journal.run(claims.claim, "chem", "fhir", 10):
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
        document = Document(body=body("a", value="6"), reports=REPORT)
        assert would_be_superseded(journal, 1, "chem", "fhir", document) is superseded
        assert would_be_superseded(journal, 1, "chem", "elsewhere", document) is False


async def test_a_delivery_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        names = {"channel": "chem", "destination": "fhir", "key": "", "media_type": ""}
        gone = Delivery(id=9, message_id=9, seq=9, body=b"", received_us=0, **names)
        with pytest.raises(StoreError, match="no delivery 9"):
            await journal.run(superseding.overtaken_before_sent, gone.id)
        with pytest.raises(StoreError, match="no delivery 9"):
            overtaken(journal, 9)


def newer(*those: tuple[int, int | None, bool]) -> list[NewerMessage]:
    return [NewerMessage(number, None if common is None else frozenset(map(str, range(common))), report)
            for number, common, report in those]  # fmt: skip


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ([], "overtaken by newer messages"),
        (newer((21, 1, False)), "overtaken by message 21"),
        (newer((21, 1, False), (23, 0, True)), "overtaken by messages 21 and 23"),
        (newer((21, None, False), (22, 1, False), (23, 2, False)), "overtaken by messages 21, 22 and 23"),
        (newer((21, 0, True)), "overtaken by message 21 (the report, not its results)"),
        (
            newer(*((number, 1, False) for number in range(1, 8))),
            "overtaken by messages 1, 2, 3, 4, 5 and 2 more",
        ),
    ],
)
def test_by_what_it_was_overtaken_is_said_in_words(by: list[NewerMessage], words: str) -> None:
    assert in_words(by) == words


BY = [
    (body("a", "b"), [body("c"), body("a")], [NewerMessage(3, frozenset("a"))]),
    (body("a", "b"), [body("b"), body("a", "b")], [NewerMessage(2, frozenset("b")), NewerMessage(3, frozenset("ab"))]),
    (message("GLU", "NA"), [message("GLU"), message("K")], [NewerMessage(2, frozenset({"GLU"}))]),
    (
        reported("r", "a", status="preliminary"),
        [reported("r", "b", status="preliminary"), reported("r", "c")],
        [NewerMessage(3, frozenset(), report=True)],
    ),
    (body("a"), [b"A;5.1\n"], [NewerMessage(2, None)]),
    (b"A;5.1\n", [body("a")], [NewerMessage(2, None)]),
    (body("a"), [body()], [NewerMessage(2, None)]),
    (body(), [body("a")], [NewerMessage(2, None)]),
    (body("a", update="9"), [body("b", update="9")], [NewerMessage(2)]),  # where no result is why, all are named
    (body("a"), [], []),
]


@pytest.mark.parametrize(("older", "others", "by"), BY)
async def test_which_newer_messages_keep_it_back(
    tmp_path: Path, older: bytes, others: list[bytes], by: list[NewerMessage]
) -> None:
    async with running(tmp_path) as journal:
        for number, content in enumerate((older, *others)):
            (stored,) = await store(journal, b"%d" % number)
            await journal.run(
                record_outcome.record, stored.id, Outcome("mapped"), [routed(later(content, number), reports=REPORT)]
            )
        first, *rest = await journal.run(claims.claim, "chem", "fhir", 10)
        for delivery in rest:
            await journal.run(attempts.settle, delivery.id, delivered_us=1)
        assert overtaken_by(journal, first.id) == by
        with pytest.raises(StoreError, match="no delivery 99"):
            overtaken_by(journal, 99)


async def test_what_a_document_tells_is_remembered_once_it_is_committed_and_within_bounds(tmp_path: Path) -> None:
    """A transaction that fails gives its numbers to the next one, whose documents are others."""
    async with running(tmp_path) as journal:
        tail = journal.tail
        tail.last_document = 10_000
        tail.keep_told(10_001, [])
        assert tail.told == {}
        some = resources_in(loads(body(*(f"r{n}" for n in range(30)))))
        for number in range(1, 10_001):
            tail.keep_told(number, some)
        assert sum(map(len, tail.told.values())) <= 20_000
        assert 10_000 in tail.told
