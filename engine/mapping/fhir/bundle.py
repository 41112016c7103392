"""Build the Bundle around the resources: identifier, time, Provenance, and the bytes that are sent.

Everything in it comes from the message or the context: the same bytes give the same Bundle.

A document (FHIR R4, Documents; invariants bdl-9 to bdl-11 of Bundle) begins with its Composition and has an identifier
and a time. A mapping sets elements of the Bundle itself by a step `create: Bundle`: they replace the elements made
here.

The MessageHeader of a FHIR message: event, source, destination, and focus.

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
from collections.abc import Mapping
from datetime import UTC
from functools import lru_cache
from io import BytesIO
from typing import Any

import orjson
from orjson import Fragment

from engine.mapping.fhir.entries import WRITTEN_AT_ONCE, Entry, kind_of, opened, parts, url_of, write
from engine.mapping.functions.identifiers import hd_identifier
from engine.mapping.functions.systems import TERMINOLOGY, authority
from engine.mapping.message.identity import BundleBuilder
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values.json_text import with_digits
from engine.mapping.values.uris import quoted
from engine.model.packing import pack_parts
from engine.model.texts.reasons import ReasonCode

Json = dict[str, Any]

# A text with a character that FHIR does not allow shows as an escape in the JSON; nearly none has one.
_ESCAPED_CONTROL = re.compile(rb"\\(?:u00|[bf])")
_ESCAPE = re.compile(rb"\\(?:(u00[01][0-9a-fA-F]|[bf])()|.)")
_AGENT = {
    "type": {"coding": [{"system": TERMINOLOGY + "provenance-participant-type", "code": "assembler"}]},
    "who": {"display": "LabRelay"},
}


def assemble(
    run: MessageContext, making: BundleBuilder, kind: str, mapping: str, *, profiles: Mapping[str, str] | None = None
) -> tuple[bytes, bool]:
    """The serialised Bundle of everything that was made, and whether it is packed.

    Args:
        kind: ``transaction``, ``message``, ``document`` or ``collection``.
        mapping: name and hash, for the Provenance.
        profiles: type of resource -> URL of the profile that each of them claims in its `meta`.

    Raises:
        ContentError: a document without what every document has.
    """
    if kind == "document":
        return _serialised(run, making, _document(run, making, profiles or {}))
    bundle: Json = {"resourceType": "Bundle"}
    identifier = _identifier(run)
    if identifier is not None:
        bundle["identifier"] = identifier
    bundle["type"] = kind
    timestamp = _message_time(run)
    if timestamp is not None:
        bundle["timestamp"] = timestamp
    entries = making.entries
    if kind == "message":
        entries.insert(0, message_header(run, making))
    provenance = _provenance(run, making, mapping)
    if provenance is not None:
        entries.append(provenance)
    bundle["entry"] = entries
    if profiles:
        _claim(entries, profiles)
    return _serialised(run, making, bundle)


def _serialised(run: MessageContext, making: BundleBuilder, bundle: Json) -> tuple[bytes, bool]:
    entries = making.entries
    found = False

    def allowed(text: bytes) -> bytes:
        nonlocal found
        if b"\\" not in text or _ESCAPED_CONTROL.search(text) is None:
            return text
        cleaned = _ESCAPE.sub(_replaced, text)
        found = found or cleaned != text
        return cleaned

    packed = False
    if not making.has_written:
        body = allowed(orjson.dumps(bundle))
    elif run.context.packs:
        size = sum(len(allowed(part)) for part in parts(bundle, entries, last=False))
        body, packed = pack_parts(map(allowed, parts(bundle, entries, last=True)), size), True
    else:
        out = BytesIO()  # grows in place, and gives its bytes away without a copy
        out.writelines(map(allowed, parts(bundle, entries, last=True)))
        body = out.getvalue()
    if found:
        run.warn("CONTROL_CHARACTER", "control characters in texts were replaced by U+FFFD")
    return body, packed


def _replaced(match: re.Match[bytes]) -> bytes:
    """An escape of a character that FHIR does not allow; the others, and an escaped backslash, stay."""
    return match[0] if match[2] is None else b"\\ufffd"


def _identifier(run: MessageContext) -> Json | None:
    control_id = run.parsed.control_id
    if not control_id:
        return None
    if run.hl7:
        application = run.text(run.field("MSH", 3)) or ""
        facility = run.text(run.field("MSH", 4)) or ""
    else:
        application = run.text(run.field("H", 5)) or ""
        facility = run.context.channel
    return {"system": _message_system(facility, application), "value": control_id}


@lru_cache(maxsize=1024)
def _message_system(facility: str, application: str) -> str:
    """The system of a sender's control ids; a site has few senders."""
    return f"urn:labrelay:message:{quoted(facility)}:{quoted(application)}"


def _provenance(run: MessageContext, making: BundleBuilder, mapping: str) -> Json | None:
    """Who made this of what. Left out where the time of receipt is not known: it would be the only time in it."""
    received = run.context.received_at
    if received is None or not making.entries:
        return None
    targets = making.own_reports or making.own or list(making.made.values())
    sender = run.field("MSH", 3) if run.hl7 else run.field("H", 5)
    control_id = run.parsed.control_id
    payload = run.context.payload_hash
    identity = making.identity("Provenance", f"{run.text(sender) or ''}\x1f{control_id}\x1f{payload}")
    resource: Json = {
        "resourceType": "Provenance",
        "id": identity,
        "target": targets,
        "recorded": received.astimezone(UTC).isoformat(timespec="milliseconds"),
        "policy": [f"urn:labrelay:mapping:{mapping}"],
        "agent": [_AGENT],
    }
    if payload:
        what: Json = {"identifier": {"system": "urn:labrelay:sha256", "value": payload}}
        resource["entity"] = [{"role": "source", "what": what}]
    entry: Json = {"fullUrl": f"urn:uuid:{identity}", "resource": resource}
    if making.transaction:
        entry["request"] = {"method": "PUT", "url": f"Provenance/{identity}"}
    return entry


def _document(run: MessageContext, making: BundleBuilder, profiles: Mapping[str, str]) -> Json:
    """The Bundle of a document; takes the steps' own Bundle out of the entries."""
    bundle: Json = {"resourceType": "Bundle"}
    entries = making.entries
    making.envelope = [opened(one) for one in entries if kind_of(one) == "Bundle"]
    for entry in making.envelope:
        entries.remove(entry)
        bundle |= {name: value for name, value in entry["resource"].items() if name != "id"}
    bundle["type"] = "document"
    _composition_first(run, entries)
    for name, found in (("identifier", _identifier(run)), ("timestamp", _document_time(run))):
        if name not in bundle:
            if found is None:
                run.required(f"Bundle.{name}")
            bundle[name] = found
    bundle["entry"] = entries
    if profiles:
        _claim(entries, profiles)
        _claim([{"resource": bundle}], profiles)
    return bundle


def _message_time(run: MessageContext) -> str | None:
    """MSH-7, H-14; None where it is no instant, or none in which this can have been."""
    said = run.times.message_time
    return run.times.instant(said) if said and run.times.event(said) else None


def _document_time(run: MessageContext) -> str | None:
    """When the message was made; where it does not say that to the second, when it was received."""
    if said := _message_time(run):
        return said
    received = run.context.received_at
    return None if received is None else received.astimezone(UTC).isoformat(timespec="milliseconds")


def _claim(entries: list[Entry], profiles: Mapping[str, str]) -> None:
    """Name the profile of each resource that has one, beside what a rule wrote into its `meta`."""
    again: list[int] = []
    for at, entry in enumerate(entries):
        profile = profiles.get(kind_of(entry))
        if profile is not None:
            whole = opened(entry)
            resource = whole["resource"]
            said = resource.get("meta", {})
            if isinstance(said, Fragment):  # an object of literals, serialised when the mapping was loaded
                said = with_digits(orjson.dumps(said))
            resource["meta"] = {"profile": [profile]} | said
            if whole is not entry:
                entries[at] = whole
                again.append(at)
                if len(again) >= WRITTEN_AT_ONCE:
                    write(entries, again)
                    again.clear()
    write(entries, again)


def _composition_first(run: MessageContext, entries: list[Entry]) -> None:
    for at, entry in enumerate(entries):
        if kind_of(entry) == "Composition":
            entries.insert(0, entries.pop(at))
            return
    raise run.dead(ReasonCode.REQUIRED_ABSENT, "a document begins with a Composition, and no step made one")


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
