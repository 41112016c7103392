"""The rules that a report keeps before it leaves for ABDM: our own check of NRCeS' profiles, as a table. Pure.

`faults` is asked for each document before it is encrypted. A document with a fault does not go out: patients' apps show
nothing of one that they cannot read, and a receiver may refuse all pages for one of them. The validator of HL7 checks
more (`make validate`), and needs minutes.

Rules hold in both releases of the profiles, but for those that name one. A rule whose name begins with ``ours-`` is not
of the profiles: it keeps one patient's report from going out with another's.

Sources: NRCeS' guides, package ``ndhm.in`` 2.0.1 and guide 6.5.0; NHA's pages on documents; FHIR R4, Documents.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any

from adapters.codecs import json_tree
from engine.features.abdm.rules.abha import (
    ADDRESS,
    IDENTIFIER_TYPE,
    NDHM_IDENTIFIER_TYPE,
    NUMBER,
    AbhaAddress,
    AbhaNumber,
    Profile,
)
from engine.features.abdm.wire.document_check import (
    Document,
    Fault,
    Rule,
    both,
    coded,
    each,
    fits,
    has,
    has_fit,
    has_none,
    is_date,
    is_in,
    is_in_if_there,
    is_instant,
    is_there,
    is_time,
    is_url_of,
    leads,
    listed,
    lists,
    member,
    nodes,
    refers,
    text,
    within,
)
from engine.model.errors import ContentError

Json = dict[str, Any]
MAX_FAULTS = 100  # of one document
OLD: tuple[Profile, ...] = ("2.0.1",)
LATER: tuple[Profile, ...] = ("6.5",)

BASE = "https://nrces.in/ndhm/fhir/r4/StructureDefinition/"
LOINC, SNOMED, UCUM = "http://loinc.org", "http://snomed.info/sct", "http://unitsofmeasure.org"
ORGANIZATION_TYPE = "http://terminology.hl7.org/CodeSystem/organization-type"
AUTHORS = ("Practitioner", "PractitionerRole", "Organization", "Patient", "Device", "RelatedPerson")
ISSUED = ("preliminary", "final", "amended")
REPORTED = ("partial", "preliminary", "final", "amended", "corrected", "appended")
QUANTITIES = ("valueQuantity", "referenceRange.low", "referenceRange.high", "component.valueQuantity")
OBSERVED = ("registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown")


def faults(body: bytes, profile: Profile) -> tuple[Fault, ...]:
    """The rules that a document breaks, `MAX_FAULTS` at most; none: it may go out. Never fails.

    Args:
        body: the bytes that are to be encrypted.
    """
    try:
        tree, _ = json_tree.read(body)
    except ContentError as error:
        return (Fault("json", "$", f"the document is no JSON that can be read: {error.reason.value}"),)
    return faults_of(tree, profile)


def faults_of(tree: Any, profile: Profile) -> tuple[Fault, ...]:
    """As `faults`, of the tree of which the bytes were written."""
    if not isinstance(tree, dict) or tree.get("resourceType") != "Bundle":
        return (Fault("json", "$", "the document is a Bundle"),)
    return tuple(islice(_faults(Document.of(tree), profile), MAX_FAULTS))


def _faults(document: Document, profile: Profile) -> Iterator[Fault]:
    for path, resource in document.resources():
        kind = resource.get("resourceType")
        for rule in _rules(profile).get(kind, ()) if isinstance(kind, str) else ():
            yield from rule.faults(document, path, resource)


@cache
def _rules(profile: Profile) -> Mapping[str, Sequence[Rule]]:
    """Those that hold."""
    return {kind: [one for one in rules if profile in one.profiles] for kind, rules in RULES.items()}


# -- tests of one rule -------------------------------------------------------------------------------------------------


def _composition_first(bundle: Json, _: Document) -> Iterator[str]:
    entries = listed(bundle.get("entry"))
    if not entries or text(member(entries[0], "resource"), "resourceType") != "Composition":
        yield "entry[0]"


def _urls(bundle: Json, _: Document) -> Iterator[str]:
    seen: set[str] = set()
    for path, entry in each(bundle, "entry"):
        if not is_url_of(entry) or text(entry, "fullUrl") in seen:
            yield f"{path}.fullUrl"
        seen.add(text(entry, "fullUrl"))


def _closed(bundle: Json, document: Document) -> Iterator[str]:
    """References that lead out of the document."""

    def loose(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "reference" in node and text(node, "reference") not in document.kinds:
                yield f"{path}.reference"
            for name in node:
                for inner, one in each(node, name):
                    yield from loose(one, f"{path}.{inner}")

    for path, entry in each(bundle, "entry"):
        if _leads_out(resource := member(entry, "resource"), document):
            yield from loose(resource, f"{path}.resource")


def _leads_out(resource: Json, document: Document) -> bool:
    """Whether any reference in it may: nearly always none does, and no path has to be made."""
    waiting: list[Any] = [resource]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "reference" in node and text(node, "reference") not in document.kinds:
                return True
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return False


def _one_patient(bundle: Json, document: Document) -> Iterator[str]:
    if list(document.kinds.values()).count("Patient") != 1:
        yield "entry"


def _one_subject(bundle: Json, _: Document) -> Iterator[str]:
    said = {
        f"{path}.resource.subject": text(member(resource, "subject"), "reference")
        for path, entry in each(bundle, "entry")
        if (resource := member(entry, "resource")) and "subject" in resource
    }
    if len(set(said.values())) > 1:
        yield from said


def _pdf_once(bundle: Json, _: Document) -> Iterator[str]:
    resources = [(path, member(entry, "resource")) for path, entry in each(bundle, "entry")]
    finished = {
        text(member(content, "attachment"), "data")
        for _, one in resources
        if one.get("resourceType") == "DocumentReference"
        for _, content in each(one, "content")
    }
    for path, one in resources:
        for inner, form in each(one, "presentedForm"):
            if text(form, "data") and text(form, "data") in finished:
                yield f"{path}.resource.{inner}.data"


def _attested(composition: Json, document: Document) -> Iterator[str]:
    for _, one in each(composition, "attester"):
        party = document.kinds.get(text(member(one, "party"), "reference"))
        if text(one, "mode") == "official" and party == "Organization":
            return
    yield "attester"


def _entry_kinds(section: Json, document: Document) -> Iterator[str]:
    for path, one in each(section, "entry"):
        if text(one, "type") and document.kinds.get(text(one, "reference")) != text(one, "type"):
            yield f"{path}.reference"


def _entry_once(section: Json, _: Document) -> Iterator[str]:
    kinds = [text(one, "type") for one in listed(section.get("entry"))]
    if len(set(kinds)) != len(kinds):
        yield "entry"


def _words_or_code(resource: Json, _: Document) -> Iterator[str]:
    code = member(resource, "code")
    if not (is_there(code, "text") or is_there(code, "coding")):
        yield "code"


def _value_or_reason(observation: Json, _: Document) -> Iterator[str]:
    said = [name for name in observation if name.startswith("value") and is_there(observation, name)]
    others = ("dataAbsentReason", "hasMember", "component")
    if not said and not any(is_there(observation, name) for name in others):
        yield "dataAbsentReason"


def _units(observation: Json, _: Document) -> Iterator[str]:
    """Quantities with a code of another system than UCUM, or of none."""
    for path, quantity in (found for at in QUANTITIES for found in nodes(observation, at)):
        if ("code" in quantity or "system" in quantity) and text(quantity, "system") != UCUM:
            yield f"{path}.system"


def _types_of_0203(identifier: Json, _: Document) -> Iterator[str]:
    for path, coding in each(member(identifier, "type"), "coding"):
        if text(coding, "system") != IDENTIFIER_TYPE:
            yield f"type.{path}.system"


def _abha(identifier: Json, _: Document) -> Iterator[str]:
    codings = listed(member(identifier, "type").get("coding"))
    codes = {text(one, "code") for one in codings if text(one, "system") == NDHM_IDENTIFIER_TYPE}
    said = text(identifier, "value")
    if NUMBER in codes:
        number = AbhaNumber.read(said)
        if number is None or number.dashed != said:
            yield "value"
    if ADDRESS in codes and AbhaAddress.read(said) is None:
        yield "value"


def _numbers(observation: Json, _: Document) -> Iterator[str]:
    """Values of quantities that are no numbers: a reader that knows types refuses all pages for one."""
    for at in QUANTITIES:
        for path, quantity in nodes(observation, at):
            if "value" in quantity and not isinstance(quantity["value"], json_tree.Digits):
                yield f"{path}.value"


def _collected(collection: Json, _: Document) -> Iterator[str]:
    if not is_time(text(collection, "collectedDateTime")) or "collectedPeriod" in collection:
        yield "collectedDateTime"


# -- the table ---------------------------------------------------------------------------------------------------------

_CODED = "each coding has system, code and display"


def _of_party(name: str) -> Sequence[Rule]:
    """The rules for a person or a laboratory."""
    return (
        Rule(f"{name}-identifier", has("identifier"), "there is an identifier"),
        Rule(f"{name}-identifier-type", has("type"), "an identifier has a type", at="identifier"),
        Rule(f"{name}-identifier-type-coding", coded("type"), _CODED, at="identifier"),
        Rule(
            f"{name}-identifier-type-0203", _types_of_0203, "types are of HL7 table 0203", at="identifier", profiles=OLD
        ),
        Rule(f"{name}-identifier-value", has("value"), "an identifier has a value", at="identifier"),
        Rule(f"{name}-telecom", has("value"), "a telecom has a value", at="telecom"),
    )


RULES: Mapping[str, Sequence[Rule]] = {
    "Bundle": (
        Rule("bundle-version", within("meta", has("versionId")), "a document has a version"),
        Rule(
            "bundle-profile", within("meta", lists("profile", f"{BASE}DocumentBundle")), "a document names its profile"
        ),
        Rule(
            "bundle-identifier",
            within("identifier", has("system"), has("value")),
            "a document has an identifier with its system",
        ),
        Rule("bundle-type", is_in("type", "document"), "the type is document", profiles=LATER),
        Rule("bundle-timestamp", has_fit("timestamp", is_instant), "a document has a time with its zone"),
        Rule("bundle-composition", _composition_first, "the first entry is the Composition"),
        Rule("bundle-url", _urls, "each entry has a URL of its own: urn:uuid:, or its type and id"),
        Rule("bundle-closed", _closed, "each reference leads to an entry"),
        Rule("ours-pdf-once", _pdf_once, "a finished document is there once"),
        Rule("ours-one-patient", _one_patient, "a document is about one patient"),
        Rule("ours-one-subject", _one_subject, "all resources are of one patient"),
    ),
    "Composition": (
        Rule(
            "composition-profile",
            within("meta", lists("profile", f"{BASE}DiagnosticReportRecord")),
            "the Composition names its profile",
        ),
        Rule("composition-status", is_in("status", *ISSUED), "the status is of an issued report"),
        Rule("composition-type", has("coding", most=1), "the type has one coding", at="type"),
        Rule(
            "composition-type-coding",
            both(has("type"), coded("type", SNOMED)),
            "the type is of SNOMED CT, with code and display",
        ),
        Rule("composition-subject", leads("subject", "Patient"), "the subject is a Patient"),
        Rule("composition-date", has_fit("date", is_time), "there is a date"),
        Rule("composition-title", has("title"), "there is a title"),
        Rule("composition-author", leads("author", *AUTHORS), "there is an author, of a type that may be one"),
        Rule("composition-encounter", refers("encounter", "Encounter"), "the encounter is an Encounter"),
        Rule("composition-attester", _attested, "an Organization attests officially"),
        Rule("composition-custodian", refers("custodian", "Organization"), "the custodian is an Organization"),
        Rule("section", has("section", most=1), "there is one section"),
        Rule("section-code", coded("code", SNOMED), "its codings are of SNOMED CT, in full", at="section"),
        Rule("section-entries", has("entry", most=2), "it has one entry or two", at="section"),
        Rule(
            "section-entry-type",
            is_in("type", "DiagnosticReport", "DocumentReference"),
            "an entry says its type: DiagnosticReport or DocumentReference",
            at="section.entry",
        ),
        Rule("section-entry-once", _entry_once, "it has one entry of each type", at="section"),
        Rule("section-entry-target", _entry_kinds, "an entry is of the type that it says", at="section"),
        Rule("narrative", has("div"), "a narrative has its text", at="text"),
    ),
    "DiagnosticReport": (
        Rule("report-status", is_in("status", *REPORTED), "the status is of an issued report"),
        Rule("report-category", coded("category", SNOMED), "categories are of SNOMED CT, in full"),
        Rule("report-code", _words_or_code, "the code has a coding or words"),
        Rule("report-code-loinc", coded("code", LOINC), "codings are of LOINC, in full"),
        Rule("report-subject", leads("subject", "Patient"), "the subject is a Patient"),
        Rule("report-issued", fits("issued", is_instant), "a time of issue has its zone"),
        Rule("report-effective", fits("effectiveDateTime", is_time), "its time is a time"),
        Rule(
            "report-performer",
            refers("performer", "Organization", "Practitioner", "PractitionerRole", "CareTeam"),
            "a performer is an organization or a person of care",
        ),
        Rule(
            "report-interpreter",
            leads("resultsInterpreter", "Organization", "Practitioner", "PractitionerRole", "CareTeam"),
            "there is who interprets: a person or the laboratory",
        ),
        Rule("report-specimen", refers("specimen", "Specimen"), "a specimen is a Specimen"),
        Rule("report-result", leads("result", "Observation"), "there are results, which are Observations"),
        Rule("report-media", refers("link", "Media"), "a picture is a Media", at="media"),
        Rule("report-conclusion", has("conclusion"), "there is a conclusion"),
        Rule(
            "report-conclusion-code",
            coded("conclusionCode", SNOMED),
            "codes of the conclusion are of SNOMED CT, in full",
        ),
        Rule(
            "report-form", both(has("contentType"), has("data")), "a form has its type and its data", at="presentedForm"
        ),
    ),
    "Observation": (
        Rule("result-status", is_in("status", *OBSERVED), "there is a status"),
        Rule("result-code", _words_or_code, "the code has a coding or words"),
        Rule(
            "result-code-system",
            coded("code", LOINC, SNOMED),
            "codings are of LOINC or SNOMED CT, in full; other codes are words",
        ),
        Rule("result-subject", leads("subject", "Patient"), "the subject is a Patient"),
        Rule("result-specimen", refers("specimen", "Specimen"), "a specimen is a Specimen"),
        Rule("result-members", refers("hasMember", "Observation"), "its members are Observations"),
        Rule("result-value", _value_or_reason, "there is a value, or the reason why there is none"),
        Rule("result-effective", fits("effectiveDateTime", is_time), "its time is a time"),
        Rule("result-issued", fits("issued", is_instant), "a time of issue has its zone"),
        Rule("result-number", _numbers, "values of quantities are numbers"),
        Rule("result-unit", _units, "coded units are of UCUM"),
    ),
    "Patient": (
        *_of_party("patient"),
        Rule("patient-abha", _abha, "an ABHA number has dashes, an address a domain", at="identifier", profiles=LATER),
        Rule("patient-name", has("text"), "a name has its text", at="name"),
        Rule(
            "patient-gender",
            is_in_if_there("gender", "male", "female", "other", "unknown"),
            "the gender is one of FHIR's four words",
        ),
        Rule("patient-birth", fits("birthDate", is_date), "a date of birth is a date, or its year"),
    ),
    "Practitioner": (
        *_of_party("practitioner"),
        Rule("practitioner-name", has("text"), "a name has its text", at="name"),
    ),
    "Organization": (
        *_of_party("lab"),
        Rule("lab-name", has("name", most=1), "there is a name"),
        Rule("lab-identifier-system", has("system"), "an identifier has a system", at="identifier"),
        Rule("lab-type", coded("type", ORGANIZATION_TYPE), "the type is of HL7's table, in full"),
    ),
    "Specimen": (
        Rule("specimen-type", coded("type", SNOMED), "the type is of SNOMED CT, in full"),
        Rule("specimen-received", has_fit("receivedTime", is_time), "there is a time of receipt"),
        Rule("specimen-collected", _collected, "a collection has one time, which is a time", at="collection"),
        Rule("specimen-subject", refers("subject", "Patient"), "the subject is a Patient"),
        Rule("specimen-subject-reference", has("reference"), "it is a reference", at="subject", profiles=OLD),
    ),
    "ServiceRequest": (
        Rule("order-status", both(has("status"), has("intent")), "there are status and intent"),
        Rule("order-code", coded("code", SNOMED), "codings are of SNOMED CT, in full"),
        Rule("order-subject", has("subject"), "there is a subject"),
        Rule("order-requester", has("requester"), "there is who ordered"),
        Rule("order-subject-reference", has("reference"), "it is a reference", at="subject", profiles=OLD),
        Rule("order-requester-reference", has("reference"), "it is a reference", at="requester", profiles=OLD),
    ),
    "DocumentReference": (
        Rule("finished-status", is_in("status", "current"), "the document is current"),
        Rule("finished-content", has("content"), "there is a document"),
        Rule(
            "finished-attachment",
            within("attachment", has("contentType"), has("data"), has_none("url")),
            "a document has its type and its data, no address",
            at="content",
        ),
        Rule("finished-subject", leads("subject", "Patient"), "the subject is a Patient"),
        Rule("finished-date", fits("date", is_instant), "a date has its time and zone"),
        Rule("finished-type", has("type"), "there is a type"),
    ),
    "Media": (
        Rule("picture-status", has("status"), "there is a status"),
        Rule(
            "picture-content", within("content", has("contentType"), has("data")), "a picture has its type and its data"
        ),
    ),
    "Binary": (Rule("binary", both(has("contentType"), has("data")), "there are type and data"),),
    "Encounter": (
        Rule("encounter-status", both(has("status"), has("class")), "there are status and class"),
        Rule("encounter-codes", both(coded("type"), coded("serviceType")), _CODED),
    ),
}
"""By the type of the resources that they are about."""
