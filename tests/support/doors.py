"""A site with each kind of port that a browser could reach, and what a page can have a browser send there."""

from pathlib import Path

from tests.support.asking import result
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.channels import block
from tests.support.ordering_lis import order
from tests.support.running import ASTM, MLLP, Json, astm_channel, channel, hl7_channel

LISTEN = "127.0.0.1:0"
PRINTER = """\
layout: printer
framing: {end: <CR>}
text: {as: lines}
rules:
  - {line: '(?P<v>.*)', new: R, set: {R-3: GLU, R-4: '{v}', O-3: S1}}
"""
BARE = """\
layout: bare
framing: {start: "<<", end: ">>"}
text: {as: lines}
rules:
  - {line: '(?P<v>.*)', new: R, set: {R-3: GLU, R-4: '{v}', O-3: S1}}
"""
ORU = (
    b"MSH|^~\\&|AN|LAB|LIS|H|20261126101500+0530||ORU^R01^ORU_R01|B1|P|2.5.1\rPID|1||777^^^HOSP^MR||FROM^BROWSER\r"
    b"OBR|1||BF1|GLU^Glucose^L\rOBX|1|NM|GLU^Glucose^L||33.3|mmol/L|||||F\r"
)
RECORDS = result("00042", "777", "^^^TSH3", "9.9")
SESSION = session(*one_record_a_frame(RECORDS))
# What each kind of port takes, one behind the other: where a page does not know the port, it tries them all.
BODY = block(ORU) + block(order("M1", ("NW", "P1", "TSH"))) + SESSION + b"\x025.4\x03<<5.4>>\r5.4\r"


def ports(folder: Path) -> dict[str, Json]:
    """A channel of each kind, by its name."""
    (folder / "layouts").mkdir(parents=True, exist_ok=True)
    for name, text in {"printer": PRINTER, "bare": BARE}.items():
        (folder / "layouts" / f"{name}.yaml").write_text(text)
    route = {"mapping": "astm-results", "to": "lab-fhir"}
    return {
        "mllp": hl7_channel(source=MLLP),
        "mllp-bare": hl7_channel(source={**MLLP, "start_without_vt": True, "end_by_idle": "300ms"}),
        "astm": astm_channel(source=ASTM),
        "asking": astm_channel(source=ASTM, orders={"answer": "query", "codes": {"TSH": "TSH3"}}),
        "enq-less": astm_channel(source={**ASTM, "framing": "enq-less"}),
        "bare-records": astm_channel(source={**ASTM, "framing": "none"}),
        "auto": channel(
            {"kind": "auto", "listen": LISTEN},
            {"when": "=MSH-9.1 == 'ORU'", "mapping": "hl7-results", "to": "lab-fhir"},
        ),
        "text": channel({"kind": "text", "listen": LISTEN, "layout": "arkray-spotchem-el"}, route),
        "text-lines": channel({"kind": "text", "listen": LISTEN, "layout": "printer"}, route),
        "text-bare": channel({"kind": "text", "listen": LISTEN, "layout": "bare"}, route),
        "lis": channel(MLLP, {"mapping": "orders-hl7"}, role="orders", settings={"order_specimen": "OBR-3"}),
    }
