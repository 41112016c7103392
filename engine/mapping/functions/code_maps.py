"""The fixed tables that `lookup()` knows by name: HL7 tables and those of ASTM E1394, which are never shared.

ASTM W is "validity questionable" where HL7 W is "wrong", ASTM N "needed to run the order" where HL7 N is "not asked".
A blank field gives nothing; each table defines the result of a code outside of it.

Source: HL7 v2.5 appendix A, the v2-to-FHIR implementation guide, ASTM E1394 6.6-9.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.mapping.functions.systems import TERMINOLOGY, is_of
from engine.model.reasons import ReasonCode

_INTERPRETATION = TERMINOLOGY + "v3-ObservationInterpretation"
_ACT_CODE = TERMINOLOGY + "v3-ActCode"


@dataclass(frozen=True, slots=True)
class CodeMap:
    """A fixed table.

    Attributes:
        kind: FHIR type of its values: ``code``, ``CodeableConcept``, ``Coding``.
        values: code -> value. Values are shared: never changed.
        otherwise: value of a code outside the table; None leaves it out with a warning.
        dead: reason that makes the message dead instead, by code; ``*`` for any code outside the table.
        doc: description, for the documentation.
        case: codes are compared in upper case.
        concept_system: a code outside the table becomes a concept: in this system, or text alone where it is empty.
        without: codes of the table without a counterpart in FHIR: no value and no warning.
        patterns: codes with a number in them -> value.
    """

    kind: str
    values: Mapping[str, Any]
    doc: str
    otherwise: str | None = None
    dead: Mapping[str, ReasonCode] = field(default_factory=dict)
    case: bool = True
    concept_system: str | None = None
    without: frozenset[str] = frozenset()
    patterns: Mapping[str, str] = field(default_factory=dict)


def _pairs(text: str) -> dict[str, str]:
    """``F final  P preliminary`` as a dictionary."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _concepts(system: str, codes: str) -> dict[str, dict[str, Any]]:
    return {code: {"coding": [{"system": system, "code": code}]} for code in codes.split()}


_FLAGS = (
    "< > A AA B CAR D DET E EX EXP H HH HU I IE IND L LL LU MS N NCL ND NEG NR NS POS R RR S SDD SYN-R SYN-S U UNE "
    "VS W WR"
)
_ASTM_FLAGS = _concepts(_INTERPRETATION, "L H LL HH < > N A U D B W")

CODE_MAPS: dict[str, CodeMap] = {
    "0001": CodeMap(
        "code",
        _pairs("F female M male O other U unknown A other N other Female female Male male FEMALE female MALE male"),
        "sex to gender; HL7 PID-8 and ASTM P-9; in letters or, as Mindray has it, in words",
        otherwise="unknown",
    ),
    "0002": CodeMap(
        "CodeableConcept",
        _concepts(TERMINOLOGY + "v3-MaritalStatus", "A D I L M S W")
        | {"P": {"coding": [{"system": TERMINOLOGY + "v3-MaritalStatus", "code": "T"}]}},
        "marital status (PID-16); a code without counterpart stays one of v2-0002, else text",
        concept_system=TERMINOLOGY + "v2-0002",
    ),
    "0004": CodeMap(
        "Coding",
        {
            code: {"system": _ACT_CODE, "code": act}
            for code, act in (("E", "EMER"), ("I", "IMP"), ("O", "AMB"), ("P", "PRENC"))
        }
        | {code: {"system": TERMINOLOGY + "v2-0004", "code": code} for code in ["B", "C", "N", "R", "U"]},
        "patient class to Encounter.class",
    ),
    "0038": CodeMap(
        "code",
        _pairs(
            "A active CA revoked CM completed DC revoked ER entered-in-error HD on-hold IP active RP revoked SC active"
        ),
        "order status (ORC-5) to ServiceRequest.status; of another code the order control (ORC-1) says it",
    ),
    "0038-task": CodeMap(
        "code",
        _pairs(
            "A in-progress CA cancelled CM completed DC cancelled ER entered-in-error HD on-hold IP in-progress "
            "RP cancelled SC accepted"
        ),
        "order status (ORC-5) to Task.status",
    ),
    "0065": CodeMap(
        "code", _pairs("A order G reflex-order L order O order P order R order S order"), "OBR-11 to intent"
    ),
    "0078": CodeMap(
        "CodeableConcept",
        _concepts(_INTERPRETATION, _FLAGS) | _concepts(TERMINOLOGY + "v2-0078", "AC HM OBX QCF TOX"),
        "abnormal flags (OBX-8) to interpretation; others become text",
        concept_system="",
    ),
    "0085": CodeMap(
        "code",
        _pairs(
            "A amended B amended C corrected D entered-in-error F final I registered N final O registered "
            "P preliminary R preliminary S preliminary U final V final W entered-in-error X cancelled"
        ),
        "result status (OBX-11) to Observation.status; any other makes the message dead",
        dead={"*": ReasonCode.UNMAPPED_STATUS},
    ),
    "0119": CodeMap(
        "code",
        _pairs(
            "NW active OK active RL active RO active RQ active PR active AF active CR revoked DC revoked OC revoked "
            "OD revoked DR revoked DF revoked CA revoked HR on-hold OH on-hold FU completed RE active SC active "
            "XO active SN active NA active HD on-hold RP active"
        ),
        "order control (ORC-1) to ServiceRequest.status",
        otherwise="unknown",
    ),
    "0119-task": CodeMap(
        "code",
        _pairs(
            "NW requested XO requested RP requested RL requested SN requested NA requested RF requested RE completed "
            "OK accepted SC accepted AF accepted RQ accepted RO accepted FU completed XR accepted "
            "CA cancelled DC cancelled OC cancelled OD cancelled CR cancelled DR cancelled DF cancelled "
            "HD on-hold HR on-hold OH on-hold UA rejected DE failed"
        ),
        "order control (ORC-1) to Task.status; an undone act (UC, UD, UH, UX ...) leaves the task as it is",
    ),
    "0123": CodeMap(
        "code",
        _pairs(
            "A partial C corrected F final I registered M preliminary N registered O registered P preliminary "
            "R partial S registered X cancelled"
        ),
        "report status (OBR-25) to DiagnosticReport.status; Y, Z and any other make the message dead",
        dead={"Y": ReasonCode.BAD_STATUS, "Z": ReasonCode.BAD_STATUS, "*": ReasonCode.UNMAPPED_STATUS},
    ),
    "0123-observation": CodeMap(
        "code",
        _pairs(
            "A preliminary C corrected F final I registered M preliminary N registered O registered P preliminary "
            "R preliminary S registered X cancelled"
        ),
        "report status (OBR-25) to Observation.status, for results that name no status of their own",
        dead={"Y": ReasonCode.BAD_STATUS, "Z": ReasonCode.BAD_STATUS, "*": ReasonCode.UNMAPPED_STATUS},
    ),
    "0136": CodeMap("code", _pairs("Y available N unavailable"), "specimen availability (SPM-20) to Specimen.status"),
    "0190": CodeMap(
        "code",
        _pairs("H home P home L home B work O work C temp BA old BI billing"),
        "address use; M and SH are types, and birth, origin, vacation and the like have no use in FHIR",
        without=_codes("BDL BR F HV M N RH S SH TM V"),
    ),
    "0200": CodeMap(
        "code",
        _pairs("L official R official D usual M maiden N nickname BAD old TEMP temp NAV temp MSK anonymous"),
        "name use; an alias, an artist's name and the like have no use in FHIR",
        without=_codes("A B C CAN DN I K MI NB NOUSE P REL S T U"),
    ),
    "0201": CodeMap(
        "code",
        _pairs("PRN home WPN work PRS mobile ORN home VHN temp"),
        "telecommunication use; an answering service, a beeper, an emergency number have no use in FHIR",
        without=_codes("ASN BPN EMR NET"),
    ),
    "0203": CodeMap(
        "CodeableConcept",
        {},
        "identifier type; the same code in v2-0203, else text",
        concept_system=TERMINOLOGY + "v2-0203",
    ),
    "0271": CodeMap(
        "code",
        _pairs("AU final LA final PA preliminary DI preliminary DO preliminary IN preliminary IP preliminary"),
        "completion of a document (TXA-17) to DocumentReference.docStatus",
    ),
    "0271-report": CodeMap(
        "code",
        _pairs("AU final LA final PA preliminary DI preliminary DO preliminary IN partial IP partial"),
        "completion of a document (TXA-17) to DiagnosticReport.status",
        otherwise="unknown",
    ),
    "0273": CodeMap(
        "code",
        _pairs("AV current UN current CA entered-in-error OB superseded"),
        "availability of a document (TXA-19) to DocumentReference.status",
    ),
    "0485": CodeMap(
        "code",
        _pairs("S stat A asap R routine T urgent"),
        "priority (TQ1-9, OBR-27.6) to ServiceRequest.priority; timing critical (T, TS30, TH4) is urgent; before an "
        "operation, callback and as needed are no priorities of FHIR",
        without=_codes("C P PRN"),
        patterns={"T[SMHDWL][0-9]+": "urgent"},
    ),
    "astm-flag": CodeMap(
        "CodeableConcept",
        _ASTM_FLAGS,
        "abnormal flags (R-7) to interpretation; a maker's own become text",
        concept_system="",
    ),
    "astm-priority": CodeMap(
        "code",
        _pairs("S stat A asap R routine"),
        "O-6 to ServiceRequest.priority; callback and preoperative are no priorities of FHIR",
        without=_codes("C P"),
    ),
    "astm-report-status": CodeMap(
        "code",
        _pairs("F final P preliminary C corrected X cancelled I registered O registered"),
        "report type (O-26) to DiagnosticReport.status; Y, Z and Q are answers without results",
        dead={"Y": ReasonCode.BAD_STATUS, "Z": ReasonCode.BAD_STATUS, "*": ReasonCode.UNMAPPED_STATUS},
    ),
    "astm-status": CodeMap(
        "code",
        _pairs(
            "F final V final R final W final P preliminary S preliminary C corrected I registered X cancelled M final"
        ),
        "result status (R-9) to Observation.status; N and Q are no results",
        dead={"*": ReasonCode.UNMAPPED_STATUS},
    ),
    "astm-0085": CodeMap(
        "text",
        _pairs("F F V F R F W F M F P P S S C C I I X X"),
        "result status (R-9) to OBX-11; W is a questionable result there, and a wrong one in table 0085",
        dead={"*": ReasonCode.UNMAPPED_STATUS},
    ),
    "astm-0123": CodeMap(
        "text",
        _pairs("F F P P C C X X I I O O"),
        "report type (O-26) to OBR-25; Y, Z and Q are answers without results",
        dead={"Y": ReasonCode.BAD_STATUS, "Z": ReasonCode.BAD_STATUS, "*": ReasonCode.UNMAPPED_STATUS},
    ),
}


def miss(table: str, code_map: CodeMap, code: str, run: Any, field: str = "") -> Any:
    """The value of a code that is not in ``code_map.values`` as it was sent; ``field`` is its place (``PV1-2``)."""
    found = code_map.values.get(code.upper())
    if found is not None:
        return found
    if code.upper() in code_map.without:
        return None
    for pattern, value in code_map.patterns.items():
        if re.fullmatch(pattern, code, re.ASCII | re.IGNORECASE):
            return value
    reason = code_map.dead.get(code.upper()) or code_map.dead.get("*")
    if reason is not None:
        raise run.dead(reason, f"a code that table {table} does not have", field=field)
    if code_map.concept_system is not None:
        code = " ".join(code.split())
        if not code_map.concept_system or not is_of(code_map.concept_system, code):
            return {"text": code}
        return {"coding": [{"system": code_map.concept_system, "code": code}]}
    run.warn("UNKNOWN_CODE", f"a code that table {table} does not have", field=field)
    return code_map.otherwise


def worst_status(statuses: list[str]) -> str:
    """The status of a report whose results have these: the one that is furthest from final."""
    found = set(statuses)
    if len(found) == 1:
        return statuses[0]
    if found & {"registered", "preliminary"}:
        return "partial" if found - {"registered", "preliminary"} else "preliminary"
    if found <= {"entered-in-error", "cancelled"}:
        return "cancelled"
    if "corrected" in found:
        return "corrected"
    return "amended" if "amended" in found else "final"
