"""Each act of a laboratory system, in each form in which its orders come, with the answer and the worklist after it.

act                          ORC-1 of the answer   Task       worklist
new                          OK                    accepted   waiting
new, of an unknown test      UA                    rejected   rejected
cancel                       CR                    cancelled  cancelled
cancel, of no order          UC                    rejected   nothing
change                       XR                    accepted   the new one waits
hold                         HR                    on-hold    held
release                      OR                    accepted   waiting
release, of one not held     OR                               waiting
release, of no order         UR                               nothing
add (OBR-11 A)               OK                    accepted   one more waits
rerun, before a result                                        the order that is there
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.features.orders.rows.reading import ItemFilter
from engine.features.orders.rows.reading import items as read_items
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER, HTTP, lis, states
from tests.support.ordering_lis import answered, ordering, segments
from tests.support.running import MLLP, RunningSite, running_site


@dataclass(frozen=True)
class Act:
    do: str
    test: str = "TSH"
    placer: str = "P1"
    urgent: bool = False


NEW, CANCEL, HOLD, RELEASE = Act("new"), Act("cancel"), Act("hold"), Act("release")
CONTROL = {"new": "NW", "add": "NW", "cancel": "CA", "change": "XO", "hold": "HD", "release": "RL"}
STATUS = {"new": "active", "change": "active", "cancel": "revoked", "hold": "on-hold", "release": "active"}
# the acts; the last answer as HL7, as a Task (empty: FHIR cannot ask for that) and as JSON; states of the worklist
WALKS: list[tuple[str, list[Act], str, str, bool, list[str]]] = [
    ("new", [NEW], "OK", "accepted", True, ["waiting"]),
    ("new again", [NEW, NEW], "OK", "accepted", True, ["waiting"]),
    ("unknown", [Act("new", "XYZ")], "UA", "rejected", False, ["rejected"]),
    ("cancel", [NEW, CANCEL], "CR", "cancelled", True, ["cancelled"]),
    ("cancel again", [NEW, CANCEL, CANCEL], "CR", "cancelled", True, ["cancelled"]),
    ("cancel nothing", [CANCEL], "UC", "rejected", False, []),
    ("change", [NEW, Act("change", urgent=True)], "XR", "accepted", True, ["superseded", "waiting"]),
    ("change nothing", [Act("change")], "XR", "accepted", True, ["waiting"]),
    ("hold", [NEW, HOLD], "HR", "on-hold", True, ["held"]),
    ("hold nothing", [HOLD], "HR", "on-hold", True, ["held"]),
    ("hold cancelled", [NEW, CANCEL, HOLD], "UH", "rejected", False, ["cancelled"]),
    ("release", [NEW, HOLD, RELEASE], "OR", "accepted", True, ["waiting"]),
    ("release nothing", [RELEASE], "UR", "", False, []),
    ("release waiting", [NEW, RELEASE], "OR", "", True, ["waiting"]),
    ("add", [NEW, Act("add", "FERR", "P2")], "OK", "", True, ["waiting", "waiting"]),
    ("rerun", [NEW, Act("rerun")], "", "", True, ["waiting"]),
    ("after a cancel", [NEW, CANCEL, NEW], "OK", "accepted", True, ["cancelled", "waiting"]),
]


def hl7(form: str, at: int, act: Act) -> bytes:
    event = "ORM^O01" if form == "O01" else f"OML^{form}^OML_{form}"
    order = [
        f"ORC|{CONTROL[act.do]}|{act.placer}",
        *([] if form == "O01" else [f"TQ1|1||||||||{'S' if act.urgent else 'R'}"]),
    ]
    urgent, more = ("S" if act.urgent and form == "O01" else ""), ("A" if act.do == "add" else "")
    order.append(f"OBR|1|{act.placer}|{'00042' if form == 'O01' else ''}|{act.test}|{urgent}||||||{more}")
    tube = [] if form == "O01" else ["SPM|1|S9||SER", "SAC|||00042"]
    # Results of former days are context: they make no order, with any content.
    prior = [] if form == "O01" else ["PID|1||P-17^^^HOSP^MR", "ORC|NW|OLD", "OBR|1|OLD||FERR", "OBX|1|NM|FERR||7"]
    body = [*order, *tube, *prior] if form in ("O01", "O21") else [*tube, *order, *prior]
    head = [
        f"MSH|^~\\&|HIS|HOSP|LR|LAB|20261124100000||{event}|M{at}|P|2.5.1",
        "PID|1||P-17^^^HOSP^MR||Rao^Meera||19800412|F",
    ]
    return "".join(f"{one}\r" for one in [*head, *body]).encode()


def fhir(at: int, act: Act) -> bytes:
    return json.dumps(
        {
            "resourceType": "ServiceRequest", "id": act.placer, "intent": "order", "status": STATUS[act.do],
            "meta": {"versionId": str(at + 1)}, "identifier": [{"value": act.placer}],
            "priority": "stat" if act.urgent else "routine", "code": {"coding": [{"code": act.test}]},
            "subject": {"identifier": {"value": "P-17"}}, "specimen": [{"identifier": {"value": "00042"}}],
            "note": [{"text": f"version {at}" if act.do == "change" else "usual"}],
        }
    ).encode()  # fmt: skip


def as_json(at: int, act: Act) -> bytes:
    return json.dumps(
        {
            "action": act.do, "placer": act.placer, "specimen": {"id": "00042"}, "patient": {"id": "P-17"},
            "priority": "stat" if act.urgent else "routine", "tests": [act.test],
        }
    ).encode()  # fmt: skip


async def post(site: RunningSite, body: bytes, media_type: str) -> Any:
    url = f"http://127.0.0.1:{site.port('lis')}/"
    headers = {"Content-Type": media_type}
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


HL7_FORMS = ("O01", "O21", "O33", "O35")


@pytest.mark.parametrize("form", HL7_FORMS)
@pytest.mark.parametrize(("acts", "code", "found"), [(one[1], one[2], one[5]) for one in WALKS if one[2]],
                         ids=[one[0] for one in WALKS if one[2]])  # fmt: skip
async def test_over_hl7(tmp_path: Path, form: str, acts: list[Act], code: str, found: list[str]) -> None:
    own = lis(MLLP) if form == "O01" else {**lis(MLLP), "settings": {}}
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site,
        ordering(site.port("lis")) as his,
    ):
        for at, act in enumerate(acts):
            said = await his.ask(hl7(form, at, act))
        assert answered(said) == [code]
        assert bool(segments(said, "ERR")) == code.startswith("U")
        assert [one[1] for one in states(site)] == found
        assert {one.line.specimen for one in read_items(site.journal, ItemFilter())} <= {"00042"}


@pytest.mark.parametrize(("acts", "status", "found"), [(one[1], one[3], one[5]) for one in WALKS if one[3]],
                         ids=[one[0] for one in WALKS if one[3]])  # fmt: skip
async def test_over_fhir(tmp_path: Path, acts: list[Act], status: str, found: list[str]) -> None:
    own = lis({**HTTP, "format": "fhir"}, "orders-fhir")
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site:
        for at, act in enumerate(acts):
            said = await post(site, fhir(at, act), "application/fhir+json")
        assert said["status"] == status
        assert [one[1] for one in states(site)] == found


@pytest.mark.parametrize(("acts", "done", "found"), [(one[1], one[4], one[5]) for one in WALKS],
                         ids=[one[0] for one in WALKS])  # fmt: skip
async def test_as_json(tmp_path: Path, acts: list[Act], done: bool, found: list[str]) -> None:
    own = lis({**HTTP, "format": "json"}, "orders-json")
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site:
        for at, act in enumerate(acts):
            said = await post(site, as_json(at, act), "application/json")
        assert [one["done"] for one in said["orders"]] == [done]
        assert [one[1] for one in states(site)] == found


async def test_containers_of_one_specimen_are_tubes_of_their_own(tmp_path: Path) -> None:
    """OML^O35: each SAC has its orders. An ORC holds for the first OBR behind it alone."""
    rows = [
        "MSH|^~\\&|HIS|HOSP|LR|LAB|20261124100000||OML^O35^OML_O35|M1|P|2.5.1",
        "PID|1||P-17^^^HOSP^MR||Rao^Meera||19800412|F", "SPM|1|S9||SER",
        "SAC|||00042", "ORC|NW|P1", "OBR|1|P1||TSH", "SAC|||00043", "ORC|NW|P2", "OBR|1|P2||TSH",
        "ORC|NW|P3", "OBR|2|P3||FERR",
    ]  # fmt: skip
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": {**lis(MLLP), "settings": {}}}) as site,
        ordering(site.port("lis")) as his,
    ):
        said = await his.ask("".join(f"{row}\r" for row in rows).encode())
        assert answered(said) == ["OK", "OK", "OK"]
        found = [(one.line.placer, one.line.specimen) for one in reversed(read_items(site.journal, ItemFilter()))]
        assert found == [("P1", "00042"), ("P2", "00043"), ("P3", "00043")]


async def test_an_orc_holds_for_the_first_obr_behind_it_alone(tmp_path: Path) -> None:
    rows = [
        "MSH|^~\\&|HIS|HOSP|LR|LAB|20261124100000||ORM^O01|M1|P|2.5.1", "PID|1||P-17^^^HOSP^MR",
        "ORC|NW|P1", "OBR|1|P1|00042|TSH", "OBR|2|P2|00042|FERR",
    ]  # fmt: skip
    async with (
        running_site(tmp_path, {"chemistry": ANALYZER, "lis": lis(MLLP)}) as site,
        ordering(site.port("lis")) as his,
    ):
        said = await his.ask("".join(f"{row}\r" for row in rows).encode())
        assert answered(said) == ["OK", "UA"]
        assert [(one[0], one[1]) for one in states(site)] == [("TSH", "waiting"), ("FERR", "rejected")]


async def test_a_draft_is_no_order_and_is_counted(tmp_path: Path) -> None:
    own = lis({**HTTP, "format": "fhir"}, "orders-fhir")
    async with running_site(tmp_path, {"chemistry": ANALYZER, "lis": own}) as site:
        draft = json.dumps({**json.loads(fhir(0, NEW)), "status": "draft"}).encode()
        await post(site, draft, "application/fhir+json")
        assert states(site) == []
        (message,) = site.messages("lis")
        assert [one["code"] for one in site.trace(message.id).issues] == ["NO_ORDER"]
