"""What a person sees of a dead letter, and that retried ones go out in their old order."""

import json
import re
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.queries.acts import acts_page
from engine.views.letter_in_full import outcome
from tests.support.command_line import labrelay
from tests.support.filled_journal import CANARY, fill_journal, payload
from tests.support.running import MLLP, channel, hl7_channel, running_site
from tests.support.senders import send_blocks
from tests.support.sites import make_site

CONFLICTS = {"chem": channel(MLLP, {"mapping": "hl7-results", "to": "lab-fhir"})}


async def test_a_refusal_is_shown_with_its_message_masked_the_servers_answer_and_the_fix(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        site.sandbox.faults.refuse = frozenset({"1"})  # the patient's number
        await send_blocks(site.port("chem"), [payload(1)])
        await site.settled()
        assert site.ends() == ["REFUSED"]

        masked = await site.labrelay("dlq", "show", "1")
        assert masked.code == ExitCode.OK
        assert "attempt 1" in masked.out
        assert "the server says: error business-rule at Bundle.entry[" in masked.out
        assert "likely fix: the server's answer" in masked.out
        assert "PID|9||9^^^xxxx^xx||xxxxxx^xxxxx" in masked.out
        assert "OBX|9|NM|HGB^xx^L||99.9|g/dL|||||F" in masked.out, "people are masked, codes and units are not"
        for secret in (CANARY, "refused on purpose"):
            assert secret not in masked.out + masked.err
        fields = (await site.labrelay("dlq", "show", "1", "-o", "json")).json["parsed"]
        assert {"place": "PID[1]-5", "value": "xxxxxx^xxxxx"} in fields
        assert {"place": "OBX[1]-3", "value": "HGB^xx^L"} in fields

        (group,) = (await site.labrelay("dlq", "list", "-o", "json")).json["groups"]
        assert group["cause"] == "HTTP 422, business-rule at Bundle.entry.resource", "the server's reason, and no words"

        before = [act.verb for act in acts_page(site.journal, limit=50)].count("unmask")
        whole = await site.labrelay("dlq", "show", "1", "--unmask", "--purpose", "a test", "--parsed")
        assert f"PID[1]-5     {CANARY}^ANITA" in whole.out
        assert "refused on purpose" in whole.out
        assert [act.verb for act in acts_page(site.journal, limit=50)].count("unmask") == before + 1


async def test_a_message_without_a_route_is_shown_with_the_way_out(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        await send_blocks(site.port("chem"), [payload(1).replace(b"ORU^R01", b"ZZZ^Z01")])
        await site.settled()
        shown = (await site.labrelay("dlq", "show", "1", "-o", "json")).json["dead_letters"][0]
        assert (shown["code"], shown["destination"]) == ("NO_ROUTE", "")
        assert shown["fix"].endswith("labrelay dlq retry --code NO_ROUTE --channel chem")


async def test_both_versions_of_a_conflict_are_shown_side_by_side(tmp_path: Path) -> None:
    async with running_site(tmp_path, CONFLICTS) as site:
        config = site.app.parts.built.site.config.destinations["lab-fhir"]
        text = (site.folder / "config" / "labrelay.yaml").read_text()
        assert config.kind == "fhir"
        (site.folder / "config" / "labrelay.yaml").write_text(
            text.replace("kind: fhir", "kind: fhir\n    conflicts: check")
        )
        assert (await site.labrelay("reload")).code == ExitCode.OK
        await send_blocks(site.port("chem"), [payload(1)])
        await site.settled()
        site.sandbox.faults.foreign = 1
        later = payload(1).replace(b"|C1|", b"|K1|").replace(b"||14.1|", b"||13.2|")
        await send_blocks(site.port("chem"), [later])
        await site.settled()
        assert site.ends() == ["delivered", "CONFLICT"]

        number = str(site.messages()[-1].id)
        shown = (await site.labrelay("dlq", "show", number, "-o", "json")).json["dead_letters"][0]
        (one,) = shown["conflict"]
        assert (one["wrote"], one["has"]) == ("1", "2")
        assert {"path": "language", "ours": "", "theirs": "x-xxxxxxx"} in one["elements"]
        people = await site.labrelay("dlq", "show", number, "--unmask", "--purpose", "a test")
        assert "we wrote version 1, the server has 2" in people.out
        assert "x-foreign" in people.out


@pytest.mark.parametrize("selected", ["numbers in another order", "a filter"])
async def test_retried_letters_go_out_in_their_old_order(tmp_path: Path, selected: str) -> None:
    async with running_site(tmp_path, {"chem": hl7_channel()}) as site:
        dead = [2, 3, 5, 8, 9]
        site.sandbox.faults.refuse = frozenset(map(str, dead))
        await send_blocks(site.port("chem"), [payload(number) for number in range(1, 11)])
        await site.settled()
        assert [number for number, end in enumerate(site.ends(), 1) if end == "REFUSED"] == dead
        site.sandbox.faults.refuse = frozenset()
        site.sandbox.accepted.clear()
        asked = [str(number) for number in (9, 2, 8, 5, 3)] if selected != "a filter" else ["--code", "REFUSED"]
        ran = await site.labrelay("dlq", "retry", *asked, "--yes", "-o", "json")
        assert ran.json["done"]["requeued"] == len(dead)
        await site.settled()
        keys = {one.key: message for message in dead for one in site.deliveries(message)}
        assert [keys[key] for key in site.sandbox.accepted] == dead


def test_what_a_strict_table_does_not_have_is_shown_with_its_place_and_rule(tmp_path: Path) -> None:
    fill_journal(make_site(tmp_path) / "var")
    shown = labrelay("dlq", "show", "3", site=tmp_path)
    assert "dead: UNMAPPED_CODE no row at OBX[1]-3 (rule lab.yaml:31)" in shown.out
    assert "labrelay gaps prints the missing rows" in shown.out


def test_of_what_a_server_says_only_places_and_kinds_are_shown_as_they_are() -> None:
    issue = {
        "severity": "error",
        "code": "invalid",
        "expression": [
            "Bundle.entry[2].resource/*Observation/6f1c*/.value.ofType(Quantity)",
            "Patient.identifier.where(value='PX77')",
            "Quetzalcoatlus",
        ],
        "diagnostics": "Quetzalcoatlus",
    }
    odd = {"severity": "Anna", "code": "PX77", "location": ["/f:Patient/Anna"]}
    answer = json.dumps({"resourceType": "OperationOutcome", "issue": [issue, odd]}).encode()
    first, second = outcome(answer, masked=True)
    assert (first["severity"], first["code"], first["expression"][0]) == ("error", "invalid", issue["expression"][0])
    assert not re.search("PX77|Quetzal|Anna", str([first, second]))
    assert outcome(answer, masked=False)[0]["expression"] == issue["expression"]
