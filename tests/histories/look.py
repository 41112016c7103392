"""What a history left behind: the journal's messages joined with what was sent, and the versions on the server."""

import base64
import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.histories.history import Json
from tests.histories.render import ISOLATE, UNIT
from tests.histories.seen import Delivery, Kept, Logged, Made, Report, Row, Seen, Version

Try = tuple[int, bytes, bool]  # id of the message, its bytes, whether it was acknowledged
Done = tuple[str, int]  # an act, and the newest number in the journal when it was done
_PATIENT = "Patient/"


def align(tries: Sequence[Try], messages: Sequence[Json]) -> dict[int, int]:
    """Which message each row of a channel's journal is: number of the row -> id of the message.

    Where the same bytes were sent for several messages, rows and tries are taken in order. A try without an answer may
    be there or not; where there are fewer rows than tries, the earliest of those is taken not to be.
    """
    by_bytes: dict[bytes, list[Try]] = defaultdict(list)
    rows: dict[bytes, list[int]] = defaultdict(list)
    for one in tries:
        by_bytes[one[1]].append(one)
    for message in messages:
        if message["state"] != "incomplete":
            rows[base64.b64decode(message["payload"])].append(message["id"])
    found = {}
    for data, numbers in rows.items():
        sent = by_bytes.get(data, [])
        spare = len(sent) - len(numbers)
        kept = []
        for one in sent:
            if spare > 0 and not one[2]:
                spare -= 1
            else:
                kept.append(one[0])
        for place, number in enumerate(numbers):
            if kept:
                found[number] = kept[min(place, len(kept) - 1)]
    return found


def rows_of(messages: Sequence[Json], send_of: Mapping[int, int], acts: Mapping[int, list[Done]]) -> tuple[Row, ...]:
    return tuple(
        Row(
            send=send_of[message["id"]],
            number=message["id"],
            state=message["state"],
            reason=message["reason"],
            deliveries=_deliveries(message),
            acts=tuple(act for act, _ in acts.get(message["id"], ())),
            decided_at=max((newest for _, newest in acts.get(message["id"], ())), default=0),
        )
        for message in messages
        if message["id"] in send_of
    )


def kept_of(item: Json) -> Kept:
    """An order of the journal's worklist; its laboratory system is named ``h3c1``."""
    return Kept(
        number=item["number"],
        lis=int(item["source"].rpartition("c")[2]),
        placer=item["placer"],
        test=item["test"],
        named=item["named"],
        tube=item["tube"],
        patient=item["patient"],
        state=item["state"],
        reason=item["reason"],
        events=tuple((event, state, message) for event, state, message, _ in item["events"]),
    )


def logged_of(question: Json, asking: int) -> Logged:
    return Logged(
        asking=asking,
        items=tuple(question["items"]),
        ended=question["ended"] and not question["open"],
        outcome=question["outcome"],
        none=tuple(question["none"]),
    )


def control_of(message: Json) -> str:
    """MSH-10."""
    return base64.b64decode(message["payload"]).split(b"\r")[0].split(b"|")[9].decode()


def _deliveries(message: Json) -> tuple[Delivery, ...]:
    made = {ident: _observations(json.loads(text)) for ident, text in message["documents"].items()}
    return tuple(
        Delivery(state=one["state"], cause=one["cause"] or "", made=made.get(str(one["document"]), ()))
        for one in message["deliveries"]
    )


def _observations(document: Json) -> tuple[Made, ...]:
    found = []
    for entry in document.get("entry", ()):
        resource = entry.get("resource", {})
        if resource.get("resourceType") == "Observation":
            ident = resource.get("id") or entry["request"]["url"].rpartition("/")[2]
            status, value = resource["status"], value_of(resource)
            found.append(Made(id=ident, test=_test(resource), status=status, value=value))
    return tuple(found)


def _test(resource: Json) -> str:
    code = resource["code"]
    test = str(code.get("text") or code["coding"][0]["code"])
    return f"{test}:{value_of(resource)}" if test == ISOLATE else test


def value_of(resource: Json) -> str:
    """A number or words, as one text; empty where there is none."""
    if "valueQuantity" in resource:
        return str(resource["valueQuantity"].get("value", ""))
    if "valueCodeableConcept" in resource:
        concept = resource["valueCodeableConcept"]
        return str(concept.get("text") or concept["coding"][0]["code"])
    return str(resource.get("valueString", "")).removesuffix(f" {UNIT}")


class Server:
    """What the server keeps, with all versions."""

    def __init__(self, folder: Path) -> None:
        self.observations: dict[str, tuple[Version, ...]] = {}
        self.reports: dict[str, Report] = {}
        versions: dict[str, list[Version]] = defaultdict(list)
        database = sqlite3.connect(folder / "sandbox.sqlite3")
        try:
            rows = database.execute(
                "SELECT r.type, r.id, h.body FROM resource r JOIN history h ON h.number = r.number"
                " WHERE r.type IN ('Observation', 'DiagnosticReport') AND h.method != 'DELETE'"
                " ORDER BY r.number, h.version"
            )
            for kind, ident, body in rows:
                resource = json.loads(body)
                patient = resource.get("subject", {}).get("reference", "").removeprefix(_PATIENT)
                if kind == "Observation":
                    versions[ident].append(
                        Version(status=resource["status"], value=value_of(resource), patient=patient)
                    )
                else:
                    results = frozenset(one["reference"].rpartition("/")[2] for one in resource.get("result", ()))
                    self.reports[ident] = Report(status=resource["status"], patient=patient, results=results)
        finally:
            database.close()
        self.observations = {ident: tuple(some) for ident, some in versions.items()}

    def seen(self, answered: frozenset[int], rows: tuple[Row, ...], *, quiet: bool) -> Seen:
        """What concerns the messages ``rows``."""
        idents = {made.id for row in rows for delivery in row.deliveries for made in delivery.made}
        own = {ident: self.observations[ident] for ident in idents if ident in self.observations}
        patients = {version.patient for some in own.values() for version in some} - {""}
        return Seen(
            answered=answered,
            rows=rows,
            observations=own,
            reports={ident: report for ident, report in self.reports.items() if report.results & idents},
            elsewhere=frozenset(
                version.patient
                for ident, some in self.observations.items()
                if ident not in idents
                for version in some
                if version.patient in patients
            ),
            quiet=quiet,
        )
