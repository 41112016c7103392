"""A laboratory system that orders at its own FHIR server, where LabRelay has to search for it. All of it is made up.

    PUT Patient, Specimen, ServiceRequest      a new order: active; a cancel: revoked; a hold: on-hold
    PUT Task, with ``tasks``                   a new order: requested; a cancel: cancelled; its ServiceRequest is active

The server is the sandbox itself. A channel with ``source: {kind: fhir-search}`` finds what changed there; LabRelay
writes a Task of its own for an order, and changes that of the laboratory system, where its site says so. The sandbox
keeps each version, and refuses a write whose If-Match names an older one (412).
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import aiohttp

from workbench.sandbox.lis import FAMILY, GIVEN, Action, LisOrder, OrderAnswer

STATUS: dict[Action, str] = {"new": "active", "release": "active", "hold": "on-hold", "cancel": "revoked"}
TASK_STATUS: dict[Action, str] = {"new": "requested", "release": "requested", "hold": "on-hold", "cancel": "cancelled"}
WITHIN_S = 30.0
NUMBERS = "urn:sandbox:order"


class FhirLis:
    """Orders at one server. ``counts``: orders, by what was asked. ``tasks``: each by a Task of its own."""

    def __init__(self, url: str, *, tasks: bool = False, say: Callable[[str], None] | None = None) -> None:
        self._url = url
        self._tasks = tasks
        self._say = say or (lambda text: None)
        self.counts: Counter[str] = Counter()

    async def order(self, orders: Sequence[LisOrder], action: Action = "new", *, at: datetime) -> OrderAnswer:
        """Write the requests; there is no answer to them.

        Raises:
            OSError: the server does not take one.
        """
        timeout = aiohttp.ClientTimeout(total=WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for resource in _resources(orders, "new" if self._tasks else action, at):
                await self._put(http, resource)
            for one in orders if self._tasks else ():
                await self._put(http, _task(one, action, at))
        status = (TASK_STATUS if self._tasks else STATUS)[action]
        for one in orders:
            self.counts[action] += 1
            self._say(f"{action} {one.number} {one.tube} {one.test}: {status}, to be searched")
        return OrderAnswer("")

    async def _put(self, http: aiohttp.ClientSession, resource: dict[str, Any]) -> None:
        url = f"{self._url}/{resource['resourceType']}/{resource['id']}"
        try:
            async with http.put(url, json=resource, headers={"Content-Type": "application/fhir+json"}) as answer:
                if answer.status >= 300:
                    raise OSError(f"{resource['resourceType']}: HTTP {answer.status}")
        except aiohttp.ClientError as error:
            raise OSError(type(error).__name__) from error

    async def close(self) -> None:
        """There is nothing to end."""


def _resources(orders: Sequence[LisOrder], action: Action, at: datetime) -> list[dict[str, Any]]:
    patient = orders[0].patient
    rng = random.Random(patient)
    name = {"family": rng.choice(FAMILY), "given": [rng.choice(GIVEN)]}
    born = f"{rng.randrange(1940, 2015)}-01-02"
    found: list[dict[str, Any]] = [
        {
            "resourceType": "Patient", "id": patient, "name": [name], "birthDate": born,
            "identifier": [{"system": "urn:sandbox:patient", "value": patient}],
        }
    ]  # fmt: skip
    found += [
        {
            "resourceType": "Specimen", "id": f"S-{tube}", "accessionIdentifier": {"value": tube},
            "subject": {"reference": f"Patient/{patient}"},
        }
        for tube in dict.fromkeys(one.tube for one in orders)
    ]  # fmt: skip
    found += [
        {
            "resourceType": "ServiceRequest", "id": one.number, "intent": "order", "status": STATUS[action],
            "identifier": [{"system": NUMBERS, "value": one.number}], "priority": "stat" if one.stat else "routine",
            "code": {"coding": [{"code": one.test}]}, "subject": {"reference": f"Patient/{patient}"},
            "specimen": [{"reference": f"Specimen/S-{one.tube}"}], "authoredOn": at.astimezone().isoformat(),
        }
        for one in orders
    ]  # fmt: skip
    return found


def _task(one: LisOrder, action: Action, at: datetime) -> dict[str, Any]:
    return {
        "resourceType": "Task", "id": f"T-{one.number}", "intent": "order", "status": TASK_STATUS[action],
        "focus": {"reference": f"ServiceRequest/{one.number}"}, "for": {"reference": f"Patient/{one.patient}"},
        "authoredOn": at.astimezone().isoformat(),
    }  # fmt: skip
