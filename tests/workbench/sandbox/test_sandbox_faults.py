"""Faults of the sandbox, as the FHIR destination meets them: each has its meaning, and none makes a duplicate."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from adapters.destinations import fhir_rest
from adapters.destinations.fhir_rest import FhirRest
from engine.model.errors import DeliveryError, DestinationDownError, RefusedDeliveryError, TransientDeliveryError
from engine.model.process.clock import ManualClock
from engine.model.texts.reasons import ReasonCode
from tests.support.deliveries import Auth, Basic, Bearer, Secret, Settings, delivery, put, shared, transaction
from workbench.sandbox import Faults, Sandbox

PATIENT = shared("Patient", "00000000-0000-4000-8000-00000000000a", "urn:lab:pid", "P-1")


def document(number: int = 1) -> bytes:
    """A report as a mapping makes it: one shared resource, our own ones under deterministic ids."""
    observation = put(
        "Observation",
        f"o{number}",
        status="final",
        code={"text": "Glucose"},
        subject={"reference": PATIENT["fullUrl"]},
    )
    report = put(
        "DiagnosticReport",
        f"r{number}",
        status="final",
        code={"text": "Panel"},
        subject={"reference": PATIENT["fullUrl"]},
        result=[{"reference": observation["fullUrl"]}],
    )
    return transaction(PATIENT, observation, report)


@asynccontextmanager
async def pair(*, settings: Settings | None = None, **sandbox_settings: Any) -> AsyncIterator[tuple[Sandbox, FhirRest]]:
    """A sandbox, and a destination that delivers to it."""
    sandbox = Sandbox(**sandbox_settings)
    await sandbox.start()
    try:
        async with delivering(sandbox, settings) as lab:
            yield sandbox, lab
    finally:
        await sandbox.stop()


@asynccontextmanager
async def delivering(sandbox: Sandbox, settings: Settings | None = None) -> AsyncIterator[FhirRest]:
    """A destination that delivers to the sandbox."""
    lab = fhir_rest.build("lab", (settings or Settings()).but(url=sandbox.url), ManualClock())
    await lab.start()
    try:
        yield lab
    finally:
        await lab.close()


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "kept"),
    [
        ("503", TransientDeliveryError, ReasonCode.BUSY, False),
        ("409", TransientDeliveryError, ReasonCode.CONFLICT, False),
        ("422", RefusedDeliveryError, ReasonCode.REFUSED, False),
        ("401", DestinationDownError, ReasonCode.NOT_AUTHORIZED, False),
        ("reset", TransientDeliveryError, ReasonCode.NO_ANSWER, False),
        ("html", DestinationDownError, ReasonCode.NOT_FHIR, False),
        ("hang", TransientDeliveryError, ReasonCode.NO_ANSWER, False),
        ("lost", TransientDeliveryError, ReasonCode.NO_ANSWER, True),
        ("cut", TransientDeliveryError, ReasonCode.NO_ANSWER, True),
    ],
)
async def test_each_fault_fails_one_attempt_and_the_next_one_delivers_once(
    fault: str, kind: type[DeliveryError], reason: ReasonCode, kept: bool
) -> None:
    impatient = Settings(timeout=0.3) if fault == "hang" else None
    async with pair(faults=Faults(next=[fault]), settings=impatient) as (sandbox, lab), delivering(sandbox) as second:
        with pytest.raises(DeliveryError) as caught:
            await lab.deliver(delivery(document()))
        assert type(caught.value) is kind
        assert caught.value.reason is reason
        assert sandbox.count("Observation") == (1 if kept else 0)
        await second.deliver(delivery(document(), attempt=1))
        assert sandbox.stats()["resources"] == {"DiagnosticReport": 1, "Observation": 1, "Patient": 1}
        assert sandbox.deliveries() == {delivery().key: 2 if kept else 1}
        assert sandbox.stats()["faults"] == {fault: 1}
        report = sandbox.read("DiagnosticReport", "r1")
        assert report is not None
        assert report["result"] == [{"reference": "Observation/o1"}]


async def test_under_thirty_percent_faults_every_document_arrives_exactly_once() -> None:
    """Retries until delivered, eight at a time, each patient's first document before the others."""
    faults = Faults(fail=0.3, kinds=("503", "429", "reset", "lost", "cut", "html"))
    async with pair(faults=faults, seed=7) as (sandbox, lab):
        failures: Counter[ReasonCode] = Counter()

        async def deliver(number: int) -> None:
            for attempt in range(100):
                try:
                    await lab.deliver(delivery(document(number), key=f"key-{number}", attempt=attempt))
                except TransientDeliveryError as error:
                    failures[error.reason] += 1
                else:
                    return
            raise AssertionError("a hundred attempts failed")

        await deliver(0)
        numbers = iter(range(1, 200))

        async def lane() -> None:
            for number in numbers:
                await deliver(number)

        await asyncio.gather(*(lane() for _ in range(8)))
        assert sandbox.stats()["resources"] == {"DiagnosticReport": 200, "Observation": 200, "Patient": 1}
        assert set(sandbox.deliveries()) == {f"key-{number}" for number in range(200)}
        assert failures.keys() == {ReasonCode.BUSY, ReasonCode.NO_ANSWER, ReasonCode.NOT_FHIR}
        assert failures.total() == sum(sandbox.stats()["faults"].values())


async def test_the_same_seed_makes_the_same_faults() -> None:
    outcomes = []
    for _ in range(2):
        async with pair(faults=Faults(fail=0.5, kinds=("503",)), seed=3) as (_, lab):
            outcomes.append([await succeeds(lab, number) for number in range(20)])
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {True, False}


async def succeeds(lab: FhirRest, number: int) -> bool:
    try:
        await lab.deliver(delivery(document(number)))
    except DeliveryError:
        return False
    return True


async def test_a_refused_identifier_refuses_its_document_alone() -> None:
    async with pair(faults=Faults(refuse=frozenset({"P-1"}))) as (sandbox, lab):
        with pytest.raises(RefusedDeliveryError) as caught:
            await lab.deliver(delivery(document()))
        assert b"refused on purpose" in caught.value.answer
        await lab.deliver(delivery(transaction(put("Specimen", "s"))))
        assert sandbox.stats()["resources"] == {"Specimen": 1}


async def test_down_concerns_reads_too_but_not_the_counters() -> None:
    async with pair(faults=Faults(down=True)) as (sandbox, lab):
        for attempt in (lab.probe(), lab.deliver(delivery(document()))):
            with pytest.raises(TransientDeliveryError):
                await attempt
        async with aiohttp.ClientSession() as session, session.get(sandbox.url[:-5] + "/$stats") as response:
            # The probe is a GET, which the client library repeats once on its own.
            assert (await response.json())["faults"] == {"reset": 3}
        sandbox.faults.down = False
        await lab.probe()
        await lab.deliver(delivery(document()))


async def test_retry_after_is_sent() -> None:
    async with pair(faults=Faults(next=["429"], retry_after=17)) as (_, lab):
        with pytest.raises(TransientDeliveryError) as caught:
            await lab.deliver(delivery(document()))
        assert caught.value.retry_after == 17


async def test_latency_delays_each_answer() -> None:
    async with pair(faults=Faults(latency=60.0), settings=Settings(timeout=0.1)) as (sandbox, lab):
        with pytest.raises(TransientDeliveryError):
            await lab.deliver(delivery(document()))
        sandbox.faults.latency = 0.01
        async with delivering(sandbox) as lab:
            await lab.deliver(delivery(document()))


async def test_faults_are_changed_at_run_time() -> None:
    async with pair() as (sandbox, lab), aiohttp.ClientSession() as session:
        address = sandbox.url[:-5] + "/$faults"
        async with session.post(address, json={"next": ["503", None, "lost"], "latency": 0.001}) as response:
            assert response.status == 200
            assert (await response.json())["next"] == ["503", None, "lost"]
        assert [await succeeds(lab, number) for number in range(4)] == [False, True, False, True]
        async with session.post(address, json={"html": True}) as response:
            assert (await response.json())["latency"] == 0.001
        assert not await succeeds(lab, 5)
        async with session.post(address, json={"html": False}) as response:
            assert response.status == 200
        assert await succeeds(lab, 5)
        async with session.get(address) as response:
            assert (await response.json())["html"] is False


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"fail": 30}', "fail: "),
        (b'{"fial": 0.3}', "fial: "),
        (b'{"next": ["200"]}', "next.0: "),
        (b'{"kinds": []}', "kinds: "),
        (b"{", "body: "),
    ],
)
async def test_a_wrong_fault_is_explained_and_changes_nothing(body: bytes, problem: str) -> None:
    async with pair() as (sandbox, _), aiohttp.ClientSession() as session:
        headers = {"Content-Type": "application/json"}
        async with session.post(sandbox.url[:-5] + "/$faults", data=body, headers=headers) as response:
            assert response.status == 400
            assert problem in await response.text()
        async with session.post(sandbox.url[:-5] + "/$faults", data=b"fail=1") as response:
            assert response.status == 415
        assert sandbox.faults == Faults()


async def test_logins_of_the_destination() -> None:
    basic = Auth(basic=Basic("lab", Secret("secret")))
    bearer = Auth(bearer=Bearer(Secret("token")))
    async with pair(basic=("lab", "secret"), settings=Settings(auth=basic)) as (_, lab):
        await lab.deliver(delivery(document()))
    async with pair(bearer="token", settings=Settings(auth=bearer)) as (_, lab):
        await lab.probe()
        await lab.deliver(delivery(document()))
    async with pair(bearer="token", settings=Settings(auth=basic)) as (_, lab):
        with pytest.raises(DestinationDownError) as caught:
            await lab.deliver(delivery(document()))
        assert caught.value.reason is ReasonCode.NOT_AUTHORIZED


async def test_server_ids_make_one_resource_over_retries() -> None:
    async with pair(faults=Faults(next=["lost"]), settings=Settings(ids="server")) as (sandbox, lab):
        with pytest.raises(TransientDeliveryError):
            await lab.deliver(delivery(document()))
        await lab.deliver(delivery(document(), attempt=1))
        assert sandbox.stats()["resources"] == {"DiagnosticReport": 1, "Observation": 1, "Patient": 1}
        [observation] = sandbox.resources("Observation")
        assert observation["id"] != "o1"
        [report] = sandbox.resources("DiagnosticReport")
        assert report["result"] == [{"reference": f"Observation/{observation['id']}"}]
