"""A control that fails: which results wait, which go on, and what a person does then. On real sockets."""

import re
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.features.alerts.rows.reading import critical_values
from engine.features.quality_control.rows import deciding
from engine.model.errors import RefusedError
from tests.support.astm_peer import one_record_a_frame
from tests.support.astm_peer import session as frames
from tests.support.controls import DAY, NUMBERS, message, points, rows, send, set_up, verdicts
from tests.support.ordering_lis import answered, order, ordering
from tests.support.running import (
    ASTM,
    HL7_ROUTE,
    MLLP,
    RunningSite,
    astm_channel,
    channel,
    make_running_site,
    running_app,
    running_site,
)
from tests.support.senders import AstmAnalyzer
from tests.support.waiting import until
from workbench.sandbox import Sandbox

SETTINGS = {"control_numbers": ["QC*"]}


def routes(folder: Path) -> tuple[dict, dict]:
    """To FHIR; as it came; as it came, whatever its controls said."""
    names = ("copies", "archive")
    files = {name: {"kind": "file", "folder": str(folder / name)} for name in names}
    made = channel(MLLP, HL7_ROUTE, {"to": "copies"}, {"to": "archive", "doubtful": "pass"}, settings=SETTINGS)
    return {"chem": made}, files


def codes(site: RunningSite, message: int, state: str) -> list[list[str]]:
    """The tests of each document of a message that is in this state at the FHIR server."""
    trace = site.trace(message)
    ids = [one.document_id for one in trace.deliveries if one.destination == "lab-fhir" and one.state == state]
    documents = [site._document(one.id) for one in trace.documents if one.id in ids]
    return [
        [
            entry["resource"]["code"]["coding"][0]["code"]
            for entry in one["entry"]
            if entry["resource"]["resourceType"] == "Observation"
        ]
        for one in documents
    ]


def states(site: RunningSite, message: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in site.deliveries(message):
        found.setdefault(one.destination, []).append(one.state)
    return found


async def test_a_morning_with_a_failed_control(tmp_path: Path) -> None:
    channels, files = routes(tmp_path)
    async with running_site(tmp_path / "site", channels, files) as site:
        await set_up(site.journal)
        await send(
            site, message("QC-L1", {"GLU": "101", "K": "4.02"}, "0600"), message("QC-L2", {"GLU": "199"}, "0605")
        )
        early = await send(site, message("S1", {"GLU": "88", "K": "4.4"}, "0630", patient="MR1"))
        await send(site, message("QC-L1", {"GLU": "117", "K": "4.01"}, "0740"))
        assert verdicts(site.journal, "GLU") == [["accept"], ["reject"]]
        assert verdicts(site.journal, "K") == [["accept"], ["accept"]]
        assert [message for (message,) in rows(site.journal, "SELECT message_id FROM qc_look")] == early

        (late,) = await send(site, message("S2", {"GLU": "91", "K": "4.1", "NA": "140"}, "0750", patient="MR2"))
        assert codes(site, late, "held") == [["GLU"]]
        assert codes(site, late, "delivered") == [["K", "NA"]]
        assert states(site, late) == {"lab-fhir": ["delivered", "held"], "copies": ["held"], "archive": ["delivered"]}
        (other,) = await send(site, message("S3", {"K": "4.3"}, "0755", patient="MR3"))
        assert set(site.end_of(other).split()) == {"delivered"}
        looks = [message for (message,) in rows(site.journal, "SELECT message_id FROM qc_look ORDER BY message_id")]
        assert looks == [*early, late]  # its copy went to the archive

        (failure,) = rows(site.journal, "SELECT id, repeat FROM qc_closed")[0][:1]
        more = {"cause": "old reagent", "action": "changed it", "actor": "asha", "reason": "repeat is fine"}
        with pytest.raises(RefusedError, match="no repeat of run"):
            await site.journal.run(deciding.open_test, failure, **more)
        await send(site, message("QC-L2", {"GLU": "201"}, "0830"))  # not the level that failed
        with pytest.raises(RefusedError, match="no repeat of run"):
            await site.journal.run(deciding.open_test, failure, **more)
        await send(site, message("QC-L1", {"GLU": "99"}, "0910"))
        (still,) = await send(site, message("S4", {"GLU": "95"}, "0912", patient="MR4"))
        assert site.end_of(still) == "delivered"  # of the archive
        assert codes(site, still, "held") == [["GLU"]]
        done = await site.journal.run(deciding.open_test, failure, **more)
        assert done["repeat"] > done["run"]
        (free,) = await send(site, message("S5", {"GLU": "97"}, "0920", patient="MR5"))
        assert codes(site, free, "delivered") == [["GLU"]]
        assert codes(site, late, "held") == [["GLU"]]  # a person releases, and nothing else does

        ran = await site.labrelay("held", "release", str(late), "--reason", "repeat accepted", "--yes")
        assert ran.code == 0, ran.err
        await site.settled()
        assert sorted(codes(site, late, "delivered")) == [["GLU"], ["K", "NA"]]
        (report,) = [one for one in site.sandbox.resources("DiagnosticReport") if len(one.get("result", ())) == 3]
        assert report["status"] == "final"


def untimed(one: bytes) -> bytes:
    """The message without the times of its order and results."""
    head, *more = one.split(b"\r")
    return b"\r".join([head, *(re.sub(DAY.encode() + rb"\d{6}", b"", line) for line in more)])


@pytest.mark.parametrize("copied", [True, False])
async def test_a_control_without_a_time_that_is_sent_again_repeats_no_failed_one(
    tmp_path: Path, *, copied: bool
) -> None:
    """The analyzer has lost the answer: that control was measured before the one that failed."""
    channels, files = routes(tmp_path)
    made = channels if copied else {"chem": channel(MLLP, HL7_ROUTE, settings=SETTINGS)}
    async with running_site(tmp_path / "site", made, files if copied else {}) as site:
        await set_up(site.journal)
        good, bad = (untimed(message("QC-L1", {"GLU": value}, "0600")) for value in ("101", "130"))
        await send(site, good)
        await send(site, bad)
        await send(site, good)
        await send(site, bad)
        assert verdicts(site.journal, "GLU") == [["accept", "reject"]]
        assert rows(site.journal, "SELECT repeat FROM qc_closed") == [(0,)]
        await send(site, untimed(message("QC-L1", {"GLU": "101"}, "0600")))  # another message
        assert verdicts(site.journal, "GLU") == [["accept", "reject"], ["accept"]]


async def test_no_control_is_in_a_document_and_each_is_a_point(tmp_path: Path) -> None:
    channels, files = routes(tmp_path)
    async with running_site(tmp_path / "site", channels, files) as site:
        made = await send(site, message("QC-L1", {"GLU": "101"}, "0600"))
        assert points(site.journal) == [("GLU", "QC-L1", "", "101", "unknown control")]
        assert verdicts(site.journal) == [["not evaluated"]]
        assert states(site, made[0]) == {"archive": ["delivered"], "copies": ["delivered"]}


async def test_the_day_of_a_technician(tmp_path: Path) -> None:
    """The control fails at 07:40: results wait; cause, repeat, release; those sent before are looked at."""
    channels, files = routes(tmp_path)
    async with running_site(tmp_path / "site", channels, files) as site:

        async def quality(*words: str, code: int = 0) -> Any:
            ran = await site.labrelay("quality", *words, "-o", "json")
            assert ran.code == code, (ran.out, ran.err)
            return ran.json if not code else ran.err

        lots, targets = tmp_path / "lots.csv", tmp_path / "targets.csv"
        lots.write_text("analyzer,number,material,level,lot,expires\nchem,QC-L1,Chemtrol,L1,A7,2099-01-31\n")
        targets.write_text("analyzer,module,test,level,lot,unit,mean,sd,source\nchem,,GLU,L1,A7,mg/dL,100,0,lab\n")
        said = await quality("load", str(targets), "--reason", "the insert", code=ExitCode.CONFIG)
        assert "targets.csv:2:27: sd: above 0" in said
        targets.write_bytes(b"analyzer,module\nch\xe9m,")
        said = await quality("load", str(targets), "--reason", "the insert", code=ExitCode.CONFIG)
        assert "targets.csv: it is no text in UTF-8 (byte 19)" in said
        said = await quality("enter", "chme", "GLU", "QC-L1", "130", "--reason", "by hand", code=ExitCode.FAILED)
        assert "there is no channel chme" in said
        targets.write_text("analyzer,module,test,level,lot,unit,mean,sd,source\nchem,,GLU,L1,A7,mg/dL,100,5,lab\n")
        assert (await quality("load", str(lots), "--reason", "new lot"))["lots"] == 1
        assert (await quality("load", str(targets), "--reason", "the insert"))["targets"] == 1
        (target,) = (await quality("targets"))["targets"]
        assert target["state"] == "proposed"
        await quality("accept", str(target["target"]), "--from", "2024-01-01", "--reason", "compared")
        assert [one["state"] for one in (await quality("targets"))["targets"]] == ["in force"]

        await send(site, message("QC-L1", {"GLU": "101"}, "0600"))
        sent = await send(site, *(message(f"A{n}", {"GLU": "88", "K": "4.4"}, "0630", patient=f"M{n}") for n in (1, 2)))
        await send(site, message("QC-L1", {"GLU": "117"}, "0740"))
        held = await send(
            site, *(message(f"B{n}", {"GLU": "90", "K": "4.4"}, "0750", patient=f"N{n}") for n in range(31))
        )
        assert all(codes(site, one, "held") == [["GLU"]] for one in held)
        assert all(codes(site, one, "delivered") == [["K"]] for one in held)
        todo = (await site.labrelay("todo", "list", "-o", "json")).json["todo"]
        kinds = {one["key"].partition("/")[0] for one in todo if one["key"].startswith("control")}
        assert kinds == {"control-failed", "control-look"}
        (failure,) = (await quality("failures"))["failures"]
        assert (failure["test"], failure["looks"], failure["repeat"]) == ("GLU", 2 + 31, None)

        mend = ("--cause", "old reagent", "--action", "changed it", "--reason", "the repeat is fine")
        assert "measure each level" in await quality("close", "1", *mend, code=ExitCode.REFUSED)
        (repeat,) = await send(site, message("QC-L1", {"GLU": "99"}, "0820"))
        assert states(site, repeat) == {"archive": ["delivered"], "copies": ["delivered"]}  # no control waits
        await quality("close", "1", *mend)
        ran = await site.labrelay("held", "release", *map(str, held), "--reason", "the repeat is fine", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        assert all(sorted(codes(site, one, "delivered")) == [["GLU"], ["K"]] for one in held)
        listed = (await quality("sent-before", "1"))["looks"]
        assert [one["message"] for one in listed if not one["looked"]] == [*sent, *held]
        await quality("look", "1", *(str(one["message"]) for one in listed), "--reason", "plausible with the repeat")
        assert (await quality("failures"))["failures"] == []
        assert [one["verdict"] for one in (await quality("verdicts", "2"))["verdicts"]] == ["reject"]
        points = (await quality("points", "--test", "GLU"))["points"]
        assert [(one["value"], one["z"], one["verdict"]) for one in points] == [
            ("99", "-0.2000", "accept"), ("117", "3.4000", "reject"), ("101", "0.2000", "accept"),
        ]  # fmt: skip
        acts = (await site.labrelay("audit", "list", "-o", "json")).json["acts"]
        listed = [
            one for one in sorted(acts, key=lambda one: one["id"]) if one["act"].startswith(("quality", "release"))
        ]
        told = list(dict.fromkeys(one["act"] for one in listed))
        assert told == ["quality-load", "quality-target", "quality-close", "release", "quality-look"]
        (closed,) = [one for one in listed if one["act"] == "quality-close"]
        assert all(word in str(closed) for word in ("old reagent", "changed it", "the repeat is fine"))
        assert all(one["actor"] for one in listed)


GLU_WAITS = {"GLU": "18 LL", "K": "4.4"}
PARTS = {  # results of a message whose GLU waits; what comes then -> whether its alert is open
    "it waits": (GLU_WAITS, (), True),
    "its part is released": (GLU_WAITS, ("release",), True),
    "its part is rejected": (GLU_WAITS, ("reject",), False),
    "its part is rejected, and it comes again": (GLU_WAITS, ("reject", "87"), False),
    "the other part is rejected": ({"GLU": "88", "K": "7.9 HH"}, ("reject",), True),
    "one of two is rejected": ({"GLU": "18 LL", "K": "7.9 HH"}, ("reject",), True),
    "all of it is rejected": ({"GLU": "18 LL"}, ("reject",), False),
    "its correction waits": (GLU_WAITS, ("release", "87"), True),
    "its correction waits, and is released": (GLU_WAITS, ("release", "87", "release"), False),
    "its correction goes, and another test waits": ({"GLU": "88", "K": "7.9 HH"}, ("87",), False),
}


@pytest.mark.parametrize(("results", "steps", "is_open"), PARTS.values(), ids=PARTS)
async def test_a_critical_value_rings_while_a_receiver_shows_it_or_it_waits(
    tmp_path: Path, results: dict[str, str], steps: tuple[str, ...], is_open: bool
) -> None:
    files = {"copies": {"kind": "file", "folder": str(tmp_path / "copies")}}
    made = channel(MLLP, HL7_ROUTE, {"mapping": "hl7-to-csv", "to": "copies"}, settings=SETTINGS)
    async with running_site(tmp_path / "site", {"chem": made}, files) as site:
        await set_up(site.journal)
        await send(site, message("QC-L1", {"GLU": "130"}, "0600"))
        sent = message("S1", results, "0610", patient="MR1")
        (critical,) = (last,) = await send(site, sent)
        for step in steps:
            if step in ("release", "reject"):
                ran = await site.labrelay("held", step, str(last), "--reason", "seen", "--yes")
                assert ran.code == ExitCode.OK, ran.err
                await site.settled()
            else:
                right = re.sub(rb"\|\|(18|88)\|", b"||%b|" % step.encode(), sent.replace(b"|7.9|", b"|4.1|"))
                (last,) = await send(site, re.sub(rb"\|(LL|HH)?\|\|\|F\|", b"||||C|", right).replace(b"1|M", b"1|C"))
        (alert,) = critical_values(site.journal)
        assert (alert.message, not alert.over_us) == (critical, is_open)


async def test_a_control_that_fails_rings_for_no_patient(tmp_path: Path) -> None:
    channels, files = routes(tmp_path)
    async with running_site(tmp_path / "site", channels, files) as site:
        await set_up(site.journal)
        await send(site, message("QC-L1", {"GLU": "12"}, "0600", flag="LL"))
        todo = (await site.labrelay("todo", "list", "-o", "json")).json["todo"]
        assert [one["key"] for one in todo if one["key"].startswith("critical")] == []


async def test_a_patients_tube_with_the_number_of_a_control_waits(tmp_path: Path) -> None:
    """The site lists it, and the message calls it a patient's."""
    made = channel(MLLP, HL7_ROUTE)
    async with running_site(tmp_path, {"chem": made}) as site:
        await set_up(site.journal)
        (one,) = await send(site, message("QC-L1", {"GLU": "101"}, "0600", patient="MR1"))
        (delivery,) = site.deliveries(one)
        assert (delivery.state, delivery.cause) == ("held", "CONTROL_NUMBER")
        assert rows(site.journal, "SELECT 1 FROM qc_point") == []


@pytest.mark.parametrize("large", [False, True])
async def test_a_patient_whose_number_fits_a_pattern_of_controls_waits(tmp_path: Path, large: bool) -> None:
    """Held with the conflict, no point, and delivered once a person has released it."""
    made = channel(MLLP, HL7_ROUTE, settings=SETTINGS)
    async with running_site(tmp_path, {"chem": made}, large=large) as site:
        await set_up(site.journal)
        (one,) = await send(site, message("QC-L1", {"GLU": "130"}, "0600", patient="MR1", flag="HH"))
        (delivery,) = site.deliveries(one)
        assert (delivery.state, delivery.cause) == ("held", "CONTROL_NUMBER")
        assert points(site.journal) == []
        (listed,) = (await site.labrelay("held", "show", str(one), "-o", "json")).json["held"]
        assert "control_numbers" in str(listed)
        (control,) = await send(site, message("QC-L1", {"GLU": "101"}, "0605"))
        assert site.end_of(control) == "QUALITY_CONTROL"
        unnamed = message("QC-L1", {"GLU": "102"}, "0610", patient="QC-L1").replace(b"Iyer^Meena", b"")
        (named,) = await send(site, unnamed)
        assert site.end_of(named) == "QUALITY_CONTROL"  # the analyzer has no other place for its name
        assert [one[3] for one in points(site.journal)] == ["101", "102"]
        ran = await site.labrelay("held", "release", str(one), "--reason", "it is hers", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        assert site.end_of(one) == "delivered"


OF_HERS = [  # OBR-2, OBR-3, what is behind OBR-14, and segments behind the result
    ("", "QC-1", "BLD^^^^^^L", ""),  # a side of her body
    ("", "", "BLD^^^^^^B", "SPM|1|QC-1||BLD|||||||P"),
    ("", "9", "", "SPM|1|S1^QC-1||BLD"),
    ("", "9", "", f"SPM|1|S1||BLD|||||||P{'|' * 19}QC-1"),
    ("", "9", "", "SPM|1|S1||BLD\rSAC|||QC-1"),
    ("", "9", "", "SAC|||S1|QC-1"),
    ("QC-1", "", "", ""),
]


async def test_a_patients_result_waits_wherever_the_number_of_a_pattern_is(tmp_path: Path) -> None:
    """A filter of mappings knows more numbers of an order than its facts have: it took these for controls."""
    made = channel(MLLP, HL7_ROUTE, settings=TUBE)
    async with running_site(tmp_path, {"chem": made}) as site:
        for place, (placer, filler, source, more) in enumerate(OF_HERS):
            time = f"2024030106000{place}"
            text = (
                f"MSH|^~\\&|AN|LAB|LIS|H|{time}||ORU^R01|H{place}|P|2.5.1\rPID|1||MR1||Iyer^Meena\rORC|RE\r"
                f"OBR|1|{placer}|{filler}|CHEM^Chemistry^L|||{time}||||||||{source}\r"
                f"OBX|1|NM|GLU^GLU^L||130|mg/dL||HH|||F|||{time}\r{more}\r"
            )
            (hers,) = await send(site, text.encode())
            assert [(one.state, one.cause) for one in site.deliveries(hers)] == [("held", "CONTROL_NUMBER")], more
        assert points(site.journal) == []


async def test_a_patients_result_of_astm_waits_wherever_the_number_of_a_pattern_is(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": astm_channel(source=ASTM, settings=TUBE)}) as site:
        for numbers, code in (("QC-1|", ""), ("S1|QC-1", ""), ("QC-2|", "C")):
            hers = await measure_tube(site, numbers, role=code, patient="|MR1||Iyer^Meena")
            assert [(one.state, one.cause) for one in site.deliveries(hers)] == [("held", "CONTROL_NUMBER")], numbers
        assert points(site.journal) == []
        await measure_tube(site, "S1|QC-1")
        assert [one[1] for one in points(site.journal)] == ["S1"]


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
        filter: {when: "=OBR-3.1 == 'QC-L1'", as: qc}
        do:
          - each: OBSERVATION
            create: Observation
            key: =[OBR-3.1 | '-', OBX-3.1 | '-']
            body:
              status: =lookup('0085', OBX-11)
              code: {text: =OBX-3.1}
"""


async def test_a_patient_that_a_filter_of_the_site_takes_out_is_a_dead_letter(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    (folder / "mappings").mkdir(parents=True)
    (folder / "mappings" / "mine.yaml").write_text(OWN, encoding="utf-8")
    made = channel(MLLP, {"mapping": "mine", "to": "copies"}, settings=SETTINGS)
    make_running_site(folder, {"chem": made}, {"copies": {"kind": "file", "folder": str(tmp_path / "out")}})
    async with running_app(folder, own_tables=True) as app:
        site = RunningSite(folder, app, Sandbox())
        (one,) = await send(site, message("QC-L1", {"GLU": "130"}, "0600", patient="MR1"))
        assert site.end_of(one) == "CONTROL_NUMBER"
        assert points(site.journal) == []
        (control,) = await send(site, message("QC-L1", {"GLU": "101"}, "0605"))
        assert site.end_of(control) == "QUALITY_CONTROL"
        assert [one[3] for one in points(site.journal)] == ["101"]


async def test_qc_failed_asks_the_verdict(tmp_path: Path) -> None:
    """Its own flag says that the control passed; the verdict says that it did not."""
    held = {**HL7_ROUTE, "hold": ["=qc_failed('24h') | false"]}
    made = channel(MLLP, held, settings=SETTINGS)
    async with running_site(tmp_path, {"chem": made}) as site:
        await set_up(site.journal)
        await send(site, message("QC-L1", {"GLU": "101"}, "0600", flag="N"))
        (free,) = await send(site, message("S1", {"GLU": "101"}, "0610", patient="MR1"))
        assert site.end_of(free) == "delivered"
        await send(site, message("QC-L1", {"GLU": "117"}, "0740", flag="N"))
        (waits,) = await send(site, message("S2", {"GLU": "101"}, "0750", patient="MR2"))
        (delivery,) = site.deliveries(waits)
        assert (delivery.state, delivery.cause) == ("held", "CONTROL_FAILED")


async def test_qc_failed_asks_the_controls_of_each_connection_of_the_analyzer(tmp_path: Path) -> None:
    """By the flags of the analyzer; there is no target."""
    held = {**HL7_ROUTE, "hold": ["=qc_failed('24h') | false"]}
    own = {"chem": {}, "second": {"controls_of": "chem"}, "third": {"controls_of": "chem"}, "other": {}}
    channels = {name: channel(MLLP, held, settings=SETTINGS, **more) for name, more in own.items()}
    async with running_site(tmp_path, channels) as site:

        async def states_at(at: str) -> list[str]:
            hers = [message(f"S{at}{name}", {"GLU": "101"}, at, patient=f"MR{name}") for name in own]
            sent = [await send(site, one, channel=name) for one, name in zip(hers, own, strict=True)]
            return [site.end_of(number) for (number,) in sent]

        for at, flag, to, wanted in (
            ("0600", "H", "second", ["held", "held", "held", "delivered"]),
            ("0630", "N", "third", ["delivered"] * 4),
            ("0700", "H", "chem", ["held", "held", "held", "delivered"]),
        ):
            await send(site, message("QC-L1", {"GLU": "101"}, at, flag=flag), channel=to)
            assert await states_at(f"{at[:3]}5") == wanted


TUBE = {"control_numbers": ["QC*"]}


def ordered_site(folder: Path) -> dict:
    """An analyzer whose tests are ordered by a laboratory system; that one has no pattern of controls."""
    analyzer = astm_channel(source=ASTM, orders={"answer": "query", "codes": {"GLU": "GLU"}}, settings=TUBE)
    lis = channel(MLLP, {"mapping": "orders-hl7"}, role="orders", settings={"order_specimen": "OBR-3"})
    return {"chem": analyzer, "lis": {**lis, "lis": {"deadline": "60s"}}}


async def measure_tube(
    site: RunningSite,
    *tubes: str,
    role: str = "",
    last: str = "F",
    patient: str = "",
    amount: str = "101",
    more: str = "",
) -> int:
    """The analyzer's message about these tubes; it names no patient. ``last``: the status of its last result;
    ``more``: records behind each."""
    states = ["F"] * (len(tubes) - 1) + [last]
    orders = [
        f"O|{at}|{tube if '|' in tube else f'{tube}|'}|^^^GLU|R||||||{role}\r"
        f"R|1|^^^GLU|{amount}|mg/dL||N||{state}||||2024030109000{at}\r"
        f"{more}"
        for at, (tube, state) in enumerate(zip(tubes, states, strict=True), 1)
    ]
    text = f"H|\\^&|{next(NUMBERS)}||AN|||||||P|1|20240301090100\rP|1|{patient}\r{''.join(orders)}L|1|N\r"
    before = len(site.messages("chem"))
    played = await AstmAnalyzer(site.port("chem")).play(frames(*one_record_a_frame(text.encode())))
    assert not played.gave_up
    await until(lambda: len(site.messages("chem")) > before)
    await site.settled()
    return site.messages("chem")[-1].id


POTASSIUM = "R|2|^^^K|4.27|mmol/L||N||F||||20240301090001\r"
OUTPUTS = ("astm-results", "astm-to-csv", "astm-to-json", "astm-to-hl7")


async def test_each_receiver_has_the_same_results(tmp_path: Path) -> None:
    """The control of GLU fails: to each of them K goes at once, and GLU once a person releases it."""
    files = {name: {"kind": "file", "folder": str(tmp_path / name)} for name in OUTPUTS}
    made = channel(ASTM, *({"mapping": name, "to": name} for name in OUTPUTS), settings=TUBE)

    def has(amount: str) -> list[int]:
        """How many times each receiver has got it."""
        texts = [[one.read_text() for one in (tmp_path / name).rglob("*") if one.is_file()] for name in OUTPUTS]
        return [sum(bool(re.search(rf"\b{re.escape(amount)}\b", text)) for text in some) for some in texts]

    async with running_site(tmp_path / "site", {"chem": made}, files) as site:
        await set_up(site.journal)
        await measure_tube(site, "QC-L1", role="Q")
        await measure_tube(site, "QC-L1", role="Q", amount="140")
        both = await measure_tube(site, "S1", patient="|MR1||Iyer^Meena", amount="87.3", more=POTASSIUM)
        assert sorted(states(site, both).items()) == [(name, ["delivered", "held"]) for name in sorted(OUTPUTS)]
        assert (has("87.3"), has("4.27")) == ([0] * 4, [1] * 4)
        ran = await site.labrelay("held", "release", str(both), "--reason", "repeat accepted", "--yes")
        assert ran.code == ExitCode.OK, ran.err
        await site.settled()
        assert (has("87.3"), has("4.27")) == ([1] * 4, [1] * 4)


async def test_a_tube_with_an_open_order_is_no_control(tmp_path: Path) -> None:
    """Its number fits a pattern of controls, and the message names no patient."""
    async with running_site(tmp_path, ordered_site(tmp_path)) as site, ordering(site.port("lis")) as his:
        await measure_tube(site, "QC-7")
        assert [one[3] for one in points(site.journal)] == ["101"]
        assert answered(await his.ask(order("M1", ("NW", "P1", "GLU"), tube="QC-7"))) == ["OK"]
        patients = await measure_tube(site, "QC-7")
        (delivery,) = site.deliveries(patients)
        assert (delivery.state, delivery.cause) == ("held", "CONTROL_NUMBER")
        assert len(points(site.journal)) == 1  # it is none
        assert codes(site, patients, "held") == [["GLU"]]
        both = await measure_tube(site, "QC-7", "QC-8")
        assert site.end_of(both) == "CONTROL_NUMBER"
        unread = await measure_tube(site, "QC-7", "S9", last="Z")
        assert site.end_of(unread) == "UNMAPPED_STATUS"
        by_role = await measure_tube(site, "QC-7", role="Q")
        assert site.end_of(by_role) == "CONTROL_NUMBER"
        assert len(points(site.journal)) == 1
