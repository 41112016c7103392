"""Transactions, batches and single interactions (FHIR R4, http.html sections 3.1.0.6 to 3.1.0.11).

A transaction goes in the specification's order, all or nothing:

    1. every entry is read, and conditional creates and updates are looked up, before anything is written
    2. two entries that mean the same resource: 400
    3. DELETE, POST, PUT, then GET; references by fullUrl and conditional references become Type/id on the way
    4. the answer has an entry for each entry, in the order of the request

A conditional request that several resources match is 412. Where R4 leaves a decision to the server, the strict one is
taken, so that a mistake shows here and not at a hospital: a reference to a fullUrl that is not in the Bundle, or a
conditional one that nothing matches, is 400.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from workbench.errors import MalformedError, RefusalError
from workbench.sandbox.exact_json import render
from workbench.sandbox.rules import check_id, check_resource, check_type
from workbench.sandbox.search import Query, included, read_conditions, read_query, terms_of
from workbench.sandbox.store import Store, Version

METHODS = ("DELETE", "POST", "PUT", "GET", "HEAD")  # in the order of a transaction
# In rendered JSON a quote inside a string is escaped: this can only be the element itself.
_REFERENCE = re.compile(rb'"reference":"((?:[A-Za-z][A-Za-z0-9+.-]*:|[A-Z][A-Za-z]*\?)(?:[^"\\]|\\.)*)"')
_WEAK_ETAG = re.compile(r'(?:W/)?"(\d+)"')


@dataclass(slots=True, kw_only=True)
class Interaction:
    """One thing to do.

    Attributes:
        conditional: the search of a conditional create or update, as sent, without ``?``.
        found: a conditional request met this resource (its id), nothing or one.
        query: of a GET without an id.
    """

    method: str
    type: str = ""
    id: str = ""
    resource: dict[str, Any] | None = None
    full_url: str = ""
    conditional: str | None = None
    if_match: str = ""
    version: int | None = None
    query: Query | None = None
    found: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an interaction.

    Attributes:
        status: the HTTP status: 200, 201 or 204.
        did: ``created``, ``updated``, ``found``, ``deleted`` or ``read``, for the counters.
    """

    status: int
    did: str
    version: Version | None = None
    matches: list[Version] = field(default_factory=list)
    total: int = 0
    included: list[Version] = field(default_factory=list)


class Interactions:
    """Carries out requests on ``store``; ``base`` is our own address, as references may have it."""

    def __init__(self, store: Store, base: str, now_us: int, *, blind: bool = False) -> None:
        """
        Args:
            blind: ``ifMatch`` of a conditional update is not looked at, as some servers do.
        """
        self._store = store
        self._blind = blind
        self._base = base.rstrip("/") + "/"
        self._now_us = now_us - now_us % 1000  # meta.lastUpdated has milliseconds: searches must agree with it
        self._updated = instant(self._now_us)

    def transaction(self, bundle: dict[str, Any]) -> list[Result]:
        """All entries, or none.

        Raises:
            RefusalError: nothing was written.
        """
        todo: list[Interaction] = []
        names: dict[str, str] = {}
        taken: set[tuple[str, str]] = set()
        for position, entry in enumerate(entries_of(bundle)):
            place = f"Bundle.entry[{position}]"
            try:
                todo.append(self._plan(entry, names, taken))
            except RefusalError as refusal:
                raise refusal.inside(place) from None
        results: list[Result | None] = [None] * len(todo)
        with self._store.transaction():
            for position in sorted(range(len(todo)), key=lambda at: METHODS.index(todo[at].method)):
                try:
                    results[position] = self._carry_out(todo[position], names)
                except RefusalError as refusal:
                    raise refusal.inside(f"Bundle.entry[{position}]") from None
        return [result for result in results if result is not None]

    def batch(self, bundle: dict[str, Any]) -> Iterator[Result | RefusalError]:
        """Each entry on its own."""
        for entry in entries_of(bundle):
            try:
                yield self.single(read_entry(entry))
            except RefusalError as refusal:
                yield refusal

    def single(self, interaction: Interaction) -> Result:
        """One interaction.

        Raises:
            RefusalError: nothing was written.
        """
        self._identify(interaction)
        with self._store.transaction():
            return self._carry_out(interaction, {})

    def _plan(self, entry: Any, names: dict[str, str], taken: set[tuple[str, str]]) -> Interaction:
        """Read an entry and find out which resource it means; notes it in ``names`` and ``taken``."""
        interaction = read_entry(entry)
        self._identify(interaction)
        if interaction.method in ("GET", "HEAD"):
            return interaction
        targets = {(interaction.type, interaction.id), *_condition_of(interaction)}
        if targets & taken:
            raise RefusalError(400, "duplicate", "another entry of this transaction means the same resource")
        taken |= targets
        if interaction.full_url:
            if interaction.full_url in names:
                raise RefusalError(400, "duplicate", "another entry has the same fullUrl", "fullUrl")
            names[interaction.full_url] = f"{interaction.type}/{interaction.id}"
        return interaction

    def _identify(self, interaction: Interaction) -> None:
        """Give the interaction its id, looking up conditions."""
        body_id = interaction.resource.get("id") if interaction.resource is not None else None
        if interaction.conditional is None:
            if interaction.method == "POST":
                interaction.id = str(uuid.uuid4())  # R4: an id in the body of a create is ignored
            elif interaction.method == "PUT" and body_id != interaction.id:
                raise RefusalError(400, "invalid", "the resource's id is not the one in the address", "resource.id")
            return
        matches = self._store.find(interaction.type, read_conditions(interaction.conditional), 2)
        if len(matches) > 1:
            raise RefusalError(412, "multiple-matches", "several resources match the condition", "request")
        if matches:
            if interaction.method == "PUT" and body_id is not None and body_id != matches[0]:
                raise RefusalError(
                    400, "invalid", "the resource's id is not that of the resource that matches", "resource.id"
                )
            interaction.id, interaction.found = matches[0], True
        elif interaction.method == "PUT" and body_id is not None:
            interaction.id = check_id(body_id, "resource.id")
            if self._store.version_of(interaction.type, interaction.id) is not None:
                raise RefusalError(409, "conflict", "nothing matches, but the resource's id is taken", "resource.id")
        else:
            interaction.id = str(uuid.uuid4())

    def _carry_out(self, interaction: Interaction, names: dict[str, str]) -> Result:
        match interaction.method:
            case "GET" | "HEAD":
                return self._read(interaction)
            case "DELETE":
                return self._delete(interaction)
            case "POST" if interaction.found:
                return Result(200, "found", self._store.read(interaction.type, interaction.id))
            case _:
                return self._write(interaction, names)

    def _write(self, interaction: Interaction, names: dict[str, str]) -> Result:
        kind, identity = interaction.type, interaction.id
        before = self._store.version_of(kind, identity)
        if interaction.if_match and not (self._blind and interaction.conditional is not None):
            etag = _WEAK_ETAG.fullmatch(interaction.if_match)
            if before is None or etag is None or int(etag[1]) != before[0]:
                raise RefusalError(412, "conflict", "If-Match names another version", "request.ifMatch")
        assert interaction.resource is not None
        content = {name: value for name, value in interaction.resource.items() if name not in ("resourceType", "id")}
        meta = content.pop("meta", {})
        if not isinstance(meta, dict):
            raise RefusalError(422, "structure", "meta is an object", f"{kind}.meta")
        resolved: dict[str, str] = {}
        try:
            rendered = render(content)
            check_resource(interaction.resource, kind, rendered)
            rest = self._resolve(rendered, names, resolved)
            terms = terms_of(interaction.resource, resolved)
            body = b""

            def make_body(version: int) -> bytes:
                nonlocal body
                whole_meta = {**meta, "versionId": str(version), "lastUpdated": self._updated}
                head = render({"resourceType": kind, "id": identity, "meta": whole_meta})
                body = head[:-1] + b"," + rest[1:] if content else head
                return body

            version = self._store.write(kind, identity, interaction.method, self._now_us, terms, make_body)
        except MalformedError as error:
            raise RefusalError(400, "structure", str(error), "resource") from None
        made = before is None or before[1]
        return Result(
            201 if made else 200,
            "created" if made else "updated",
            Version(kind, identity, version, self._now_us, interaction.method, body),
        )

    def _delete(self, interaction: Interaction) -> Result:
        before = self._store.version_of(interaction.type, interaction.id)
        if before is not None and not before[1]:
            self._store.write(interaction.type, interaction.id, "DELETE", self._now_us, [], lambda version: b"")
        return Result(204, "deleted")

    def _read(self, interaction: Interaction) -> Result:
        if interaction.query is not None:
            query = interaction.query
            total = self._store.count(interaction.type, query.conditions)
            matches = (
                []
                if query.only_total
                else self._store.search(
                    interaction.type,
                    query.conditions,
                    newest_first=query.newest_first,
                    limit=query.count,
                    offset=query.offset,
                )
            )
            return Result(200, "read", matches=matches, total=total, included=self._included(matches, query.includes))
        version = self._store.read(interaction.type, interaction.id, interaction.version)
        if version is None:
            raise RefusalError(404, "not-found", "no such resource, or no such version of it")
        if version.deleted:
            raise RefusalError(410, "deleted", "this resource was deleted")
        return Result(200, "read", version)

    def _included(self, matches: Iterable[Version], includes: Sequence[str]) -> list[Version]:
        found: dict[str, Version] = {}
        todo = list(matches) if includes else []
        while todo:
            for reference in included(orjson.loads(todo.pop().body), includes):
                kind, _, identity = reference.partition("/")
                one = self._store.read(kind, identity) if reference not in found else None
                if one is not None and not one.deleted:
                    found[reference] = one
                    todo.append(one)
        return list(found.values())

    def _resolve(self, rendered: bytes, names: dict[str, str], resolved: dict[str, str]) -> bytes:
        """Replace references to entries of the Bundle and conditional ones; notes each in ``resolved``."""

        def target(match: re.Match[bytes]) -> bytes:
            reference: str = orjson.loads(b'"' + match[1] + b'"')
            if reference not in resolved:
                resolved[reference] = self._target(reference, names)
            return b'"reference":' + orjson.dumps(resolved[reference])

        return _REFERENCE.sub(target, rendered)

    def _target(self, reference: str, names: dict[str, str]) -> str:
        if reference in names:
            return names[reference]
        if reference.startswith(("urn:uuid:", "urn:oid:")):
            raise RefusalError(400, "not-found", "a reference to a fullUrl that is not in the Bundle", "resource")
        if reference.startswith(self._base):
            return reference[len(self._base) :]
        kind, _, query = reference.partition("?")
        if ":" in kind:
            return reference  # another server's
        matches = self._store.find(check_type(kind, "resource"), read_conditions(query), 2)
        if len(matches) > 1:
            raise RefusalError(412, "multiple-matches", "several resources match a conditional reference", "resource")
        if not matches:
            raise RefusalError(400, "not-found", "nothing matches a conditional reference", "resource")
        return f"{kind}/{matches[0]}"


def _condition_of(interaction: Interaction) -> set[tuple[str, str]]:
    """Two creates on one condition would both find nothing, and make two resources."""
    return set() if interaction.conditional is None else {(interaction.type, f"?{interaction.conditional}")}


def entries_of(bundle: dict[str, Any]) -> list[Any]:
    """The entries of a Bundle.

    Raises:
        RefusalError: 400.
    """
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        raise RefusalError(400, "structure", "this element needs a list", "Bundle.entry")
    return entries


def read_entry(entry: Any) -> Interaction:
    """An entry of a transaction or batch.

    Raises:
        RefusalError: 400.
    """
    request = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(request, dict) or not all(isinstance(value, str) for value in request.values()):
        raise RefusalError(400, "required", "an entry needs a request with method and url", "request")
    full_url = entry.get("fullUrl", "")
    if not isinstance(full_url, str):
        raise RefusalError(400, "structure", "fullUrl is a string", "fullUrl")
    interaction = read_request(
        request.get("method", ""), request.get("url", ""), entry.get("resource"), request.get("ifNoneExist")
    )
    interaction.full_url = full_url
    interaction.if_match = request.get("ifMatch", "")
    return interaction


def read_request(method: str, url: str, resource: Any, if_none_exist: str | None = None) -> Interaction:
    """A request of an entry, or from the wire, with ``url`` relative to the base.

    Raises:
        RefusalError: 400.
    """
    path, _, query = url.partition("?")
    kind, *rest = path.split("/")
    check_type(kind, "request.url")
    if method not in METHODS:
        raise RefusalError(400, "not-supported", "the sandbox knows " + ", ".join(METHODS), "request.method")
    interaction = Interaction(method=method, type=kind)
    if rest:
        interaction.id = check_id(rest[0], "request.url")
    if len(rest) == 3 and rest[1] == "_history" and rest[2].isdigit() and method in ("GET", "HEAD"):
        interaction.version = int(rest[2])
    elif len(rest) > 1:
        raise RefusalError(400, "not-supported", "no such address", "request.url")
    if method in ("GET", "HEAD"):
        if not rest:
            interaction.query = read_query(query)
        return interaction
    if method == "DELETE":
        if not rest or query:
            raise RefusalError(400, "not-supported", "DELETE needs Type/id", "request.url")
        return interaction
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        raise RefusalError(400, "invalid", "the resource is missing, or not of the address's type", "resource")
    interaction.resource = resource
    if method == "POST":
        if rest or query:
            raise RefusalError(400, "invalid", "POST goes to the type", "request.url")
        interaction.conditional = if_none_exist
    elif not rest:
        interaction.conditional = query  # an empty one is refused where conditions are read
    elif query:
        raise RefusalError(400, "invalid", "either an id or a condition", "request.url")
    return interaction


def instant(updated_us: int) -> str:
    """``meta.lastUpdated`` of a stored time."""
    at = datetime.fromtimestamp(updated_us / 1_000_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
