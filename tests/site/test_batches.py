"""A file of batches over MLLP: split, each message journaled and judged for itself, and answered as it came."""

from pathlib import Path
from typing import Any

from tests.support.running import MLLP, channel, running_site
from tests.support.senders import send_blocks

ROUTES: list[dict[str, Any]] = [
    {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": "lab-fhir"},
    {"when": "=MSH-9.1 == 'ADT'", "mapping": "hl7-patients", "to": "lab-fhir"},
]
PID = "PID|1||7^^^HOSP^MR||Rao^Asha||19800412|F\r"
BODIES = {
    "ORU^R01": PID + "OBR|1|O1|F1|GLU\rOBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F\r",
    "ORM^O01": PID + "ORC|NW|P1\rOBR|1|P1||GLU\r",
    "ADT^A08": "EVN|A08\r" + PID,
    "DFT^P03": PID + "FT1|1\r",
}


def message(kind: str, control_id: str) -> str:
    return f"MSH|^~\\&|HIS|HOSP|LR|LAB|20260301101530||{kind}|{control_id}|P|2.5.1\r{BODIES[kind]}"


async def test_a_file_of_batches_is_split_and_answered(tmp_path: Path) -> None:
    batch = (
        "FHS|^~\\&|HIS|HOSP|LR|LAB|20260301||||FILE7\r"
        + "BHS|^~\\&|HIS|HOSP|LR|LAB|20260301||||B1\r"
        + message("ADT^A08", "M1")
        + message("ORU^R01", "M2")
        + "BTS|2\rBHS|^~\\&|HIS|HOSP|LR|LAB|20260301||||B2\r"
        + message("ORM^O01", "M3")
        + message("DFT^P03", "M4")
        + "BTS|2\rFTS|2\r"
    )
    async with running_site(tmp_path, {"his": channel(MLLP, *ROUTES)}) as site:
        (answer,) = await send_blocks(site.port("his"), [batch.encode()])
        await site.settled()
        lines = [line.split("|") for line in answer.decode().split("\r") if line]
        told = [(line[0], *line[1:3]) if line[0] == "MSA" else line[0] for line in lines if line[0] != "MSH"]
        first, second = [("MSA", "AA", "M1"), ("MSA", "AA", "M2")], [("MSA", "AA", "M3"), ("MSA", "AA", "M4")]
        assert told == ["FHS", "BHS", *first, "BTS", "BHS", *second, "BTS", "FTS"]
        assert [line[11] for line in lines if line[0] in ("FHS", "BHS")] == ["FILE7", "B1", "B2"]
        assert site.ends() == ["delivered", "delivered", "NO_ROUTE", "ACCOUNTS"]
        order, charge = [site.trace(view.id).detail for view in site.messages()[2:]]
        assert order == "ORM^O01: add a route with mapping: hl7-orders"
        assert charge.startswith("DFT^P03: nothing is made of charges")
