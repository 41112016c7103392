"""Messages of the field that are easily read wrongly: what each of them says, and nothing else.

`FACTS` has one entry for each file. Below it each kind of fault has a message of our own.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from engine.commands.shared.mapping_options import BARE_SETTINGS
from engine.mapping.inputs import FoundMessage, messages_in
from tests.support.corpus import field_faults
from tests.support.shipped import verdict_of

FAILED = "(failed)"


@dataclass
class Says:
    """What a file says.

    Attributes:
        results: ``code: value unit`` of each result that goes out, in order.
        issues: codes of the warnings that must be there.
        reason: of a message that gives no document.
        not_yet: why the file does not say this yet; it fails once it does.
    """

    results: list[str] = field(default_factory=list)
    issues: set[str] = field(default_factory=set)
    reason: str = ""
    not_yet: str = ""


FACTS: dict[str, Says] = {
    "uwam-strip.astm": Says(
        ["C-PRO/MAINFORMAT: -", "C-GLU/MAINFORMAT: +-", "C-NIT/MAINFORMAT: +", "C-BLD/MAINFORMAT: 3+"]
    ),
    # OBX-2 of KET is NM: a dash is a measurement that failed there, with a warning.
    "hl7-plus-untyped.hl7": Says(["PRO: +++", "GLU: ++", f"KET: {FAILED}", "BLD: +1"], {"NO_NUMBER", "RULE"}),
    "bs240-two-tests.astm": Says(["ALT: 52 U/L", "AST: 480 U/L"]),
    "d10.astm": Says(["A1c A1c AREA: 5.4 %", "F F AREA: 0.3 %", "A2 A2 AREA: 2.8 %"]),
    "architect-fip.astm": Says(
        ["651 _B-hCG: >15000.00 m[IU]/mL", "651/I _B-hCG: Positive", "651/P _B-hCG: 1277 RLU"]
    ),
    "background-blank.hl7": Says(reason="QUALITY_CONTROL"),
    "maglumi-qc-hash.astm": Says(reason="QUALITY_CONTROL"),
    "qc-hash-behind-patient.astm": Says(["AFP: 3.1 ng/mL"]),
    "snibe-simplified.bin": Says(["FT4 II: 1.58 ng/dL"]),
    "alinity-lt20.hl7": Says(["1006 HIV-1: < 20 Copies/mL"]),
    "urit-grades.astm": Says(["LEU: 2+", "NIT: neg"]),
    "cs2500-no-cr-frames.bin": Says(["041 PT INN~sec: 10.6 s"]),
    "implausible-years.astm": Says(issues={"BAD_DATE"}),
    "jis.hl7": Says(["AST: 25 U/L"]),
    "immulite-two-delimiters.astm": Says(["TT4: 10.3 ug/dL", "FER: 173 ng/mL"]),
    "o26-unknown.astm": Says(["A: 5.1 g/L"], {"UNKNOWN_CODE"}),
    "ed-last-field.hl7": Says(["WBC: 5.2 10*9/L"], {"COMMENT"}),
    "gem3500-value-in-unit.astm": Says([f"pH: 7.38", "pCO2: 42 mm[Hg]"]),
    "ba200-bare-obx.hl7": Says(["UREA-BUN-UV: 60.7323189 mg/dL"], {"NO_SPECIMEN"}),
    "vitek-bci.bin": Says(reason="UNREADABLE"),
    "vidaspc-comma.bin": Says(reason="UNREADABLE"),
    "units-60.astm": Says(),
    "frame-digit-and-checksum-lines.astm": Says(reason="UNREADABLE"),
    "micro-astm2.astm": Says(issues={"UNLINKED"}),
    "obx14-only-time.hl7": Says(["K: 4.9 mmol/L", "NA: 140 mmol/L", "CL: 100 mmol/L"], {"BAD_DATE"}),
}


def said(found: FoundMessage) -> tuple[list[str], set[str], str]:
    verdict, mapped = verdict_of(found.payload, found.format, BARE_SETTINGS)
    results = []
    for document in verdict.documents:
        for entry in orjson.loads(document[0].body)["entry"]:
            if entry["resource"]["resourceType"] == "Observation":
                results.append(one_result(entry["resource"]))
    return results, {issue.code for issue in verdict.issues}, verdict.reason.name if verdict.reason else ""


def one_result(observation: dict[str, Any]) -> str:
    code = observation["code"]
    names = dict.fromkeys([code["coding"][0]["code"], code["text"]])
    value = observation.get("valueString") or FAILED
    if quantity := observation.get("valueQuantity"):
        number = f"{quantity.get('comparator', '')}{quantity['value']}"
        value = " ".join([number, *filter(None, [quantity.get("code") or quantity.get("unit")])])
    return f"{' '.join(names)}: {value}"

if __name__ == "__main__":
    for n, p in field_faults().items():
        for m in messages_in(p.read_bytes()):
            if not m.format: print(n, "UNREADABLE"); continue
            print(n, said(m))
