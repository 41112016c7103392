"""A control that fails: which results wait, which go on, and what a person does then. On real sockets."""

from pathlib import Path

import pytest

from engine.features.quality_control.rows import deciding
from engine.model.errors import RefusedError
from tests.support.controls import message, points, rows, send, set_up, verdicts
from tests.support.running import HL7_ROUTE, MLLP, RunningSite, channel, running_site

SETTINGS = {"control_numbers": ["QC*"]}


def routes(folder: Path) -> tuple[dict, dict]:
    """To FHIR; as it came; as it came, whatever its controls said."""
    names = ("copies", "archive")
    files = {name: {"kind": "file", "folder": str(folder / name)} for name in names}
    made = channel(MLLP, HL7_ROUTE, {"to": "copies"}, {"to": "archive", "failed_control": "pass"}, settings=SETTINGS)
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


async def test_no_control_is_in_a_document_and_each_is_a_point(tmp_path: Path) -> None:
    channels, files = routes(tmp_path)
    async with running_site(tmp_path / "site", channels, files) as site:
        made = await send(site, message("QC-L1", {"GLU": "101"}, "0600"))
        assert points(site.journal) == [("GLU", "QC-L1", "", "101", "unknown control")]
        assert verdicts(site.journal) == [["not evaluated"]]
        assert states(site, made[0]) == {"archive": ["delivered"], "copies": ["delivered"]}
