"""Choose the shipped mapping for a message by its structure; advise where a channel has no route for it.

Verbs that work on files use these mappings by default, so an engineer sees the result of a message at once. The daemon
does not: a channel names the mapping of each route. Orders, patients and documents change records that the laboratory
does not own, so the site must decide.
"""

from engine.model.message import Parsed
from engine.model.texts.reasons import ReasonCode

HL7, ASTM = "hl7v2", "astm"

SHIPPED: dict[str, dict[str, tuple[str, ...]]] = {
    HL7: {
        "hl7-results": ("ORU_R01",),
        "hl7-oul-results": ("OUL_R21", "OUL_R22", "OUL_R23", "OUL_R24"),
        "hl7-orders": ("ORM_O01", "OML_O21", "OML_O33", "OML_O35"),
        "hl7-order-answers": ("ORR_O02",),
        "hl7-patients": ("ADT_A01", "ADT_A39"),
        "hl7-documents": ("MDM_T02",),
    },
    ASTM: {"astm-results": ("E1394",)},
}
"""Format -> mapping -> the structures that it reads. One structure has one mapping here; a site may prefer another."""

READERS = {HL7: "results-hl7", ASTM: "results-astm"}
"""Format -> the mapping that reads the facts of its results (`engine.model.content.facts`)."""
READER_TABLES = {HL7: ("analytes", "ucum", "loinc"), ASTM: ("analytes", "ucum")}

_ACCOUNTS = ("BAR", "DFT")  # MSH-9.1: billing account, detailed financial transaction


def mapping_for(parsed: Parsed) -> str:
    """Name of the shipped mapping that takes a message; empty where none does."""
    if parsed.format == ASTM and parsed.message_type in ("Q", "O"):
        return ""  # a query, or orders without a result
    for name, structures in SHIPPED.get(parsed.format, {}).items():
        if parsed.structure in structures:
            return name
    return ""


def refusal(parsed: Parsed) -> tuple[ReasonCode, str]:
    """Why a message that no route takes, or whose mapping reads something else, becomes nothing, and what to do."""
    kind = parsed.message_type[:40] or "this kind of message"
    if parsed.message_type.partition("^")[0] in _ACCOUNTS:
        return ReasonCode.ACCOUNTS, f"{kind}: nothing is made of charges; stop them at the sender, or filter them"
    if name := mapping_for(parsed):
        return ReasonCode.NO_ROUTE, f"{kind}: add a route with mapping: {name}"
    if parsed.format == ASTM and parsed.message_type == "Q":
        return (
            ReasonCode.NO_ROUTE,
            f"{kind}: it asks for orders; set orders: of the channel, or add a route with filter:",
        )
    return (
        ReasonCode.NO_ROUTE,
        f"{kind}: no shipped mapping takes it; add a route with filter:, or a mapping of your own",
    )
