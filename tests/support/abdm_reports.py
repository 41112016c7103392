"""Reports of made-up patients of ABDM as an analyzer's system sends them, and a site that takes them there."""

from pathlib import Path
from typing import Any

from tests.support.abdm_site import FACILITY, SECRET
from tests.support.running import channel, make_running_site
from workbench.abdm.people import PEOPLE

SETTINGS = {
    "lab": "Made-up Laboratory",
    "hfr_id": FACILITY,
    "hfr_system": "https://facility.abdm.gov.in",
    "abha_system": "https://healthid.abdm.gov.in",
}


def oru(report: str, person: int = 0, *, minute: int = 0, value: str = "148.50") -> bytes:
    """An ORU^R01 of one of the simulator's people. ``minute``: of its time of issue; a later one amends the report."""
    one = PEOPLE[person]
    family, given = one.name.split()[-1], " ".join(one.name.split()[:-1])
    number = f"~{one.number}^^^NDHM^HIN" if one.number else ""
    born = "{:04}{:02}{:02}".format(*one.birth)
    at = f"202603011015{minute:02}+0530"
    return "\r".join(
        [
            f"MSH|^~\\&|LIS|LAB|||{at}||ORU^R01^ORU_R01|{report}-{minute}|P|2.5.1||||||UNICODE UTF-8",
            f"PID|1||PID-{person}^^^LAB^MR{number}~{one.address}^^^NDHM^ABHA||{family}^{given}||{born}|{one.gender}",
            f"OBR|1||{report}|GLU^Glucose^L|||20260301091500|||||||||||||||{at}||CH|F",
            f"OBX|1|NM|2345-7^Glucose^LN||{value}|mg/dL|70-110|H|||F|||20260301094500",
            "",
        ]
    ).encode()


def write_site(folder: Path, gateway: str, port: int, *also: str, results_of: str = "channel", **other: Any) -> Path:
    """A site with analyzers, ``chem`` and others, whose reports go to ABDM; callbacks come to ``port``."""
    destination = {
        "kind": "abdm",
        "environment": "sbx",
        "gateway": gateway,
        "client_id": "SBX_000001",
        "client_secret": f"${{{SECRET}}}",
        "facilities": {FACILITY: {"name": "Made-up Laboratory"}},
        "callbacks": {"url": f"http://127.0.0.1:{port}/abdm", "listen": f"127.0.0.1:{port}"},
        "retry": {"first": "50ms", "max": "1s"},
        "breaker": {"probe_after": "50ms"},
        **other,
    }
    source = {"kind": "mllp", "listen": "127.0.0.1:0"}
    route = {"mapping": "abdm-report", "to": "abdm"}
    analyzers = {name: channel(source, route, settings=SETTINGS, results_of=results_of) for name in ("chem", *also)}
    return make_running_site(folder, analyzers, {"abdm": destination})
