"""Bounds of links that patients make, each by its table; and random histories: no report is ever linked to another
person than its own. On the journal itself, with a clock that the test moves."""

import random
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from engine.features.abdm.config.destination import AbdmDestination
from engine.features.abdm.flows import discovery, matching, texting
from engine.features.abdm.rows import calls, contexts, forgetting, offers, patients
from engine.features.abdm.rules.links import held
from engine.features.abdm.rules.network import Callback
from engine.model.process.clock import ManualClock
from engine.store.core.writing.batch import Batch
from engine.store.integrity.verify import run as verify
from engine.store.journal import Journal
from engine.store.lifecycle import erasure
from engine.store.operations import append
from tests.support.abdm_finding import other_than, report_of, with_sms
from tests.support.abdm_site import FACILITY, offer, person
from tests.support.journals import received

MINUTE_S = 60.0
URL = "http://127.0.0.1:1"


class App:
    """The app and the SMS service, by callbacks that are folded here."""

    def __init__(self, journal: Journal, ours: AbdmDestination) -> None:
        self.journal, self.ours = journal, ours
        self.texts: list[tuple[str, str]] = []

    def _fold(self, handler: Any, body: Any) -> tuple[str, Any]:
        """Why nothing was done, and the answer that was queued."""
        callback = Callback(1, "", FACILITY, str(uuid4()), 0, orjson.loads(orjson.dumps(body)))
        reason = self.journal.run_alone(lambda batch: handler(batch, self.ours, callback))
        return reason, self.answer()

    def answer(self) -> Any:
        def last(batch: Batch) -> Any:
            (number,) = batch.execute("SELECT max(number) FROM abdm_call").fetchone()
            call = calls.by_number(batch, number) if number else None
            return call.body if call is not None else None

        return self.journal.run_alone(last)

    def search(self, who: int = 0, **other: Any) -> tuple[str, str, Any]:
        one = person(who, **other)
        transaction = str(uuid4())
        said = [("MOBILE", one.mobile), ("ABHA_NUMBER", one.number), ("ABHA_ADDRESS", one.address)]
        patient = {
            "id": one.address,
            "verifiedIdentifiers": [{"type": kind, "value": value} for kind, value in said if value],
            "name": one.name,
            "gender": one.gender,
            "yearOfBirth": one.year,
        }
        return (transaction, *self._fold(discovery.discover, {"transactionId": transaction, "patient": patient}))

    def choose(self, transaction: str, address: str, found: Any) -> tuple[str, str]:
        """Why there is no code; and the reference of the code."""
        chosen = [{key: one[key] for key in ("referenceNumber", "careContexts", "hiType")} for one in found["patient"]]
        body = {"transactionId": transaction, "abhaAddress": address, "patient": chosen}
        reason, _ = self._fold(discovery.init, body)
        self.send()
        said = self.answer()
        return reason, said["link"]["referenceNumber"] if "link" in said and not reason else ""

    def send(self) -> None:
        for one in self.journal.run_alone(offers.claim, 10, texting.LATE_US, discovery.text_failed):
            self.texts.append((one.mobile, one.digits))
            self.journal.run_alone(offers.sent, one.code, discovery.text_sent)

    def confirm(self, reference: str, code: str) -> str:
        reason, _ = self._fold(discovery.confirm, {"confirmation": {"token": code, "linkRefNumber": reference}})
        return reason

    def offer(self, *args: Any, **said: Any) -> int:
        return self.journal.run_alone(offer, self.ours, report_of(*args, **said), None)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(tmp_path: Path, clock: ManualClock) -> Any:
    journal = Journal.open(tmp_path / "var", clock=clock)
    yield App(journal, with_sms(URL))
    journal.close()


ADDRESS = person().address


def coded(app: App) -> str:
    """The reference of a code that was sent."""
    transaction, _, found = app.search()
    reason, reference = app.choose(transaction, ADDRESS, found)
    assert (reason, bool(reference)) == ("", True)
    return reference


def test_one_mobile_gets_few_sms_an_hour(app: App, clock: ManualClock) -> None:
    app.offer("A-1")
    for _ in range(discovery.TEXTS_AN_HOUR):
        coded(app)
        clock.advance(MINUTE_S)
    transaction, _, found = app.search()
    assert app.choose(transaction, ADDRESS, found) == ("too-many-sms", "")
    assert len(app.texts) == discovery.TEXTS_AN_HOUR
    clock.advance(61 * MINUTE_S)
    assert coded(app)


def test_few_wrong_codes_an_hour_in_all_choices_of_one_mobile(app: App, clock: ManualClock) -> None:
    app.offer("A-1")
    first, second, third = coded(app), coded(app), coded(app)
    codes = [code for _, code in app.texts]
    for reference, code in ((first, codes[0]), (second, codes[1])):
        for by in range(1, discovery.TRIES + 1):
            assert app.confirm(reference, other_than(code, by)) == "wrong-code"
    assert app.confirm(third, codes[2]) == "too-many-wrong", "also the right one"
    transaction, _, found = app.search()
    assert app.choose(transaction, ADDRESS, found) == ("too-many-wrong", "")
    clock.advance(61 * MINUTE_S)
    reference = coded(app)
    assert app.confirm(reference, app.texts[-1][1]) == ""


def test_one_patient_searches_so_often_an_hour(app: App, clock: ManualClock) -> None:
    app.offer("A-1")
    nothing = app.search(4)[2]["error"]
    for _ in range(discovery.SEARCHES_AN_HOUR):
        assert "patient" in app.search()[2]
    _, reason, answer = app.search()
    assert (reason, answer["error"]) == ("too-often", nothing), "the same answer as to each that finds nothing"
    clock.advance(61 * MINUTE_S)
    assert "patient" in app.search()[2]


def test_each_search_that_finds_nothing_has_the_same_answer(app: App) -> None:
    app.offer("A-1")
    answers = [
        app.search(0, mobile="9000000009")[2],
        app.search(0, year=1950)[2],
        app.search(0, gender="M")[2],
        app.search(0, name="Asha Iyer")[2],
        app.search(3)[2],
        app.search(0, address="other@abdm")[2],
    ]
    assert len({orjson.dumps(one["error"]) for one in answers}) == 1
    assert not any("patient" in one for one in answers)


@pytest.mark.parametrize(("after_min", "reason"), [(29, ""), (31, "no-offer")])
def test_an_offer_lives_half_an_hour(app: App, clock: ManualClock, after_min: int, reason: str) -> None:
    app.offer("A-1")
    transaction, _, found = app.search()
    clock.advance(after_min * MINUTE_S)
    assert app.choose(transaction, ADDRESS, found)[0] == reason


@pytest.mark.parametrize(("after_min", "reason"), [(9, ""), (11, "late")])
def test_a_code_lives_ten_minutes(app: App, clock: ManualClock, after_min: int, reason: str) -> None:
    app.offer("A-1")
    reference = coded(app)
    clock.advance(after_min * MINUTE_S)
    assert app.confirm(reference, app.texts[0][1]) == reason


def test_a_code_of_the_last_minute_of_an_offer_can_be_typed(app: App, clock: ManualClock) -> None:
    app.offer("A-1")
    transaction, _, found = app.search()
    clock.advance(29 * MINUTE_S)
    _, reference = app.choose(transaction, ADDRESS, found)
    clock.advance(9 * MINUTE_S)
    app.journal.run_alone(forgetting.sweep)
    assert app.confirm(reference, app.texts[0][1]) == ""


def test_there_is_one_code_for_one_choice(app: App, clock: ManualClock) -> None:
    app.offer("A-1")
    transaction, _, found = app.search()
    _, reference = app.choose(transaction, ADDRESS, found)
    assert app.choose(transaction, ADDRESS, found)[0] == "repeat"
    assert len(app.texts) == 1
    clock.advance(11 * MINUTE_S)
    _, another = app.choose(transaction, ADDRESS, found)
    assert another not in ("", reference)
    assert app.confirm(reference, app.texts[0][1]) != "", "the first is of no use any more"
    assert app.confirm(another, app.texts[1][1]) == ""
    assert app.choose(transaction, ADDRESS, found)[0] == "repeat", "the search has ended"


def test_an_sms_that_waited_too_long_is_not_sent(app: App, clock: ManualClock) -> None:
    app.offer("A-1")
    transaction, _, found = app.search()
    send, app.send = app.send, lambda: None  # type: ignore[method-assign]
    app.choose(transaction, ADDRESS, found)
    clock.advance(texting.LATE_US / 1_000_000 + 1)
    send()
    assert app.texts == []
    assert app.journal.rows("SELECT state, reason, text FROM abdm_code") == [("over", "late", b"")]
    assert "error" in app.answer()


def test_the_same_sms_goes_out_again_after_a_crash(app: App) -> None:
    app.offer("A-1")
    transaction, _, found = app.search()
    send, app.send = app.send, lambda: None  # type: ignore[method-assign]
    app.choose(transaction, ADDRESS, found)
    (first,) = app.journal.run_alone(offers.claim, 10, texting.LATE_US, discovery.text_failed)
    assert app.journal.run_alone(offers.claim, 10, texting.LATE_US, discovery.text_failed) == [], "it is under way"
    assert app.journal.run_alone(offers.recover) == 1
    send()
    assert app.texts == [(first.mobile, first.digits)]


def test_the_choice_of_another_patient_or_of_another_report_is_none(app: App) -> None:
    app.offer("A-1")
    app.offer("B-1", 4, message_id=2)
    transaction, _, found = app.search()
    assert app.choose(transaction, person(4).address, found)[0] == "another-patient"
    for key, value in (("referenceNumber", "LR-OTHER"), ("careContexts", [{"referenceNumber": "LR-OTHER"}])):
        changed = {"patient": [found["patient"][0] | {key: value}]}
        assert app.choose(transaction, ADDRESS, changed)[0] == "not-offered"
    _, _, others = app.search(4)
    assert app.choose(transaction, ADDRESS, others)[0] == "not-offered"
    assert app.texts == []


def test_many_reports_of_one_mobile_are_looked_at_or_none(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_LOOKED", 3)
    for n in range(3):
        app.offer(f"A-{n}", message_id=n)
    assert app.search()[2]["patient"][0]["count"] == 3
    app.offer("A-9", message_id=9)
    assert "error" in app.search()[2], "a doubt cannot be seen in a part of them"


def test_an_offer_has_twenty_reports_at_most(app: App) -> None:
    for n in range(25):
        app.offer(f"A-{n}", message_id=n)
    transaction, _, found = app.search()
    assert found["patient"][0]["count"] == 20
    _, reference = app.choose(transaction, ADDRESS, found)
    for n in range(25, 30):  # newer ones do not push the chosen out
        app.offer(f"A-{n}", message_id=n)
    assert app.confirm(reference, app.texts[0][1]) == ""
    assert app.answer()["patient"][0]["count"] == 20


def test_what_a_search_has_left_goes_after_a_day(app: App, clock: ManualClock, tmp_path: Path) -> None:
    app.offer("A-1")
    coded(app)
    coded(app)
    clock.advance(3 * 3600)
    app.journal.run_alone(forgetting.sweep)
    assert app.journal.rows("SELECT DISTINCT content FROM abdm_offer") == [(b"",)], "nothing names the patient"
    clock.advance(25 * 3600)
    app.journal.run_alone(forgetting.sweep)
    for table in ("abdm_offer", "abdm_code"):
        assert [number for (number,) in app.journal.rows(f"SELECT number FROM {table}")] == [2], "the newest stays"
    app.journal.close()
    assert verify(tmp_path / "var", deep=True) == []


def test_an_erased_report_ends_what_was_offered_of_it(app: App) -> None:
    stored = app.journal.run_alone(append.store_message, received(), repeat_window_s=0.0)
    app.offer("A-1", message_id=stored.id)
    reference = coded(app)
    app.journal.run_alone(erasure.erase, [stored.id], [], actor="a", reason="b", more={})
    assert app.confirm(reference, app.texts[0][1]) == "no-link"
    assert app.journal.rows("SELECT asker, content FROM abdm_offer") == [(b"", b"")]
    assert app.journal.rows("SELECT mobile, text FROM abdm_code") == [(b"", b"")]
    assert app.journal.rows("SELECT mobile, abha FROM abdm_context") == [(b"", b"")]


@pytest.mark.parametrize(
    ("table", "column"), [("abdm_offer", "content"), ("abdm_code", "content"), ("abdm_code", "text")]
)
def test_verify_names_a_row_that_was_changed(app: App, tmp_path: Path, table: str, column: str) -> None:
    app.offer("A-1")
    app.send = lambda: None  # type: ignore[method-assign]
    transaction, _, found = app.search()
    app.choose(transaction, ADDRESS, found)
    ((value,),) = app.journal.rows(f"SELECT {column} FROM {table}")
    broken = value[:-1] + bytes([value[-1] ^ 1])
    app.journal.run_alone(lambda batch: batch.execute(f"UPDATE {table} SET {column} = ?", (broken,)))
    app.journal.close()
    assert {finding.table for finding in verify(tmp_path / "var", deep=True)} == {table}


PEOPLE = [
    # own number, name, gender, year, mobile, address
    ("P-1", "Meera Iyer", "F", 1986, "9000000001", "meera@sbx"),
    ("P-2", "Mitra Iyer", "F", 1986, "9000000001", "twin@sbx"),
    ("P-3", "Asha Iyer", "F", 1986, "9000000001", "asha@sbx"),
    ("P-4", "Arjun Iyer", "M", 2012, "9000000001", "arjun@sbx"),
    ("P-5", "Meera Iyer", "F", 1961, "9000000001", "elder@sbx"),
    ("P-6", "Meera Iyer", "F", 1986, "9000000002", "far@sbx"),
]


@pytest.mark.parametrize("seed", range(12))
def test_no_history_links_a_report_to_another_than_its_person(app: App, clock: ManualClock, seed: int) -> None:
    """Reports of a family come, change and go while its members search, choose and type, each at random."""
    rng = random.Random(seed)
    begun: list[tuple[int, str, Any]] = []
    coded: list[tuple[int, str, str]] = []
    family = rng.sample(range(len(PEOPLE)), 4)
    for step in range(60):
        who = rng.choice(family)
        own, name, gender, year, mobile, address = PEOPLE[who]
        act = rng.random()
        if act < 0.3:
            number = f"A-{rng.randint(1, 6)}"
            said = {"name": name, "gender": gender, "year": year, "mobile": mobile, "own": own}
            abha = {"abha": True, "address": address} if rng.random() < 0.2 else {}
            app.offer(number, 0, message_id=100 + step, **said, **abha)
        elif act < 0.6:
            transaction, _, found = app.search(
                0, address=address, number="", name=name, gender=gender, year=year, mobile=mobile
            )
            if "patient" in found:
                begun.append((who, transaction, found))
        elif act < 0.8 and begun:
            one, transaction, found = rng.choice(begun)
            _, reference = app.choose(transaction, PEOPLE[one][5], found)
            if reference:
                coded.append((one, reference, app.texts[-1][1]))
        elif coded:
            one, reference, code = rng.choice(coded)
            app.confirm(reference, code if rng.random() < 0.8 else other_than(code))
        clock.advance(rng.choice([1.0, 30.0, 400.0]))

        def linked(batch: Batch) -> list[tuple[str, str]]:
            found = batch.execute("SELECT number FROM abdm_context WHERE state = 'linked'").fetchall()
            made = []
            for (number,) in found:
                context = contexts.by_number(batch, number)
                assert context is not None
                patient = patients.by_number(batch, context.patient)
                assert patient is not None
                assert patient.person is not None
                (own,) = held(context.content).own
                made.append((own, patient.person.address))
            return made

        addresses = {one[0]: one[5] for one in PEOPLE}
        for own_number, linked_to in app.journal.run_alone(linked):
            assert addresses[own_number] == linked_to
