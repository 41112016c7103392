"""Whatever is asked in whatever order, and whenever the process is killed: a held result is delivered exactly when a
person has released it, and never otherwise."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions.selection import Selection
from engine.actions.underway import Acts
from engine.features.results.acts import dismiss_letters, reject_held, release_held
from engine.features.results.rows import delta_history, hold_queue, superseding
from engine.features.results.rows.delta_history import DeltaHistory
from engine.features.results.rows.succession import earlier_values
from engine.features.rework.acts.verbs import replay_documents, retry_letters
from engine.model.content.quality_controls import ControlResult
from engine.model.content.results import MEMORY_US, EarlierResults, Result, results_of
from engine.model.errors import StoreError
from engine.model.journal.journal_views import Filter
from engine.model.journal.records import Decision, HoldReason, Routed
from engine.model.message import Bearer, Document, Report
from engine.model.outcome import Outcome
from engine.model.persons import Person
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from engine.store.core.writing.batch import Batch
from engine.store.integrity import verify
from engine.store.journal import Journal
from engine.store.operations import append, record_outcome
from engine.store.operations.dedup import REPORT_MEMORY_US
from engine.store.operations.outbox import attempts, claims, decisions
from engine.store.queries.lanes import list_lanes
from engine.store.queries.letters import held_deliveries
from engine.store.queries.messages import trace_of
from tests.support.examples import examples
from tests.support.journals import NOW_US, media_type_of, received, running, started, store

DAY_US = 86_400_000_000
MESSAGES = 5


class Always:
    """Rules that hold every result, or none."""

    answers, tests = (), ()

    def __init__(self, held: bool, results: Sequence[Result] = ()) -> None:
        self.held = held
        self.results = results

    def decide(self, earlier: EarlierResults, now_us: int) -> HoldReason | None:
        return HoldReason(reason=ReasonCode.HELD_BY_RULE, text="a rule") if self.held else None


def body(
    *names: str, value: str = "5.1", at: str = "2026-03-01T09:45:00Z", update: str = "", picture: str = ""
) -> bytes:
    """A transaction that writes these Observations, a Media if ``picture`` names it, and replaces a Patient if
    ``update`` says which."""
    entries = [
        {
            "fullUrl": f"urn:uuid:{name}",
            "resource": {
                "resourceType": "Observation",
                "id": name,
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
                "subject": {"reference": "urn:uuid:patient"},
                "effectiveDateTime": at,
                "valueQuantity": {"value": orjson.Fragment(value), "unit": "g/dL"},
            },
            "request": {"method": "PUT", "url": f"Observation/{name}"},
        }
        for name in names
    ]
    if picture:
        entries.append({"fullUrl": f"urn:uuid:{picture}", "resource": {"resourceType": "Media", "id": picture}})
    patient = {"resourceType": "Patient"}
    if update:
        request = {"method": "PUT", "url": f"Patient?identifier={update}"}
        entries.append({"fullUrl": "urn:uuid:patient", "resource": patient, "request": request})
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})


def later(content: bytes, minutes: int = 1) -> bytes:
    """The same results, measured so much later: another version of them."""
    return content.replace(b"T09:45", b"T09:%d" % (45 + minutes))


def routed(content: bytes, *, held: bool, reports: tuple[Report, ...] = (), remembered: bool = False) -> Routed:
    results = results_of(content) if remembered else ()
    document = Document(body=content, media_type=media_type_of(content), reports=reports)
    return Routed(document=document, destinations=("fhir",), claimed=(True,), hold=Always(held, results))


async def arrive(journal: Journal, payload: bytes, made: Routed) -> int:
    """A message comes and is mapped; its number. What is not held is delivered at once."""
    (stored,) = await store(journal, payload)
    outcome = await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [made])
    for delivery in outcome.deliveries:
        await journal.run(attempts.settle, delivery.id, delivered_us=1)
    return stored.id


def state(journal: Journal, message: int) -> str:
    trace = trace_of(journal, message)
    assert trace is not None
    return trace.deliveries[0].state


async def release(journal: Journal, *messages: int) -> dict[str, int]:
    acts = Acts(journal, channels=dict)
    done: dict[str, int] = (await release_held(acts, Selection(ids=messages), actor="ann", reason="seen"))["done"]
    return {name: n for name, n in done.items() if n}


VERBS = ["release", "reject", "retry", "dismiss", "replay", "release all", "deliver", "fail", "kill", "restart"]


@settings(max_examples=examples(15))
@given(
    st.lists(st.booleans(), min_size=MESSAGES, max_size=MESSAGES),
    st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, MESSAGES - 1)), max_size=20),
)
def test_delivered_exactly_when_released(
    tmp_path_factory: pytest.TempPathFactory, held: list[bool], asked: list[tuple[str, int]]
) -> None:
    data = tmp_path_factory.mktemp("held")
    sent: list[int] = []
    released: set[int] = set()
    rejected: set[int] = set()

    async def drain(journal: Journal, *, fails: bool = False) -> None:
        """What waits is sent, as a destination's worker would; or the server refuses all of it."""
        while claimed := await journal.run(claims.claim, "chem", "fhir", 4):
            for delivery in claimed:
                if fails:
                    await journal.run(attempts.bury, delivery.id, reason=ReasonCode.REFUSED, detail="422")
                else:
                    sent.append(delivery.message_id)
                    await journal.run(attempts.settle, delivery.id, delivered_us=1)

    async def go() -> None:
        journal = await started(data)
        ids = []
        for number, is_held in enumerate(held):
            ids.append(await arrive(journal, b"%d" % number, routed(body(f"o{number}"), held=is_held)))
        kept = {message for message, is_held in zip(ids, held, strict=True) if is_held}
        for verb, number in asked:
            acts, one = Acts(journal, channels=dict), Selection(ids=(ids[number],))
            match verb:
                case "release":
                    await release_held(acts, one, actor="ann", reason="seen")
                    released.update({ids[number]} & kept - rejected)
                case "release all":
                    await release_held(acts, Selection(all=True), actor="ann", reason="seen")
                    released.update(kept - rejected)
                case "reject":
                    await reject_held(acts, one, actor="ann", reason="clot")
                    rejected.update({ids[number]} & kept - released)
                case "retry":
                    await retry_letters(acts, Selection(all=True), actor="ann")
                case "dismiss":
                    await dismiss_letters(acts, Selection(all=True), actor="ann", reason="x")
                case "replay":
                    await replay_documents(acts, one, actor="ann", rate=1e6)
                case "deliver" | "fail":
                    await drain(journal, fails=verb == "fail")
                case "kill":
                    journal.recovered = False
                    await journal.stop()
                    journal = await started(data)
                case _:
                    await journal.stop()
                    journal = await started(data)
            assert set(sent) <= released | (set(ids) - kept)
            still = kept - released - rejected
            assert {one.message_id for one in held_deliveries(journal)} == still
            assert {one.message_id for one in held_deliveries(journal, Filter(state="rejected"))} == rejected
        await retry_letters(Acts(journal, channels=dict), Selection(all=True), actor="ann")
        dismissed = {message for message in released if state(journal, message) == "dismissed"}
        await drain(journal)
        assert released - dismissed <= set(sent)
        assert not set(sent) & (rejected | (kept - released))
        await journal.stop()

    asyncio.run(go())
    assert verify.run(data, deep=True) == []


# -- what newer messages have had delivered meanwhile ------------------------------------------------------------------

REPORT = (Report(b"r" * 16, b"p" * 16),)
OTHERS = (Report(b"r" * 16, b"q" * 16),)


@pytest.mark.parametrize(
    ("older", "newer", "reports", "outcome"),
    [
        (body("a"), body("b"), REPORT, "overtaken"),  # no facts tell what they say
        (body("a"), body("a"), (), "released"),  # another order
        (body("a"), body("a"), OTHERS, "released"),  # the same number of another patient, which a person has accepted
    ],
)
async def test_what_a_release_comes_to(
    tmp_path: Path, older: bytes, newer: bytes, reports: tuple[Report, ...], outcome: str
) -> None:
    async with running(tmp_path) as journal:
        first = await arrive(journal, b"1", routed(older, held=True, reports=REPORT))
        (stored,) = await store(journal, b"2")
        made = await journal.run(
            record_outcome.record,
            stored.id,
            Outcome("mapped"),
            [routed(later(newer), held=False, reports=reports)],
            decision=Decision(accept_conflict=True),
        )
        await journal.run(attempts.settle, made.deliveries[0].id, delivered_us=1)

        assert await release(journal, first) == {outcome: 1}
        expected = {"released": "waiting", "overtaken": "held"}.get(outcome, outcome)
        assert state(journal, first) == expected


async def test_a_newer_one_that_arrives_between_release_and_delivery_is_seen_as_well(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        held = await arrive(journal, b"held", routed(body("a", "b"), held=True, reports=REPORT))
        assert await release(journal, held) == {"released": 1}
        (delivery,) = await journal.run(claims.claim, "chem", "fhir", 1)
        assert await journal.run(superseding.overtaken_before_sent, delivery.id) == ""
        await arrive(journal, b"newer", routed(later(body("a")), held=False, reports=REPORT))
        assert await journal.run(superseding.overtaken_before_sent, delivery.id) == "part"


async def test_nothing_is_released_once_the_journal_has_forgotten_what_is_newer(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        held = await arrive(journal, b"1", routed(body("a"), held=True))
        clock.advance(REPORT_MEMORY_US / 1e6 + 1)
        assert await release(journal, held) == {"too_old": 1}
        assert state(journal, held) == "held"


@pytest.mark.parametrize("meanwhile", [True, False])
async def test_a_rejection_frees_a_patient_number_only_where_nobody_else_of_that_name_has_it(
    tmp_path: Path, meanwhile: bool
) -> None:
    """The first message of a person is rejected, and a later one of theirs was delivered under the same number."""
    doe, roe = Person.of([("DOE", "JANE")], "19800412", "F"), Person.of([("ROE", "ANN")], "19910530", "F")

    def made(number: bytes, person: Person, *, held: bool) -> Routed:
        whole = sha256(person.packed()).digest()[:16]
        bearer = Bearer(number=b"5" * 16, whole=whole, record=person.packed(), lasting=True)
        one = routed(body("a"), held=held, reports=(Report(number * 16, b"5" * 16, whole),))
        return replace(one, document=replace(one.document, bearers=(bearer,)))

    async with running(tmp_path) as journal:
        first = await arrive(journal, b"1", made(b"1", doe, held=True))
        if meanwhile:
            await arrive(journal, b"2", made(b"2", doe, held=False))
        await reject_held(Acts(journal, channels=dict), Selection(ids=(first,)), actor="ann", reason="clotted")
        (stored,) = await store(journal, b"3")
        outcome = await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [made(b"3", roe, held=False)])
        assert bool(outcome.held) is meanwhile


async def test_acts_on_what_does_not_exist_change_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        assert await release(journal, 77) == {}
        with pytest.raises(StoreError, match="no delivery 77"):
            await journal.run(hold_queue.release, [77], actor="ann", reason="x")


# -- earlier values ----------------------------------------------------------------------------------------------------


def result(value: str = "9", *, day: int = 9, run: str = "now", code: str = "718-7", unit: str = "g/dL") -> Result:
    at = NOW_US - (20 - day) * DAY_US
    codes = (("http://loinc.org", code), ("urn:x", "HGB"))
    return Result(
        codes=codes, value=Decimal(value), units=(unit,), at_us=at, subject="patient", run=run, status="final"
    )


async def known(journal: Journal, *results: Result) -> None:
    made = Routed(document=Document(body=b"{}"), destinations=("fhir",), hold=Always(False, results))
    (stored,) = await store(journal, str(results).encode())
    await journal.run(record_outcome.record, stored.id, Outcome("mapped"), [made])


async def before(journal: Journal, asked: Result, within_us: int) -> Decimal | None:
    """What a message that comes now finds before its result."""
    (stored,) = await store(journal, b"at hand")
    (found,) = earlier_values(journal, stored.id, "chem", [asked], within_us)
    return None if found is None else found[1]


@pytest.mark.parametrize(
    ("earlier", "asked", "within", "found"),
    [
        ([result("10", day=1, run="a"), result("11", day=2, run="b")], result(), 30, "11"),
        ([result("11", day=2, run="b"), result("10", day=1, run="a")], result(), 30, "11"),  # they came late
        ([result("10", day=1, run="a")], result(), 7, None),
        ([result("10", day=2, run="a")], result(), 7, "10"),
        ([result("10", day=9, run="a")], result(), 7, None),  # at the same time
        ([result("10", day=10, run="a")], result(), 7, None),  # later
        ([result("10", day=8, run="now")], result(), 7, None),  # itself, corrected
        ([result("10", day=8, run="a"), result("12", day=8, run="a")], result(), 7, "12"),  # corrected
        ([result("10", day=8, run="a", unit="g/L")], result(), 7, None),
        ([result("10", day=8, run="a", code="1-1")], result(), 7, "10"),  # the analyzer's own code is the same
        ([result("148.50", day=8, run="a")], result(), 7, "148.50"),
    ],
)
async def test_which_value_was_before(
    tmp_path: Path, earlier: list[Result], asked: Result, within: int, found: str | None
) -> None:
    async with running(tmp_path) as journal:
        await known(journal, *earlier)
        value = await before(journal, asked, within * DAY_US)
        assert (None if value is None else str(value)) == found


@pytest.mark.parametrize(
    "change",
    [
        {"value": None, "units": (), "text": "clotted"},  # words have no unit
        {"value": None, "units": (), "status": "entered-in-error"},
        {"value": Decimal(148), "units": ("g/L",)},
        {"codes": (("http://loinc.org", "20509-6"),)},
    ],
)
async def test_a_correction_or_withdrawal_with_another_unit_or_code_takes_the_value_away(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    async with running(tmp_path) as journal:
        await known(journal, result("12", day=6, run="a"))
        await known(journal, result("14.8", day=8, run="b"))
        await known(journal, replace(result("14.8", day=8, run="b"), **change))
        assert await before(journal, result(), 7 * DAY_US) == Decimal(12)


async def test_where_the_last_value_is_a_bound_nobody_knows_the_change(tmp_path: Path) -> None:
    """`<5` yesterday, 98 today: what stands further back says nothing."""
    async with running(tmp_path) as journal:
        await known(journal, result("100", day=7, run="a"))
        await known(journal, replace(result("5", day=8, run="b"), comparator="<"))
        assert await before(journal, result("98"), 7 * DAY_US) is None
        assert await before(journal, result("98", day=8), 7 * DAY_US) == Decimal(100)


async def test_of_two_values_of_one_instant_the_later_word_counts(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        for run, value in (("b", "10"), ("a", "11"), ("c", "12")):
            await known(journal, result(value, day=8, run=run))
        assert await before(journal, result(), 7 * DAY_US) == Decimal(12)


async def test_what_is_no_exact_number_or_was_withdrawn_is_not_remembered(tmp_path: Path) -> None:
    async with running(tmp_path) as journal:
        await known(journal, replace(result("5", day=8, run="a"), comparator="<"))
        await known(journal, replace(result("5", day=8, run="b"), value=None))
        await known(journal, replace(result("5", day=8, run="c"), subject=""))
        await known(journal, result("5", day=8, run="d"))
        await known(journal, replace(result("5", day=8, run="d"), status="entered-in-error"))
        assert await before(journal, result(), 7 * DAY_US) is None


async def test_values_are_forgotten_after_their_time(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running(tmp_path, clock=clock) as journal:
        for number in range(3):
            await known(journal, result("5", day=number, run=str(number)))
        for step in range(40):
            clock.advance(MEMORY_US / 1e6 / 20)
            await known(journal, result("6", day=8, run=f"again {step}"))
            with journal.snapshot() as execute:
                (oldest,) = execute("SELECT min(kept_us) FROM earlier_value").fetchone()
            if step > 25 and oldest >= clock.now_us() - 1.5 * MEMORY_US:
                break
        else:
            pytest.fail("nothing was forgotten")
        assert await before(journal, result(day=3), 7 * DAY_US) is None


# -- controls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        ([("lvl1", -2, True)], True),
        ([("lvl1", -2, False)], False),
        ([("lvl1", -2, True), ("lvl1", -1, False)], False),
        ([("lvl1", -2, False), ("lvl2", -1, True)], True),
        ([("lvl1", -30, True)], None),
        ([("lvl1", -2, True), ("lvl1", 1, False)], None),  # the message is judged later than in its turn
        ([("lvl1", -2, False), ("lvl1", 1, True)], None),
        ([("lvl1", -2, False), ("lvl2", 1, False)], None),
        ([("lvl1", -2, True), ("lvl2", 1, False)], True),
    ],
)
async def test_how_controls_had_ended_when_a_message_came(
    tmp_path: Path, runs: list[tuple[str, int, bool]], found: bool | None
) -> None:
    async with running(tmp_path) as journal:
        for material, hours, failed in runs:
            came = received(str(hours).encode(), at_us=NOW_US + hours * 3_600_000_000)
            stored = await journal.run(append.store_message, came, repeat_window_s=1.0)
            control = ControlResult(number=material, test="HGB", codes=("HGB",), failed=failed)
            await journal.run(
                record_outcome.record, stored.id, Outcome("filtered", ReasonCode.FILTERED, controls=[control])
            )
        with journal.snapshot() as execute:
            past = DeltaHistory(SimpleNamespace(execute=execute, vault=journal.vault), 99, "chem", NOW_US)
            assert past.control_failed(("HGB",), DAY_US) is found


async def test_how_long_before_a_result_the_earlier_value_was_measured(tmp_path: Path) -> None:
    def result(hours: int) -> Result:
        at_us = NOW_US + hours * 3_600_000_000
        return Result(codes=(("", "K"),), value=Decimal(4), subject="asha", run=str(hours), at_us=at_us)

    async with running(tmp_path) as journal:
        for hours in (-36, -12):
            await journal.writer.submit(
                lambda batch, hours=hours: delta_history.remember(batch, 50 + hours, [result(hours)], NOW_US)
            )
        with journal.snapshot() as execute:
            past = DeltaHistory(SimpleNamespace(execute=execute, vault=journal.vault), 99, "chem", NOW_US)
            assert past.days(result(0), DAY_US) == Decimal("0.5")  # the last one
            assert past.days(result(-12), DAY_US) == 1
            assert past.days(result(-36), DAY_US) is None


@pytest.mark.parametrize("damaged", [False, True])
async def test_what_overtook_a_held_result_is_said_beside_the_rule_that_held_it(tmp_path: Path, damaged: bool) -> None:
    journal = await started(tmp_path)
    try:
        await store(journal, b"1", b"2")
        await journal.run(
            record_outcome.record, 1, Outcome("mapped"), [routed(body("a", "b"), held=True, reports=REPORT)]
        )
        await journal.run(
            record_outcome.record, 2, Outcome("mapped"), [routed(later(body("a")), held=False, reports=REPORT)]
        )
        await journal.run(attempts.settle, 2, delivered_us=1)
        (kept,) = held_deliveries(journal)

        def damage(batch: Batch) -> None:
            batch.execute("UPDATE delivery SET detail = x'0102' WHERE id = ?", (kept.delivery_id,))

        if damaged:
            assert journal.writer is not None
            await journal.writer.submit(damage)
        for _ in range(2):  # the second time nothing is added
            await journal.run(hold_queue.release, [kept.delivery_id], actor="ann", reason="x")
            (found,) = held_deliveries(journal)
            before = "" if damaged else "; held before: a rule"
            assert (found.reason, found.detail) == ("OVERTAKEN", "overtaken by message 2" + before)
    finally:
        await journal.stop()


@pytest.mark.parametrize("whole", [False, True])
async def test_what_was_refused_before_is_not_why_it_is_held_or_closed_now(tmp_path: Path, whole: bool) -> None:
    journal = await started(tmp_path)
    try:
        await store(journal, b"1", b"2")
        for number, content in ((1, body("a", "b")), (2, later(body("a")))):
            await journal.run(
                record_outcome.record, number, Outcome("mapped"), [routed(content, held=False, reports=REPORT)]
            )
        await journal.run(attempts.bury, 1, reason=ReasonCode.REFUSED, detail="HTTP 422", answer=b"{}")
        await journal.run(attempts.settle, 2, delivered_us=1)
        await journal.run(decisions.requeue, [1])
        (again,) = await journal.run(claims.claim, "chem", "fhir", 10)
        assert await journal.run(hold_queue.close_overtaken, again.id, whole=whole) == 1
        trace = trace_of(journal, 1)
        assert trace is not None
        (kept,) = trace.deliveries
        assert (kept.state, kept.detail) == ("superseded" if whole else "held", "overtaken by message 2")
        assert [one.detail for one in kept.attempts] == ["HTTP 422"]
        assert whole or kept.cause == "OVERTAKEN"
        assert await journal.run(hold_queue.close_overtaken, again.id, whole=False) == 0  # that is done once
    finally:
        await journal.stop()


# -- critical values -------------------------------------------------------------------------------------------------


CRITICAL: Outcome[Any] = Outcome("mapped", critical=(0,))


async def test_a_held_critical_value_is_noted_whenever_it_is_held(tmp_path: Path) -> None:
    """By a rule when it is queued, or later, since a newer one has overtaken it. Others are listed behind it."""
    journal = await started(tmp_path)
    try:
        await store(journal, b"1", b"2", b"3", b"4")
        await journal.run(record_outcome.record, 1, CRITICAL, [routed(body("a"), held=True)])
        await journal.run(record_outcome.record, 2, CRITICAL, [routed(body("b", "c"), held=False, reports=REPORT)])
        await journal.run(
            record_outcome.record, 3, Outcome("mapped"), [routed(later(body("b")), held=False, reports=REPORT)]
        )
        await journal.run(record_outcome.record, 4, Outcome("mapped"), [routed(body("d"), held=True)])
        refused = trace_of(journal, 2)
        assert refused is not None
        delivery = refused.deliveries[0].id
        await journal.run(attempts.bury, delivery, reason=ReasonCode.REFUSED, detail="HTTP 422", answer=b"{}")
        await journal.run(decisions.requeue, [delivery])
        assert await journal.run(hold_queue.close_overtaken, delivery, whole=False) == 1
        found = [(one.message_id, one.critical) for one in held_deliveries(journal)]
        assert found == [(2, True), (1, True), (4, False)]
        (lane,) = list_lanes(journal)
        assert (lane.held, lane.held_critical) == (3, 2)
    finally:
        await journal.stop()
