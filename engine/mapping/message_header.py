"""The MessageHeader of a FHIR message: event, source, destination, and focus.

Source: HL7 v2-to-FHIR implementation guide, MSH; FHIR R4 MessageHeader. The fields of ASTM E1394 are beside those of
HL7.

    MSH-9.2, EVN-1               eventCoding of table 0003; a message without an event has an eventUri of ours
    MSH-3, MSH-24   H-5          source: name, and its address
    MSH-4                        sender
    MSH-5, MSH-25   H-10         destination: name, and its address
    MSH-6                        receiver
    MSH-11          H-12         meta.tag, where it is not production (table 0103)

FHIR asks for the address of the source and of each destination. A message often has none: then the address is a URN of
ours (``urn:labrelay:app:LIS``), which shows that it leads nowhere.
"""

import re
from typing import Any

from engine.mapping.entries import kind_of, url_of
from engine.mapping.functions.identifiers import hd_identifier
from engine.mapping.functions.systems import TERMINOLOGY, authority
from engine.mapping.identity import BundleBuilder
from engine.mapping.message_context import MessageContext
from engine.mapping.uris import quoted

Json = dict[str, Any]

_EVENT = re.compile(r"[A-Z]\d\d", re.ASCII).fullmatch
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|(?:urn|mailto|tel):\S+", re.ASCII).fullmatch
_NOT_PRODUCTION = ("D", "T")

# The focus of a message: its resources of the first of these types that it has.
_ABOUT = ("DiagnosticReport", "Observation", "DocumentReference", "Task", "ServiceRequest", "Encounter", "Patient")


def message_header(run: MessageContext, making: BundleBuilder) -> Json:
    """The entry that every FHIR message begins with."""
    hl7 = run.hl7
    application = run.field("MSH", 3) if hl7 else run.field("H", 5)
    control_id, payload = run.parsed.control_id, run.context.payload_hash
    identity = making.identity("MessageHeader", f"{_name(run, application) or ''}\x1f{control_id}\x1f{payload}")
    resource: Json = {"resourceType": "MessageHeader", "id": identity}
    processing = run.text(run.field("MSH", 11) if hl7 else run.field("H", 12))
    if processing in _NOT_PRODUCTION:
        resource["meta"] = {"tag": [{"system": TERMINOLOGY + "v2-0103", "code": processing}]}
    resource |= _event(run)
    receiver = run.field("MSH", 5) if hl7 else run.field("H", 10)
    if _says(run, receiver) or (hl7 and _says(run, run.field("MSH", 25))):
        destination = _party(run, receiver, run.field("MSH", 25) if hl7 else "")
        facility = run.text(run.field("MSH", 6)) if hl7 else None
        if facility:
            destination["receiver"] = {"type": "Organization", "display": facility}
        resource["destination"] = [destination]
    if hl7 and (sender := hd_identifier(run, run.field("MSH", 4))):
        resource["sender"] = {"type": "Organization", "identifier": sender[0]}
    resource["source"] = _party(run, application, run.field("MSH", 24) if hl7 else "")
    if focus := _focus(making):
        resource["focus"] = focus
    return {"fullUrl": f"urn:uuid:{identity}", "resource": resource}


def _says(run: MessageContext, raw: str) -> bool:
    return bool(raw) and run.present(raw) is not None


def _name(run: MessageContext, raw: str) -> str | None:
    """The name in an HD: its namespace, else its universal id."""
    return run.text(raw) or run.part_text(raw.split(run.C), 1)


def _event(run: MessageContext) -> Json:
    if not run.hl7:
        return {"eventUri": "urn:labrelay:event:astm"}
    msh9 = run.field("MSH", 9)
    code = run.part_text(msh9.split(run.C), 1) or run.text(run.field("EVN", 1)) or ""
    if _EVENT(code):
        return {"eventCoding": {"system": TERMINOLOGY + "v2-0003", "code": code}}
    return {"eventUri": f"urn:labrelay:event:{quoted(code or run.text(msh9) or 'unknown')}"}


def _party(run: MessageContext, application: str, address: str) -> Json:
    """Name and address of a source or a destination."""
    made: Json = {}
    if name := _name(run, application):
        made["name"] = name
    made["endpoint"] = _endpoint(run, application, address)
    return made


def _endpoint(run: MessageContext, application: str, address: str) -> str:
    said = run.text(address) or ""
    if _ADDRESS(said):
        return said
    for raw in (address, application):
        parts = [run.text(part) for part in raw.split(run.C)[:3]] + [None, None]
        uri = authority(run, parts[0], parts[1], parts[2]) if parts[1] else None
        if uri and ":" in uri:
            return uri
    name = _name(run, application)
    if name:
        return f"urn:labrelay:app:{quoted(name)}"
    return f"urn:labrelay:channel:{quoted(run.context.channel or 'unknown')}"


def _focus(making: BundleBuilder) -> list[Json]:
    found: dict[str, list[Json]] = {}
    for entry in making.entries:
        found.setdefault(kind_of(entry), []).append({"reference": url_of(entry)})
    return next((found[kind] for kind in _ABOUT if kind in found), [])
