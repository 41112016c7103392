"""Which results ring: what a message says of them decides, and not what becomes of it.

The sender's flag says that a value is critical (OBX-8, R-7: HH, LL, AA).
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.features.alerts.rows.reading import critical_values
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.running import (
    ASTM,
    MLLP,
    Json,
    RunningSite,
    channel,
    make_running_site,
    running_app,
    running_site,
)
from tests.support.senders import AstmAnalyzer, lines, send_blocks
from tests.support.waiting import until
from workbench.sandbox import Sandbox

MAPPINGS = {
    ("oru", "fhir"): "hl7-results", ("oru", "csv"): "hl7-to-csv", ("oru", "json"): "hl7-to-json",
    ("oru", "abdm"): "abdm-report", ("oru", "raw"): "",
    ("oul", "fhir"): "hl7-oul-results", ("oul", "csv"): "hl7-oul-to-csv", ("oul", "json"): "hl7-oul-to-json",
    ("oul", "raw"): "",
    ("astm", "fhir"): "astm-results", ("astm", "hl7"): "astm-to-hl7", ("astm", "csv"): "astm-to-csv",
    ("astm", "json"): "astm-to-json", ("astm", "raw"): "",
}  # fmt: skip
ABDM = {"lab": "Lab", "hfr_id": "IN1", "hfr_system": "urn:hfr", "abha_system": "urn:abha", "abha": "later"}
SETTINGS: Json = {"control_numbers": ["LEVEL*"]}
CASES = {  # name -> flag, role of the specimen, its number, status; whether it rings
    "a patient's": ("HH", "P", "S1", "F", True),
    "a patient's, low": ("LL", "", "S2", "F", True),
    "abnormal words": ("AA", "", "S3", "F", True),
    "preliminary": ("HH", "", "S4", "P", True),
    "no flag": ("", "P", "S5", "F", False),
    "not critical": ("H", "P", "S6", "F", False),
    "a control": ("HH", "Q", "S7", "F", False),
    "a patient with the number of a control": ("HH", "", "LEVEL2", "F", True),  # held, and people decide
    "a blank": ("HH", "", "Background", "F", False),
    "withdrawn": ("HH", "P", "S8", "X", False),
}
OF_HL7 = {
    "a pool": ("HH", "L", "S9", "F", False),
    "a group": ("HH", "G", "S10", "F", False),
    "taken back": ("HH", "P", "S11", "D", False),
    "wrong": ("HH", "P", "S12", "W", False),
}


def oru(number: int, flag: str, role: str, tube: str, status: str) -> bytes:
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|2024030109{number:02}00||ORU^R01|M{number}|P|2.5.1\r"
        f"PID|1||MR{number}||Iyer^Meena||19550101|F\rOBR|1||{tube}|K^Potassium^L|||20240301090000\r"
        f"OBX|1|NM|K^Potassium^L||{number}.9|mmol/L||{flag}|||{status}|||20240301091500\r"
        f"SPM|1|{tube}||SER|||||||{role}||||||20240301090000\r"
    ).encode()


def oul(number: int, flag: str, role: str, tube: str, status: str) -> bytes:
    return (
        f"MSH|^~\\&|AN|LAB|LIS|H|2024030109{number:02}00||OUL^R22^OUL_R22|M{number}|P|2.5.1\r"
        f"PID|1||MR{number}||Iyer^Meena||19550101|F\rSPM|1|{tube}||SER|||||||{role}||||||20240301090000\r"
        f"OBR|1||{tube}|K^Potassium^L|||20240301090000\r"
        f"OBX|1|NM|K^Potassium^L||{number}.9|mmol/L||{flag}|||{status}|||20240301091500\r"
    ).encode()


def astm(number: int, flag: str, role: str, tube: str, status: str) -> bytes:
    return (
        f"H|\\^&|{number}||AN|||||||P|1|2024030109{number:02}00\rP|1||MR{number}||Iyer^Meena||19550101|F\r"
        f"O|1|{tube}||^^^K|R||20240301090000||||{role if role == 'Q' else ''}\r"
        f"R|1|^^^K|{number}.9|mmol/L||{flag}||{status}||||20240301091500\rL|1|N\r"
    ).encode()


WRITTEN = {"oru": oru, "oul": oul, "astm": astm}


def site_channel(source: str, *outputs: str) -> Json:
    routes = [{"mapping": MAPPINGS[source, one], "to": "files"} if one != "raw" else {"to": "files"} for one in outputs]
    settings = SETTINGS | (ABDM if "abdm" in outputs else {})
    return channel(ASTM if source == "astm" else MLLP, *routes, settings=settings)


async def send(site: RunningSite, source: str, message: bytes) -> None:
    before = len(site.messages())
    if source == "astm":
        played = await AstmAnalyzer(site.port("lab")).play(frames(*one_record_a_frame(message)))
        assert not played.gave_up
    else:
        (answer,) = await send_blocks(site.port("lab"), [message])
        assert lines(answer)["MSA"][1] == "AA"
    await until(lambda: len(site.messages()) > before)
    await site.settled()


def rung(site: RunningSite) -> list[bool]:
    """Of each message, whether it has."""
    found = {one.message for one in critical_values(site.journal)}
    return [one.id in found for one in site.messages()]


def folder(tmp_path: Path) -> Json:
    return {"files": {"kind": "file", "folder": str(tmp_path / "out")}}


@pytest.mark.parametrize(("source", "output"), MAPPINGS)
async def test_what_rings_is_the_same_whatever_goes_out(tmp_path: Path, source: str, output: str) -> None:
    cases = CASES | (OF_HL7 if source != "astm" else {})
    async with running_site(tmp_path / "site", {"lab": site_channel(source, output)}, folder(tmp_path)) as site:
        for number, (*case, _) in enumerate(cases.values(), 1):
            await send(site, source, WRITTEN[source](number, *case))
        heard = rung(site)
    assert dict(zip(cases, heard, strict=True)) == {name: case[-1] for name, case in cases.items()}


def said(site: RunningSite) -> list[str]:
    """The entries, in words."""
    return [one.phrase.say() for one in critical_values(site.journal)]


async def test_two_routes_and_what_is_sent_again_ring_once(tmp_path: Path) -> None:
    outputs = {"oru": ("fhir", "csv", "raw"), "astm": ("raw",)}
    for source, routes in outputs.items():
        site_folder, files = tmp_path / source, folder(tmp_path / source)
        async with running_site(site_folder, {"lab": site_channel(source, *routes)}, files) as site:
            message = WRITTEN[source](7, "HH", "", "S1", "F")
            await send(site, source, message)
            await send(site, source, message.replace(b"M7|P", b"M8|P").replace(b"|7||AN", b"|8||AN"))
            await send(site, source, message.replace(b"7.9|", b"8.9|"))
            assert rung(site) == [True, False, True], source
            untimed = message.replace(b"20240301091500", b"").replace(b"20240301090000", b"").replace(b"S1", b"S2")
            for number in (b"4", b"5"):  # the analyzer may count anew: they may be of two tubes
                again = untimed.replace(b"M7|P", b"M%b|P" % number).replace(b"|7||AN", b"|%b||AN" % number)
                await send(site, source, again.replace(b"09070", b"09%b0" % (number * 2)))
            assert rung(site)[3:] == [True, True], source


@pytest.mark.parametrize(("source", "output"), [(one, output) for one, output in MAPPINGS if output != "abdm"])
async def test_what_is_critical_no_more_is_said_under_its_entry(tmp_path: Path, source: str, output: str) -> None:
    async with running_site(tmp_path / "site", {"lab": site_channel(source, output)}, folder(tmp_path)) as site:
        first, other, corrected = (
            WRITTEN[source](7, *case) for case in (("HH", "", "S1", "F"), ("LL", "", "S2", "F"), ("N", "", "S1", "C"))
        )
        for message in (first, other):
            await send(site, source, message)
        ids = [one.id for one in site.messages()]
        await site.labrelay("alert", "acknowledge", f"critical/{ids[0]}", "--note", "phoned the ward")
        assert said(site) == [f"lab: message {ids[1]} has a critical value"]
        await send(site, source, corrected.replace(b"7.9|", b"4.1|"))
        third = site.messages()[-1].id
        assert said(site) == [
            f"lab: message {ids[0]} is critical no more: message {third} says another",
            f"lab: message {ids[1]} has a critical value",
        ]
        await send(site, source, corrected.replace(b"7.9|", b"4.2|"))  # it says nothing new of that
        assert said(site)[0].endswith(f"message {third} says another")


NEIGHBOURS = {
    "another order": ("N", "", "S9", "C"),
    "another test": ("N", "", "S1", "C", (b"K^Potassium", b"NA^Sodium")),
    "another patient": ("N", "", "S1", "C", (b"MR7", b"MR8"), (b"Iyer^Meena", b"Rao^Asha")),
    "it is critical still": ("HH", "", "S1", "C"),
}


@pytest.mark.parametrize("case", NEIGHBOURS.values(), ids=NEIGHBOURS)
async def test_what_stays_critical(tmp_path: Path, case: Any) -> None:
    flag, role, tube, status, *changes = case
    async with running_site(tmp_path / "site", {"lab": site_channel("oru", "raw")}, folder(tmp_path)) as site:
        await send(site, "oru", oru(7, "HH", "", "S1", "F"))
        later = oru(7, flag, role, tube, status)
        for before, after in changes:
            assert before in later
            later = later.replace(before, after)
        await send(site, "oru", later.replace(b"|M7|", b"|M9|"))
        assert said(site) == ["lab: message 1 has a critical value"]


def order(*rows: str, status: str = "F", drawn: str = "0900", person: str = "MR7^^^HOSPX") -> bytes:
    """One order; a row: code, value, flag, status, minute of measurement, without any ``-``."""
    said = [row.split() for row in rows]
    results = [
        f"OBX|{at}|NM|{code}||{value}|mmol/L||{flag}|||{state}|||20240301{'' if minute == '-' else minute}"
        for at, (code, value, flag, state, minute) in enumerate(said, 1)
    ]
    named = f"PID|1||{person}||Iyer^Meena||19550101|F" if person else "PID|1"
    head = "MSH|^~\\&|AN|LAB|LIS|H|20240301093000||ORU^R01|M1|P|2.5.1"
    taken = f"OBR|1||F1|K^Potassium^L|||{drawn and '20240301' + drawn}" + "|" * 18 + status
    return ("\r".join((head, named, taken, *results)) + "\r").encode()


SODIUM = "NA 190 HH F 0915"  # with a flag, so that the message is asked
HISTORIES = {  # name -> messages; which are critical at the end
    "a preliminary one that comes late": (order("K 7.9 HH F 0915"), order("K 4.1 N P 0915", SODIUM), [True, True]),
    "a first word behind its correction": (order("K 7.9 HH C 0915"), order("K 4.1 N F 0915", SODIUM), [True, True]),
    "critical still, with another value": (order("K 7.9 HH F 0915"), order("K 8.3 HH C 0915"), [False, True]),
    "another sample of the order": (
        order("K 7.9 HH F 0915"), order("K 4.1 N C 1325", drawn="1300"), [True, False],
    ),
    "serum and urine under one name": (
        order("GLU 33 HH F 0915", "GLU 3.0 N F 0915"), order("GLU 33 HH C 0915", "GLU 3.1 N C 0915"), [True, False],
    ),
    "two results of one name, sent again": (
        order("HBS 79 HH F 0915", "HBS 9000 HH F 0915"), order("HBS 79 HH F 0915", "HBS 9000 HH F 0915"), [True, False],
    ),
    "two results of one name, one of them withdrawn": (
        order("K 7.9 HH F 0915", "K 4.1 N F 0920"), order("K 7.9 HH D 0915", "K 4.1 N F 0920"), [False, False],
    ),
    "without a time of measurement": (order("K 7.9 HH F -"), order("K 4.1 N F -", SODIUM), [False, True]),
    "another register's patient": (
        order("K 7.9 HH F 0915"), order("K 4.1 N C 0915", person="MR7^^^HOSPY"), [True, False],
    ),
    "a measurement that failed at another time": (
        order("K 7.9 HH F 1300"), order("K 0 N X 0915"), [True, False],
    ),
    "a counter's number, without a patient": (
        order("K 7.9 HH P 0915", drawn="", person=""), order("K 4.1 N F 1015", SODIUM, drawn="", person=""),
        [False, True],
    ),
    "a counter's number, corrected": (
        order("K 7.9 HH F 0915", drawn="", person=""), order("K 4.1 N C 1015", drawn="", person=""), [False, False],
    ),
    "no patient, and the time of collection": (
        order("K 7.9 HH F 0915", person=""), order("K 4.1 N C 1015", person=""), [False, False],
    ),
    "a rerun of the sample, corrected": (order("K 7.9 HH F 0915"), order("K 4.1 N C 1015"), [False, False]),
    "preliminary, then final": (order("K 7.9 HH P 0915"), order("K 4.1 N F 1015", SODIUM), [False, True]),
    "preliminary, then final, and no flag": (order("K 7.9 HH P 0915"), order("K 4.1 N F 1015"), [False, False]),
    "preliminary, then the final of that minute": (order("K 7.9 HH P 0915"), order("K 4.1 F F 0915"), [False, False]),
    "preliminary, then preliminary": (order("K 7.9 HH P 0915"), order("K 4.1 N P 1015"), [False, False]),
    "preliminary, then another sample": (
        order("K 7.9 HH P 0915"), order("K 4.1 N F 1315", drawn="1300"), [True, False],
    ),
    "preliminary, then another test": (order("K 7.9 HH P 0915"), order("NA 140 N F 0915"), [True, False]),
    "preliminary, then another patient": (
        order("K 7.9 HH P 0915"), order("K 4.1 N F 1015", person="MR8^^^HOSPX"), [True, False],
    ),
    "final, then another run without a flag": (order("K 7.9 HH F 0915"), order("K 4.1 N F 1015"), [False, False]),
}  # fmt: skip


@pytest.mark.parametrize("case", HISTORIES.values(), ids=HISTORIES)
async def test_an_all_clear_is_of_this_result_only(tmp_path: Path, case: Any) -> None:
    first, later, wanted = case
    async with running_site(tmp_path / "site", {"lab": site_channel("oru", "raw")}, folder(tmp_path)) as site:
        await send(site, "oru", first)
        await send(site, "oru", later.replace(b"|M1|", b"|M2|"))
        assert critical(site) == wanted


def critical(site: RunningSite) -> list[bool]:
    """Of each message, whether it has a critical value still."""
    found = {one.message for one in critical_values(site.journal) if not one.over_us}
    return [one.id in found for one in site.messages()]


@pytest.mark.parametrize(
    ("decision", "later", "wanted"),
    [
        ("", "", [True, False]),
        ("release", "", [False, False]),
        ("reject", "", [True, False]),
        ("release", "K 7.9 HH C 0915", [True, False, False]),  # an echo of the first, which stands again
    ],
)
async def test_an_all_clear_that_is_held_counts_once_a_person_releases_it(
    tmp_path: Path, decision: str, later: str, wanted: list[bool]
) -> None:
    lab = channel(MLLP, {"mapping": "hl7-results", "to": "files", "hold": [{"when": "=value < 5", "reason": "low"}]})
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        await send(site, "oru", order("K 7.9 HH F 0915"))
        await send(site, "oru", order("K 4.1 N C 0915").replace(b"|M1|", b"|M2|"))
        if later:
            await send(site, "oru", order(later).replace(b"|M1|", b"|M3|"))
        if decision:
            ran = await site.labrelay("held", decision, "2", "--reason", "looked at", "--yes")
            assert ran.code == 0, ran.err
            await site.settled()
        assert critical(site) == wanted


async def test_a_report_that_repeats_a_critical_value_is_critical_as_long_as_that_is(tmp_path: Path) -> None:
    async with running_site(tmp_path / "site", {"lab": site_channel("oru", "raw")}, folder(tmp_path)) as site:
        potassium = "K 7.9 HH F 0915"
        reports = ((potassium,), (potassium, SODIUM), (potassium, "NA 140 N C 0915"), ("K 4.1 N C 0915",))
        for number, rows in enumerate(reports):
            await send(site, "oru", order(*rows).replace(b"|M1|", b"|M%d|" % number))
            if number == 2:
                assert critical(site) == [True, True, False]
        assert critical(site) == [False] * 4


@pytest.mark.parametrize("numbers", ["counter", "lasting"])
async def test_analyzers_that_count_alike_end_none_of_each_other(tmp_path: Path, numbers: str) -> None:
    """Two channels, the same numbers: a correction is of the result of its own channel."""
    channels = {name: site_channel("oru", "raw") | {"patient_numbers": numbers} for name in ("lab", "other")}
    async with running_site(tmp_path / "site", channels, folder(tmp_path)) as site:
        await send(site, "oru", order("K 7.9 HH F 0915"))
        await send_blocks(site.port("other"), [order("K 4.1 N F 0915", SODIUM)])  # a rerun: both stand
        await until(lambda: len(site.messages()) == 2)
        await site.settled()
        assert critical(site) == [True, True]
        await send_blocks(site.port("other"), [order("K 4.1 N C 0915").replace(b"|M1|", b"|M2|")])
        await until(lambda: len(site.messages()) == 3)
        await site.settled()
        assert critical(site) == [True, True, False]


async def test_what_a_person_has_rejected_is_critical_again_once_it_is_sent_all_the_same(tmp_path: Path) -> None:
    rule = {"hold": [{"when": "=value > 5", "reason": "x"}]}
    lab = channel(MLLP, {"mapping": "hl7-results", "to": "files", **rule})
    site_folder = tmp_path / "site"
    async with running_site(site_folder, {"lab": lab}, folder(tmp_path)) as site:
        await send(site, "oru", order("K 7.9 HH F 0915"))
        assert (await site.labrelay("held", "reject", "1", "--reason", "haemolysed", "--yes")).code == 0
        assert critical(site) == [False]
        also = channel(MLLP, {"mapping": "hl7-results", "to": "files"}, {"to": "files"})
        (site_folder / "channels" / "lab.yaml").write_text(yaml.safe_dump({"channel": "lab", **also}), encoding="utf-8")
        assert (await site.labrelay("reload")).code == 0
        chosen = ("--channel", "lab", "--since", "2h", "--apply", "--reason", "tested", "--yes")
        ran = await site.labrelay("reprocess", *chosen)
        assert ran.code == 0, ran.err
        await site.settled()
        assert {one.state for one in site.deliveries(1)} == {"rejected", "delivered"}
        assert said(site) == ["lab: message 1 has a critical value"]


async def test_a_record_that_cannot_be_read_silences_no_other_one(tmp_path: Path) -> None:
    """The facts of the whole message fail then; a copy as sent goes out all the same."""
    unread = "R|2|^^^NA|140|mmol/L||N||Z||||20240301091500\rL|1"
    cases = (("HH", "", "F"), ("H", "", "F"), ("HH", "Q", "F"), ("HH", "", "X"), ("A\\LL^low", "", "F"))
    async with running_site(tmp_path / "site", {"lab": site_channel("astm", "raw")}, folder(tmp_path)) as site:
        for number, (flag, role, status) in enumerate(cases):
            await send(site, "astm", astm(number, flag, role, f"S{number}", status).replace(b"L|1", unread.encode()))
        assert rung(site) == [True, False, False, False, True]


OWN = """
mapping: mine
format: labrelay-mapping/1
from: hl7v2/ORU_R01
to: fhir/R4
bundle: transaction
policies: {unread_segment: ignore}
steps:
  - each: PATIENT_RESULT
    do:
      - each: ORDER_OBSERVATION
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBR-3.1 | '-', OBX-3.1 | '-']
            body:
              status: =lookup('0085', OBX-11)
              code: {text: =OBX-3.1}
              interpretation: =lookup('0078', OBX-13 | OBX-8)
"""


async def test_a_site_s_own_mapping_may_read_the_flag_from_any_field(tmp_path: Path) -> None:
    """Where the field of flags has it, the facts decide."""
    site_folder = tmp_path / "site"
    (site_folder / "mappings").mkdir(parents=True)
    (site_folder / "mappings" / "mine.yaml").write_text(OWN, encoding="utf-8")
    lab = channel(MLLP, {"mapping": "mine", "to": "files"}, settings=SETTINGS)
    make_running_site(site_folder, {"lab": lab}, folder(tmp_path))
    rows = (("F1", "H", "F", "HH"), ("F2", "H", "F", "N"), ("LEVEL1", "HH", "F", ""), ("F3", "H", "C", "LL"))
    async with running_app(site_folder, own_tables=True) as app:
        site = RunningSite(site_folder, app, Sandbox())
        for number, flag, status, own in rows:
            result = f"OBX|1|NM|K^Potassium^L||7.9|mmol/L||{flag}|||{status}||{own}"
            head = order().replace(b"|F1|", f"|{number}|".encode()).replace(b"|M1|", f"|{number}|".encode())
            await send(site, "oru", head + f"{result}\r".encode())
        assert rung(site) == [True, False, True, True]  # the third names a patient, and is held


async def test_a_correction_that_waits_for_a_person_ends_none_and_a_rejection_does(tmp_path: Path) -> None:
    lab = channel(MLLP, {"mapping": "hl7-results", "to": "files", "hold": [{"when": "=value > 5", "reason": "x"}]})
    async with running_site(tmp_path / "site", {"lab": lab}, folder(tmp_path)) as site:
        await send(site, "oru", oru(7, "HH", "", "S1", "F"))
        await send(site, "oru", oru(8, "H", "", "S1", "C").replace(b"MR8", b"MR7"))
        assert [site.end_of(one.id) for one in site.messages()] == ["held", "held"]
        assert said(site) == ["lab: message 1 has a critical value"]
        ran = await site.labrelay("held", "reject", "1", "--reason", "haemolysed", "--yes")
        assert ran.code == 0, ran.err
        assert said(site) == ["lab: message 1 is critical no more: a person has rejected it"]
