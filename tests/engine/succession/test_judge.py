"""The judge on facts: its table of rules, row by row, each with neighbours that must pass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.facts import Facts, unpacked
from engine.model.message import FormatOptions, MapContext
from engine.succession.judge import judging
from engine.succession.judge.judging import judge
from engine.succession.judge.memory import remember
from engine.succession.judge.usual import usual
from engine.succession.judge.words import Decision, Judgement, Memory, Receipt
from tests.support.decided_memory import rejected, released
from tests.support.shipped import KEY, program

RECEIVED = datetime(2026, 3, 1, 18, 0, tzinfo=UTC)
GONE = "RESULTS_GONE"


@cache
def _context() -> MapContext:
    settings = {"patient_system": "urn:test:people", "local_system": "urn:test:codes", "head_codes": ["ORG"]}
    return MapContext(channel="c", key=KEY, timezone="UTC", patient_numbers="lasting", settings=settings)


def read(content: str) -> Facts:
    mapped = program("results-hl7").apply(hl7v2.parse(content.encode(), FormatOptions()), _context())
    return unpacked(mapped.documents[0].body)


def judged(facts: Facts, memory: Memory, receipt: Receipt) -> Judgement:
    """By all rules; and where nothing was known, in short the same, or nothing."""
    found = judge(facts, memory, receipt)
    if not (memory.standing or memory.refused):
        short = usual(facts, receipt)
        assert short is None or short == found._replace(said={})
    return found


@dataclass
class Desk:
    """Messages come in, and their results are judged one message after the other."""

    memory: Memory = field(default_factory=Memory)
    count: int = 0
    clock_told: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    last: Judgement = field(default_factory=lambda: Judgement((), {}))
    judged_by: Callable[[Facts, Memory, Receipt], Judgement] = judged

    def says(
        self, *results: str, at: str = "0930", drawn: str = "0800", day: str = "20260301", order: str = "F1",
        patient: str = "900", panel: str = "CHEM", channel: str = "c", role: str = "", tube: str = "", placer: str = "",
        issued: str = "", held: bool = False,
    ) -> str:  # fmt: skip
        """A message; what became of its results, in words.

        Args:
            results: each ``status test value``, with ``sub=`` (OBX-4), ``flag=`` (OBX-8), ``at=`` of its own.
            day: of all times; may be of two days: of collection and measurement.
            held: a rule of the site holds it.
        """
        self.count += 1
        drawn_day, _, measured_day = day.partition(" ")
        measured_day = measured_day or drawn_day
        rows = [f"MSH|^~\\&|AN|LAB|LIS|H|20260301180000||ORU^R01|{self.count}|P|2.5.1"]
        if patient:
            rows.append(f"PID|1||{patient}^^^H^MR||DOE^JANE||19700101|F")
        taken = f"{drawn_day}{drawn}00" if drawn else ""
        rows.append(f"OBR|1|{placer}|{order}|{panel}|||{taken}{'|' * 15}{issued}||LAB|F")
        for number, text in enumerate(results, start=1):
            words = [one for one in text.split() if "=" not in one]
            more = dict(one.split("=") for one in text.split() if "=" in one)
            status, test, value = words[0], words[1], " ".join(words[2:])
            kind = "NM" if value.replace(".", "").isdigit() else "ST"
            measured = f"{measured_day}{more.get('at', at)}00" if at else ""
            rows.append(
                f"OBX|{number}|{kind}|{test}|{more.get('sub', '')}|{value}|||{more.get('flag', '')}|||{status}"
                f"|||{measured}"
            )
        if role or tube:
            rows.append(f"SPM|1|{tube}||SER|||||||{role}||||||{taken}")
        receipt = Receipt(
            message=self.count, channel=channel, received=RECEIVED, clock_told=self.clock_told, **self.settings
        )
        self.last = self.judged_by(read("\r".join(rows)), self.memory, receipt)
        self.memory = remember(self.memory, self.last, held=held)
        return " ".join(map(_in_words, self.last.decisions))

    def stands(self) -> list[str]:
        """What receivers have."""
        alive = [one.last for one in self.memory.standing if not one.last.version.waits]
        return [f"{one.version.status} {one.value}" for one in alive]

    def looks_at(self) -> list[int]:
        """The messages of the results that a held one may mean."""
        return [message for message, _ in self.last.decisions[0].may_mean]


def _in_words(one: Decision) -> str:
    return ":".join(filter(None, (one.kind, one.reason or one.finding)))


@pytest.fixture
def desk() -> Desk:
    return Desk()


# -- 1: whose sample ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "became"),
    [("", "new"), ("P", "new"), *((one, "filtered:QUALITY_CONTROL") for one in "QCBEFORV"),
     *((one, "held:POOL") for one in "LGZ")],
)  # fmt: skip
def test_only_a_patients_sample_has_a_patients_result(desk: Desk, role: str, became: str) -> None:
    assert desk.says("F HIV Reactive", role=role, tube="T1") == became
    assert bool(desk.stands()) is (became == "new")


# -- 2: an echo --------------------------------------------------------------------------------------------------------


def test_a_memory_is_an_echo_and_a_rerun_is_none(desk: Desk) -> None:
    assert desk.says("F GLU 5.5") == "new"
    assert desk.says("F GLU 5.5") == "echo"
    assert desk.says("F GLU 5.7", at="1000") == "amends"
    assert desk.says("F GLU 5.5") == "echo"
    assert desk.stands() == ["amended 5.7"]


def test_a_memory_of_what_is_held_is_held_again(desk: Desk) -> None:
    assert desk.says("F GLU 5.5", held=True) == "new"
    assert desk.says("F GLU 5.5") == "again"


def test_a_memory_behind_a_correction_undoes_nothing(desk: Desk) -> None:
    desk.says("F GLU 5.5")
    assert desk.says("C GLU 6.0") == "follows"
    assert desk.says("F GLU 5.5") == "echo"
    assert desk.stands() == ["corrected 6.0"]


# -- 3: what takes something back --------------------------------------------------------------------------------------

TAKES_BACK = {
    "its place": ({}, "done"),
    "another panel": ({"panel": "OTHER"}, "done"),
    "no patient": ({"patient": ""}, "done"),
    "measured on the next day": ({"day": "20260228 20260301", "at": "0700"}, "done"),
    "typed two days earlier": ({"day": "20260226"}, "held:CORRECTS_UNKNOWN"),
    "another channel": ({"channel": "middleware"}, "held:CORRECTS_UNKNOWN"),
    "another sample": ({"drawn": "0910", "tube": ""}, "held:CORRECTS_UNKNOWN"),
    "another tube": ({"tube": "B"}, "held:CORRECTS_UNKNOWN"),
    "another patient": ({"patient": "901"}, "moved"),
}


@pytest.mark.parametrize("how", TAKES_BACK)
@pytest.mark.parametrize("status", ["C", "D", "W", "A"])
def test_what_takes_something_back_takes_it_or_is_held(desk: Desk, how: str, status: str) -> None:
    given, expected = TAKES_BACK[how]
    desk.says("F CRE 5.5", tube="A", day="20260228")
    withdraws = status in "DW"
    shown = {"tube": "A", "day": "20260228"} | given
    became = desk.says(f"{status} CRE {'5.5' if withdraws else '6.0'}", **shown)
    moved = "held:CORRECTS_UNKNOWN" if withdraws else "held:ORDER_MOVED"
    done = "withdraws" if withdraws else "follows"
    assert became == {"done": done, "moved": moved}.get(expected, expected)
    if expected == "done":
        assert len(desk.stands()) == 1
    else:
        assert (desk.stands(), desk.looks_at()) == (["final 5.5"], [1])


@pytest.mark.parametrize("status", ["C", "D"])
def test_under_another_code_it_is_held_with_what_it_may_mean(desk: Desk, status: str) -> None:
    desk.says("F FT3 1.1", "F TSH 2.2")
    assert desk.says(f"{status} FT4 1.1", "C TSH 2.3") == "held:CORRECTS_UNKNOWN follows"
    assert desk.looks_at() == [1, 1]


@pytest.mark.parametrize("how", [{"panel": "OTHER"}, {"patient": ""}, {"placer": "P1", "order": "F9"}, {"drawn": ""}])
def test_a_memory_of_the_first_word_undoes_no_correction_that_was_called_otherwise(
    desk: Desk, how: dict[str, str]
) -> None:
    desk.says("F CRE 5.5", placer="P1")
    assert desk.says("C CRE 6.0", at="0940", **how) == "follows"
    assert desk.says("F CRE 5.5", placer="P1") == "echo"
    assert desk.says("C CRE 6.0", at="0940", **how) == "echo"
    assert desk.stands() == ["corrected 6.0"]


def test_a_susceptibility_alone(desk: Desk) -> None:
    desk.says("F ORG E. coli", panel="CULT")
    memory = desk.memory
    word = memory.standing[0].last
    tested = word._replace(place=2, test="AMP", isolate=False, value="R")
    desk.memory = memory._replace(standing=(*memory.standing, memory.standing[0]._replace(ref=(1, 2), words=(tested,))))
    assert desk.says("C AMP S", panel="MORE") == "follows"
    assert desk.says("F AMP R", panel="MORE", at="1000") == "held:SAMPLE_UNKNOWN"
    assert {one.last.organism for one in desk.memory.standing[:2]} == {"e. coli"}


def test_nothing_stands_of_the_order(desk: Desk) -> None:
    desk.says("F CRE 5.5", order="F2")
    assert desk.says("C CRE 6.0") == "new:CORRECTS_UNKNOWN"
    assert desk.says("D CRE 6.0", order="F3") == "held:CORRECTS_UNKNOWN"
    assert desk.stands() == ["final 5.5", "corrected 6.0"]


def test_of_several_the_sample_tells_which(desk: Desk) -> None:
    for hour, value in (("08", "1.1"), ("09", "2.1"), ("10", "3.1")):
        desk.says(f"F GLU {value}", drawn=f"{hour}00", at=f"{hour}{5 * int(hour)}")
    assert desk.says("C GLU 2.2", drawn="0900", at="1200") == "follows"
    assert desk.says("C GLU 9.9", drawn="", at="1201") == "held:CORRECTS_UNKNOWN"
    assert desk.says("C GLU 9.9", drawn="", at="", patient="") == "held:CORRECTS_UNKNOWN"
    assert desk.stands() == ["final 1.1", "corrected 2.2", "final 3.1"]


def test_a_withdrawal_of_another_value_is_held(desk: Desk) -> None:
    desk.says("F GLU 5.5")
    assert desk.says("D GLU 5.7") == "held:CORRECTS_UNKNOWN"
    assert desk.says('D GLU ""') == "withdraws"
    assert desk.says("D GLU 5.50") == "echo"


def test_a_withdrawal_of_a_number_that_is_written_otherwise(desk: Desk) -> None:
    desk.says("F GLU 5.5")
    assert desk.says("D GLU 5.50") == "withdraws"


def test_after_a_withdrawal_another_one_is_about_what_stands(desk: Desk) -> None:
    desk.says("F K 5.5")
    desk.says("D K 5.5")
    desk.says("C KALI 6.0")
    assert desk.says("D K 6.0") == "held:CORRECTS_UNKNOWN"


def test_what_waits_is_taken_back_too(desk: Desk) -> None:
    desk.says("F GLU 5.5", held=True)
    assert desk.says("D GLU 5.5") == "withdraws"


def test_in_one_message_with_its_result_nothing_tells_which(desk: Desk) -> None:
    assert desk.says("F GLU 5.5", "C GLU 6.0") == "new held:CORRECTS_UNKNOWN"


def test_two_corrections_are_not_about_one_result(desk: Desk) -> None:
    desk.says("F GLU 5.5")
    assert desk.says("C GLU 6.0", "C GLU 6.1") == "follows held:CORRECTS_UNKNOWN"


def test_a_doubt_is_not_passed_by(desk: Desk) -> None:
    """What is a word of something that waits for a person waits, too."""
    desk.says("P K 1.1")
    assert desk.says("C KALI 1.2") == "held:CORRECTS_UNKNOWN"
    assert desk.says("D KALI 1.2").startswith("held:")
    assert desk.says("F K 1.3", at="1000") == "follows"


def test_a_correction_that_names_the_patient(desk: Desk) -> None:
    desk.says("F GLU 5.5", patient="")
    assert desk.says("C GLU 6.0") == "follows"


def test_without_an_order_nothing_is_taken_back(desk: Desk) -> None:
    assert desk.says("C GLU 6.0", order="") == "held:CORRECTS_UNKNOWN"
    assert desk.says("F GLU 6.0", order="") == "new"


# -- 4: a person's no --------------------------------------------------------------------------------------------------


def test_a_rejected_result_does_not_come_back_by_its_content(desk: Desk) -> None:
    desk.says("F CRE 5.5", held=True)
    desk.memory = rejected(desk.memory, 1)
    assert desk.says("F CRE 5.50") == "held:REJECTED_BEFORE"
    assert desk.says("C CRE 5.5") == "held:REJECTED_BEFORE"
    assert desk.says("F CRE 5.7", at="1000") == "new"
    assert desk.says("F CRE 5.5", order="F2") == "new"
    assert desk.says("F CRE 5.5", patient="901") == "new"


def test_a_rejected_withdrawal_says_nothing_of_the_result(desk: Desk) -> None:
    desk.says("F CRE 5.5")
    desk.says("D CREA 5.5")
    desk.memory = rejected(desk.memory, 2)
    assert (desk.says("F CRE 5.5"), desk.memory.refused) == ("echo", frozenset())


def test_what_a_person_lets_go_stands(desk: Desk) -> None:
    desk.says("F CRE 5.5")
    desk.says("C CREA 6.0")
    desk.memory = released(desk.memory, 2)
    assert desk.stands() == ["final 5.5", "corrected 6.0"]
    assert desk.says("C CREA 6.0") == "echo"


# -- 5: clocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ["20250301", "20280301", "20000101"])
def test_a_wrong_clock_is_held_once_and_said_then(desk: Desk, day: str) -> None:
    assert desk.says("F GLU 5.5", day=day) == "held:CLOCK"
    desk.clock_told = True
    assert desk.says("F UREA 5.5", day=day) == "new:CLOCK"
    assert desk.says("F UREA 5.7", day=day, at="1000") == "held:CLOCK"
    assert desk.says("C UREA 5.7", day=day, at="1000") == "held:CLOCK"


@pytest.mark.parametrize("day", ["20251201", "20260301"])
def test_an_old_or_quick_time_that_can_be_right(desk: Desk, day: str) -> None:
    assert desk.says("F GLU 5.5", day=day, at="1810") == "new"


def test_a_sample_may_be_old_and_not_of_tomorrow(desk: Desk) -> None:
    assert desk.says("F HER2 3+", day="20200301 20260301") == "new"
    assert desk.says("F HER2 3+", day="20260302 20260301", order="F2") == "held:CLOCK"


def test_the_known_memory_of_a_wrong_clock_is_an_echo(desk: Desk) -> None:
    desk.clock_told = True
    desk.says("F UREA 5.5", day="20250301")
    assert desk.says("F UREA 5.5", day="20250301") == "echo"


def test_the_right_clock_needs_not_wait_for_the_wrong_one(desk: Desk) -> None:
    assert desk.says("F GLU 5.5", day="20250301") == "held:CLOCK"
    assert desk.says("F GLU 5.5") == "new"


# -- 6: cultures -------------------------------------------------------------------------------------------------------

CULTURES: list[tuple[Sequence[str], Sequence[str], str, list[str]]] = [
    (["P ORG Gram positive cocci"], ["F NOGR No growth"], f"held:{GONE}", ["preliminary Gram positive cocci"]),
    (["P GROWTH Cocci"], ["F NOGR No growth"], f"held:{GONE}", ["preliminary Cocci"]),
    (["P ORG Cocci"], ["F REMARK see letter"], f"held:{GONE}", ["preliminary Cocci"]),
    (["P ORG Cocci"], ["F ORG S. aureus"], "follows", ["final S. aureus"]),
    (["P ORG Cocci"], ["F ORG Cocci"], "follows", ["final Cocci"]),
    (["F ORG E. coli sub=1", "F ORG S. aureus sub=2"], ["F ORG S. aureus sub=1"], "amends",
     ["entered-in-error E. coli", "amended S. aureus"]),
    (["F ORG E. coli sub=1"], ["F ORG S. aureus sub=2"], f"held:{GONE}", ["final E. coli"]),
    (["F ORG E. coli sub=1"], ["F ORG S. aureus sub=1"], "amends", ["amended S. aureus"]),
    (["F ORG E. coli", "F GRAM rods"], ["F ORG E. coli"], f"held:{GONE}", ["final E. coli", "final rods"]),
    (["P NOGR No growth so far"], ["F NOGR No growth"], "follows", ["final No growth"]),
    (["P NOGR No growth so far"], ["F ORG E. coli"], "new", ["entered-in-error No growth so far", "final E. coli"]),
    (["F NOGR No growth"], ["F ORG E. coli"], f"held:{GONE}", ["final No growth"]),
    (["F GLU 5.5"], ["F NOGR No growth"], "new", ["final 5.5", "final No growth"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "now", "became", "stands"), CULTURES)
def test_a_culture_is_one(
    desk: Desk, before: Sequence[str], now: Sequence[str], became: str, stands: list[str]
) -> None:
    desk.says(*before, panel="CULT")
    assert (desk.says(*now, panel="CULT", at="1200"), sorted(desk.stands())) == (became, sorted(stands))


def test_chemistry_beside_a_culture_passes(desk: Desk) -> None:
    desk.says("F ORG E. coli", panel="CULT")
    assert desk.says("F CRP 5.5", panel="CHEM") == "new"


def test_a_memory_of_a_culture_withdraws_nothing(desk: Desk) -> None:
    desk.says("P ORG Cocci", panel="CULT")
    desk.says("F ORG S. aureus", panel="CULT", at="1200")
    assert (desk.says("P ORG Cocci", panel="CULT"), desk.last.gone) == ("echo", ())


# -- 7 to 11: samples and statuses -------------------------------------------------------------------------------------


def test_each_sample_of_a_series_stands(desk: Desk) -> None:
    hours = (("0800", "0821"), ("0900", "0933"), ("1000", "1047"))
    assert [desk.says("F GLU 5.5", drawn=drawn, at=at) for drawn, at in hours] == ["new"] * 3
    assert [desk.says("F GLU 5.5", drawn=drawn, at=at) for drawn, at in hours] == ["echo"] * 3
    assert len(desk.stands()) == 3


def test_what_may_be_a_run_is_held(desk: Desk) -> None:
    """The field of collection has the start of a run: it is as far from the end each time."""
    assert desk.says("F GLU 5.5", drawn="0900", at="0912") == "new"
    assert desk.says("F GLU 5.7", drawn="0930", at="0942") == "held:SAMPLE_UNKNOWN"
    for says, became in ((False, "amends"), (True, "new")):
        other = Desk(settings={"collection": says})
        other.says("F GLU 5.5", drawn="0900", at="0912")
        assert other.says("F GLU 5.7", drawn="0930", at="0942") == became


@pytest.mark.parametrize("drawn", ["", "same", "run"])
def test_a_rerun_of_one_tube_amends(desk: Desk, drawn: str) -> None:
    for at, became in (("0930", "new"), ("1000", "amends"), ("1100", "amends")):
        assert desk.says(f"F GLU {at}", drawn={"same": "0800", "run": at}.get(drawn, ""), at=at) == became


def test_a_rerun_is_a_result_of_its_own_where_the_channel_says_so(desk: Desk) -> None:
    desk.settings = {"runs_apart": True}
    assert desk.says("F GLU 5.5") == "new"
    assert desk.says("F GLU 5.7", at="1000") == "new"
    assert desk.says("C GLU 5.8", at="1000") == "follows"
    assert desk.says("C GLU 5.9", at="1030") == "held:CORRECTS_UNKNOWN"


ISSUED_AGAIN = [
    ("F 5.5, F 5.5", "echo", ["final 5.5"]),
    ("F 5.5, F 6.1, F 5.5", "held:STATUS_BACK", ["amended 6.1"]),
    ("F 5.5, F 6.1, F 6.1", "echo", ["amended 6.1"]),
    ("F 9.9, C 6.0, C 5.0, C 6.0", "held:STATUS_BACK", ["corrected 5.0"]),
    ("F 9.9, C 6.0, F 9.9", "echo", ["corrected 6.0"]),
    ("F 5.5, F 6.1, F 5.5, F 5.5", "again", ["amended 6.1"]),
]


@pytest.mark.parametrize(("told", "became", "stands"), ISSUED_AGAIN)
def test_an_earlier_value_that_is_issued_again_waits(desk: Desk, told: str, became: str, stands: list[str]) -> None:
    """The sender gives each run one time of measurement; the time of issue tells them apart."""
    *_, last = [
        desk.says(f"{one.split()[0]} GLU {one.split()[1]}", issued=f"2026030110{number:02}00")
        for number, one in enumerate(told.split(", "))
    ]
    assert (last, desk.stands()) == (became, stands)


def test_two_clocks_differ_by_minutes(desk: Desk) -> None:
    desk.says("F GLU 5.5", drawn="0800")
    assert desk.says("F GLU 5.7", drawn="0809", at="1000") == "amends"


def test_tubes_with_numbers_are_samples(desk: Desk) -> None:
    assert desk.says("F GLU 5.5", tube="A", at="0930") == "new"
    assert desk.says("F GLU 5.7", tube="B", at="1000") == "new"
    assert desk.says("F GLU 5.8", tube="A", at="1030") == "amends"


def test_another_sample_of_the_same_minute_is_held(desk: Desk) -> None:
    desk.says("F GLU 5.5", drawn="0800")
    assert desk.says("F GLU 5.7", drawn="0900") == "held:SAMPLE_UNKNOWN"


def test_panels_and_numbers_tell_results_apart(desk: Desk) -> None:
    assert desk.says("F GLU 5.5", "F GLU 5.6", "F GLU 5.7 sub=2") == "new new new"
    assert desk.says("F GLU 5.5", panel="FASTING") == "new"
    assert desk.says("F GLU 5.5", channel="other") == "new"
    assert desk.says("F GLU 6.5", "F GLU 6.6", at="1000") == "amends amends"
    assert desk.says("C GLU 7.5", at="1100") == "held:CORRECTS_UNKNOWN"
    assert desk.says("F GLU 7.5", at="1100") == "held:SAMPLE_UNKNOWN"


def test_of_a_site_two_channels_mean_one_result(desk: Desk) -> None:
    desk.settings = {"of_site": True}
    desk.says("F GLU 5.5")
    assert desk.says("C GLU 6.0", channel="other") == "follows"


STATUSES = [
    ("P F", "follows"), ("F P", "held:STATUS_BACK"), ("C F", "held:STATUS_BACK"), ("D F", "held:WITHDRAWN_BEFORE"),
    ("F X", "held:VALUE_GONE"), ("F C", "follows"), ("C C", "follows"), ("F A", "follows"), ("P C", "follows"),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "became"), STATUSES)
def test_the_table_of_statuses_is_the_same(desk: Desk, pair: str, became: str) -> None:
    first, second = pair.split()
    if first == "D":
        desk.says("F GLU 5.5")
    desk.says(f"{first} GLU 5.5")
    assert desk.says(f"{second} GLU {'' if second == 'X' else '6.0'}", at="1000") == became


@pytest.mark.parametrize(("before", "becomes"), [("P", "final 5.5"), ("F", "final 5.5"), ("C", "corrected 5.5")])
def test_final_is_said_without_the_value(desk: Desk, before: str, becomes: str) -> None:
    desk.says(f"{before} K 5.5 flag=HH", panel="OTHER")
    assert (desk.says("U K", at="1000"), desk.stands()) == ("finishes", [becomes])
    assert desk.says("C K 6.0", at="1000") == "follows"


@pytest.mark.parametrize("before", [(), ("X K",), ("P NA 140",), ("P K 5.5", "P K 6.5"), ("F K 5.5", "D K 5.5")])
def test_final_is_said_of_nothing_that_is_known(desk: Desk, before: Sequence[str]) -> None:
    for number, one in enumerate(before):
        desk.says(one, at=f"0{8 + number}30", held=one == "P K 6.5")
    stands = desk.stands()
    assert (desk.says("U K", at="1000"), desk.stands()) == ("dead:NO_VALUE", stands)


def test_a_report_that_lists_all_lacks_none(desk: Desk) -> None:
    desk.settings = {"whole": True}
    desk.says("F GLU 5.5")
    desk.says("F GLU 5.5", "F UREA 4.0")
    assert desk.says("F GLU 5.5") == "echo"  # the memory of the first
    assert desk.says("F GLU 6.0", at="1000") == f"held:{GONE}"
    assert desk.looks_at() == [2]
    assert desk.says("F GLU 6.1", "F UREA 4.1", at="1030") == "amends amends"
    assert desk.says("F GLU 6.1", at="1030") == f"held:{GONE}"


def test_a_number_alone_tells_nothing_where_it_is_given_again(desk: Desk) -> None:
    assert desk.says("F GLU 5.5", patient="", drawn="") == "new"
    assert desk.says("F GLU 5.7", patient="", drawn="", at="1000") == "new"
    assert desk.says("C GLU 5.8", patient="", drawn="", at="1100") == "held:CORRECTS_UNKNOWN"
    assert desk.says("F NA 140", patient="", drawn="", at="") == "new"
    assert desk.says("F NA 140", patient="", drawn="", at="") == "new"
    assert desk.says("P K 5.5", patient="", drawn="") == "new"
    assert desk.says("F K 5.7", patient="", drawn="", at="1000") == "follows"
    desk.settings = {"unique": True}
    assert desk.says("F K 5.8", patient="", drawn="", at="1100") == "amends"


def test_an_older_measurement_is_held(desk: Desk) -> None:
    desk.says("F GLU 5.5", at="1000")
    assert desk.says("F GLU 5.7", at="0930") == "held:OLDER_RESULT"


def test_a_result_that_lacks_its_patient(desk: Desk) -> None:
    desk.says("F GLU 5.5")
    assert desk.says("F GLU 5.5", patient="") == "echo"
    assert desk.says("F GLU 5.7", patient="", at="1000") == "held:SAMPLE_UNKNOWN"
    desk.says("F UREA 5.5", patient="", order="F2")
    assert desk.says("F UREA 5.5", order="F2") == "follows"


def test_numbers_that_count_anew(desk: Desk) -> None:
    desk.says("F GLU 5.5", day="20260226", at="2330", drawn="")
    assert desk.says("F GLU 5.7", day="20260227", at="0030", drawn="") == "held:SAMPLE_UNKNOWN"
    assert desk.says("F GLU 5.8", day="20260228", at="0930", drawn="") == "new"
    desk.settings = {"unique": True}
    desk.says("F UREA 5.5", day="20260227", at="2330", drawn="")
    assert desk.says("F UREA 5.7", day="20260228", at="0930", drawn="") == "amends"


def test_what_is_not_finished_is_so_on_the_next_morning(desk: Desk) -> None:
    desk.says("P GLU 5.5", day="20260227", at="2330", drawn="")
    assert desk.says("F GLU 5.7", day="20260228", at="0930", drawn="") == "follows"


def test_results_that_a_receiver_cannot_tell_apart_are_named(desk: Desk) -> None:
    desk.says("F GLU 1.1", drawn="0800", at="0821")
    desk.says("F GLU 2.1", drawn="0900", at="0933")
    desk.says("C GLU 2.2", drawn="0900", at="0934")
    assert [one.beside for one in desk.last.decisions] == [((1, 1),)]
    desk.says("F UREA 2.1", drawn="0900", at="0933")
    assert [one.beside for one in desk.last.decisions] == [()]


@pytest.mark.parametrize(
    "results",
    [("F CRE 5.5",), ("F CRE 5.5", "P NA 139"), ("F CRE 5.5", "F CRE 6.5"), ("C CRE 5.5",), ("D CRE 5.5", "F NA 139"),
     ("F CRE 5.5", "P CRE 5.5"), ("F CRE 99 flag=HH", "F NA 139"), ("F CRE 5.5 sub=1", "F CRE 5.5 sub=2")],
)  # fmt: skip
def test_a_message_before_which_nothing_was_is_judged_as_any_other(
    results: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a short way for the usual one."""
    short, long = Desk(), Desk()
    short.says(*results)
    monkeypatch.setattr(judging, "_is_plain", lambda message: False)
    long.says(*results)
    assert short.last == long.last


# -- what the walk through histories has found -------------------------------------------------------------------------


def test_what_an_analyzer_writes_for_no_value_is_none() -> None:
    desk = Desk()
    assert (desk.says("F CRE 5.5"), desk.says("F CRE ----", at="0940")) == ("new", "held:VALUE_GONE")


def test_a_withdrawal_after_another_withdraws_what_waits() -> None:
    """A person could release it; and where nothing waits, there is nothing more to withdraw."""
    desk = Desk()
    desk.says("F CRE 5.5")
    assert desk.says("D CRE 5.5") == "withdraws"
    assert desk.says("F CRE 6.5", at="0940") == "held:WITHDRAWN_BEFORE"
    assert desk.says("D CRE 6.5", at="0950") == "withdraws"


@pytest.mark.parametrize(
    ("back", "left"),
    [
        (["D ORG ECO sub=1"], ["final SAU", "final R", "final 1"]),
        (["D ORG SAU sub=2"], ["final ECO", "final R", "final S", "final 1"]),
        (["D ORG ECO sub=1", "D ORG SAU sub=2"], ["final 1"]),
        (["D AMP R sub=1"], ["final ECO", "final S", "final SAU", "final R", "final 1"]),
    ],
)
def test_the_susceptibilities_of_an_isolate_that_is_withdrawn_go_with_it(back: list[str], left: list[str]) -> None:
    desk = Desk()
    report = ["F ORG ECO sub=1", "F AMP R sub=1", "F CIP S sub=1", "F ORG SAU sub=2", "F PEN R sub=2"]
    desk.says(*report, panel="CULT")
    desk.says("F K 1")
    desk.says(*back, panel="CULT", at="1030")
    assert [one for one in desk.stands() if not one.startswith("entered")] == left
    assert desk.says(*back, panel="CULT", at="1030").split()[0] == "echo"


def test_the_memory_of_a_culture_is_known_by_what_each_isolate_was() -> None:
    desk = Desk()
    desk.says("F ORG SAU sub=1", "F ORG KPN sub=2")
    desk.says("F ORG ECO sub=1", at="1200")
    assert desk.says("F ORG SAU sub=1", "F ORG KPN sub=2") == "echo echo"


def test_a_time_to_come_of_which_the_reader_makes_none_is_a_wrong_clocks() -> None:
    facts = read(
        "MSH|^~\\&|AN|LAB|LIS|H|20260301180000||ORU^R01|1|P|2.5.1\rPID|1||900^^^H^MR||DOE^JANE||19700101|F\r"
        "OBR|1||F1|CHEM|||||||||||||||||||||F\rOBX|1|NM|CRE||5.5||||||F|||20270715080900"
    )
    ((person, order, result),) = facts.results()
    left_out = order._replace(results=(result._replace(at=None, timed=None),))
    said = facts._replace(people=(person._replace(orders=(left_out,)),))
    (decision,) = judge(said, Memory(), Receipt(1, "c", RECEIVED)).decisions
    assert decision.reason == "CLOCK"


def test_of_equal_times_of_collection_nothing_else_is_asked() -> None:
    """Whether that was the collection, or the start of a run."""
    desk = Desk()
    desk.says("F CRE 5.5", at="0930", drawn="0930")
    assert desk.says("F CRE 6.5", at="0945", drawn="0930") == "amends"


@pytest.mark.parametrize(
    ("settings", "became"), [({}, "new"), ({"of_a_day": True}, "amends"), ({"unique": True}, "amends")]
)
def test_a_number_alone_is_one_sample_where_it_is_not_given_again(settings: dict[str, bool], became: str) -> None:
    desk = Desk(settings=settings)
    desk.says("F CRE 5.5", patient="", drawn="")
    assert desk.says("F CRE 6.5", patient="", drawn="", at="0945") == became


# -- the usual message -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("results", "said", "is_usual"),
    [
        (["F CRE 5.5", "P NA 140 flag=HH", "F K 4.1 flag=LL~A", "F GLU"], {}, True),
        (["F CRE 5.5"], {"patient": "", "drawn": "", "at": ""}, True),
        (["F CRE 5.5", "F CRE 5.6 sub=2"], {}, True),
        (["F CRE 5.5", "F CRE 5.6"], {}, False),
        (["F CRE 5.5", "C NA 140"], {}, False),
        (["F CRE 5.5", "D NA 140"], {}, False),
        (["F CRE 5.5", "U NA"], {}, False),
        (["F CRE 5.5", "U NA 140"], {}, False),
        (["F CRE 5.5"], {"role": "Q"}, False),
        (["F CRE 5.5"], {"role": "L"}, False),
        (["F CRE 5.5"], {"day": "20250301"}, False),
        (["F CRE 5.5"], {"day": "20260301 20270715"}, False),
        (["F CRE 5.5"], {"day": "20270715 20260301"}, False),
        (["F ORG ECO sub=1", "F AMP 8 sub=1"], {}, False),
        (["F 600-7^ORGANISM^LN ECO"], {}, False),
    ],
)
def test_of_which_message_no_rule_has_a_word(results: list[str], said: dict[str, str], is_usual: bool) -> None:
    facts: list[Facts] = []
    receipts: list[Receipt] = []

    def kept(content: Facts, memory: Memory, receipt: Receipt) -> Judgement:
        facts.append(content)
        receipts.append(receipt)
        return judge(content, memory, receipt)

    desk = Desk(judged_by=kept)
    desk.says(*results, **said)
    short = usual(facts[0], receipts[0])
    assert (short is not None) is is_usual
    assert short in (None, desk.last._replace(said={}))
