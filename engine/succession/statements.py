"""The resources that a Bundle writes under our own ids, as they are compared with those of other messages. Pure.

Numbers stay as they are written: a document that is written anew says 5.50 where it said 5.50.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
from orjson import OPT_SORT_KEYS, Fragment

from engine.model.journal.document_facts import OWN_SYSTEM, DocumentFacts
from engine.succession.order_marks import without_ours
from engine.succession.references import refer, refer_no_more
from engine.succession.steps import CANCELLED, CHANGES, RANK, WITHDRAWN, of_report

Json = dict[str, Any]

SENDER_STATUS = "urn:labrelay:sender-status"  # these are systems of tags: the status as the sender gave it
PART = "urn:labrelay:part"  # which part of a report a result is: an isolate of a culture
_URN = "urn:uuid:"
_NOT_COMPARED = frozenset({"id", "meta", "status", "issued"})
# Table 0078: susceptible, intermediate, resistant, moderately, very, not, dose dependent.
_SUSCEPTIBILITY = frozenset({"S", "I", "R", "MS", "VS", "NS", "SDD", "SYN-R", "SYN-S", "S-DD"})
_MEANING = frozenset({"component", "dataAbsentReason", "interpretation", "referenceRange", "subject"})
_TEXTS = frozenset({"conclusion", "conclusionCode", "presentedForm"})
_TOLD_BY_A_REPORT = _TEXTS | {"media"}
_OF_A_REPORT = _NOT_COMPARED | _TOLD_BY_A_REPORT | {"result"}
_RECORDS = frozenset({"Provenance", "MessageHeader"})  # about the message, and not about a result


class Resource(NamedTuple):
    """One resource that a Bundle writes under our own id.

    Attributes:
        name: ``Type/id``.
        status: as it goes out; empty where it has none. said: as the sender gave it.
        whole: digest of everything but id, status, time of issue and (of a report) its list.
        meaning: digest of value, unit, flags, ranges, and subject.
        time: when it was measured, as FHIR writes it; empty if not known.
        codes: what was measured: system and code of each coding, or the text.
        lists: of a report, the ids of the Observations that it lists.
        subject: the patient it is about; in HL7 v2 and lists what the result is of.
        own: of a report, digest of its own content: a document, a picture, a conclusion. texts: the names of its
            fields for documents and conclusions.
        version: of the Composition of a document, the number that rises with each issue; 0 where it has none.
        members: of an Observation, the ids of those that belong to it.
        isolate: the mapping says that it is an isolate of a culture. susceptible: it says S, I or R.
        order: of a report, digest of what was ordered: its numbers (else its specimens) and code.
        mute: of a list, it has no status that could say that it is changed.
    """

    name: str
    status: str
    said: str
    whole: bytes
    meaning: bytes = b""
    time: str = ""
    codes: frozenset[str] = frozenset()
    lists: tuple[str, ...] = ()
    subject: str = ""
    own: bytes = b""
    version: int = 0
    members: tuple[str, ...] = ()
    isolate: bool = False
    susceptible: bool = False
    order: bytes = b""
    mute: bool = False
    texts: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        return self.name.partition("/")[0]

    @property
    def identity(self) -> str:
        return self.name.partition("/")[2]

    @property
    def called(self) -> str:
        """The test, in words for people."""
        return ", ".join(sorted({code.partition("|")[2] or code for code in self.codes})) or self.kind


def loads(body: bytes) -> Json:
    """Parse a Bundle, keeping decimals as they are written.

    Raises:
        ValueError: it is no Bundle, or an entry has no address or resource.
    """
    bundle = json.loads(body, parse_float=Fragment)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise ValueError("no Bundle")
    if not all("fullUrl" in entry and isinstance(entry.get("resource"), dict) for entry in bundle.get("entry", ())):
        raise ValueError("an entry without its address or its resource")
    return bundle


def resources_in(bundle: Json) -> list[Resource]:
    """The resources that a transaction writes under our own ids, in its order; none of any other Bundle.

    Raises:
        ValueError: it is not such a Bundle as a mapping writes.
    """
    try:
        return [resource_of(name, entry["resource"]) for name, entry in _own(bundle)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(type(error).__name__) from error


def _is_own(entry: Json) -> bool:
    request = entry.get("request", {})
    return request.get("method") == "PUT" and "?" not in request["url"]


def _own(bundle: Json) -> Iterator[tuple[str, Json]]:
    for entry in bundle.get("entry", ()):
        if _is_own(entry) and entry["resource"]["resourceType"] not in _RECORDS:
            yield entry["request"]["url"], entry


def resource_of(name: str, resource: Json) -> Resource:
    """A resource as it is compared, under the name ``Type/id``."""
    report = resource["resourceType"] == "DiagnosticReport"
    period = resource.get("effectivePeriod", {})
    status = resource.get("status", "")
    tags = resource.get("meta", {}).get("tag", ())
    own = _digest(resource, frozenset(resource) - _TOLD_BY_A_REPORT) if report else b""  # a PDF is hashed once
    whole = _digest(resource, _OF_A_REPORT, own) if report else _digest(resource, _NOT_COMPARED)
    members = tuple(id_of(one["reference"]) for one in resource.get("hasMember", ()))
    return Resource(
        name=name,
        status=status,
        said=_sender_status(resource),
        whole=whole,
        meaning=b"" if report else _digest(resource, frozenset(resource) - _meant(resource)),
        time=resource.get("effectiveDateTime") or resource.get("effectiveInstant") or period.get("start", ""),
        codes=_codes(resource.get("code", {})),
        lists=tuple(id_of(one["reference"]) for one in resource.get("result", ())) if report else (),
        subject=resource.get("subject", {}).get("reference", ""),
        own=own,
        members=members,
        isolate=any(one.get("system") == PART for one in tags),
        susceptible=not report and _is_susceptibility(resource),
        order=_ordered(resource) if report else b"",
        texts=_TEXTS & resource.keys() if report else frozenset(),
    )


def _answer(resource: Json) -> str:
    """The value of a result where that is a code or words."""
    concept = resource.get("valueCodeableConcept", {})
    code = next((one["code"] for one in concept.get("coding", ()) if one.get("code")), "")
    return str(code or concept.get("text") or resource.get("valueString", ""))


def _is_susceptibility(resource: Json) -> bool:
    flags = [one for flag in resource.get("interpretation", ()) for one in flag.get("coding", ())]
    return any(one.get("code") in _SUSCEPTIBILITY for one in flags) or _answer(resource) in _SUSCEPTIBILITY


def _ordered(report: Json) -> bytes:
    numbers = report.get("identifier") or report.get("specimen", ())
    return blake2b(orjson.dumps([numbers, report.get("code")], option=OPT_SORT_KEYS), digest_size=16).digest()


def _meant(resource: Json) -> set[str]:
    return {name for name in resource if name.startswith("value") or name in _MEANING}


def _codes(code: Json) -> frozenset[str]:
    found = {f"{one.get('system', '')}|{one['code']}" for one in code.get("coding", ()) if one.get("code")}
    return frozenset(found or {code["text"]} if code.get("text") else found)


def _digest(resource: Json, without: frozenset[str], other: bytes = b"") -> bytes:
    """Of all fields but these; ``other`` is the digest of some of them."""
    said = without_ours({name: value for name, value in resource.items() if name not in without})
    return blake2b(orjson.dumps(said, option=OPT_SORT_KEYS) + other, digest_size=16).digest()


def id_of(reference: str) -> str:
    """The id that a reference names, within the Bundle or on a server."""
    return reference.removeprefix(_URN).rpartition("/")[2]


def resource_id(seed: str) -> str:
    """An id in the form that mappings make (`engine.mapping.message.identity`)."""
    digits = blake2b(seed.encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def under(name: str, ids: Mapping[str, str]) -> str:
    """A name ``Type/id`` with the id that ``ids`` gives in place of its own."""
    kind, _, identity = name.partition("/")
    return f"{kind}/{ids.get(identity, identity)}"


def entries_in(body: bytes) -> int:
    """How many entries a Bundle has; 0 for other content."""
    return len(orjson.loads(body).get("entry", ())) if body.startswith(b"{") else 0


def as_sent(bundle: Json, facts: DocumentFacts) -> bytes:
    """The Bundle as it goes out under ``facts``; ``bundle`` is used up."""
    give_ids(bundle, facts.apart)
    give_ids(bundle, facts.corrects)
    entries = bundle.get("entry", [])
    gone: dict[str, str] = {}
    absent: set[str] = set()
    for entry in entries:
        name = entry.get("request", {}).get("url", "")
        if name in facts.waits | facts.absent:
            absent |= {entry["fullUrl"], name}
        elif name in facts.echoes:
            gone[entry["fullUrl"]] = name
        elif name in facts.statuses:
            change_status(entry["resource"], facts.statuses[name])
    if gone or absent:
        bundle["entry"] = [
            entry for entry in entries if entry["fullUrl"] not in gone and entry["fullUrl"] not in absent
        ]
        refer(bundle["entry"], gone)
    if absent:
        refer_no_more(bundle["entry"], absent)
    entries = bundle.get("entry", [])
    _add(entries, (*facts.finished, *facts.withdrawn, *facts.reports))
    if facts.finished:  # then each says just what it would say if its value had been sent again
        refer(entries, {one["request"]["url"]: one["fullUrl"] for one in entries if _is_own(one)})
    return orjson.dumps(bundle)


def change_status(resource: Json, status: str) -> None:
    """Give a resource another status than its sender; that one stays in a tag."""
    said = resource.get("status", "")
    if said == status:
        return
    tags = resource.setdefault("meta", {}).get("tag", [])
    if not any(one.get("system") == SENDER_STATUS for one in tags):
        resource["meta"]["tag"] = [*tags, {"system": SENDER_STATUS, "code": said}]
    resource["status"] = status


def _sender_status(resource: Json) -> str:
    tags = resource.get("meta", {}).get("tag", ())
    return str(next((one["code"] for one in tags if one.get("system") == SENDER_STATUS), resource.get("status", "")))


def beside(bundle: Json, others: Sequence[str]) -> bytes:
    """The Bundle with entries of other messages, as `written_anew` gives them; ``bundle`` is used up."""
    _add(bundle["entry"], others)
    return orjson.dumps(bundle)


def _add(entries: list[Json], others: Sequence[str]) -> None:
    """Put resources of other messages beside those of this one, in front of the Provenance."""
    there = {entry["fullUrl"] for entry in entries}
    end = len(entries) - sum(entry["resource"]["resourceType"] == "Provenance" for entry in entries[-1:])
    for text in others:
        for entry in json.loads(text, parse_float=Fragment):
            if entry["fullUrl"] not in there:
                there.add(entry["fullUrl"])
                entries.insert(end, entry)
                end += 1


def written_anew(bundle: Json, statuses: Mapping[str, str], *, by_sender: bool = False) -> dict[str, str]:
    """The entries by which reports or results are written anew with other statuses, by name, as JSON: each itself, and
    what it refers to that a server may have under another id (a Patient, an Organization).

    Args:
        bundle: that wrote them last; it is used up.
        statuses: ``DiagnosticReport/id`` or ``Observation/id`` -> status.
        by_sender: the statuses are the sender's own.
    """
    by_url = {entry["fullUrl"]: entry for entry in bundle["entry"]}
    own = {one["fullUrl"]: one["request"]["url"] for one in bundle["entry"] if _is_own(one)}
    by_name = {own[url]: entry for url, entry in by_url.items() if url in own}
    made = {}
    for name, status in statuses.items():
        entry = by_name[name]
        refer(entry["resource"], own)
        if by_sender:
            _give_status(entry["resource"], status)
        else:
            change_status(entry["resource"], status)
        shared = [by_url[url] for url in references(entry["resource"]) if url in by_url]
        made[name] = orjson.dumps([*shared, entry]).decode()
    return made


def _give_status(resource: Json, status: str) -> None:
    """Give a resource the status that its sender says now."""
    tags = [one for one in resource.get("meta", {}).pop("tag", ()) if one.get("system") != SENDER_STATUS]
    if tags:
        resource["meta"]["tag"] = tags
    elif not resource.get("meta", True):
        del resource["meta"]
    resource["status"] = status


def references(value: Any) -> Iterator[str]:
    """The references in a resource."""
    if isinstance(value, dict):
        reference = value.get("reference")
        if isinstance(reference, str):
            yield reference
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def rename(bundle: Json, ids: Mapping[str, str]) -> bytes:
    """The Bundle with other ids: id -> id; ``bundle`` is used up."""
    give_ids(bundle, ids)
    return orjson.dumps(bundle)


def give_ids(bundle: Json, ids: Mapping[str, str]) -> None:
    """Give resources the ids of those that they correct, in place: ``ids`` gives the new one for an old one. The
    identifier of a document, and of its Composition, is the address of the Composition.
    """
    if not ids:
        return
    urls = {f"{_URN}{old}": f"{_URN}{new}" for old, new in ids.items()}
    _identify(bundle, urls)
    for entry in bundle.get("entry", ()):
        resource, request = entry["resource"], entry.get("request", {})
        if resource["resourceType"] == "Composition":
            _identify(resource, urls)
        kind, _, identity = request.get("url", "").partition("/")
        if identity in ids:
            request["url"] = f"{kind}/{ids[identity]}"
        if resource.get("id") in ids:
            resource["id"] = ids[resource["id"]]
        if (new := urls.get(entry["fullUrl"])) is not None:
            _find_as(entry, id_of(entry["fullUrl"]), id_of(new))
            entry["fullUrl"] = new
    refer(bundle["entry"], urls)


def _identify(one: Json, urls: Mapping[str, str]) -> None:
    identifier = one.get("identifier", {})
    if (new := urls.get(identifier.get("value", ""))) is not None:
        identifier["value"] = new


def _find_as(entry: Json, old: str, new: str) -> None:
    """Let a server find a resource by our own Identifier of the one that it is."""
    for identifier in entry["resource"].get("identifier", ()):
        if identifier == {"system": OWN_SYSTEM, "value": old}:
            identifier["value"] = new
    if (query := entry.get("request", {}).get("ifNoneExist")) is not None:
        entry["request"]["ifNoneExist"] = query.replace(old, new)


def changed_by(mine: Sequence[Resource], there: Mapping[str, Resource]) -> set[str]:
    """Names of final results that differ from finished ones.

    Args:
        there: by id, results as a receiver had them last.
    """
    return {
        one.name
        for one in mine
        if one.kind == "Observation"
        and one.status == "final"
        and (before := there.get(one.identity)) is not None
        and RANK.get(before.status, 0) >= RANK["final"]
        and before.whole != one.whole
    }


def amended(bundle: Json, changed: Collection[str]) -> bytes:
    """The Bundle with changed results, and the final reports that list them, as ``amended``; ``bundle`` is used up."""
    places = set()
    for name, entry in _own(bundle):
        if name in changed:
            change_status(entry["resource"], "amended")
            places.add(entry["fullUrl"])
    for _, entry in _own(bundle):
        resource = entry["resource"]
        listed = {one["reference"] for one in resource.get("result", ())}
        if (
            resource["resourceType"] == "DiagnosticReport"
            and resource["status"] == "final"
            and not places.isdisjoint(listed)
        ):
            change_status(resource, "amended")
    return orjson.dumps(bundle)


class Listed(NamedTuple):
    """The parts of a report that a receiver has.

    Attributes:
        status: of the report, as it went out last.
        results: id -> status of each result that the report lists and that was delivered.
        texts: field -> its documents or conclusion, where the new document has none.
    """

    status: str
    results: dict[str, str]
    texts: Json


def text_of(bundle: Json, report: str, field: str) -> Any:
    """A document or conclusion that a report has, by its id."""
    return next(entry["resource"][field] for name, entry in _own(bundle) if name == f"DiagnosticReport/{report}")


def joined(bundle: Json, reports: Mapping[str, Listed], wanted: Collection[str]) -> bytes:
    """The Bundle with lists that keep what the receiver has of the same reports; ``bundle`` is used up.

    Args:
        reports: id of a report -> what the receiver has of it.
        wanted: ids of the reports whose lists are joined.
    """
    statuses = {one.identity: one.status for one in resources_in(bundle) if one.kind == "Observation"}
    for name, entry in _own(bundle):
        resource = entry["resource"]
        if resource["resourceType"] != "DiagnosticReport" or name.partition("/")[2] not in wanted:
            continue
        there = reports.get(name.partition("/")[2])
        own = resource.get("result", [])
        mine = {id_of(one["reference"]) for one in own}
        known = there.results if there is not None else {}
        # A reference to a resource that this document leaves out and the receiver never got would break.
        own = [one for one in own if one["reference"].startswith(_URN) or id_of(one["reference"]) in known]
        older = [{"reference": f"Observation/{one}"} for one in known if one not in mine]
        listed = [*older, *own]
        if listed:
            resource["result"] = listed
        else:
            resource.pop("result", None)
        if there is not None:
            if resource["status"] not in CHANGES and known.keys().isdisjoint(mine & statuses.keys()):
                resource.update(there.texts)  # it contains other tests only
            every = [statuses.get(one) or known.get(one, "") for one in {**known, **dict.fromkeys(mine)}]
            said = _sender_status(resource) if resource["status"] == WITHDRAWN else resource["status"]
            if said == CANCELLED and mine.isdisjoint(statuses):  # a person has let the order be cancelled as a whole
                continue
            change_status(resource, of_report(said, there.status, [one for one in every if one]))
    return orjson.dumps(bundle)
