"""The parts of the judge, each by what it means: a sample, a time, a tube, an isolate; and who else has the order."""

from datetime import UTC, datetime

import pytest

from engine.model.content.facts import Facts
from engine.succession.judge import cultures
from engine.succession.judge.clock import day_of, is_ahead, is_wrong
from engine.succession.judge.reading import said_in
from engine.succession.judge.samples import SEVERAL, Sample, at_same_time, compare, is_of_other_tube
from engine.succession.judge.texts import is_line
from engine.succession.judge.words import Receipt, Said
from tests.engine.succession.test_judge import RECEIVED, Desk, read

RECEIPT = Receipt(message=1, channel="c", received=RECEIVED)


def told(content: str, **settings: bool) -> list[Said]:
    return [said for said, _ in said_in(read(content), RECEIPT._replace(**settings))]


def report(*rows: str, drawn: str = "20260301080000") -> str:
    head = ["MSH|^~\\&|AN|LAB|LIS|H|20260301180000||ORU^R01|1|P|2.5.1", "PID|1||900^^^H^MR||DOE^JANE||19700101|F"]
    return "\r".join([*head, f"OBR|1||F1|CULT|||{drawn}|||||||||||||||||LAB|F", *rows])


def row(place: int, test: str, value: str, at: str = "20260301093000", kind: str = "ST", sub: str = "") -> str:
    return f"OBX|{place}|{kind}|{test}|{sub}|{value}|||||{'|'}F|||{at}"


ONE = told(report(row(1, "GLU", "5.5")))[0]


def at(said: Said, *, measured: str = "", tube: str = "", collected: str = "") -> Said:
    return said._replace(
        tube=tube,
        collected=collected or said.collected,
        version=said.version._replace(time=measured or said.version.time),
    )


@pytest.mark.parametrize(
    ("new", "one", "runs_apart", "expected"),
    [
        (at(ONE), at(ONE), False, Sample.SAME),
        (at(ONE, measured="2026-03-01T10:30:00+00:00"), ONE, False, Sample.SAME),
        (at(ONE, measured="2026-03-01T10:30:00+00:00"), ONE, True, Sample.OTHER),
        (ONE, ONE, True, Sample.SAME),
        (at(ONE, tube="T1"), at(ONE, tube="T2"), False, Sample.OTHER),
        (at(ONE, tube="T1"), at(ONE, tube="T1"), False, Sample.SAME),
        (at(ONE, tube=f"T1{SEVERAL}T2"), at(ONE, tube="T2"), False, Sample.DOUBTFUL),
        (at(ONE, tube=f"T1{SEVERAL}T2"), at(ONE, tube="T3"), False, Sample.OTHER),
    ],
)
def test_which_sample_it_is(new: Said, one: Said, runs_apart: bool, expected: Sample) -> None:
    assert compare(new, one, RECEIPT._replace(runs_apart=runs_apart)) is expected


@pytest.mark.parametrize(("new", "one", "other"), [("", "T1", False), ("T1", "", False), ("T1", "T2", True)])
def test_a_tube_that_is_not_named_is_no_other_one(new: str, one: str, other: bool) -> None:
    assert is_of_other_tube(at(ONE, tube=new), at(ONE, tube=one)) is other


@pytest.mark.parametrize(
    ("new", "one", "same"),
    [
        ("2026-03-01T09:30:00+00:00", "2026-03-01T09:30:00+00:00", True),
        ("2026-03-01T09:30:00+00:00", "2026-03-01T10:30:00+01:00", True),
        ("2026-03-01T09:30:00+00:00", "2026-03-01T09:31:00+00:00", False),
        ("2026-03-01", "2026-03-01", False),
        ("2026-03-01T09:30:00+00:00", "2026-03-01", False),
    ],
)
def test_a_day_alone_is_no_time(new: str, one: str, same: bool) -> None:
    assert at_same_time(at(ONE, measured=new), at(ONE, measured=one)) is same


NOW = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "taken", "wrong"),
    [
        ("", False, False), ("2026-03-01T18:15:00+00:00", False, False), ("2026-03-01T18:16:00+00:00", False, True),
        ("2025-08-31T18:00:00+00:00", False, False), ("2025-08-31T17:59:00+00:00", False, True),
        ("2020-01-01T00:00:00+00:00", True, False), ("2026-03-02", False, False), ("2026-03-03", False, True),
        ("2026-03-03", True, True), ("2025-08-31", False, False), ("2025-08-30", False, True), ("2026", False, False),
        ("2025", False, False), ("2024", False, True), ("2024", True, False), ("2025-08", False, False),
        ("2025-07", False, True), ("2027-01", True, True),
    ],
)  # fmt: skip
def test_a_time_that_no_clock_can_have(text: str, taken: bool, wrong: bool) -> None:
    assert is_wrong(text, NOW, taken=taken) is wrong


def test_the_day_of_a_time() -> None:
    assert [day_of(one) - day_of("2026-03-01") for one in ("2026-03-01T23:59:00+00:00", "2026-03-02")] == [0, 1]
    assert [day_of(one) for one in ("", "2026", "2026-03")] == [0, 0, 0]
    assert [is_ahead(one, NOW) for one in ("20260301", "20260302", "2026030218", "2026", "")] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_a_picture_is_no_result() -> None:
    facts: Facts = read(report(row(1, "GLU", "5.5"), row(2, "IMG", "^IM^PNG^Base64^iVBORw0KGgo=", kind="ED")))
    assert [one.measure.test for *_, one in facts.results()] == ["GLU", "IMG"]
    assert [said.test for said, _ in said_in(facts, RECEIPT)] == ["GLU"]


@pytest.mark.parametrize(
    ("value", "organism"),
    [
        ("SAU", "sau"),
        ("SAU^Staphylococcus aureus, type 2", "sau"),
        ("10^some", ""),
        ("no growth", ""),
        ("", ""),
    ],
)
def test_a_result_under_the_code_of_an_isolate_is_one(value: str, organism: str) -> None:
    """Unless it is a count, or says that nothing grew."""
    first, other = told(report(row(1, "ORG", "ECO", sub="1"), row(2, "ORG2", "x")))
    other = other._replace(test="ORG", value=value, isolate=False, organism="", sub="2", head=0)
    message, standing = cultures.with_isolates([first, other], [])
    assert (message[1].organism, message[1].isolate, standing) == (organism, bool(organism), [])
    assert message[1].head == (other.place if organism else 0)


@pytest.mark.parametrize(
    "code",
    [
        "600-7", "630-4", "625-4", "624-7", "6460-0", "606-4", "6462-6", "626-2", "609-8", "610-6", "611-4", "6463-4",
        "634-6", "635-3", "11475-1", "580-1", "543-9",
    ],
)  # fmt: skip
def test_a_culture_is_known_by_its_code_in_loinc(code: str) -> None:
    """Blood, urine, stool, sputum, throat, wounds, fluids, genital and any other source; fungi and mycobacteria."""
    (one,) = told(report(f"OBX|1|CE|{code}^Culture^LN|1|ECO^E. coli^L||||||F"))
    assert (one.organism, one.isolate) == ("eco", True)


@pytest.mark.parametrize("words", ["neg", "Neg.", "Negative", "negativo", "n\u00e9gatif", "nil", "None", "NG", "n.g."])
def test_nothing_in_one_word_is_no_isolate(words: str) -> None:
    (one,) = told(report(f"OBX|1|CE|600-7^Blood culture^LN|1|{words}||||||F"))
    assert (one.organism, one.isolate) == ("", False)


def test_a_correction_of_an_order_that_two_patients_have_asks_whose_it_is() -> None:
    desk = Desk()
    desk.says("F CRE 5.5")
    desk.says("F GLU 4.0", patient="901")
    assert desk.says("C GLU 4.5") == "held:ORDER_MOVED"
    assert desk.looks_at() == [2]
    assert desk.says("D GLU 4.0") == "held:CORRECTS_UNKNOWN"


TEXT = ("F COM few cells", "F COM no blasts")


@pytest.mark.parametrize(
    ("second", "became", "stands"),
    [
        (TEXT, "echo echo", ["final few cells", "final no blasts"]),
        (("F COM many cells", "F COM some blasts"), "amends amends", ["amended many cells", "amended some blasts"]),
        (
            ("F COM many cells", "F COM some blasts", "F COM seen again"),
            "amends amends new",
            ["amended many cells", "amended some blasts", "final seen again"],
        ),
        (
            ("F COM some blasts at=0910", "F COM many cells at=0900"),
            "amends amends",
            ["amended many cells", "amended some blasts"],
        ),
    ],
)
def test_a_new_text_takes_the_place_of_the_one_before_it(
    second: tuple[str, ...], became: str, stands: list[str]
) -> None:
    """Each line that of its time, else in their order."""
    desk = Desk()
    timed = any("at=" in one for one in second)
    first = [f"{one} at=09{place}0" for place, one in enumerate(TEXT)] if timed else TEXT
    desk.says(*first)
    assert desk.says(*second) == became
    assert desk.stands() == stands


def test_a_text_that_is_shorter_than_before_is_held() -> None:
    desk = Desk()
    desk.says(*TEXT, "F COM seen again")
    assert desk.says("F COM many cells", "F COM some blasts") == "held:RESULTS_GONE held:RESULTS_GONE"
    assert desk.stands() == ["final few cells", "final no blasts", "final seen again"]


@pytest.mark.parametrize(("value", "is_one"), [("few cells", True), ("", False), ("5 cells", False), ("5.5", False)])
def test_words_are_lines_of_a_text(value: str, is_one: bool) -> None:
    said = ONE._replace(value=value)
    assert is_line(said) is is_one
    assert not is_line(said._replace(organism="eco"))
    assert not is_line(said._replace(version=said.version._replace(said="entered-in-error")))


@pytest.mark.parametrize(
    ("unique", "day", "became"),
    [
        (False, "20260301", "held:CORRECTS_UNKNOWN"),
        (True, "20260301", "new:CORRECTS_UNKNOWN"),
        (True, "20260125", "follows"),
    ],
)
def test_a_correction_finds_its_order_of_long_ago(unique: bool, day: str, became: str) -> None:
    """Where its number is not unique a person is asked; a unique number is given again after a month."""
    desk = Desk(settings={"unique": unique})
    desk.says("F CRE 5.5", day="20260115")
    assert desk.says("C CRE 6.0", day=day) == became


@pytest.mark.parametrize(("drawn", "became"), [("0800", "amends"), ("", "new")])
def test_a_number_without_a_patient_names_a_sample_by_when_it_was_drawn(drawn: str, became: str) -> None:
    desk = Desk()
    desk.says("F GLU 5.5", patient="", drawn=drawn)
    assert desk.says("F GLU 6.5", patient="", drawn=drawn, at="1000") == became
