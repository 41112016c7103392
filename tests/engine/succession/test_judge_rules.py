"""The judge where two of its rules meet, or one ends: each as what a laboratory says, and what becomes of it."""

from collections.abc import Sequence
from typing import Any

import pytest

from engine.model.content.facts import Measure, Result, Value
from engine.model.errors import TooManyAlikeError
from engine.succession.judge import cultures, judging
from engine.succession.judge.judging import judge
from engine.succession.judge.matching import Match, match
from engine.succession.judge.words import Decision, Memory, Said, Standing
from tests.engine.succession.test_judge import Desk, read
from tests.engine.succession.test_judge_harms import CULTURE, GONE, Line, linked
from tests.engine.succession.test_judge_parts import ONE, RECEIPT, report, row, told
from tests.support.decided_memory import rejected

UNKNOWN = "held:CORRECTS_UNKNOWN"
SAMPLE = "held:SAMPLE_UNKNOWN"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def line() -> Line:
    return Line()


def first(desk: Desk) -> Decision:
    return desk.last.decisions[0]


def stands(said: Said, place: int = 1, *, message: int = 1, **changed: Any) -> Standing:
    one = said._replace(place=place, message=message, **changed)
    return Standing((message, place), (one,))


# -- cultures: what is one ---------------------------------------------------------------------------------------------

BLOOD = ("http://loinc.org|600-7",)
LOCAL = ("urn:lab|BC",)


@pytest.mark.parametrize(
    ("measure", "value", "isolate", "organism"),
    [
        (Measure(own=BLOOD), Value(sent="E. coli", words="E. coli"), None, "e. coli"),
        (Measure(own=LOCAL, codes=BLOOD), Value(sent="ECO^E. coli", code="ECO"), None, "eco"),
        (Measure(own=LOCAL, codes=LOCAL), Value(sent="E. coli", words="E. coli"), None, ""),
        (Measure(own=LOCAL), Value(sent="E. coli", words="E. coli"), None, ""),
        (Measure(), Value(sent="E. coli", words="E. coli"), True, "e. coli"),
        (Measure(), Value(sent="E. coli"), True, "e. coli"),
        (Measure(), Value(), True, ""),
        (Measure(own=BLOOD), Value(sent="No growth", words="No growth"), None, ""),
        (Measure(own=BLOOD), Value(sent="x", code="neg"), None, ""),
    ],
)
def test_the_organism_of_an_isolate(measure: Measure, value: Value, isolate: bool | None, organism: str) -> None:
    assert cultures.organism_of(Result(3, measure=measure, value=value, isolate=isolate), ()) == organism


@pytest.mark.parametrize(
    ("value", "organism"),
    [(Value(sent="E. coli", words="E. coli"), "e. coli"), (Value(sent="ECO", code="ECO"), "eco"),
     (Value(sent="5.5", number="5.5"), ""), (Value(sent="10 rods", number="10", words="rods"), ""),
     (Value(sent="x"), "")],
)  # fmt: skip
def test_a_result_to_which_others_belong_is_an_isolate_if_it_has_a_name(value: Value, organism: str) -> None:
    assert cultures.organism_of(Result(3, value=value), {3}) == organism
    assert cultures.organism_of(Result(4, value=value), {3}) == ""


@pytest.mark.parametrize(
    ("rows", "are_there"),
    [([row(1, "ORG", "ECO", sub="1")], True), ([row(1, "NOGR", "No growth")], True), ([row(1, "GLU", "5.5")], False),
     ([row(1, "GLU", "5.5", kind="NM")], False), ([row(1, "COM", "few cells")], False), ([row(1, "COM", "")], False),
     ([row(1, "GLU", "5.5", kind="NM"), "OBX|2|CE|600-7^Culture^LN|1|ECO^E. coli||||||F"], True)],
)  # fmt: skip
def test_a_message_has_a_culture(rows: list[str], are_there: bool) -> None:
    assert cultures.are_in(read(report(*rows))) is are_there


def test_a_result_is_of_a_culture_by_its_organism_or_by_no_growth() -> None:
    said = [ONE, ONE._replace(organism="eco"), ONE._replace(value="No growth")]
    assert [cultures.is_one(one) for one in said] == [False, True, True]


def test_growth_and_no_growth_in_one_message(line: Line) -> None:
    assert line.hears("F|ORG|E. coli|1", "F|NOGR|No growth", **CULTURE) == f"{GONE} {GONE}"
    assert [one.words for one in line.last.decisions] == ["its message has growth, and no growth"] * 2
    assert line.stands() == []


def test_growth_and_no_growth_of_two_panels(line: Line) -> None:
    """One is of the aerobic, the other of the anaerobic bottle."""
    growth, none = (
        one._replace(number="F1") for one in told(report(row(1, "ORG", "ECO", sub="1"), row(2, "X", "No growth")))
    )
    assert cultures.is_contradiction(growth, [growth, none])
    assert cultures.is_contradiction(none, [growth, none])
    other = none._replace(panel="ANAEROBIC")
    assert not cultures.is_contradiction(growth, [growth, other])
    assert not cultures.is_contradiction(other, [growth, other])
    assert not cultures.is_contradiction(growth, [growth])
    assert not cultures.is_contradiction(ONE, [growth, ONE])


ISOLATE = ONE._replace(test="ORG", value="E. coli", isolate=True, organism="e. coli", head=1, counted="1", panel="CULT")
TESTED = ISOLATE._replace(place=2, test="AMP", value="R", isolate=False)


@pytest.mark.parametrize(
    ("said", "members"),
    [(TESTED, 1), (TESTED._replace(organism="s. aureus"), 0), (TESTED._replace(channel="d"), 0),
     (TESTED._replace(panel="OTHER"), 0), (TESTED._replace(tube="T2"), 0), (TESTED._replace(number="F2"), 0),
     (TESTED._replace(person="x"), 0), (TESTED._replace(head=7), 0), (TESTED._replace(message=5, head=7), 1),
     (TESTED._replace(version=TESTED.version._replace(said="cancelled")), 0), (ISOLATE._replace(place=2), 0)],
)  # fmt: skip
def test_the_susceptibilities_of_an_isolate(said: Said, members: int) -> None:
    head = stands(ISOLATE)
    other = Standing((said.message, 2), (said,))
    assert cultures.members_of(head, [head, other]) == [other.ref] * members
    assert cultures.members_of(other._replace(words=(TESTED,)), [head, other]) == []


@pytest.mark.parametrize(
    ("new", "known"),
    [(TESTED._replace(organism=""), True), (TESTED, False), (TESTED._replace(organism="", test="CIP"), False)],
)
def test_a_susceptibility_alone_may_be_of_each_isolate(new: Said, known: bool) -> None:
    order = [stands(ISOLATE), stands(TESTED, 2)]
    assert [one.ref for one in cultures.tested_before(new, order)] == ([(1, 2)] if known else [])
    gone = TESTED._replace(version=TESTED.version._replace(said="entered-in-error"))
    assert cultures.tested_before(new, [stands(gone, 2)]) == []


def test_isolates_without_numbers_are_counted_by_their_code() -> None:
    rows = told(report(row(1, "ORG", "ECO", sub="1"), row(2, "ORG2", "SAU"), row(3, "ORG2", "KPN"), row(4, "X", "few")))
    plain = [one._replace(test="ORG", isolate=False, organism="", counted="", head=0) for one in rows[1:3]]
    found, _ = cultures.with_isolates([rows[0], *plain, rows[3]], [])
    assert [(one.organism, one.counted, one.head, one.isolate) for one in found] == [
        ("eco", "1", 1, True), ("sau", "#2", 2, True), ("kpn", "#3", 3, True), ("", "", 0, False),
    ]  # fmt: skip
    numbered = plain[0]._replace(counted="7")
    assert cultures.with_isolates([rows[0], numbered], [])[0][1].counted == "7"


def test_a_known_result_of_the_code_of_an_isolate_is_one_too() -> None:
    (isolate,) = told(report(row(1, "ORG", "ECO", sub="1")))
    plain = isolate._replace(isolate=False, organism="", counted="", head=0, value="SAU")
    _, (known, other) = cultures.with_isolates([isolate], [stands(plain), stands(plain, 2, number="F2")])
    assert (known.last.organism, known.last.counted, known.last.isolate) == ("sau", "#1", True)
    assert other.last.organism == ""


# -- cultures: one after the other -------------------------------------------------------------------------------------

REPORTS: list[tuple[list[list[str]], str, list[str]]] = [
    ([["P ORG Cocci sub=1"], ["F ORG E. coli sub=1", "F ORG S. aureus sub=2"]], "follows new",
     ["final E. coli", "final S. aureus"]),
    ([["F ORG E. coli sub=1"], ["F ORG E. coli sub=2"]], "amends", ["amended E. coli"]),
    ([["F ORG E. coli sub=1"], ["D ORG E. coli sub=1"], ["F ORG S. aureus sub=1"]], "new",
     ["entered-in-error E. coli", "final S. aureus"]),
    ([["F ORG E. coli sub=1"], ["C ORG S. aureus sub=1"]], "follows", ["corrected S. aureus"]),
    ([["F ORG E. coli sub=1", "F GRAM rods"], ["F ORG E. coli sub=1", "F GRAM cocci"]], "amends amends",
     ["amended E. coli", "amended cocci"]),
]  # fmt: skip


@pytest.mark.parametrize(("reports", "became", "stand"), REPORTS)
def test_reports_of_a_culture(desk: Desk, reports: list[list[str]], became: str, stand: list[str]) -> None:
    for hour, one in enumerate(reports):
        found = desk.says(*one, panel="CULT", at=f"1{hour}30")
    assert (found, desk.stands()) == (became, stand)


def test_the_memory_of_a_culture_is_an_echo_of_each_of_its_results(line: Line) -> None:
    """Each of two isolates of one name has its own."""
    linked(line, "E. coli: AMP R", "E. coli: AMP S")
    assert linked(line, "E. coli: AMP R", "E. coli: AMP S") == "echo echo echo echo"
    assert sorted(one.meant for one in line.last.decisions if one.meant) == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_a_report_of_no_minute_is_no_memory(desk: Desk) -> None:
    shown = {"panel": "CULT", "at": "", "drawn": ""}
    desk.says("F ORG E. coli sub=1", **shown)
    assert desk.says("F ORG E. coli sub=1", "F ORG S. aureus sub=2", **shown) == "echo new"
    assert desk.says("F ORG E. coli sub=1", **shown) == "echo"
    assert desk.last.gone == ((2, 2),)


def test_one_by_one_each_isolate_stands_beside_those_before(desk: Desk) -> None:
    desk.settings = {"one_by_one": True}
    desk.says("F ORG E. coli sub=1", "F GRAM rods", panel="CULT")
    assert desk.says("F ORG S. aureus sub=2", panel="CULT", at="1030") == "new"
    assert desk.last.gone == ()
    assert desk.says("F ORG E. coli sub=1", panel="CULT", at="1130") == "amends"
    assert (desk.last.gone, len(desk.stands())) == ((), 3)


@pytest.mark.parametrize(
    ("later", "gone"), [((0, 0), ((2, 2),)), ((1, 2), ()), ((2, 2), ((2, 2),)), ((2, 9), ((2, 2),)), ((1, 9), ())]
)
def test_what_a_late_message_lacks_of_a_later_one_is_not_gone(
    desk: Desk, later: tuple[int, int], gone: tuple[tuple[int, int], ...]
) -> None:
    desk.says("F ORG E. coli sub=1", panel="CULT")
    desk.says("F ORG E. coli sub=1", "F ORG S. aureus sub=2", panel="CULT")
    desk.settings = {"later": later}
    assert desk.says("F ORG E. coli sub=1", panel="CULT", at="1130") == "amends"
    assert desk.last.gone == gone


# -- what takes something back -----------------------------------------------------------------------------------------


def test_the_time_of_a_correction_tells_which_run_it_takes_back(desk: Desk) -> None:
    """Its message has another run beside it, of another minute."""
    desk.settings = {"runs_apart": True}
    desk.says("F GLU 5.5 at=0930", "F GLU 5.7 at=1000")
    assert desk.says("C GLU 6.5 at=0930", "F GLU 5.7 at=1000") == "follows echo"
    desk.settings = {}
    other = Desk()
    other.says("F GLU 5.5")
    assert other.says("F GLU 5.6", "C GLU 6.5") == f"amends {UNKNOWN}"


def test_two_corrections_of_two_runs_follow_in_their_order(desk: Desk) -> None:
    desk.says("F GLU 5.5", "F GLU 5.7")
    assert desk.says("C GLU 6.5", "C GLU 6.7", at="1030") == "follows follows"
    assert desk.stands() == ["corrected 6.5", "corrected 6.7"]


def test_a_withdrawal_takes_back_what_a_person_has_refused_and_a_correction_does_not(desk: Desk) -> None:
    desk.says("F CRE 5.5")
    desk.says("F CRE 6.5", at="0900")
    desk.memory = rejected(desk.memory, 2)
    assert desk.says("F CRE 6.5", at="0900") == "held:REJECTED_BEFORE"
    assert desk.says("C CRE 7.5") == "follows"
    assert desk.stands() == ["corrected 7.5"]


@pytest.mark.parametrize(
    ("status", "value", "stand"), [("C", "6.0", ["corrected 6.0"]), ("D", "5.5", ["entered-in-error 5.5"])]
)
def test_what_is_taken_back_names_what_it_takes_the_place_of(
    desk: Desk, status: str, value: str, stand: list[str]
) -> None:
    desk.says("F CRE 5.5")
    desk.says(f"{status} CRE {value}", at="0940")
    assert (first(desk).meant, first(desk).reason, first(desk).may_mean, desk.stands()) == ((1, 1), "", (), stand)


@pytest.mark.parametrize("kind", ["C", "F", "D", "U"])
def test_a_message_that_another_machine_received_earlier_replaces_nothing_received_since(desk: Desk, kind: str) -> None:
    desk.says("P CRE 5.5" if kind == "U" else "F CRE 5.5")
    desk.settings = {"later": (0, 1)}
    value = {"D": "5.5", "U": ""}.get(kind, "6.0")
    before, count = desk.memory, desk.count
    assert desk.says(f"{kind} CRE {value}", at="1000") == "held:OLDER_RESULT"
    assert (first(desk).meant, first(desk).words[:16]) == ((1, 1), "received earlier")
    for later in ((1, 9), (0, 0)):
        desk.memory, desk.count = before, count
        desk.settings = {"later": later}
        assert "held" not in desk.says(f"{kind} CRE {value}", at="1000")


# -- runs, lines, lists ------------------------------------------------------------------------------------------------


def test_a_run_more_than_before_is_asked_about() -> None:
    """Which of them is the new one is not known, so none of them takes the place of a known one."""
    for known, runs in ((2, 3), (1, 3), (3, 2), (2, 4)):
        desk = Desk()
        desk.says(*(f"F GLU 5.{one}" for one in range(known)))
        assert desk.says(*(f"F GLU 6.{one}" for one in range(runs)), at="1030") == " ".join([SAMPLE] * runs)
        assert {one.words for one in desk.last.decisions} == {"it is a run more, or less, than before"}
        assert {one.may_mean for one in desk.last.decisions} == {tuple((1, one + 1) for one in range(known))}


def test_a_run_beside_one_that_is_repeated_may_be_a_third(desk: Desk) -> None:
    desk.says("F GLU 5.5", "F GLU 5.7 at=0940")
    assert desk.says("F GLU 5.5", "F GLU 6.7 at=1030") == f"echo {SAMPLE}"
    assert (desk.looks_at(), desk.last.decisions[1].may_mean) == ([], ((1, 2),))
    other = Desk()
    other.says("F GLU 5.5", "F GLU 5.7 at=0940")
    assert other.says("F GLU 5.5", "F GLU 6.7 at=0940") == "echo amends"


def standing(*minutes: str) -> list[Standing]:
    return [
        stands(ONE, place, version=ONE.version._replace(time=f"2026-03-01T{minute}:00+00:00"))
        for place, minute in enumerate(minutes, start=1)
    ]


@pytest.mark.parametrize(
    ("left", "runs", "known", "expected"),
    [
        (1, 1, ["09:00", "09:30"], (1, 2)),  # its own minute
        (1, 1, ["09:00", "09:10"], "several results may be meant"),
        (2, 2, ["09:00", "09:10"], (1, 1)),
        (1, 2, ["09:00"], (1, 1)),
        (1, 2, ["09:00", "09:10"], "it is a run more, or less, than before"),
        (2, 2, ["09:00"], "it is a run more, or less, than before"),
        (1, 1, ["09:00"], (1, 1)),
        (3, 3, [], ""),
    ],
)
def test_which_of_several_runs_it_is(left: int, runs: int, known: list[str], expected: tuple[int, int] | str) -> None:
    found = match(ONE, left, runs, standing(*known), RECEIPT)
    if isinstance(expected, tuple):
        assert (found.one and found.one.ref, found.among, found.words) == (expected, (), "")
    else:
        assert (found.one, len(found.among), found.words) == (None, len(known), expected)


def test_another_sample_of_the_same_minute_and_no_sample_at_all() -> None:
    other = stands(ONE, tube="T2")
    assert match(ONE._replace(tube="T1"), 1, 1, [other], RECEIPT) == Match(
        among=(other,), words="another sample, measured in the same minute"
    )
    several = stands(ONE, tube="T1\x1fT2", version=ONE.version._replace(time="2026-03-01T08:00:00+00:00"))
    assert match(ONE._replace(tube="T1"), 1, 1, [several], RECEIPT) == Match(
        among=(several,), words="a rerun, or another sample"
    )
    assert match(ONE, 1, 1, [], RECEIPT) == Match()


@pytest.mark.parametrize(
    ("new", "one", "is_it"),
    [(ONE, ONE._replace(person=""), True), (ONE, ONE._replace(person="", value="6"), False),
     (ONE._replace(person=""), ONE, False),
     (ONE, ONE._replace(person="", version=ONE.version._replace(time="2026-03-01T08:00:00+00:00")), False)],
)  # fmt: skip
def test_a_result_without_a_patient_is_the_same_only_as_that_measurement(new: Said, one: Said, is_it: bool) -> None:
    known = stands(one)
    expected = Match(known) if is_it else Match(among=(known,), words="one of the two names no patient")
    assert match(new, 1, 1, [known], RECEIPT) == expected


@pytest.mark.parametrize(("seconds", "became"), [("20260301093015", "amends"), ("202603010930", "new")])
def test_a_number_alone_is_one_sample_if_it_was_measured_in_one_second(line: Line, seconds: str, became: str) -> None:
    shown: dict[str, Any] = {"pid": "", "drawn": "", "at": seconds}
    line.hears("F|GLU|5.5", **shown)
    assert line.hears("F|GLU|5.7", **shown) == became


def test_a_text_of_which_one_line_was_refused(desk: Desk) -> None:
    lines = ("F COM few cells", "F COM no blasts")
    desk.says(*lines)
    desk.says("F COM many cells", "F COM some blasts", at="1000", held=True)
    desk.memory = rejected(desk.memory, 2)
    assert desk.says("F COM many cells", "F COM other blasts", at="1000") == "held:REJECTED_BEFORE amends"
    assert desk.says("F COM few cells", "F COM 5") == "echo held:SAMPLE_UNKNOWN"


def test_lines_of_a_text_that_waits_are_no_text_before(desk: Desk) -> None:
    desk.says("F COM few cells", "F COM no blasts", held=True)
    assert desk.says("F COM many cells", "F COM some blasts", at="1000") == "follows follows"


def test_of_a_text_a_person_looks_at_the_lines_that_lack(desk: Desk) -> None:
    desk.says("F COM few cells", "F COM no blasts", "F COM seen again")
    desk.says("F COM many cells", "F COM some blasts")
    assert [(one.may_mean, one.words) for one in desk.last.decisions] == [
        (((1, 3),), "a text has fewer lines than before")
    ] * 2


def test_a_report_that_lists_all_names_what_lacks(desk: Desk) -> None:
    desk.settings = {"whole": True}
    desk.says("F GLU 5.5", "F UREA 4.0", "F K 4.1")
    assert desk.says("F GLU 6.0", "C K 4.2", at="1000") == f"{GONE} {GONE}"
    assert [(one.meant, one.may_mean, one.status) for one in desk.last.decisions] == [
        ((1, 1), ((1, 2),), "amended"),
        ((1, 3), ((1, 2),), "corrected"),
    ]
    assert desk.says("F NA 140", at="1000") == GONE
    assert (desk.last.decisions[0].status, desk.looks_at()) == ("final", [1, 1, 1])
    assert desk.says("C KALI 9.9", "F GLU 5.5", "F UREA 4.0") == f"{UNKNOWN} {GONE} {GONE}"


# -- what stands beside it ---------------------------------------------------------------------------------------------


def beside(desk: Desk) -> list[Sequence[tuple[int, int]]]:
    return [one.beside for one in desk.last.decisions]


def test_a_receiver_that_goes_by_number_and_test_takes_two_of_a_message_for_one(desk: Desk) -> None:
    desk.says("F GLU 5.5", "F GLU 5.7", "F NA 140")
    assert beside(desk) == [((1, 2),), ((1, 1),), ()]
    desk.says("F GLU 5.5", "F GLU 6.5")
    assert [one.kind for one in desk.last.decisions] == ["echo", "amends"]
    assert beside(desk) == [(), ((1, 1),)]


def test_what_waits_is_withdrawn_or_of_another_patient_is_not_beside_it(desk: Desk) -> None:
    desk.says("F GLU 5.5", channel="x", held=True)
    desk.says("F GLU 5.5", channel="y", patient="901")
    desk.says("F GLU 5.5", channel="z")
    desk.says("D GLU 5.5", channel="z")
    desk.says("F GLU 5.5", channel="v")
    desk.says("F GLU 5.5")
    assert beside(desk) == [((5, 1),)]


def test_a_status_alone_is_said_of_one_beside_that_of_another_channel(desk: Desk) -> None:
    desk.says("P K 5.5")
    desk.says("F K 5.6", channel="x")
    assert desk.says("U K", at="1000") == "finishes"
    assert beside(desk) == [((2, 1),)]


def test_a_report_that_lists_all_lists_those_of_its_channel(desk: Desk) -> None:
    desk.settings = {"whole": True}
    desk.says("F UREA 4.0", channel="x")
    assert desk.says("F GLU 5.5") == "new"
    assert desk.says("F GLU 5.7", at="1000") == "amends"


def test_the_same_value_of_another_tube_in_the_same_minute_is_no_memory(desk: Desk) -> None:
    desk.says("F GLU 5.5", tube="A")
    assert desk.says("F GLU 5.5", tube="B") == SAMPLE
    assert (desk.looks_at(), first(desk).words) == ([1], "another sample, measured in the same minute")


def test_of_two_runs_that_wait_one_is_said_again(desk: Desk) -> None:
    desk.says("F GLU 5.5", "F GLU 5.7", held=True)
    assert desk.says("F GLU 5.7") == "again"
    assert first(desk).meant == (1, 2)


def test_an_isolate_that_waits_is_said_again(desk: Desk) -> None:
    desk.says("F ORG E. coli sub=1", panel="CULT", held=True)
    assert desk.says("F ORG E. coli sub=1", "F ORG S. aureus sub=2", panel="CULT") == "again new"


# -- limits ------------------------------------------------------------------------------------------------------------


def test_results_of_one_name_beyond_counting_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is compared with each of its message, and of those before."""
    facts = read(report(row(1, "GLU", "5.5"), row(2, "GLU", "5.7")))
    known = Memory((stands(ONE), stands(ONE, 2), stands(ONE, 3)))
    for most, memory, is_refused in ((4, Memory(), False), (3, Memory(), True), (10, known, False), (9, known, True)):
        monkeypatch.setattr(judging, "MOST_PAIRS", most)
        if is_refused:
            with pytest.raises(TooManyAlikeError):
                judge(facts, memory, RECEIPT)
        else:
            judge(facts, memory, RECEIPT)


def test_isolates_beyond_counting_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.says("F ORG E. coli sub=1", "F ORG S. aureus sub=2", "F ORG K. oxytoca sub=3", panel="CULT")
    for most in (6, 5):
        monkeypatch.setattr(judging, "MOST_PAIRS", most)
        if most == 5:
            with pytest.raises(TooManyAlikeError):
                desk.says("F ORG E. coli sub=1", "F ORG S. aureus sub=2", panel="CULT", at="1000")
        else:
            before = desk.memory
            desk.says("F ORG E. coli sub=1", "F ORG S. aureus sub=2", panel="CULT", at="1000")
            desk.memory = before
