"""Identity: natural keys to ids, one resource per key in a message, and the requests of the transaction.

    id       = UUID-shaped keyed hash over type | natural key, under the site's key
    shared   Patient, Organization, Practitioner, Device ...     POST + ifNoneExist: finds what the server has
    master   Patient, Encounter, where the sender keeps them     PUT Type?identifier=...: takes its place, or is made
    ours     Specimen, DiagnosticReport, Observation ...         PUT Type/id: a resend or a correction is a new version

`engine.mapping.message.key_scope` distinguishes numbers that restart. The hash is keyed because a plain hash of an
accession number could be guessed, and ids reach other systems' logs.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import orjson
from orjson import OPT_SORT_KEYS, Fragment

from engine.mapping.fhir import entries
from engine.mapping.message.key_scope import COUNTER, OF_A_DAY, OTHER, SEPARATOR, Bearers, KeyScope
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values.json_text import kept, with_digits
from engine.model.errors import ContentError
from engine.model.journal.document_facts import OWN_SYSTEM
from engine.model.journal.hashes import ordinal, report_key
from engine.model.message import Group, Report, UsedNumber
from engine.model.texts.reasons import ReasonCode

Json = dict[str, Any]

NO_NUMBER = "-"  # in a key, replaces an order or specimen number that the sender did not give
_NO_NUMBER = NO_NUMBER + SEPARATOR
# Two analyzers may measure one tube.
_OF_A_CHANNEL = frozenset({"Composition", "DiagnosticReport", "Media", "Observation"})
_RUNS = frozenset({"Observation", "Media"})
_SEARCH_MARKS = re.compile(r"[\\,$|]")  # mean something in the value of a search parameter
_UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch  # RFC 3986, 2.3: need no escape


class BundleBuilder:
    """The resources that one message makes.

    Attributes:
        entries: of the Bundle, in the order they were made: targets of references come first.
        made: id -> reference of the resource with this id.
        envelope: entries that steps made of the Bundle itself, once they are part of it.
        scope: distinguishes numbers that restart.
        own_reports: references of the reports that are written under our own ids; of a document, its Composition.
    """

    def __init__(self, run: MessageContext, *, transaction: bool) -> None:
        self._run = run
        self._states = _states(run.context.key)
        self._shared: dict[tuple[str, str], str] = {}
        self._runs: dict[tuple[str, str], int] = {}
        self._updated: list[str] = []  # conditional updates in the document
        self._lists: dict[tuple[str, str], tuple[list[Any], set[bytes]]] = {}  # that were joined, and what is in them
        self._at: dict[str, int] = {}  # address -> place, of the first ``_indexed`` entries, for what is added to them
        self._indexed = 0
        self._day_of: tuple[Group, str] | None = None  # the last group that was asked for its day of measurement
        self._numbers: dict[str, bytes] = {}  # patient, as keys of results name one -> keyed hash
        self._orders: dict[str, str] = {}  # counter -> the number of the order that its Patient is known by
        self._written = 0  # so many entries were written, unless they are opened
        self._opened: list[int] = []  # places of those that are
        self._write_at = entries.WRITTEN_FROM
        self.entries: list[entries.Entry] = []
        self.envelope: list[Json] = []
        self.made: dict[str, Json] = {}
        self.own_reports: list[Json] = []
        self.conditional: list[bytes] = []
        self.reports: dict[bytes, Report] = {}
        self.used: dict[bytes, UsedNumber] = {}
        self.dropped = 0
        self.transaction = transaction
        self.scope = KeyScope(run)
        self.bearers = Bearers(run, self._states[""], self.scope)
        self._tells_apart = (
            self.scope.unique or self.scope.of_a_day or self.scope.is_unsure
        )  # keys without a patient may be equal in two messages
        of_site = run.context.results_of == "site"
        self._whose = "" if of_site else f"{SEPARATOR}{run.context.channel}"  # in keys of results and reports

    # -- ids -------------------------------------------------------------------------------------------------------

    def identity(self, kind: str, key: str) -> str:
        """The UUID (version 8: a hash of our own) of a natural key."""
        state = self._states[kind].copy()
        state.update(key.encode("utf-8", "surrogatepass"))
        digits = state.hexdigest()
        return f"{digits[:8]}-{digits[8:12]}-8{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def token(self, text: str) -> bytes:
        """A pseudonym of 16 bytes for a key that must not be stored itself."""
        state = self._states[""].copy()
        state.update(text.encode("utf-8", "surrogatepass"))
        found: bytes = state.digest()
        return found

    def _patient_number(self, patient: str) -> bytes:
        """The keyed hash of a patient number; each result and report of the message asks for it."""
        found = self._numbers.get(patient)
        if found is None:
            found = self._numbers[patient] = self.token(f"patient{SEPARATOR}{patient}")
        return found

    def identity_of(self, identifier: Json) -> str:
        """An Identifier as part of a key. Without a system it means something within its channel only."""
        system = identifier.get("system") or f"urn:labrelay:channel:{self._run.context.channel}"
        return f"{system}{SEPARATOR}{identifier['value']}"

    def own_id(self, kind: str, key: str) -> str:
        """The id of a resource that is ours.

        Two results of one message with the same key are two runs of a test, and get a number, as two pictures do;
        other resources with the same key are one.
        """
        if kind in _OF_A_CHANNEL:
            key += self._whose
        # An absent number distinguishes nothing.
        if self._tells_apart and key.startswith(_NO_NUMBER):
            if self.scope.unique or OF_A_DAY in key:
                key += SEPARATOR + (self.scope.these_bytes() if self.scope.is_unsure else self.scope.this_message())
            elif self.scope.is_unsure and self.scope.is_alone(key):
                key += SEPARATOR + self.scope.these_bytes()
        identity = self.identity(kind, key)
        if identity in self.made and kind in _RUNS:
            count = self._runs.get((kind, key), 1) + 1
            self._runs[kind, key] = count
            return self.identity(kind, f"{key}{SEPARATOR}{count}")
        return identity

    def shared_id(self, kind: str, key: str) -> str:
        """The id of a resource that other messages make as well; within one message it is computed once."""
        found = self._shared.get((kind, key))
        if found is None:
            found = self._shared[kind, key] = self.identity(kind, key)
        return found

    # -- entries ---------------------------------------------------------------------------------------------------

    def put(self, kind: str, identity: str, resource: Json, request: str) -> Json:
        """Add a resource of ours; one with an id that is there already is joined to it. Returns its reference."""
        made = self.made
        if identity in made:
            self._join("urn:uuid:" + identity, resource)
            return made[identity]
        if kind == "Patient":
            self._without_counters(resource, None)
        url = "urn:uuid:" + identity
        made[identity] = reference = {"reference": url}
        if request == "update" and self.transaction:
            change = Fragment(f'{{"method":"PUT","url":"{kind}/{identity}"}}')
            self.entries.append({"fullUrl": url, "resource": resource, "request": change})
            if kind == "DiagnosticReport":
                self.own_reports.append(reference)
        elif request == "create" and self.transaction:
            del resource["id"]
            self.entries.append({"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": kind}})
        else:
            self.entries.append({"fullUrl": url, "resource": resource})
            if kind == "Composition":
                self.own_reports.append(reference)
        if len(self.entries) >= self._write_at:
            self._write_older()
        return reference

    def _write_older(self) -> None:
        """Many entries were made: of all but the last ones, keep the JSON. A trace reads the objects."""
        self._write_at = len(self.entries) + entries.WRITTEN_AT_ONCE
        if self._run.trace is not None:
            return
        before, self._written = self._written, len(self.entries) - entries.WRITTEN_AT_ONCE
        self._write(range(before, self._written))

    def _write(self, places: Sequence[int]) -> None:
        entries.write(self.entries, places)
        if self._lists:
            closed = {entries.url_of(self.entries[at]) for at in places}
            self._lists = {key: known for key, known in self._lists.items() if key[0] not in closed}

    def put_shared(self, kind: str, identity: str, resource: Json, identifier: Json | None, scoped: bool) -> Json:
        """Add a resource that the server may have already: it is found by the Identifier that is its key.

        A scoped resource (an order with a number that restarts) is never found by the sender's number alone.
        """
        if kind == "Patient":
            identifier = self._without_counters(resource, identifier)
        url = "urn:uuid:" + identity
        self.made[identity] = reference = {"reference": url}
        if len(self.entries) >= self._write_at:
            self._write_older()
        if not self.transaction:
            self.entries.append({"fullUrl": url, "resource": {**resource, "id": identity}})
            return reference
        query = self._query(kind, identity, resource, identifier, scoped)
        self.entries.append(
            {"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": kind, "ifNoneExist": query}}
        )
        return reference

    def put_matched(self, kind: str, identity: str, resource: Json, identifier: Json | None, scoped: bool) -> Json:
        """Add a resource that takes the place of what the server has under the Identifier that is its key, or is made.

        One that this message made before is joined to it. The journal remembers which resources a message updates
        together, so that an older message for the same ones is never sent after a newer one.

        Raises:
            ContentError: it is a Patient whose number is a counter: the record of another person would be overwritten.
        """
        if kind == "Patient" and (identifier is None or not self.bearers.lasts(identifier)):
            text = (
                "a patient's record is updated by a number that lasts, and nothing says so (patient_numbers: lasting)"
            )
            raise self._run.dead(ReasonCode.NO_IDENTITY, text)
        if identity in self.made:
            self._join("urn:uuid:" + identity, resource)
            return self.made[identity]
        if len(self.entries) >= self._write_at:
            self._write_older()
        url = "urn:uuid:" + identity
        self.made[identity] = reference = {"reference": url}
        if not self.transaction:
            self.entries.append({"fullUrl": url, "resource": {**resource, "id": identity}})
            return reference
        query = self._query(kind, identity, resource, identifier, scoped)
        change = {"method": "PUT", "url": f"{kind}?{query}"}
        self.entries.append({"fullUrl": url, "resource": resource, "request": change})
        self._updated.append(f"{kind}?{query}")
        return reference

    def remembered(self) -> tuple[Report, ...]:
        """The reports of this message for the journal to record, and the resources that it updates, in any order."""
        reports = [*self.reports.values()]
        if self._updated:
            reports.append(Report(key=self.token(SEPARATOR.join(["updates", *sorted(self._updated)]))))
        return tuple(reports)

    def _query(self, kind: str, identity: str, resource: Json, identifier: Json | None, scoped: bool) -> str:
        """The search by which the server finds a resource; adds the Identifier that it needs."""
        if scoped and not self.scope.unique:
            identifier = None
        elif identifier is None or "system" not in identifier:  # a bare number may be any person's
            identifier = next((one for one in resource.get("identifier", ()) if "system" in one), None)
        if identifier is None:
            identifier = {"system": OWN_SYSTEM, "value": identity}
            resource["identifier"] = [*resource.get("identifier", []), identifier]
        query = f"identifier={_quoted_system(identifier.get('system', ''))}%7C{_quoted(identifier['value'])}"
        self.conditional.append(self.token(f"{kind}?{query}"))
        return query

    def add_to(self, reference: Json, elements: Json) -> None:
        """Add elements to a resource of this message: those that it lacks, and further items of its lists."""
        self._join(reference["reference"], elements)

    def _resource(self, url: str) -> Json:
        """A resource of this message by its address. One message may ask ten thousand times."""
        for at in range(self._indexed, len(self.entries)):
            self._at[entries.url_of(self.entries[at])] = at
        self._indexed = len(self.entries)
        at = self._at[url]
        entry = self.entries[at]
        if isinstance(entry, entries.Written):
            if len(self._opened) >= entries.WRITTEN_AT_ONCE:
                again, self._opened = self._opened, []
                self._write(again)
            entry = self.entries[at] = entries.opened(entry)
            self._opened.append(at)
        resource: Json = entry["resource"]
        return resource

    def _join(self, url: str, second: Json) -> None:
        """Two rules or groups made the same resource: add the elements that the first lacks, join lists.

        A message may do so ten thousand times: no list is copied or compared as a whole each time.
        """
        first = self._resource(url)
        for name, value in second.items():
            there = first.get(name)
            if there is None:
                first[name] = value
                continue
            there, value = _opened(there), _opened(value)
            if isinstance(there, list) and isinstance(value, list):
                known = self._lists.get((url, name))
                if known is None or known[0] is not there:
                    # A list may be one that is kept for other messages: the resource gets its own.
                    first[name] = there = there.copy()
                    known = self._lists[url, name] = there, {_equal_as(one) for one in there}
                new = [(equal, one) for one in value if (equal := _equal_as(one)) not in known[1]]
                known[1].update(equal for equal, _ in new)
                there += [one for _, one in new]

    # -- whose -----------------------------------------------------------------------------------------------------

    def report(self, number: str, patient: str | None, time: str, person: list[str]) -> None:
        """Note the patient of an order or specimen number and the day, for the journal's record of numbers.

        A unique number is unique in the whole site; a report with neither number nor patient belongs to this message
        alone. ``person`` is the fields of the PID or P at hand.
        """
        day = ""
        if self.scope.unique and number != NO_NUMBER:
            place = ""
        elif self.scope.apart or (patient is None and number == NO_NUMBER):
            place = self.scope.this_message()
        else:
            place, day = self._whose, self.scope.day(time)
            if number == NO_NUMBER:
                place += f"{SEPARATOR}{patient}"
            elif patient is None:
                place += self.scope.named
        key = report_key(self.token(f"report{SEPARATOR}{number}{SEPARATOR}{place}"), day)
        token = b"" if patient is None else self._patient_number(patient)
        who = b"" if patient is None else self._bearer(key, number, patient, token, person)
        known = self.reports.setdefault(key, Report(key=key, patient=token, person=who))
        if self.scope.unique and known.patient != token:  # their specimens and reports would become one
            raise self._run.dead(ReasonCode.IDENTITY_CONFLICT, "one number belongs to two patients in this message")
        if self.scope.unique and number != NO_NUMBER:
            self._use(key, time)

    def _use(self, key: bytes, time: str) -> None:
        """Note the use of a unique number: its day, and the report that was made last."""
        before = self.used.get(key)
        day = ordinal(self.scope.day(time)) if before is None else before.day
        last = [one["reference"].removeprefix("urn:uuid:") for one in self.own_reports[-1:]]
        reports = (*(before.reports if before else ()), *last)
        self.used[key] = UsedNumber(key, day, self._run.context.reuse_days, reports)

    def _bearer(self, key: bytes, number: str, patient: str, token: bytes, person: list[str]) -> bytes:
        """Note who bears the patient number of a report; the hash of the whole record."""
        if patient.startswith(OTHER):
            own = patient.removeprefix(OTHER).partition(SEPARATOR)[2]
            return self.bearers.note(self.token(f"patient{SEPARATOR}{own}"), person, lasts=True)
        if not patient.startswith(COUNTER):
            return self.bearers.note(token, person, lasts=True)
        if self._orders.get(patient) in ("", number):  # known by its message, or compared with its Patient
            return self.bearers.whole(person)
        if self._orders and self.bearers.person(key, person) > 1:
            raise self._run.dead(
                ReasonCode.IDENTITY_CONFLICT, "one order of two persons, and not the first of its message"
            )
        return self.bearers.note(key, person, lasts=False)

    def whose(
        self, identifier: Json, group: Group, person: list[str], master: bool = False, *, noted: bool = True
    ) -> str:
        """The part of result keys that replaces a patient number.

        Args:
            person: as for `report`.
            master: the sender keeps the record of this person, which is updated.
            noted: the person behind the number goes to the journal.
        """
        if self.bearers.lasts(identifier):
            patient = self.identity_of(identifier)
            number = self._patient_number(patient)
            if noted:
                self.bearers.note(number, person, lasts=True, master=master)
            if (which := self.bearers.person(number, person)) > 1:
                self.bearers.told_apart.add((identifier.get("system"), identifier["value"]))
                patient = f"{OTHER}{which}{SEPARATOR}{patient}"
            return patient
        patient, order = self.bearers.counter(identifier["value"]), self.bearers.order_number(group)
        if not order:
            patient = f"{patient}{SEPARATOR}{self.scope.this_message()}"
        else:
            number = self.token(f"patient{SEPARATOR}{self.patient_key(patient, group)}")
            if noted:
                self.bearers.note(number, person, lasts=False)
            if (which := self.bearers.person(number, person)) > 1:
                patient = f"{patient}{SEPARATOR}{which}"
        self._orders[patient] = order
        return patient

    def patient_key(self, patient: str, group: Group) -> str:
        """The key of a Patient: a number that lasts alone, a counter with its order and day, else this message."""
        if not patient.startswith(COUNTER):
            return patient
        order = self.bearers.order_number(group)
        if self._day_of is None or self._day_of[0] is not group:
            self._day_of = group, self.scope.day(self.scope.order_time(group))
        return f"{patient}{SEPARATOR}{order}{SEPARATOR}{self._day_of[1]}"

    def _without_counters(self, resource: Json, identifier: Json | None) -> Json | None:
        """Remove from a Patient the numbers that may be another person's tomorrow; return the identifiers to find it
        by.
        """
        if self.bearers.all_stand_alone:
            return identifier if identifier is not None and self.bearers.lasts(identifier) else None
        if numbers := resource.get("identifier"):
            kept = [one for one in numbers if self.bearers.stands_alone(one)]
            if kept:
                resource["identifier"] = kept
            else:
                del resource["identifier"]
        if identifier is None or not self.bearers.lasts(identifier) or not self.bearers.stands_alone(identifier):
            return None
        return identifier

    def no_identity(self, kind: str) -> ContentError:
        return self._run.dead(ReasonCode.NO_IDENTITY, f"the key of {kind} is absent")

    # -- results that are dropped ----------------------------------------------------------------------------------

    @property
    def own(self) -> list[Json]:
        """References of what is written under our own ids."""
        return [{"reference": entries.url_of(one)} for one in self.entries if entries.is_own(one)]

    @property
    def observations(self) -> int:
        """How many Observations there are."""
        kinds = [
            one.kind if isinstance(one, entries.Written) else one["resource"]["resourceType"] for one in self.entries
        ]
        return kinds.count("Observation")

    @property
    def has_written(self) -> bool:
        """Whether entries were written."""
        return self._written > 0

    def has(self, kind: str) -> bool:
        """Whether there is a resource of this type."""
        return any(entries.kind_of(entry) == kind for entry in self.entries)

    def made_and_dropped(self) -> tuple[int, int]:
        return len(self.entries), self.dropped

    def drop_row(self, group: Group) -> None:
        """A result whose code is not in a table with ``on_missing: drop``."""
        self._run.drop(group)
        self.dropped += 1

    def check_drops(self, before: tuple[int, int]) -> None:
        """The last result of a report is never dropped."""
        if self.dropped == before[1]:
            return
        since = self.entries[before[0] :]
        if not any(entries.kind_of(entry) == "Observation" for entry in since):
            raise self._run.dead(ReasonCode.UNMAPPED_CODE, "every result of this report would be dropped")


def _base(key: bytes, kind: str) -> Any:
    """The state of the keyed hash that has read a type of resource; to be copied."""
    state = blake2b(digest_size=16, key=key)
    if kind:
        state.update(f"{kind}{SEPARATOR}".encode())
    return state


class _States(dict[str, Any]):
    """Type of resource -> state of the keyed hash that has read it. There are few types."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key

    def __missing__(self, kind: str) -> Any:
        state = self[kind] = _base(self._key, kind)
        return state


_states = lru_cache(maxsize=16)(_States)  # a site has one key


def _quoted(text: str) -> str:
    """A part of a token in a conditional URL (FHIR R4, search 3.1.1.4.0.4).

    Without their backslash, a comma would divide the token into alternatives and a bar would move its system: a server
    would find the person whose number is the part before it.
    """
    if _UNRESERVED(text):
        return text
    return quote(_SEARCH_MARKS.sub(r"\\\g<0>", text), safe="")


@lru_cache(maxsize=1024)
def _quoted_system(text: str) -> str:
    """A site has few systems; they are the same in every message."""
    return _quoted(text)


def _opened(value: Any) -> Any:
    """A list that is kept from message to message as its JSON, as a list."""
    if isinstance(value, Fragment) and (text := orjson.dumps(value)).startswith(b"["):
        return with_digits(text)
    return value


def _equal_as(one: Any) -> bytes:
    """Equal for equal elements of a list, also where one has parts that are kept as their JSON."""
    return kept(with_digits(orjson.dumps(one)), OPT_SORT_KEYS)
