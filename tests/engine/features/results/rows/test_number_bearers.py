"""The journal's guard of patient numbers: who bears one is compared with all that is known of the number."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from engine.features.results.rows import hold_queue, number_bearers
from engine.features.rework.rows import dismissal
from engine.model.journal.journal_views import Filter
from engine.model.journal.records import Decision, Routed
from engine.model.message import Bearer, Report
from engine.model.outcome import Outcome
from engine.model.persons import Person
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import audit, record_outcome
from engine.store.queries.letters import held_deliveries
from engine.store.queries.tallies import list_seeming, seeming_count
from tests.support.journals import DAY_S, routed, running, store
from tests.support.questions import marks

NUMBER = b"n" * 16


def person(name: str, birth: str = "", sex: str = "") -> Person:
    return Person.of([name.split("^")], birth, sex)


IYER, KHAN = person("IYER^MEENA", "19550412", "F"), person("KHAN^IMRAN", "20010530", "M")


def made(record: Person, *, number: bytes = NUMBER, order: bytes = b"o" * 16, lasting: bool = True) -> Routed:
    whole = sha256(record.packed()).digest()[:16]
    bearer = Bearer(number=number if lasting else order, whole=whole, record=record.packed(), lasting=lasting)
    one = routed(reports=(Report(order, number, whole),))
    return replace(one, document=replace(one.document, bearers=(bearer,)))


async def arrives(journal: Journal, record: Person, *, accepted: bool = False, lasting: bool = True) -> str:
    """Its end, of a message with an order number of its own and this person."""
    known = journal.last_id
    (stored,) = await store(journal, b"message %d" % known)
    outcome = await journal.run(
        record_outcome.record,
        stored.id,
        Outcome("mapped"),
        [made(record, order=b"%016d" % (stored.id if lasting else 0), lasting=lasting)],
        decision=Decision(accept_conflict=accepted),
    )
    return NO if outcome.held else outcome.state


def rows(journal: Journal) -> int:
    with journal.snapshot() as execute:
        return int(execute("SELECT count(*) FROM bearer").fetchone()[0])


async def erase(journal: Journal, messages: list[int], numbers: list[str]) -> None:
    await journal.run(erasure.erase, messages, numbers, actor="ann", reason="asked", more={})


async def ends(journal: Journal, *records: Person, lasting: bool = True) -> list[str]:
    return [await arrives(journal, record, lasting=lasting) for record in records]


OK, NO = "mapped", "IDENTITY_CONFLICT"


@pytest.mark.parametrize("lasting", [True, False])
async def test_another_person_is_a_conflict_and_one_who_says_nothing_is_none(tmp_path: Path, lasting: bool) -> None:
    async with running(tmp_path) as journal:
        ended = await ends(journal, IYER, KHAN, person("UNKNOWN", "", "F"), IYER, KHAN, lasting=lasting)
        assert ended == [OK, NO, OK, OK, NO]
        (asked, last) = held_deliveries(journal, Filter(code=NO))[::-1]
        assert (asked.message_id, last.message_id) == (2, 5)
        assert asked.detail == "message 1 used the same patient number for a person of another name, birth date or sex"


async def test_a_number_that_lasts_is_never_free_and_a_counter_is_after_its_memory(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        assert await ends(journal, IYER) == [OK]
        assert await ends(journal, IYER, lasting=False) == [OK]
        clock.advance(3650 * DAY_S)
        for _ in range(5):
            clock.advance(3700)  # sweeps are due
            await journal.run(audit.note, "test", "tick", {})
        assert rows(journal) == 1
        assert await ends(journal, KHAN) == [NO]
        assert await ends(journal, KHAN, lasting=False) == [OK]


async def test_the_usual_message_writes_no_row(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, *[IYER] * 5) == [OK] * 5
        assert rows(journal) == 1


async def test_an_unknown_man_who_gets_a_name_is_that_man_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        unknown = person("UNIDENTIFIED MALE", "", "M")
        assert await ends(journal, unknown, KHAN, person("DAS^ROHIT", "19700202", "M"), unknown) == [OK, OK, NO, OK]


async def test_what_one_record_lacks_is_known_from_another_of_the_same_person(tmp_path: Path) -> None:
    """Neither of the first two alone tells the third from them."""
    async with running(tmp_path) as journal:
        named, dated = person("IYER^MEENA"), person("", "19550412")
        assert await ends(journal, named, dated, person("IYER^MEENA", "20010530")) == [OK, OK, OK]  # flagged
        assert await ends(journal, person("IYER^RADHA", "20010530")) == [NO]


async def test_names_and_dates_that_change_step_by_step_are_one_person(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        steps = person("DOE^JANE", "19800412"), person("MILLER^JANE", "19800412"), person("MILLER^JANE", "19800421")
        assert await ends(journal, *steps) == [OK] * 3
        assert await ends(journal, person("ROE^ANN", "19910530")) == [NO]


async def test_who_only_seems_to_be_the_same_is_no_reference_before_a_person_has_looked(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        wife, married = person("SHARMA^ANITA"), person("VERMA^ANITA")  # a marriage, or another woman
        assert await ends(journal, wife, married, person("VERMA^ROHIT")) == [OK, OK, NO]
        assert await ends(journal, person("VERMA^ANITA", "19600203"), married) == [OK, OK]


async def answers(journal: Journal, message: int, record: Person, *, same: bool) -> tuple[list[int], list[str]]:
    """The messages that a person's answer is for, and how they end, processed again with what is known then."""
    (mark,) = marks(journal, message)
    waiting, others = await journal.run(number_bearers.answer, message, mark, same=same) or ([], {})
    ended = []
    for number in waiting:
        one = made(record, order=b"%016d" % number)
        (bearer,) = one.document.bearers
        bearer = bearer._replace(person=others.get(bearer.number + bearer.whole, 1))
        (report,) = one.document.reports
        if bearer.person > 1:  # a patient of their own
            report = report._replace(patient=b"%016d" % bearer.person)
        one = replace(one, document=replace(one.document, bearers=(bearer,), reports=(report,)))
        outcome = await journal.run(
            record_outcome.record, number, Outcome("mapped"), [one], decision=Decision(again=True)
        )
        ended.append(NO if outcome.held else outcome.state)
    return waiting, ended


async def others_after(journal: Journal, message: int) -> list[int]:
    """The persons besides the first, once it is said that the record is another one's."""
    await journal.run(number_bearers.answer, message, marks(journal, message)[0], same=False)
    with journal.snapshot() as execute:
        return list(number_bearers.others(execute).values())


async def test_the_same_person_is_a_further_reference(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, KHAN, KHAN, IYER) == [OK, NO, NO, OK]
        assert await answers(journal, 3, KHAN, same=True) == ([2, 3], [OK, OK])
        assert await ends(journal, IYER, KHAN, person("KHAN^IMRAN A"), person("DAS^ROHIT")) == [OK, OK, OK, NO]
        assert await answers(journal, 3, KHAN, same=True) == ([], [])


async def test_another_person_is_one_of_their_own_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, KHAN, KHAN) == [OK, NO, NO]
        assert await answers(journal, 2, KHAN, same=False) == ([2, 3], [OK, OK])
        assert await others_after(journal, 2) == [2]
        # Who maps without knowing it makes a document of the first person, and that is held.
        assert await ends(journal, IYER, KHAN) == [OK, NO]
    async with running(tmp_path) as journal:
        assert list(journal.others.values()) == [2]
        third = person("DAS^ROHIT", "19700202", "M")
        assert await ends(journal, third) == [NO]
        assert (await answers(journal, 6, third, same=False))[1] == [OK]
        assert sorted(journal.others.values()) == [2]
        with journal.snapshot() as execute:
            assert sorted(number_bearers.others(execute).values()) == [2, 3]


async def test_what_is_asked_is_not_released_and_may_be_rejected(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, KHAN, KHAN) == [OK, NO, NO]
        held = [one.delivery_id for one in held_deliveries(journal, Filter(code=NO))]
        ended, lanes = await journal.run(hold_queue.release, held, actor="ann", reason="x")
        assert ({name: count for name, count in ended.items() if count}, lanes) == ({"unanswered": 2}, set())
        await journal.run(hold_queue.reject, held, actor="ann", reason="wrong patient")
        assert await answers(journal, 2, KHAN, same=True) == ([], [])


async def test_who_accepts_an_order_number_has_not_said_who_bears_the_patient_number(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER) == [OK]
        assert await arrives(journal, KHAN, accepted=True) == NO
        assert await ends(journal, IYER, KHAN) == [OK, NO]


async def test_a_dismissed_message_frees_no_number_that_another_one_bears(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, IYER) == [OK, OK]
        await journal.run(
            record_outcome.record, 1, Outcome("dead", ReasonCode.MAPPING_FAULT), decision=Decision(again=True)
        )
        await journal.run(dismissal.dismiss, messages=[1], actor="ann", reason="wrong sample")
        assert await ends(journal, KHAN) == [NO]


async def test_a_dismissed_message_frees_a_number_that_it_bears_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER) == [OK]
        await journal.run(
            record_outcome.record, 1, Outcome("dead", ReasonCode.MAPPING_FAULT), decision=Decision(again=True)
        )
        await journal.run(dismissal.dismiss, messages=[1], actor="ann", reason="wrong sample")
        assert await ends(journal, KHAN) == [OK]


@pytest.mark.parametrize("numbers", [["4711"], []])
async def test_an_erased_person_leaves_the_hash_of_the_number_and_the_next_one_is_a_conflict(
    tmp_path: Path, numbers: list[str]
) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER) == [OK]
        await erase(journal, [1], numbers)
        with journal.snapshot() as execute:
            assert execute("SELECT number, whole, record FROM bearer").fetchall() == [(NUMBER, bytes(16), b"")]
        assert await ends(journal, KHAN, IYER) == [NO, NO]


async def test_one_message_that_is_erased_leaves_the_record_of_a_number_that_others_bear(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, IYER) == [OK, OK]
        await erase(journal, [1], [])
        assert await ends(journal, KHAN, IYER) == [NO, OK]


async def test_all_messages_of_a_person_that_are_erased_leave_no_record(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, IYER, person("IYER^MEENA")) == [OK, OK, OK]
        await erase(journal, [1, 2, 3], ["4711"])
        with journal.snapshot() as execute:
            assert execute("SELECT number, whole, record FROM bearer").fetchall() == [(NUMBER, bytes(16), b"")]


async def test_no_name_stands_in_the_file(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER) == [OK]
        with journal.snapshot() as execute:
            ((record,),) = execute("SELECT record FROM bearer").fetchall()
    assert len(record) > 40
    assert not any(part in record for part in (b"MEENA", b"IYER", b"19550412"))


async def test_who_keeps_the_record_says_who_bears_the_number(tmp_path: Path) -> None:
    async def updated(journal: Journal, record: Person) -> str:
        (stored,) = await store(journal, b"A08 %d" % journal.last_id)
        one = made(record, order=b"%016d" % stored.id)
        (bearer,) = one.document.bearers
        one = replace(one, document=replace(one.document, reports=(), bearers=(bearer._replace(master=True),)))
        return (await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [one])).state

    async with running(tmp_path) as journal:
        assert await updated(journal, IYER) == OK
        assert await ends(journal, IYER, person("IYER^MEENA"), KHAN) == [OK, OK, NO]
        assert await updated(journal, KHAN) == OK
        assert await ends(journal, KHAN, IYER, person("IYER^MEENA")) == [OK, NO, NO]
        assert await updated(journal, KHAN) == OK
        assert rows(journal) == 1


async def test_who_seems_to_be_the_same_is_shown_until_a_person_has_confirmed_it(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        wife, married = person("SHARMA^ANITA"), person("VERMA^ANITA")
        assert await ends(journal, wife, married, married) == [OK, OK, OK]
        assert [(one.message_id, one.before) for one in list_seeming(journal)] == [(2, 1)]
        assert await answers(journal, 2, married, same=True) == ([], [])
        assert (seeming_count(journal), list_seeming(journal)) == (0, [])
        assert await ends(journal, person("VERMA^ANITA", "19600203"), person("DAS^RADHA", "19600203")) == [OK, NO]


async def test_who_only_seemed_to_be_the_same_may_be_told_apart(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, person("SHARMA^ANITA"), person("VERMA^ANITA")) == [OK, OK]
        assert await others_after(journal, 2) == [2]
        assert await ends(journal, person("VERMA^ANITA")) == [NO]  # mapped without knowing it


async def test_of_two_persons_under_one_number_only_the_one_who_is_erased_goes(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, KHAN) == [OK, NO]
        await answers(journal, 2, KHAN, same=False)
        await erase(journal, [2], ["4711"])
        with journal.snapshot() as execute:
            assert [row[0] for row in execute("SELECT person FROM bearer")] == [1]
        assert await ends(journal, IYER, KHAN) == [OK, NO]


async def test_an_erased_counter_leaves_no_record(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await ends(journal, IYER, lasting=False) == [OK]
        await erase(journal, [1], ["4711"])
        with journal.snapshot() as execute:
            assert execute("SELECT whole, record FROM bearer").fetchall() == [(bytes(16), b"")]
