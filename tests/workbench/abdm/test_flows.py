"""A laboratory that does all as NHA's documents say: each flow comes to its end, and there is no violation."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.features.abdm.rules.consents import Frequency, FrequencyUnit, Standing, noticed, refusal
from engine.features.abdm.wire import consents
from tests.support.abdm_world import FACILITY, abdm_world, record
from tests.support.waiting import until
from workbench.abdm.people import PEOPLE

MEERA = PEOPLE[0].address


async def test_from_a_report_to_the_patients_app() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"))
        transfer = await world.pull(await world.grant())
        shown = await world.ask(f"/app/{MEERA}")

        assert (transfer["state"], transfer["arrived"], transfer["pages"]) == ("done", ["LR-1"], 1)
        assert [one["reference"] for one in shown["linked"]] == ["LR-1"]
        assert [one["kind"] for one in shown["notices"]] == ["context"]
        (document,) = shown["documents"]
        assert json.loads(document["document"]) == world.hip.records["LR-1"].document()
        assert document["careContextReference"] == "LR-1"
        await world.is_clean()


async def test_seven_contexts_are_seven_pages_under_seven_keys() -> None:
    async with abdm_world() as world:
        await world.hip.publish(*(record(f"LR-{number}") for number in range(7)))
        transfer = await world.pull(await world.grant())

        assert (transfer["pages"], transfer["pageCount"], len(transfer["arrived"])) == (7, 7, 7)
        assert len(world.sandbox.state.page_keys) == len(world.sandbox.state.page_nonces) == 7
        await world.is_clean()


async def test_the_second_report_needs_no_new_link_token() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"))
        await world.hip.publish(record("LR-2"))

        assert [one["call"] for one in await world.ask("/calls")].count("generate-token") == 1
        await world.is_clean()


@pytest.mark.parametrize("form", ["explicit", "named", "bare"])
async def test_each_form_of_the_readers_key(form: str) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        assert (await world.pull(await world.grant(), keyForm=form))["arrived"] == ["LR-1"]
        await world.is_clean()


async def test_the_simulated_app_asks_by_itself_after_a_notice() -> None:
    async with abdm_world(pull_after_s=0.0) as world:
        await world.hip.publish(record())
        await until(lambda: len(world.sandbox.state.documents) == 1)
        shown = await world.ask(f"/app/{MEERA}")
        consent = shown["consents"][0]["consentId"]
        assert world.sandbox.state.consents[consent].artefact["purpose"]["code"] == "PATRQT"
        await world.is_clean()


async def test_the_patient_links_with_an_otp() -> None:
    async with abdm_world() as world:
        world.hip.records["LR-1"] = record("LR-1")
        assert await world.linked_by_patient("000000") == "otp-refused"
        assert (await world.ask(f"/app/{MEERA}"))["linked"] == []
        assert await world.linked_by_patient("042137") == "linked"
        shown = await world.ask(f"/app/{MEERA}")
        assert [one["reference"] for one in shown["linked"]] == ["LR-1"]
        assert (await world.discovered())[1]["state"] == "no-match"
        await world.is_clean()


async def test_siblings_with_one_mobile_do_not_see_each_others_reports() -> None:
    async with abdm_world() as world:
        world.hip.records |= {"LR-1": record("LR-1", 1), "LR-2": record("LR-2", 2)}
        mobile = [{"type": "MOBILE", "value": PEOPLE[1].mobile}]
        _, arjun = await world.discovered(1, identifiers=mobile)
        _, anaya = await world.discovered(2, identifiers=mobile)
        assert [one["referenceNumber"] for one in arjun["offered"]] == ["LR-1"]
        assert [one["referenceNumber"] for one in anaya["offered"]] == ["LR-2"]
        await world.is_clean()


async def test_scan_and_share_gives_the_same_token_within_its_time() -> None:
    async with abdm_world() as world:
        for _ in range(2):
            before = len(world.sandbox.state.notices.get(MEERA, ()))
            await world.ask("/app/share", {"patient": MEERA, "facility": FACILITY, "counter": "12"})
            await until(lambda before=before: len(world.sandbox.state.notices.get(MEERA, ())) > before)
        shown = await world.ask(f"/app/{MEERA}")
        assert [one["token"] for one in shown["notices"]] == ["1", "1"]
        await world.ask("/app/share", {"patient": MEERA, "facility": FACILITY, "intent": "PAYMENT_SHARE"})
        await until(lambda: world.sandbox.state.notices[MEERA][-1]["kind"] == "share-refused")
        await world.is_clean()


async def test_a_message_to_a_patient_without_an_address() -> None:
    async with abdm_world() as world:
        body = {"notification": {"phoneNo": PEOPLE[3].mobile, "hip": {"id": FACILITY, "name": "Made-up Laboratory"}}}
        heard = await world.hip.say("sms-notify", "/hip/v3/link/patient/links/sms/notify2", body)
        assert (await world.hip.result(heard.request_id))["acknowledgement"] == {"status": "SUCCESS"}
        assert [one["kind"] for one in world.sandbox.state.notices[PEOPLE[3].address]] == ["sms-link"]
        await world.is_clean()


async def test_an_account_that_is_deactivated_is_told_and_gets_no_token() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        await world.ask("/app/status", {"patient": MEERA, "status": "DEACTIVATED"})
        await world.is_clean()
        path, body = world.hip.heard[-1]
        assert (path, body["notification"]["status"]) == ("/v3/patients/status/notify", "DEACTIVATED")
        world.sandbox.state.drop_token(FACILITY, MEERA)
        _, asked = await world.hip.ask_token(record())
        assert (await world.hip.result(asked))["error"]["code"] == "ABDM-1407"


# What the reader or the patient does -> NHA's code that the laboratory has to refuse it with; empty: NHA has none.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "before the granted time": ({}, {"begin": "2001-01-01T00:00:00Z"}, "ABDM-1063"),
    "after the granted time": ({}, {"end": "2101-01-01T00:00:00Z"}, "ABDM-1063"),
    "dataEraseAt is over": ({"eraseAt": "2020-01-01T00:00:00Z"}, {}, "ABDM-1061"),
    "other types of information": ({"hiTypes": ["Prescription"]}, {}, ""),
    "a key that is none": ({}, {"keyMaterial": {"cryptoAlg": "ECDH"}, "refuse": "key material"}, ""),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_that_has_to_be_refused(name: str) -> None:
    granted, asked, code = REFUSED[name]
    async with abdm_world() as world:
        await world.hip.publish(record())
        transfer = await world.pull(await world.grant(**granted), **asked)
        assert (transfer["state"], transfer["pages"]) == ("refused", 0)
        assert transfer["mustRefuse"]
        assert code in ("", transfer["error"]["code"])
        await world.is_clean()


@pytest.mark.parametrize(("end", "code"), [("revoke", "ABDM-1062"), ("expire", "ABDM-1061")])
@pytest.mark.parametrize("with_detail", [True, False])
async def test_a_consent_that_has_ended(end: str, code: str, with_detail: bool) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant()
        await world.ask(f"/app/{end}", {"consentId": consent, "withDetail": with_detail})
        await until(lambda: world.sandbox.state.consents[consent].ended_at is not None)
        transfer = await world.pull(consent)
        assert (transfer["state"], transfer["error"]["code"]) == ("refused", code)
        await world.is_clean()


async def test_a_consent_that_was_used_up() -> None:
    async with abdm_world() as world:
        await world.hip.publish(record())
        consent = await world.grant(frequency={"unit": "DAY", "value": 1, "repeats": 1})
        assert (await world.pull(consent))["state"] == "done"
        assert (await world.pull(consent))["mustRefuse"] == "frequency"
        await world.is_clean()


async def test_the_bridge_is_as_the_last_writer_set_it() -> None:
    async with abdm_world() as world:
        services = (await world.hip.call("GET", "/api/hiecm/gateway/v3/bridge-services")).json
        assert services["bridge"]["url"] == world.hip.url
        assert [(one["id"], one["types"]) for one in services["services"]] == [(FACILITY, ["HIP"])]
        one = await world.hip.call("GET", f"/api/hiecm/gateway/v3/bridge-service/serviceId/{FACILITY}")
        assert (one.json["isHip"], one.json["active"]) == (True, True)
        await world.ask("/bridge", {"url": "http://127.0.0.1:9/elsewhere"})
        services = (await world.hip.call("GET", "/api/hiecm/gateway/v3/bridge-services")).json
        assert services["bridge"]["url"] == "http://127.0.0.1:9/elsewhere"
        await world.is_clean()


async def test_keys_need_a_session() -> None:
    async with abdm_world() as world:
        async with world.http.get(f"{world.sandbox.url}/api/hiecm/gateway/v3/certs") as answer:
            assert answer.status == 401
        keys = (await world.hip.call("GET", "/api/hiecm/gateway/v3/certs")).json["keys"]
        assert [(one["kty"], one["alg"]) for one in keys] == [("RSA", "RS256")]
        assert not {"d", "p", "q"} & keys[0].keys()


@pytest.mark.parametrize("left_out", [[], ["hiu", "requester"]])
async def test_our_own_codec_reads_consents_and_requests(left_out: list[str]) -> None:
    async with abdm_world() as world:
        await world.hip.publish(record("LR-1"))
        consent = await world.grant(leaveOut=left_out, frequency={"unit": "DAY", "value": 1, "repeats": 5})
        transfer = await world.pull(consent)
        await world.ask("/app/revoke", {"consentId": consent})
        await world.is_clean()
        heard = [(path, json.dumps(body).encode()) for path, body in world.hip.heard]
        notices = [consents.read_notice(body) for path, body in heard if path == "/v3/consent/request/hip/notify"]
        (request,) = [consents.read_request(body) for path, body in heard if path.endswith("information/request")]

        assert [(one.consent_id, one.state) for one in notices] == [(consent, "GRANTED"), (consent, "REVOKED")]
        artefact = notices[0].artefact
        assert artefact is not None
        assert (artefact.patient.text, artefact.facility) == (MEERA, FACILITY)
        assert [(one.patient, one.reference) for one in artefact.care_contexts] == [("PID-0", "LR-1")]
        assert artefact.frequency == Frequency(FrequencyUnit.DAY, 1, 5)
        assert bool(artefact.reader) == (not left_out)
        assert notices[0].signature
        assert refusal(noticed(Standing(), notices[0]), request, facility=FACILITY, now=datetime.now(UTC)) is None
        assert (request.consent_id, request.push_url) == (consent, f"{world.sandbox.url}/reader/push")
        assert transfer["arrived"] == ["LR-1"]


async def test_two_facilities_of_one_account_are_kept_apart() -> None:
    branch = "IN0000000002"
    async with abdm_world(facilities={FACILITY: "Made-up Laboratory", branch: "Its branch"}) as world:
        await world.hip.publish(record("LR-1"))
        world.hip.facility = branch
        world.hip.tokens.clear()
        await world.hip.publish(record("LR-1", 1))  # the same number at the other facility is another report
        shown = await world.ask(f"/app/{PEOPLE[1].address}")
        assert [(one["facility"], one["reference"]) for one in shown["linked"]] == [(branch, "LR-1")]
        async with world.http.post(
            f"{world.sandbox.url}/app/grant", json={"patient": MEERA, "facility": branch}
        ) as answer:
            assert answer.status == 400
        consent = await world.grant(patient=PEOPLE[1].address, facility=branch)
        assert (await world.pull(consent))["arrived"] == ["LR-1"]
        await world.is_clean()
