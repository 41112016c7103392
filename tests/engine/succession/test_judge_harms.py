"""The judge on facts: what would harm a patient if it were forgotten, each as the messages that do it."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.model.content.facts import Facts, unpacked
from engine.model.message import FormatOptions
from engine.succession.judge.memory import remember
from engine.succession.judge.words import Receipt
from tests.engine.succession.test_judge import RECEIVED, Desk, _context, _in_words
from tests.support.decided_memory import rejected
from tests.support.shipped import program

GONE = "held:RESULTS_GONE"


def read(content: str, patient_numbers: str = "lasting") -> Facts:
    context = replace(_context(), patient_numbers=patient_numbers)
    mapped = program("results-hl7").apply(hl7v2.parse(content.encode(), FormatOptions()), context)
    return unpacked(mapped.documents[0].body)


HEAD = "MSH|^~\\&|AN|LAB|LIS|H|20260301180000||ORU^R01|1|P|2.5.1"


class Line(Desk):
    """A desk that is told whole messages."""

    def hears(
        self, *results: str, pid: str = "900^^^H^MR||DOE^JANE||19700101", order: str = "|F1", panel: str = "CHEM",
        drawn: str = "20260301080000", at: str = "20260301093000", source: str = "", tubes: str = "",
        channel: str = "c", processing: str = "P", numbers: str = "lasting", **settings: Any,
    ) -> str:  # fmt: skip
        """What became of results.

        Args:
            results: each ``status|code|value``; behind it may be OBX-4, unit, type and OBX-8.
            order: OBR-2 and 3. source: OBR-15. tubes: SPM-2 and -11 of each, ``T1 P, T2``.
        """
        self.count += 1
        rows = [f"MSH|^~\\&|AN|LAB|LIS|H|20260301180000||ORU^R01|{self.count}|{processing}|2.5.1", f"PID|1||{pid}"]
        rows.append(f"OBR|1|{order}|{panel}|||{drawn}||||||||{source}|||||||||LAB|F")
        for number, text in enumerate(results, start=1):
            status, code, value, sub, unit, kind, flag = (text.split("|") + [""] * 4)[:7]
            kind = kind or ("NM" if value.replace(".", "").isdigit() else "ST")
            rows.append(f"OBX|{number}|{kind}|{code}|{sub}|{value}|{unit}||{flag}|||{status}|||{at}")
        for number, text in enumerate(filter(None, tubes.split(", ")), start=1):
            tube, _, role = text.partition(" ")
            rows.append(f"SPM|{number}|{tube}||SER|||||||{role}||||||{drawn}")
        return self.gets(rows, numbers=numbers, channel=channel, **settings)

    def gets(self, rows: list[str], *, numbers: str = "lasting", channel: str = "c", **settings: Any) -> str:
        receipt = Receipt(message=self.count, channel=channel, received=RECEIVED, **self.settings, **settings)
        self.last = self.judged_by(read("\r".join(rows), numbers), self.memory, receipt)
        self.memory = remember(self.memory, self.last)
        return " ".join(map(_in_words, self.last.decisions))

    def refuses(self) -> None:
        """A person refuses the last message."""
        self.memory = rejected(self.memory, self.count)


@pytest.fixture
def line() -> Line:
    return Line()


# -- a person's no -----------------------------------------------------------------------------------------------------

SAID = "C|TSH|<5.50||mIU/L"
SAYS_AGAIN = {
    "the same": (SAID, {}),
    "another channel": (SAID, {"channel": "middleware"}),
    "without its seconds": (SAID, {"at": "202603010930"}),
    "in another zone": (SAID, {"at": "20260301150000+0530"}),
    "a unit in other letters": ("F|TSH|<5.50||MIU / l", {}),
    "a blank behind the sign": ("F|TSH|< 5.5||mIU/L", {}),
    "as a structured number": ("F|TSH|<^5.5||mIU/L|SN", {}),
    "with a number of its own": ("F|TSH|<5.5|1|mIU/L", {}),
    "the number of who ordered alone": (SAID, {"order": "P1|"}),
    "no patient": (SAID, {"pid": ""}),
}
SAYS_ELSE = {
    "another value": ("F|TSH|5.5||mIU/L", {}),
    "another unit": ("F|TSH|<5.5||mIU/dL", {}),
    "another test": ("F|FT4|<5.5||mIU/L", {}),
    "another minute": ("F|TSH|<5.5||mIU/L", {"at": "20260301093100"}),
    "another patient": ("F|TSH|<5.5||mIU/L", {"pid": "901^^^H^MR||ROE^ANN"}),
    "another order": ("F|TSH|<5.5||mIU/L", {"order": "P2|F2"}),
}


@pytest.mark.parametrize("how", [*SAYS_AGAIN, *SAYS_ELSE])
def test_what_a_person_has_refused_waits_however_it_is_written(line: Line, how: str) -> None:
    line.hears("F|NA|140", order="P1|F1")
    assert line.hears(SAID, order="P1|F1") == "held:CORRECTS_UNKNOWN"
    line.refuses()
    again, shown = (SAYS_AGAIN | SAYS_ELSE)[how]
    became = line.hears(again, **({"order": "P1|F1"} | shown))
    assert (became == "held:REJECTED_BEFORE") is (how in SAYS_AGAIN), became


def test_of_two_with_numbers_of_their_own_one_is_refused(line: Line) -> None:
    line.hears("F|NA|140")
    line.hears("C|HIV|NEG|1")
    line.refuses()
    assert line.hears("F|HIV|NEG|2", channel="d") == "new"


# -- whose tube --------------------------------------------------------------------------------------------------------


def test_of_two_tubes_of_an_order_nothing_says_which_was_measured(line: Line) -> None:
    """The first result was of the urine: the serum's would have taken its place, or stood beside it for one of both."""
    assert line.hears("F|GLU|5.5", tubes="T1, T2") == "new"
    assert line.hears("F|GLU|9.9", tubes="T2", at="20260301100000") == "held:SAMPLE_UNKNOWN"
    assert line.hears("F|GLU|7.7", tubes="T3", at="20260301110000") == "new"
    assert line.hears("F|GLU|5.7", tubes="T1, T2", at="20260301103000") == "amends"


def test_a_tube_is_drawn_once(line: Line) -> None:
    line.hears("F|GLU|5.5", tubes="T1")
    became = line.hears("F|GLU|9.9", tubes="T1", drawn="20260301090000", at="20260301094500")
    assert became == "held:SAMPLE_UNKNOWN"


@pytest.mark.parametrize(
    ("shown", "became"),
    [({"processing": "Q"}, "filtered:QUALITY_CONTROL"), ({"processing": "q"}, "filtered:QUALITY_CONTROL"),
     ({"source": "SER^^^^^^Q"}, "filtered:QUALITY_CONTROL"), ({"source": "SER^^^^^^Q", "tubes": "T1 P"}, "new"),
     ({"source": "SER^^^^^^L"}, "new"), ({"tubes": "T1 X"}, "held:POOL"), ({"tubes": "T1 XX"}, "held:POOL"),
     ({"panel": "QC1", "orders": ("QC*",)}, "filtered:QUALITY_CONTROL"), ({"panel": "CHEM", "orders": ("QC*",)}, "new"),
     ({"panel": "QC1"}, "new"), ({"order": "|QC7", "numbers": "counted"}, "new")],
)  # fmt: skip
def test_whose_sample(line: Line, shown: dict[str, Any], became: str) -> None:
    assert line.hears("F|GLU|5.5", **shown) == became


@pytest.mark.parametrize(
    ("pid", "became"),
    [("7||DOE^JANE||19700101", "amends"), ("7||DOE^JANE||19800101", "new"), ("7||ROE^ANN||19700101", "new"),
     ("8||DOE^JANE||19700101", "new")],
)  # fmt: skip
def test_a_counters_number_is_one_persons_only_with_the_name(line: Line, pid: str, became: str) -> None:
    line.hears("F|GLU|5.5", pid="7||DOE^JANE||19700101", numbers="counted")
    assert line.hears("F|GLU|5.9", pid=pid, numbers="counted", at="20260301100000") == became


def test_a_name_without_a_number_is_a_person(line: Line) -> None:
    line.hears("F|GLU|5.5", pid="||DOE^JANE||19700101")
    assert line.hears("F|GLU|5.9", pid="||ROE^ANN||19700101", at="20260301100000") == "new"
    assert line.hears("F|GLU|6.1", pid="||DOE^JANE||19800101", at="20260301101000") == "new"
    assert line.hears("F|GLU|6.2", pid="||DOE^JANE||19700101", at="20260301102000") == "amends"


# -- what takes something back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "became"),
    [("5.50", "withdraws"), ('""', "withdraws"), ("", "withdraws"), ("5.05", "held:CORRECTS_UNKNOWN"),
     ("50", "held:CORRECTS_UNKNOWN")],
)  # fmt: skip
def test_a_withdrawal_names_the_value_that_it_withdraws_or_none(line: Line, value: str, became: str) -> None:
    line.hears("F|GLU|5.5")
    assert line.hears(f"D|GLU|{value}|||NM") == became


def test_of_an_order_that_was_withdrawn_a_correction_from_elsewhere_is_asked_about(line: Line) -> None:
    line.hears("F|GLU|5.5")
    assert line.hears("D|GLU|5.5") == "withdraws"
    assert line.hears("C|GLU|6.5", channel="middleware") == "held:CORRECTS_UNKNOWN"
    assert line.hears("C|GLUC|6.5") == "held:CORRECTS_UNKNOWN"
    assert line.stands() == ["entered-in-error 5.5"]


def test_what_could_not_be_measured_says_nothing_against_a_correction(line: Line) -> None:
    line.hears("X|GLU|")
    assert line.hears("C|GLUC|6.5") == "new:CORRECTS_UNKNOWN"


# -- numbers that were corrected ---------------------------------------------------------------------------------------


def test_a_list_cannot_correct_under_another_number(line: Line) -> None:
    """It goes by the number: the first result would have stayed in force."""
    line.hears("F|GLU|5.5", order="P1|F1")
    assert line.hears("C|GLU|6.5", order="P1|F9") == "follows"
    assert [one for decision in line.last.decisions for one in decision.beside] == [(1, 1)]
    assert line.hears("C|GLU|6.7", order="P1|F1", at="20260301100000") == "follows"
    assert line.last.decisions[0].beside == ()


def test_the_same_measurement_under_another_number_is_asked_about(line: Line) -> None:
    line.hears("F|GLU|5.5", order="P1|F1")
    assert line.hears("F|GLU|5.5", order="P1|F9") == "held:SAMPLE_UNKNOWN"
    assert line.hears("F|GLU|5.9", order="P1|F9", at="20260301100000") == "held:SAMPLE_UNKNOWN"
    assert line.hears("F|GLU|5.5", order="P2|F8") == "new"
    assert line.hears("F|UREA|31", order="P1|F9", at="20260301100000") == "new"


# -- cultures ----------------------------------------------------------------------------------------------------------

CULTURE: dict[str, Any] = {"panel": "CULT"}


def test_two_bottles_are_two_cultures(line: Line) -> None:
    """S. aureus of the second has the number that E. coli had in the first, and would have taken its place."""
    assert line.hears("F|ORG|E. coli|1", tubes="B1", **CULTURE) == "new"
    assert line.hears("F|ORG|S. aureus|1", tubes="B2", at="20260301110000", **CULTURE) == "new"
    assert line.hears("F|ORG|No growth", tubes="B3", at="20260301120000", **CULTURE) == "new"
    assert line.hears("F|ORG|K. pneumoniae|1", tubes="B1", at="20260301130000", **CULTURE) == "amends"
    assert line.hears("F|ORG|No growth", tubes="B1", at="20260301140000", **CULTURE) == GONE
    assert line.stands() == ["amended K. pneumoniae", "final S. aureus", "final No growth"]


NONE = (
    "No growth", "Nil growth after 48 h", "Culture negative", "Growth not seen", "Not isolated", "Sterile", "NG",
    "Neg.", "Negative", "nil", "Keimfrei", "Kein Wachstum", "Keine Keime nachweisbar", "Culture stérile",
    "Absence de croissance", "Culture négative", "Negativo", "Cultivo negativo", "Sin desarrollo", "Sem crescimento",
    "Ausência de crescimento", "Nessuna crescita",
)  # fmt: skip


@pytest.mark.parametrize("words", NONE)
def test_no_growth_in_any_words_is_no_organism(line: Line, words: str) -> None:
    """It would have been an isolate by the name of Keimfrei, and E. coli would have been renamed to it."""
    line.hears("F|ORG|E. coli|1", **CULTURE)
    assert line.hears(f"F|ORG|{words}|1", at="20260301120000", **CULTURE) == GONE
    assert line.hears("F|ORG|E. coli|1", order="|F2", **CULTURE) == "new"


@pytest.mark.parametrize("words", NONE)
def test_an_organism_after_no_growth_in_any_words(line: Line, words: str) -> None:
    line.hears(f"F|ORG|{words}", **CULTURE)
    assert line.hears("F|ORG|E. coli|1", at="20260301120000", **CULTURE) == GONE


@pytest.mark.parametrize("coded", ["NEG^Negative", "0^No growth", "NG1^No growth of fungi^L"])
def test_a_coded_answer_may_say_that_nothing_grew(line: Line, coded: str) -> None:
    line.hears(f"F|ORG|{coded}|1||CE", **CULTURE)
    assert not line.last.said[1].isolate
    assert line.hears("F|ORG|ECO^E. coli|1||CE", at="20260301120000", **CULTURE) == GONE


def test_a_culture_is_no_series(line: Line) -> None:
    """Whatever stands in the field of collection."""
    line.hears("F|ORG|E. coli|1", **CULTURE)
    assert line.hears("D|ORG|E. coli|1", drawn="20260301090000", at="20260301120000", **CULTURE) == "withdraws"


def test_negative_is_no_growth_of_an_isolates_code_alone(line: Line) -> None:
    line.hears("F|ORG|E. coli|1", **CULTURE)
    assert line.hears("F|HIV|Negative", panel="SERO", at="20260301120000") == "new"


@pytest.mark.parametrize("before", ["Yellow", "Turbid"])
def test_words_of_another_panel_are_no_growth(line: Line, before: str) -> None:
    """A urine has one number for its strip and its culture."""
    line.hears(f"F|COLOR|{before}", panel="STRIP")
    assert line.hears("F|ORG|No growth", at="20260301120000", **CULTURE) == "new"


@pytest.mark.parametrize("value", ["44", "1.020", "4+"])
def test_a_number_is_no_growth(line: Line, value: str) -> None:
    line.hears(f"F|CELLS|{value}", **CULTURE)
    assert line.hears("F|ORG|No growth", at="20260301120000", **CULTURE) == "new"


def test_words_that_were_beside_no_growth_are_none_later(line: Line) -> None:
    line.hears("F|LOOK|Turbid", "P|ORG|No growth after a day", **CULTURE)
    assert line.hears("F|ORG|No growth", at="20260301120000", **CULTURE) == "follows"


@pytest.mark.parametrize(
    "words",
    ["Gram positive cocci", "Gram positive cocci 2+", "E. coli O157:H7", "10^5 CFU/mL", "E. coli, no other organisms",
     "E. coli, keine weiteren Erreger"],
)  # fmt: skip
def test_growth_that_came_after_no_growth_is_one(line: Line, words: str) -> None:
    line.hears("P|ORG|No growth after a day", **CULTURE)
    line.hears(f"P|GRAM|{words}", at="20260301110000", **CULTURE)
    assert line.hears("F|ORG|No growth", at="20260301120000", **CULTURE) == GONE


@pytest.mark.parametrize(("first", "then"), [("E. coli|1", "No growth"), ("No growth", "E. coli|1")])
def test_growth_and_no_growth_exclude_each_other_on_two_channels(line: Line, first: str, then: str) -> None:
    line.hears(f"F|ORG|{first}", **CULTURE)
    assert line.hears(f"F|ORG|{then}", channel="bottles", at="20260301120000", **CULTURE) == GONE
    assert line.hears("F|CRP|44", channel="chemistry", at="20260301120000", **CULTURE) == "new"


LOINC = ("600-7", "630-4", "625-4", "624-7", "6460-0", "606-4", "6462-6", "626-2", "609-8", "610-6", "611-4", "6463-4",
         "634-6", "635-3", "11475-1", "580-1", "543-9")  # fmt: skip


@pytest.mark.parametrize("code", LOINC)
def test_an_organism_is_known_by_the_code_of_its_culture(line: Line, code: str) -> None:
    line.hears(f"F|{code}^Culture^LN|E. coli|1", **CULTURE)
    assert line.last.said[1].isolate
    assert line.hears("F|RESULT|No growth", at="20260301120000", **CULTURE) == GONE


def test_of_a_report_one_isolate_is_the_same_and_one_is_new(line: Line) -> None:
    line.hears("F|ORG|E. coli|1", **CULTURE)
    assert line.hears("F|ORG|E. coli|1", "F|ORG|S. aureus|2", **CULTURE) == "echo new"
    assert line.hears("F|ORG|E. coli|1", **CULTURE) == "echo", "the first report again takes nothing away"
    assert line.stands() == ["final E. coli", "final S. aureus"]
    assert line.last.gone == ()


def test_what_a_person_has_refused_of_a_culture(line: Line) -> None:
    line.hears("F|ORG|E. coli|1", **CULTURE)
    line.hears("F|ORG|S. aureus|2", at="20260301110000", **CULTURE)
    line.refuses()
    assert line.hears("F|ORG|S. aureus|1", at="20260301110000", **CULTURE) == "held:REJECTED_BEFORE"
    assert line.last.gone == ()


def test_a_memory_of_a_shorter_report_withdraws_nothing(line: Line) -> None:
    """Each report of three has one isolate more; the second comes again."""
    names = ("E. coli", "S. aureus", "K. oxytoca")
    for number in (1, 2, 3, 2):
        found = [f"F|ORG|{name}|{place}" for place, name in enumerate(names[:number], start=1)]
        became = line.hears(*found, **CULTURE)
    assert (became, line.last.gone) == ("echo echo", ())
    assert line.hears("F|ORG|S. aureus|1", at="20260301110000", **CULTURE) == "amends"
    assert len(line.last.gone) == 2


def test_what_stands_beside_other_isolates_waits_with_them(line: Line) -> None:
    line.hears("F|ORG|E. coli|1", **CULTURE)
    became = line.hears("F|ORG|S. aureus|2", "F|NOTE|few", at="20260301110000", **CULTURE)
    assert became == f"{GONE} {GONE}"
    assert line.looks_at() == [1]


def linked(line: Line, *isolates: str, at: str = "20260301093000") -> str:
    """Isolates, each with its susceptibilities: ``E. coli: AMP R, CIP S``."""
    rows = []
    for number, text in enumerate(isolates, start=1):
        name, _, tests = text.partition(": ")
        rows.append(f"F|ORG|{name}|{number}")
        rows += [f"F|{code}|{value}|{number}" for code, value in (one.split() for one in tests.split(", ") if one)]
    return line.hears(*rows, at=at, **CULTURE)


def test_susceptibilities_stay_with_their_isolate(line: Line) -> None:
    """Two isolates change their places: the S of one would have become the R of the other."""
    assert linked(line, "E. coli: AMP R, CIP S", "S. aureus: AMP S, OXA S") == "new new new new new new"
    assert linked(line, "S. aureus: AMP S, OXA R", "E. coli: AMP R, CIP S", at="20260301110000") == " ".join(
        ["amends"] * 6
    )
    now = {(one.last.organism, one.last.test): one.last.value for one in line.memory.standing}
    assert now["e. coli", "AMP"] == "R"
    assert (now["s. aureus", "AMP"], now["s. aureus", "OXA"]) == ("S", "R")
    assert line.last.gone == ()
    assert linked(line, "S. aureus: AMP S", "E. coli: AMP R, CIP S", at="20260301120000") == " ".join(["amends"] * 5)
    gone = [one for one in line.memory.standing if one.ref in line.last.gone]
    assert [(one.last.organism, one.last.test) for one in gone] == [("s. aureus", "OXA")]


def test_one_antibiotic_twice_is_two_results(line: Line) -> None:
    """By disc and by dilution."""
    linked(line, "E. coli: AMP R, AMP 32")
    assert linked(line, "E. coli: AMP I, AMP 16", at="20260301110000") == "amends amends amends"
    assert {one.last.value for one in line.memory.standing} == {"E. coli", "I", "16"}


def test_two_isolates_of_one_name_are_told_by_their_susceptibilities(line: Line) -> None:
    linked(line, "E. coli: AMP R", "E. coli: AMP S")
    linked(line, "E. coli: AMP S", "E. coli: AMP R", "S. aureus: OXA S", at="20260301093000")
    assert [one.kind for one in line.last.decisions] == ["echo", "echo", "echo", "echo", "new", "new"]


# -- reports that list all results -------------------------------------------------------------------------------------


def test_a_report_that_lists_all_results_lacks_none(line: Line) -> None:
    line.settings = {"whole": True}
    assert line.hears("F|NA|140", "F|K|4.1") == "new new"
    assert line.hears("F|NA|141", "F|K|4.1", "F|CL|99") == "amends echo new"
    assert line.hears("F|NA|140", "F|K|4.1") == "echo echo", "its memory"
    assert line.hears("F|NA|142", "F|K|4.1", at="20260301100000") == f"{GONE} {GONE}"
    assert line.looks_at() == [2]
    assert line.hears("F|NA|143", "F|K|4.3", "D|CL|99", at="20260301103000") == "amends amends withdraws"
    assert line.hears("F|UREA|31", panel="RENAL") == "new"


def test_what_was_withdrawn_need_not_be_listed(line: Line) -> None:
    line.settings = {"whole": True}
    line.hears("F|NA|140", "F|K|4.1")
    assert line.hears("F|NA|140", "D|K|4.1") == "echo withdraws"
    assert line.hears("F|NA|141", at="20260301100000") == "amends"


def test_what_waits_need_not_be_listed(line: Line) -> None:
    line.settings = {"whole": True}
    line.hears("F|NA|140")
    line.hears("C|KALI|4.1")
    assert line.hears("F|NA|141", at="20260301100000") == "amends"


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "became"),
    [("20270301", "held:CLOCK"), ("20250301", "held:CLOCK"), ("20260228", "new"), ("20260302", "new"),
     ("20260303", "held:CLOCK"), ("20250830", "held:CLOCK"), ("20250831", "new"), ("2025", "new"),
     ("20260301181400", "new"), ("20260301181600", "held:CLOCK"), ("20250830180000", "held:CLOCK"),
     ("20250831180000", "new"), ("", "new")],
)  # fmt: skip
def test_a_clock_that_cannot_be_right(line: Line, at: str, became: str) -> None:
    assert line.hears("F|GLU|5.5", at=at, drawn="") == became


@pytest.mark.parametrize(
    ("drawn", "became"), [("19990301080000", "new"), ("1999", "new"), ("20270301080000", "held:CLOCK")]
)
def test_a_tissue_may_be_old(line: Line, drawn: str, became: str) -> None:
    assert line.hears("F|GLU|5.5", drawn=drawn) == became


def test_without_a_time_of_collection_a_rerun_is_one(line: Line) -> None:
    line.hears("F|GLU|5.5", drawn="")
    assert line.hears("F|GLU|5.7", drawn="", at="20260301103000") == "amends"
    assert line.hears("F|GLU|5.9", drawn="", tubes="T1", at="20260301113000") == "amends"


def test_the_time_of_the_specimen_counts_before_that_of_the_order(line: Line) -> None:
    """OBR-7 says when the first of a curve was drawn; SPM-17 says it of each."""
    for drawn, at, value in (("0800", "0815", "5.5"), ("0900", "0950", "9.5")):
        line.count += 1
        rows = [
            HEAD,
            "PID|1||900",
            "OBR|1||F1|GTT|||20260301075500",
            f"OBX|1|NM|GLU||{value}||||||F|||20260301{at}00",
        ]
        became = line.gets([*rows, f"SPM|1|||SER|||||||P||||||20260301{drawn}00"])
    assert became == "new"
    assert len(line.stands()) == 2


def test_what_was_never_finished_is_another_order_after_days(line: Line) -> None:
    line.hears("P|GLU|5.5", drawn="", at="20260225093000")
    assert line.hears("F|GLU|5.7", drawn="", at="20260226110000") == "follows"
    line.hears("P|UREA|31", drawn="", at="20260225093000")
    assert line.hears("F|UREA|33", drawn="", at="20260301093000") == "new"


def test_a_status_alone_keeps_what_was_amended(line: Line) -> None:
    line.hears("F|GLU|5.5")
    line.hears("F|GLU|5.7", at="20260301100000")
    assert line.hears("U|GLU|", at="20260301100000") == "finishes"
    assert line.last.decisions[0].status == "amended"


def test_decisions_are_in_the_order_of_the_message(line: Line) -> None:
    rows = [HEAD, "PID|1||900", "OBR|1||F1|C", "OBX|1|NM|GLU||5.5||||||F", "OBR|2||F2|C", "OBX|1|NM|GLU||6.5||||||F"]
    became = line.gets([*rows, "SPM|1|T2||SER|||||||L", "OBR|3||F3|C", "OBX|1|NM|GLU||7.5||||||F"])
    assert became == "new held:POOL new"


def test_what_a_message_says_twice_is_one_result(line: Line) -> None:
    """As two they would be two runs, and a correction of one would be asked about."""
    assert line.hears("F|GLU|5.5", "F|GLU|5.5") == "new echo"
    assert line.hears("C|GLU|6.5", at="20260301100000") == "follows"


def test_where_an_order_has_no_number_its_tube_names_it(line: Line) -> None:
    assert line.hears("F|GLU|5.5", order="|", tubes="T1") == "new"
    assert line.hears("F|GLU|5.7", order="|", tubes="T2", at="20260301100000") == "new"
    assert line.hears("F|GLU|5.9", order="|", tubes="T1", at="20260301103000") == "amends"
