"""What the judge reads of a message's facts: whose results they are, of which order, sample and time."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from engine.model.content.facts import Facts, Measure, Order, Person, Result, Sample, Value
from engine.succession.judge.reading import NO_RESULT, key_of, numbers_in, said_in
from engine.succession.judge.roles import role_of
from engine.succession.judge.samples import Sample as Of
from engine.succession.judge.samples import compare, instant, is_another_order, is_near, is_over_night, is_within
from engine.succession.judge.taking_back import is_of_order
from engine.succession.judge.words import Said
from tests.engine.succession.test_judge_parts import ONE, RECEIPT

RECEIVED = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)
DAY = date(2026, 3, 1).toordinal()


def result(place: int = 1, **given: Any) -> Result:
    return Result(place, measure=Measure(test="GLU", state="final"), value=Value(sent="5.5", number="5.5"))._replace(
        **given
    )


def message(*orders: Order, **person: Any) -> Facts:
    who = Person(number="900", lasting=True, orders=orders)._replace(**person)
    return Facts(people=(who,))


def said(*orders: Order, **settings: Any) -> list[Said]:
    return [one for one, _ in said_in(message(*orders), RECEIPT._replace(**settings))]


# -- what a result is of -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "key"),
    [(Person(number="7", authority="H", lasting=True, name="DOE", born="1970"), "H\x1f7"),
     (Person(number="7", lasting=True), "\x1f7"), (Person(number="7", name="DOE", born="1970"), "\x1f7\x1fDOE\x1f1970"),
     (Person(number="7"), "\x1f7\x1f\x1f"), (Person(name="DOE", born="1970"), "DOE\x1f1970"),
     (Person(name="DOE"), "DOE\x1f"), (Person(born="1970"), ""), (Person(), "")],
)  # fmt: skip
def test_who_a_person_is(person: Person, key: str) -> None:
    assert key_of(person) == key


T1, T2 = (
    Sample(number="T1", collected="2026-03-01T08:00:00+00:00"),
    Sample(number="T2", collected="2026-03-01T09:00:00+00:00"),
)


@pytest.mark.parametrize(
    ("order", "number", "numbers", "tube", "collected"),
    [
        (Order(1, placer="P1", filler="F1"), "F1", {"P1", "F1"}, "", ""),
        (Order(1, placer="P1", collected="2026"), "P1", {"P1"}, "", "2026"),
        (Order(1, samples=(Sample(counted="3"), Sample(counted="4"))), "3", {"3"}, "", ""),
        (Order(1, samples=(Sample(), T1)), "T1", {"T1"}, "", T1.collected),
        (Order(1), "", set(), "", ""),
        (Order(1, filler="F1", samples=(T1,)), "F1", {"F1"}, "T1", T1.collected),
        (Order(1, filler="F1", samples=(T1, T2), collected="2026"), "F1", {"F1"}, "T1\x1fT2", "2026"),
        (Order(1, filler="T1", samples=(T1,)), "T1", {"T1"}, "", T1.collected),
    ],
)
def test_the_number_and_the_sample_of_a_result(
    order: Order, number: str, numbers: set[str], tube: str, collected: str
) -> None:
    (one,) = said(order._replace(results=(result(),)))
    assert (one.number, one.numbers, one.tube, one.collected) == (number, numbers, tube, collected)


def test_a_result_may_name_its_tube() -> None:
    order = Order(1, filler="F1", samples=(T1, T2), results=(result(tube="T2"), result(2, tube="T9"), result(3)))
    assert [(one.tube, one.collected) for one in said(order)] == [("T2", T2.collected), ("T9", ""), ("T1\x1fT2", "")]
    (alone,) = said(Order(1, samples=(T1, T2), results=(result(tube="T2"),)))
    assert (alone.number, alone.tube) == ("T2", "")


def test_the_panel_is_the_code_of_the_order_in_hl7_alone() -> None:
    order = Order(1, filler="F1", code="CHEM", issued="2026", results=(result(),))
    ((hl7,), (astm,)) = said(order), said(order, is_hl7=False)
    assert (hl7.panel, astm.panel, hl7.version.issued) == ("CHEM", "", "2026")


def test_of_what_a_message_does_not_say_nothing_is_read() -> None:
    ((one, role),) = said_in(Facts(people=(Person(orders=(Order(1, results=(Result(1),)),)),)), RECEIPT, judged=True)
    empty = ("", frozenset(), "", ("", "", "", "", ""))
    version = one.version
    assert (one.person, one.numbers, one.sub, one.content, role) == ("", frozenset(), "", empty, "patient")
    assert {one.number, one.panel, one.test, one.organism, one.value, one.tube, one.collected, one.stated} == {""}
    assert (one.counted, one.head, one.isolate, one.critical, one.status_only, one.unsure) == ("", 0, *[False] * 4)
    assert (version.status, version.said, version.time, version.issued, version.has_value) == (
        "unknown", "unknown", "", "", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("times", "minute"),
    [({"at": "2026-03-01T15:00:12+05:30"}, "2026-03-01T09:30+00:00"), ({"at": "2026-03-01"}, "2026-03-01"),
     ({"at": "2026-03-01", "stated": "20260301"}, "20260301"), ({"stated": "20260301"}, "20260301")],
)  # fmt: skip
def test_a_persons_no_is_about_the_minute(times: dict[str, str], minute: str) -> None:
    (one,) = said(Order(1, filler="F1", results=(result(**times),)))
    assert (one.content.what, one.stated) == (("", "GLU", "5.5", "", minute), times.get("stated", ""))


@pytest.mark.parametrize(
    ("value", "about"),
    [(Value(sent="<^5.50", comparator="<", number="5.50"), "<5.5"), (Value(sent="5.50", number="5.50"), "5.5"),
     (Value(sent="POS^5", call="POS", number="5"), "pos^5"), (Value(sent="5 g", number="5", unit="g"), "5 g"),
     (Value(sent="POS"), "pos")],
)  # fmt: skip
def test_a_persons_no_is_about_a_number_whichever_type_it_has(value: Value, about: str) -> None:
    (one,) = said(Order(1, filler="F1", results=(result(value=value),)))
    assert one.content.what[2] == about


@pytest.mark.parametrize("kind", sorted(NO_RESULT))
def test_what_is_no_result_is_not_judged(kind: str) -> None:
    assert said(Order(1, results=(result(kind=kind), result(2)))) == said(Order(1, results=(result(2),)))


@pytest.mark.parametrize(
    ("status", "is_hl7", "repeats", "status_only"),
    [("R", False, True, False), ("R", True, False, False), ("U", True, False, True), ("U", False, False, False),
     ("F", True, False, False)],
)  # fmt: skip
def test_the_status_says_that_it_was_sent_before(status: str, is_hl7: bool, repeats: bool, status_only: bool) -> None:
    one = result(measure=Measure(test="GLU", status=status), value=Value())
    (found,) = said(Order(1, results=(one,)), is_hl7=is_hl7)
    assert (found.version.repeats, found.status_only, found.version.status) == (repeats, status_only, "unknown")
    assert (found.value, found.version.has_value) == ("", False)


@pytest.mark.parametrize(
    ("value", "has_one"),
    [
        (Value(sent="5.5"), True),
        (Value(sent=" -- "), False),
        (Value(sent="5.5", missing="error"), False),
        (Value(), False),
    ],
)
def test_a_result_has_a_value(value: Value, has_one: bool) -> None:
    (found,) = said(Order(1, results=(result(value=value),)))
    assert found.version.has_value is has_one


@pytest.mark.parametrize(
    ("changed", "content", "whole"),
    [({}, False, False), ({"value": Value(sent="5.6")}, True, True),
     ({"value": Value(sent="5.5", call="POS")}, True, True),
     ({"stated": "x"}, False, True), ({"range": "1-2"}, False, True), ({"comment": "x"}, False, True),
     ({"measure": Measure(test="GLU", state="final", unit="g")}, True, True),
     ({"measure": Measure(test="GLU", state="final", flags=("H",))}, True, True),
     ({"place": 9, "device": "x"}, False, False)],
)  # fmt: skip
def test_what_makes_another_version_of_it(changed: dict[str, Any], content: bool, whole: bool) -> None:
    ((one,), (other,)) = said(Order(1, results=(result(),))), said(Order(1, results=(result(**changed),)))
    assert (one.version.content != other.version.content, one.version.whole != other.version.whole) == (content, whole)


def test_susceptibilities_in_another_order_are_of_the_order_of_their_isolate() -> None:
    isolate = result(isolate=True, value=Value(sent="E. coli", words="E. coli"), measure=Measure(test="ORG", sub="1"))
    of = [result(place, head=1, measure=Measure(test=test)) for place, test in ((2, "AMP"), (3, "CIP"))]
    other = result(4, isolate=True, value=Value(sent="SAU"), measure=Measure(test="ORG"))
    culture = Order(1, filler="F1", code="CULT", results=(isolate, other))
    found = said(culture, Order(2, filler="F2", code="SUSC", results=(*of, result(5))))
    assert [(one.test, one.organism, one.head, one.isolate, one.number, one.panel) for one in found] == [
        ("ORG", "e. coli", 1, True, "F1", "CULT"), ("ORG", "sau", 4, True, "F1", "CULT"),
        ("AMP", "e. coli", 1, False, "F1", "CULT"), ("CIP", "e. coli", 1, False, "F1", "CULT"),
        ("GLU", "", 0, False, "F2", "SUSC"),
    ]  # fmt: skip
    assert [one.counted for one in found] == ["1", "#2", "#2", "#2", ""]
    assert [sorted(one.numbers) for one in found] == [["F1"], ["F1"], ["F1", "F2"], ["F1", "F2"], ["F2"]]
    assert {one.sub for one in found} == {""}


def test_a_result_that_belongs_to_a_named_one_is_of_it() -> None:
    """Where no code says that it is an isolate."""
    named = result(value=Value(sent="E. coli", words="E. coli"))
    assert [one.organism for one in said(Order(1, filler="F1", results=(named, result(2, head=1))))] == ["e. coli"] * 2
    assert [one.organism for one in said(Order(1, filler="F1", results=(result(), result(2, head=1))))] == ["", ""]


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (Order(1, placer="P1", filler="F1", collected="2026-03-01"), {("P1", 0), ("F1", 0)}),
        (Order(1, filler="F1"), {("F1", 0)}),
        (Order(1, filler="F1", collected="2026"), {("F1", 0)}),
        (
            Order(1, filler="F1", samples=(Sample(collected="2026-02-28"),), collected="2026-02-26"),
            {("F1", -1), ("F1", -3)},
        ),
        (Order(1, samples=(T1, T2)), {("T1", 0)}),
        (Order(1, samples=(Sample(counted="3"),)), {("3", 0)}),
        (Order(1), set()),
    ],
)
def test_by_which_numbers_and_days_an_order_is_found(order: Order, found: set[tuple[str, int]]) -> None:
    facts = message(order._replace(results=(result(),)))
    assert {(number, day - DAY) for number, day in numbers_in(facts, RECEIVED)} == found


def test_an_order_is_found_by_the_days_and_tubes_of_its_results() -> None:
    results = (result(at="2026-02-27T23:00:00+00:00", tube="T2"), result(2, tube="T3"))
    facts = message(Order(1, samples=(T1,), results=results), Order(2, filler="F2"))
    assert {(number, day - DAY) for number, day in numbers_in(facts, RECEIVED)} == {
        ("T2", -2), ("T3", -2), ("T2", 0), ("T3", 0), ("F2", 0),
    }  # fmt: skip


# -- whose sample it is of ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "of_order", "is_hl7", "role"),
    [((Sample(role=" q "),), None, True, "control"), ((Sample(role="Q"),), None, False, "control"),
     ((Sample(role="C"),), None, False, "patient"), ((Sample(role="L"),), "L", True, "patient"),
     ((Sample(role="L"),), "R", True, "pool"), ((Sample(role="R"),), "R", True, "patient"),
     ((Sample(role="G"),), "G", True, "pool"), ((Sample(),), "Q", True, "control"),
     ((Sample(),), "Q", False, "patient"),
     ((Sample(role="P"),), "Q", True, "patient"), ((), "Q", True, "control"), ((), None, True, "patient"),
     ((Sample(role="Q"), Sample(role="P")), None, True, "pool")],
)  # fmt: skip
def test_the_role_of_a_sample(samples: tuple[Sample, ...], of_order: str | None, is_hl7: bool, role: str) -> None:
    assert role_of(Order(1, samples=samples, role=of_order), result(), RECEIPT._replace(is_hl7=is_hl7)) == role


def test_a_result_that_names_its_tube_has_the_role_of_that() -> None:
    order = Order(1, samples=(Sample(number="T1", role="Q"), Sample(number="T2", role="P")))
    roles = [role_of(order, result(tube=tube), RECEIPT._replace(is_hl7=True)) for tube in ("T1", "T2", "T9", None)]
    assert roles == ["control", "patient", "pool", "pool"]


@pytest.mark.parametrize(
    ("order", "is_hl7", "role"),
    [(Order(1, filler="QC7"), True, "control"), (Order(1, placer="QC7"), True, "control"),
     (Order(1, filler="F1", placer="QC7", samples=(T1,)), True, "patient"),
     (Order(1, filler="F1", samples=(Sample(number="QC7"),)), True, "control"),
     (Order(1, placer="QC7", samples=(Sample(role="P"),)), True, "patient"),
     (Order(1, placer="QC7", samples=(Sample(role="P"),)), False, "control"),
     (Order(1, filler="77", samples=(Sample(number="T1", role="P"),)), True, "patient"),
     (Order(1, filler="77", samples=(Sample(number="T1"),)), True, "control"),
     (Order(1, filler="77", samples=(Sample(role="P"),)), True, "control"),
     (Order(1, filler="QC7", samples=(Sample(number="T1", role="P"),)), True, "control"),
     (Order(1, filler="F1"), True, "patient"), (Order(1), True, "patient")],
)  # fmt: skip
def test_a_control_by_its_number(order: Order, is_hl7: bool, role: str) -> None:
    assert role_of(order, result(), RECEIPT._replace(is_hl7=is_hl7, numbers=("QC*", "77"))) == role


@pytest.mark.parametrize(
    ("code", "name", "is_hl7", "role"),
    [("QC1", None, True, "control"), ("X", "QC1", True, "control"), ("X", "QC1", False, "patient"),
     ("QC1 QC2", None, False, "control"), ("QC1 GLU", None, False, "patient"), (None, None, True, "patient"),
     (None, None, False, "patient")],
)  # fmt: skip
def test_a_control_by_its_order(code: str | None, name: str | None, is_hl7: bool, role: str) -> None:
    assert role_of(Order(1, code=code, name=name), result(), RECEIPT._replace(is_hl7=is_hl7, orders=("QC*",))) == role
    assert role_of(Order(1, code=code, name=name), result(), RECEIPT._replace(is_hl7=is_hl7)) == "patient"


# -- samples and times -------------------------------------------------------------------------------------------------


def of(*, at: str = "", drawn: str = "", **more: Any) -> Said:
    """A result of 1 March; times as ``09:30``, or with a day in front: ``27T09:30`` of February."""

    def time(text: str) -> str:
        day, _, clock = text.rpartition("T")
        return f"2026-{f'02-{day}' if day else '03-01'}T{clock}:00+00:00" if text else ""

    return ONE._replace(collected=time(drawn), version=ONE.version._replace(time=time(at)), **more)


@pytest.mark.parametrize(
    ("new", "one", "settings", "expected"),
    [
        (of(at="09:30", drawn="08:10"), of(at="10:00", drawn="08:00"), {}, Of.SAME),
        (of(at="09:30", drawn="08:11"), of(at="10:00", drawn="08:00"), {}, Of.OTHER),
        (of(at="09:30", drawn="08:11", tube="T1"), of(at="10:00", drawn="08:00", tube="T1"), {}, Of.DOUBTFUL),
        (of(at="09:30", drawn="08:11", organism="e"), of(at="10:00", drawn="08:00"), {}, Of.UNKNOWN),
        (of(at="09:30"), of(at="10:00", drawn="08:00"), {}, Of.UNKNOWN),
        (of(at="09:30", tube="T1"), of(at="10:00", drawn="08:00", tube="T1"), {}, Of.SAME),
        (of(at="09:30", drawn="09:00"), of(at="10:31", drawn="10:00"), {}, Of.DOUBTFUL),
        (of(at="09:30", drawn="09:00"), of(at="10:32", drawn="10:00"), {}, Of.OTHER),
        (of(at="09:30", drawn="09:00"), of(at="10:30", drawn="10:00"), {"collection": True}, Of.OTHER),
        (of(at="09:30", drawn="09:00"), of(at="10:30", drawn="10:00"), {"collection": False}, Of.UNKNOWN),
        (of(at="12:00", drawn="09:00"), of(at="13:00", drawn="10:00"), {}, Of.DOUBTFUL),
        (of(at="12:01", drawn="09:00"), of(at="13:01", drawn="10:00"), {}, Of.OTHER),
        (of(at="09:30", drawn="09:30"), of(at="10:30", drawn="10:00"), {}, Of.UNKNOWN),
        (of(at="09:30", drawn="09:30"), of(at="10:30", drawn="10:00"), {"collection": True}, Of.OTHER),
        (of(drawn="09:30"), of(at="10:30", drawn="10:00"), {}, Of.UNKNOWN),
        (of(at="09:30", drawn="08:00", unsure=True), of(at="10:30", drawn="07:00"), {}, Of.UNKNOWN),
        (of(at="09:30", drawn="08:00"), of(at="10:30", drawn="08:00"), {"runs_apart": True}, Of.OTHER),
        (of(at="09:30", drawn="08:00", organism="e"), of(at="10:30", drawn="08:00"), {"runs_apart": True}, Of.SAME),
    ],
)
def test_of_which_sample_a_result_is(new: Said, one: Said, settings: dict[str, Any], expected: Of) -> None:
    assert compare(new, one, RECEIPT._replace(**settings)) is expected


@pytest.mark.parametrize(
    ("new", "one", "near"),
    [(of(at="12:00"), of(at="28T00:00"), True), (of(at="12:01"), of(at="28T00:00"), False),
     (of(at="28T00:00"), of(at="12:01"), False), (of(), of(at="12:00"), True),
     (of(drawn="12:01"), of(at="28T00:00"), False)],
)  # fmt: skip
def test_within_a_day_and_a_half(new: Said, one: Said, near: bool) -> None:
    assert is_near(new, one) is near
    assert is_within(new, one, timedelta(days=9))


UNFINISHED = ONE.version._replace(said="preliminary")


@pytest.mark.parametrize(
    ("new", "one", "unique", "other"),
    [
        (of(at="09:00"), of(at="10:00"), False, False),
        (of(at="09:00"), of(at="28T10:00"), False, True),
        (of(at="09:00", drawn="28T08:00"), of(at="28T10:00"), False, False),
        (of(), of(at="28T10:00"), False, False),
        (of(at="09:00"), of(at="28T10:00"), True, False),
        (of(at="09:00"), of(at="01T10:00"), False, True),
        (of(at="09:00", organism="e"), of(at="09T10:00"), False, False),
        (of(at="09:00", organism="e"), of(at="08T10:00"), False, False),
        (of(at="09:00"), of(at="08T10:00", value="No growth"), False, False),
        (of(at="09:00", organism="e"), of(at="01T08:00"), False, True),
        (
            of(at="09:00"),
            of(at="28T10:00")._replace(version=UNFINISHED._replace(time="2026-02-28T10:00:00+00:00")),
            False,
            False,
        ),
        (of(at="09:00"), of()._replace(version=UNFINISHED._replace(time="2026-02-26T10:00:00+00:00")), False, True),
        (of(at="09:00", drawn="27T08:00"), of(at="28T09:00", drawn="27T08:00"), False, False),
    ],
)
def test_a_number_of_another_day_is_another_order(new: Said, one: Said, unique: bool, other: bool) -> None:
    assert is_another_order(new, one, RECEIPT._replace(unique=unique)) is other


def test_a_unique_number_is_given_again_after_a_month() -> None:
    old = of()._replace(version=ONE.version._replace(time="2026-01-01T00:00:00+00:00"))
    assert is_another_order(of(at="09:00"), old, RECEIPT._replace(unique=True))
    assert not is_another_order(of(at="09:00"), old, RECEIPT._replace(unique=True, reused=timedelta(days=90)))
    assert not is_of_order(of(at="09:00"), old, RECEIPT._replace(unique=True))
    assert is_of_order(of(at="09:00"), old, RECEIPT)


@pytest.mark.parametrize(
    ("new", "one", "is_it"),
    [(of(at="05:00"), of(at="28T23:00"), True), (of(at="05:01"), of(at="28T23:00"), False),
     (of(at="05:00", person=""), of(at="28T23:00"), False), (of(at="05:00"), of(at="04:00"), False),
     (of(at="05:00", tube="T1"), of(at="28T23:00", tube="T2"), False), (of(), of(at="28T23:00"), False)],
)  # fmt: skip
def test_after_midnight_a_number_may_be_of_the_day_before(new: Said, one: Said, is_it: bool) -> None:
    assert is_over_night(new, one, RECEIPT) is is_it


@pytest.mark.parametrize(
    ("text", "has_minute"),
    [("2026-03-01T09:30+00:00", True), ("2026-03-01T09:30:00Z", True), ("2026-03-01T09:30", False),
     ("2026-03-01", False), ("2026-13-01T09:30+00:00", False), ("", False)],
)  # fmt: skip
def test_an_instant_has_its_minute_and_its_zone(text: str, has_minute: bool) -> None:
    assert (instant(text) is not None) is has_minute
