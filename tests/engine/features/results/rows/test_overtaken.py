"""What comes of a delivery whose results a newer message has had delivered, where its facts are lost, where it was
delivered before, and how that is said. `tests.results.test_older_results` has the cases of every output.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.features.results.rows import superseding
from engine.features.results.rows.hold_queue import in_words
from engine.features.results.rows.succession import overtaken, overtaken_by, would_be_superseded
from engine.features.results.rows.superseding import NewerMessage, newer_of
from engine.features.rework.rows import edit_message
from engine.model.errors import StoreError
from engine.model.journal.records import NO_DECISION, Decision
from engine.model.message import Document, Received, Stored
from engine.model.routes import routed_by
from engine.processing.process import process
from engine.store.core.writing.batch import Batch
from engine.store.operations import append, record_outcome
from engine.store.operations.outbox import attempts, decisions, queueing
from engine.succession.judge import judging
from engine.succession.statements import loads, resources_in
from tests.engine.features.results.rows.test_held_deliveries import body
from tests.results.test_judged_by_place import NOON, Desk, desk, message
from tests.support.journals import WINDOW_S, running

ROUTE = {"mapping": "hl7-results", "to": "out1"}
BOTH = ("F GLU 5.5", "F NA 140")


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path, ROUTE) as it:
        yield it


def tell(it: Desk, number: int, *results: str, refused: bool = False, days: float = 0) -> int:
    when = NOON + timedelta(days=days, hours=number)
    return it.say("hl7", message(*results, number=number), when, refused=refused)


def delivery_of(it: Desk, number: int) -> int:
    found = it.ask("SELECT id FROM delivery WHERE message_id = ? ORDER BY id DESC LIMIT 1", number)
    return int(found[0][0])


def becomes(it: Desk, number: int) -> str:
    return it.journal.run_alone(superseding.overtaken_before_sent, delivery_of(it, number))


def again(it: Desk, number: int) -> None:
    """It was delivered, and a person sends it once more."""
    it.journal.run_alone(queueing.replay, [number])


@pytest.mark.parametrize("lost", ["DELETE FROM fact", "UPDATE fact SET content = x'00'"], ids=["gone", "damaged"])
@pytest.mark.parametrize("of", [1, 2])
def test_where_facts_are_lost_a_person_decides(it: Desk, lost: str, of: int) -> None:
    tell(it, 1, *BOTH, refused=True)
    tell(it, 2, "F K 4.4")
    assert becomes(it, 1) == ""
    it.ask_to(f"{lost} WHERE message_id = ?", of)
    assert becomes(it, 1) == "part"
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, 1)) == "part"
    (by,) = it.journal.run_alone(superseding.overtaken_by, delivery_of(it, 1))
    assert by == NewerMessage(2, None)
    assert it.journal.run_alone(newer_of, 1) == {2}


@pytest.mark.parametrize(
    ("newer", "expected"), [("C GLU 6.5", "whole"), ("F K 4.4", ""), ("lost", "whole")], ids=["in part", "not", "lost"]
)
def test_of_what_was_delivered_before_nothing_can_be_lost(it: Desk, newer: str, expected: str) -> None:
    tell(it, 1, *BOTH)
    tell(it, 2, "F K 4.4" if newer == "lost" else newer)
    if newer == "lost":
        it.ask_to("DELETE FROM fact WHERE message_id = 2")
    again(it, 1)
    assert becomes(it, 1) == expected


@pytest.mark.parametrize(
    ("newer", "expected"),
    [("F GLU 6.5", True), ("F K 4.4", False), ("lost", True)],
    ids=["the test", "another", "lost"],
)
def test_which_newer_ones_that_may_be_there_are_waited_for(it: Desk, newer: str, expected: bool) -> None:
    tell(it, 1, *BOTH, refused=True)
    tell(it, 2, "F K 4.4" if newer == "lost" else newer, refused=True)
    if newer == "lost":
        it.ask_to("DELETE FROM fact WHERE message_id = 2")
    first, second = delivery_of(it, 1), delivery_of(it, 2)
    it.journal.run_alone(decisions.requeue, [first, second])
    assert it.journal.run_alone(superseding.have_in_common, first, [second]) is expected
    it.ask_to("UPDATE delivery SET state = 'dismissed' WHERE id = ?", second)
    assert not it.journal.run_alone(superseding.have_in_common, first, [second])


@pytest.mark.parametrize("days", [0, 91, 400])
def test_what_a_person_has_edited_is_as_old_as_its_original(it: Desk, days: int) -> None:
    """The message that came in between is newer, also years later."""
    wrong = message("F GLU 55").replace(b"|S1|", b"|S9|")
    original = it.say("hl7", wrong, NOON, refused=True)
    tell(it, 2, "F GLU 6.5")
    it.clock.at = NOON + timedelta(days=days, hours=3)
    right = Received(channel="hl7", payload=message("F GLU 5.5"), received_us=it.clock.now_us(), message_type="ORU^R01")
    edited = it.journal.run_alone(edit_message.correct, original, right, before=wrong, actor="ann", reason="a digit")
    assert edited.stored is not None
    record(it, edited.stored.id)
    assert becomes(it, edited.stored.id) == "part", "a person decides: the newer one was judged without it"


def record(it: Desk, number: int, decision: Decision = NO_DECISION) -> None:
    def recorded(batch: Batch) -> None:
        channel, seq, received_us, sealed = batch.execute(
            "SELECT channel, seq, received_us, body FROM journal WHERE id = ?", (number,)
        ).fetchone()
        stored = Stored(
            id=number, channel=channel, seq=seq, received_us=received_us,
            payload=batch.vault.open(sealed, "body", number, channel),
        )  # fmt: skip
        outcome = process(stored, it.routes["hl7"])
        routed = [routed_by(route, document) for document, route in outcome.documents]
        record_outcome.record(batch, number, outcome, routed, decision=decision)

    it.journal.run_alone(recorded)


@pytest.mark.parametrize(
    ("newer", "expected"),
    [(["F GLU 6.5 1130"], "part"), (["C GLU 6.5"], "whole"), (["F K 4.4"], ""), (["F GLU 5.5"], "whole")],
    ids=["run again", "corrected", "other tests", "the same"],
)
def test_one_that_gets_its_outcome_late_is_compared_with_those_behind_it(
    it: Desk, newer: list[str], expected: str
) -> None:
    """Nothing of it was known when they were judged: a person decides, unless they say its time of measurement."""
    it.clock.at = NOON
    received = Received(
        channel="hl7", payload=message("F GLU 5.5"), received_us=it.clock.now_us(), message_type="ORU^R01"
    )
    late = it.journal.run_alone(append.store_message, received, repeat_window_s=WINDOW_S)
    it.say("hl7", message(*newer, number=2), NOON)
    it.decide("release", 2)
    record(it, late.id)
    assert becomes(it, late.id) == expected


def late(it: Desk, content: bytes) -> int:
    """A message whose outcome comes behind that of a newer one."""
    it.clock.at = NOON
    received = Received(channel="hl7", payload=content, received_us=it.clock.now_us(), message_type="ORU^R01")
    found = it.journal.run_alone(append.store_message, received, repeat_window_s=WINDOW_S)
    tell(it, 2, "F GLU 6.5")
    return found.id


def test_one_that_cannot_be_compared_in_time_is_shown_to_a_person(it: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    number = late(it, message("F GLU 5.5"))
    record(it, number)
    monkeypatch.setattr(judging, "MOST_PAIRS", 0)
    assert becomes(it, number) == "part"
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, number)) == "part"
    assert it.journal.run_alone(superseding.overtaken_by, delivery_of(it, number)) == [NewerMessage(2, None)]
    assert it.journal.run_alone(newer_of, number) == {2}


def test_what_another_patient_has_under_the_number_is_no_newer_word(it: Desk) -> None:
    number = late(it, message("C GLU 5.5").replace(b"4711||Iyer^Meena", b"4712||Rao^Asha"))
    record(it, number, Decision(accept_conflict=True))
    assert becomes(it, number) == ""


def test_a_held_message_that_cannot_be_read_withdraws_nothing(it: Desk) -> None:
    tell(it, 1, "F GLU 5.5", refused=True)
    tell(it, 2, "C NA 141")
    assert it.ask("SELECT state FROM delivery WHERE message_id = 2") == [("held",)]
    it.ask_to("UPDATE fact SET content = x'00' WHERE message_id = 2")
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, 1)) == ""


def test_a_document_that_cannot_be_read_may_update_what_is_newer(it: Desk) -> None:
    tell(it, 1, "F GLU 5.5", refused=True)
    tell(it, 2, "F K 4.4")
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, 1)) == ""
    it.ask_to("UPDATE document SET body = substr(body, 1, 40) WHERE message_id = 1")
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, 1)) == "part"


@pytest.mark.parametrize(("pictures", "expected"), [([1], "part"), ([1, 2], "whole"), ([2], "whole"), ([], "whole")])
def test_a_picture_is_no_version_of_a_number(it: Desk, pictures: list[int], expected: str) -> None:
    for number, results in ((1, "F GLU 5.5"), (2, "C GLU 6.5")):
        picture = b"OBX|2|ED|SCAT^Scattergram^L||^image^png^Base64^AAAA||||||F\r" if number in pictures else b""
        it.say("hl7", message(results, number=number) + picture, NOON + timedelta(hours=number), refused=number == 1)
    assert becomes(it, 1) == expected


PDF = b"OBX|2|ED|PDF^Report^L||^application^pdf^Base64^AAAA||||||F\r"
NEXT_DAY = (b"20260301", b"20260302")


@pytest.mark.parametrize(
    ("more", "older", "newer", "expected"),
    [
        ({"settings": {"observation_key": "+OBX-14"}}, message("F GLU 5.5"), message("F GLU 6.5", at="1130"), ""),
        ({}, message("F GLU 5.5"), message("P GLU 6.5").replace(*NEXT_DAY), ""),
        ({}, message("F GLU 5.5") + PDF, message("F NA 140").replace(b"CHEM^", b"HAEM^") + PDF, ""),
        ({}, message("F GLU 5.5") + PDF, message("C GLU 6.5").replace(*NEXT_DAY) + PDF, "part"),
        ({}, message("F GLU 5.5"), message("C NA 141"), "part"),
        ({}, message("F GLU 5.5", collected="0958"), message("F GLU 9.5", at="1200", collected="1158"), "part"),
        ({}, message("F GLU 5.5"), message("F GLU 6.5", at="1130").replace(b"4711||Iyer^Meena||1955", b"||||"), "part"),
    ],
    ids=["a run of its own", "a counter that came again", "a document of another panel", "a document of another day",
         "a correction of another test", "perhaps another sample", "perhaps another patient"],
)  # fmt: skip
def test_what_is_not_known_to_be_a_later_word_closes_nothing(
    tmp_path: Path, more: dict[str, Any], older: bytes, newer: bytes, expected: str
) -> None:
    """Also where a person has released it: that says that it is right, and not what it is a word of."""
    with desk(tmp_path, ROUTE, **more) as it:
        it.say("hl7", older, NOON, refused=True)
        it.last = it.say("hl7", newer.replace(b"10000", b"20000", 1), NOON + timedelta(days=1, hours=1))
        it.decide("release", it.last)
        assert it.ask("SELECT DISTINCT state FROM delivery WHERE message_id = ?", it.last) == [("delivered",)]
        assert becomes(it, 1) == expected


def test_a_receiver_without_ids_goes_by_number_and_test(tmp_path: Path) -> None:
    """A result of another panel would be taken for the newer one."""
    with desk(tmp_path, {"mapping": "hl7-to-csv", "to": "out1"}) as it:
        tell(it, 1, "F GLU 5.5", refused=True)
        it.say("hl7", message("F GLU 6.5", number=2, at="1130").replace(b"CHEM^", b"GLUC^"), NOON + timedelta(hours=2))
        assert becomes(it, 1) == "part"


def test_a_person_who_releases_does_not_undo_what_a_newer_one_has_updated(it: Desk) -> None:
    tell(it, 1, "F GLU 5.5", refused=True)
    tell(it, 2, "F K 4.4")
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, 1)) == ""
    updated = b'"method":"PUT","url":"Patient?identifier=9"'
    for number in (1, 2):
        it.last = number
        it.again(b'"method":"POST","url":"Patient"', updated)
    for (delivery,) in it.ask("SELECT id FROM delivery WHERE message_id = 2 AND state = 'waiting'"):
        it.journal.run_alone(attempts.settle, delivery, delivered_us=1)
    assert updated.decode() in it.documents()[-1]
    assert it.journal.run_alone(superseding.overtaken, delivery_of(it, 1)) == "part"


@pytest.mark.parametrize(("newer", "superseded"), [([], False), (["F K 4.4"], False), (["F K 4.4", "C GLU 6.5"], True)])
def test_what_would_be_made_anew_is_superseded_where_newer_results_were_delivered(
    it: Desk, newer: list[str], superseded: bool
) -> None:
    tell(it, 1, "F GLU 5.5")
    for number, one in enumerate(newer, 2):
        tell(it, number, one)
    made = Document(body=b"{}")
    assert would_be_superseded(it.journal, 1, "hl7", "out1", made) is superseded
    assert would_be_superseded(it.journal, 1, "hl7", "elsewhere", made) is False


async def test_a_delivery_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        with pytest.raises(StoreError, match="no delivery 9"):
            await journal.run(superseding.overtaken_before_sent, 9)
        for ask in (overtaken, overtaken_by):
            with pytest.raises(StoreError, match="no delivery 9"):
                ask(journal, 9)


def newer(*those: tuple[int, int | None, bool]) -> list[NewerMessage]:
    return [
        NewerMessage(number, None if common is None else tuple(map(str, range(common))), report)
        for number, common, report in those
    ]


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ([], "overtaken by newer messages"),
        (newer((21, 1, False)), "overtaken by message 21"),
        (newer((21, 1, False), (23, 0, True)), "overtaken by messages 21 and 23"),
        (newer((21, None, False), (22, 1, False), (23, 2, False)), "overtaken by messages 21, 22 and 23"),
        (newer((21, 0, True)), "overtaken by message 21 (the report, not its results)"),
        (newer(*((number, 1, False) for number in range(1, 8))), "overtaken by messages 1, 2, 3, 4, 5 and 2 more"),
    ],
)
def test_by_what_it_was_overtaken_is_said_in_words(by: list[NewerMessage], words: str) -> None:
    assert in_words(by) == words


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
