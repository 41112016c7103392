"""A small laboratory at ABDM (HIP), over real HTTP, written from NHA's documents alone.

It links the records of its patients, answers discovery, consents and requests, and pushes encrypted pages. It keeps
all in memory and has none of the product's durability. `Habits` are the mistakes that a program can make.
"""

import asyncio
import base64
import hashlib
import io
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web

from engine.features.abdm.rules.gateway_tokens import Gateway, prove
from engine.features.abdm.wire import fidelius
from engine.model.errors import CallbackError, FideliusError, UnknownGatewayKeyError
from tests.support.abdm_habits import Habits, Heard, Json, Record, utc
from tests.support.waiting import until

ISSUER = "https://dev.abdm.gov.in/auth/realms/central-registry"
RETRIES = 4


class Hip:
    """Attributes:
    heard: callbacks that were taken, in order: path and body. refused: those that were not, with the reason.
    results: REQUEST-ID of a call -> the body of the callback that brought its result.
    """

    def __init__(self, gateway: str, client: str, secret: str, facility: str) -> None:
        self.gateway, self.client, self.secret, self.facility = gateway, client, secret, facility
        self.habits = Habits()
        self.records: dict[str, Record] = {}
        self.linked: set[str] = set()
        self.tokens: dict[str, str] = {}
        self.consents: dict[str, Json] = {}
        self.served: dict[str, list[datetime]] = {}
        self.links: dict[str, Json] = {}
        self.seen: set[tuple[str, str]] = set()
        self.heard: list[tuple[str, Json]] = []
        self.refused: list[tuple[str, str]] = []
        self.results: dict[str, Json] = {}
        self.results_came = asyncio.Condition()
        self.shares: dict[tuple[str, str], str] = {}
        self.sessions = 0
        self.url = ""
        self._token = ""
        self._ends = datetime.now(UTC)
        self._renewing = asyncio.Lock()
        self._keys: list[Json] = []
        self._client: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._material: tuple[bytes, bytes] | None = None

    # -- calls -----------------------------------------------------------------------------------------------------

    async def session(self, **other: str) -> Heard:
        body = {"clientId": self.client, "clientSecret": self.secret, "grantType": "client_credentials", **other}
        heard = await self._send("POST", "/api/hiecm/gateway/v3/sessions", body, authorized=False)
        if heard.status in (200, 202) and isinstance(heard.json, dict) and "accessToken" in heard.json:
            self._token = heard.json["accessToken"]
            self._ends = datetime.now(UTC) + timedelta(seconds=heard.json["expiresIn"])
            self.sessions += 1
        return heard

    async def token(self, not_this: str = "") -> str:
        async with self._renewing:
            if not self._token or self._token == not_this or self._ends <= datetime.now(UTC):
                self._token = ""
                for attempt in range(RETRIES):
                    heard = await self._tried(self.session())
                    if self._token:
                        break
                    await asyncio.sleep(0.02 * (attempt + 1) if heard else 0.02)
            return self._token

    async def call(self, method: str, path: str, body: Any = None, *, retry: bool = True, **headers: str) -> Heard:
        """A call, again after a lost answer, 429, 5xx, or a page that is none of the gateway's; once after 401."""
        renewed = False
        heard: Heard | None = None
        for attempt in range(RETRIES):
            token = await self.token()
            heard = await self._tried(self._send(method, path, body, token=token, **headers))
            if heard is not None and heard.status == 401 and not renewed and retry:
                renewed = True
                await self.token(not_this=token)
                continue
            proxy = heard is not None and heard.text.startswith("<")
            if not retry or (heard is not None and heard.status not in (429, *range(500, 600)) and not proxy):
                break
            await asyncio.sleep(0.02 * (attempt + 1))
        assert heard is not None, "no answer"
        return heard

    async def _tried(self, work: Any) -> Heard | None:
        try:
            result: Heard = await asyncio.wait_for(work, 30)
            return result
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _send(
        self, method: str, path: str, body: Any, *, authorized: bool = True, token: str = "", **more: str
    ) -> Heard:
        assert self._client is not None
        said: dict[str, str | None] = {
            "REQUEST-ID": "0b5cf8e0-6d8a-4d4b-9a3e-0123456789ab" if self.habits.same_request_id else str(uuid.uuid4()),
            "TIMESTAMP": utc(),
            "X-CM-ID": "sbx",
        }
        if authorized:
            said["Authorization"] = f"Bearer {token}"
        if body is not None:
            said["Content-Type"] = "application/json"
        said |= {name.replace("_", "-"): value for name, value in more.items()}
        if authorized:
            said |= self.habits.headers
        data = None if body is None else json.dumps(body).encode()
        if data is not None and self.habits.raw is not None and authorized:
            data = self.habits.raw
        headers = {name: value for name, value in said.items() if value is not None}
        skip = ["Content-Type"] if "Content-Type" not in headers else []
        async with self._client.request(
            method,
            self.gateway + path,
            data=None if data is None else io.BytesIO(data),
            headers=headers,
            skip_auto_headers=skip,
        ) as answer:
            said_id = headers.get("REQUEST-ID", "")
            return Heard(answer.status, await answer.text(), said_id, dict(answer.headers))

    async def say(self, name: str, path: str, body: Json, **headers: str) -> Heard:
        return await self.call("POST", "/api/hiecm" + path, self.habits.body(name, body), **headers)

    async def result(self, of: str) -> Json:
        """The callback with the result of a call."""
        async with asyncio.timeout(120), self.results_came:
            await self.results_came.wait_for(lambda: of in self.results)
        return self.results[of]

    async def register(self) -> Heard:
        return await self.call("PATCH", "/api/hiecm/gateway/v3/bridge/url", {"url": self.url})

    async def ask_token(self, record: Record, **other: Any) -> tuple[Heard, str]:
        body = {"abhaAddress": record.address, "name": record.name, "gender": record.gender}
        body |= {"yearOfBirth": record.year} | ({"abhaNumber": record.number} if record.number else {}) | other
        heard = await self.say("generate-token", "/v3/token/generate-token", body, X_HIP_ID=self.facility)
        return heard, heard.request_id

    async def link(self, *records: Record, **headers: str) -> tuple[Heard, str]:
        first = records[0]
        patient = {
            "referenceNumber": first.patient, "display": "Lab reports", "hiType": "DiagnosticReport",
            "careContexts": [{"referenceNumber": one.reference, "display": "Lab report"} for one in records],
            "count": len(records),
        }  # fmt: skip
        body = {"abhaAddress": first.address, "patient": [patient]}
        body |= {"abhaNumber": first.number} if first.number else {}
        said = {"X_HIP_ID": self.facility, "X_LINK_TOKEN": self.tokens.get(first.address, "")} | headers
        heard = await self.say("link", "/hip/v3/link/carecontext", body, **said)
        return heard, heard.request_id

    async def notify(self, record: Record) -> tuple[Heard, str]:
        context = {"patientReference": record.patient, "careContextReference": record.reference}
        notification = {
            "patient": {"id": record.address}, "careContext": context, "hiTypes": ["DiagnosticReport"],
            "date": utc(), "hip": {"id": self.facility},
        }  # fmt: skip
        body = {"notification": notification}
        heard = await self.say("context-notify", "/hip/v3/link/context/notify", body, X_HIP_ID=self.facility)
        return heard, heard.request_id

    async def publish(self, *records: Record) -> None:
        """Link, with all that comes before and after it."""
        self.records |= {one.reference: one for one in records}
        first = records[0]
        if first.address not in self.tokens:
            heard, asked = await self.ask_token(first)
            if heard.code == "ABDM-1092":  # the answer to an earlier call was lost; its token comes, or has come
                await until(lambda: first.address in self.tokens)
            else:
                came = await self.result(asked)
                assert "linkToken" in came, came
                await until(lambda: first.address in self.tokens)
        _, asked = await self.link(*records)
        came = await self.result(asked)
        assert "error" not in came or came["error"]["code"] == "ABDM-1056", came
        self.linked |= {one.reference for one in records}
        for one in records:
            _, asked = await self.notify(one)
            await self.result(asked)

    # -- callbacks -------------------------------------------------------------------------------------------------

    async def _keys_of_gateway(self) -> list[Json]:
        heard = await self.call("GET", "/api/hiecm/gateway/v3/certs")
        self._keys = heard.json["keys"]
        return self._keys

    async def _prove(self, request: web.BaseRequest) -> None:
        for attempt in (1, 2):
            try:
                prove(
                    request.headers,
                    self._keys or await self._keys_of_gateway(),
                    gateway=Gateway(ISSUER),
                    facilities={self.facility},
                    now_s=datetime.now(UTC).timestamp(),
                )
                return
            except UnknownGatewayKeyError:
                if attempt == 2:
                    raise
                await self._keys_of_gateway()

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path.removeprefix("/api")
        try:
            if not self.habits.trusting:
                await self._prove(request)
            body = json.loads(await request.read())
        except (CallbackError, UnknownGatewayKeyError) as error:
            self.refused.append((path, error.reason))
            return web.Response(status=401)
        except web.HTTPRequestEntityTooLarge:
            self.refused.append((path, "length"))
            return web.Response(status=self.habits.status if self.habits.trusting else 413)
        except ValueError:
            self.refused.append((path, "body"))
            if self.habits.trusting:
                return web.Response(status=self.habits.status)
            return web.Response(status=400)
        request_id = request.headers["REQUEST-ID"]
        key = (path, request_id)
        subject = (path, body.get("transactionId") or request_id)
        if key not in self.seen and subject not in self.seen:
            self.seen |= {key, subject}
            self.heard.append((path, body))
            answering = {
                "/v3/hip/token/on-generate-token": self._on_generate_token,
                "/v3/hip/patient/care-context/discover": self._discover,
                "/v3/hip/link/care-context/init": self._init,
                "/v3/hip/link/care-context/confirm": self._confirm,
                "/v3/consent/request/hip/notify": self._consent,
                "/v3/hip/health-information/request": self._request,
                "/v3/hip/patient/share": self._share,
                "/v3/patients/status/notify": self._status,
            }.get(path)
            if answering is not None:
                for _ in range(1 + self.habits.answers_twice):
                    self._start(answering(body, request_id))
            if "response" in body:
                async with self.results_came:
                    self.results[body["response"]["requestId"]] = body
                    self.results_came.notify_all()
        return web.Response(status=self.habits.status)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_generate_token(self, body: Json, request_id: str) -> None:
        if "linkToken" in body:
            self.tokens[body["abhaAddress"]] = body["linkToken"]

    async def _discover(self, body: Json, request_id: str) -> None:
        patient = body["patient"]
        given = {one["type"]: one["value"] for one in patient["verifiedIdentifiers"]}
        found = [one for one in self.records.values() if one.address == given.get("ABHA_ADDRESS")]
        by = "ABHA_ADDRESS"
        if not found:
            by = "MOBILE"
            found = [
                one
                for one in self.records.values()
                if one.mobile == given.get("MOBILE")
                and (self.habits.matches_mobile_alone or (one.gender, one.name) == (patient["gender"], patient["name"]))
            ]
        found = [one for one in found if one.reference not in self.linked]
        answer: Json = {"transactionId": body["transactionId"], "response": {"requestId": request_id}}
        people = {one.patient for one in found}
        if not found or (len(people) > 1 and not self.habits.matches_mobile_alone):
            answer["error"] = {"code": "ABDM-1010", "message": "no match"}
        else:
            self.links[body["transactionId"]] = {"patient": patient["id"]}
            answer |= {"patient": [self._listed(one, found) for one in sorted(people)], "matchedBy": [by]}
        await self.say("on-discover", "/user-initiated-linking/v3/patient/care-context/on-discover", answer)

    def _listed(self, patient: str, records: list[Record]) -> Json:
        contexts = [
            {"referenceNumber": one.reference, "display": "Lab report"} for one in records if one.patient == patient
        ]
        return {
            "referenceNumber": patient, "display": "Lab reports", "careContexts": contexts,
            "hiType": "DiagnosticReport", "count": len(contexts),
        }  # fmt: skip

    async def _init(self, body: Json, request_id: str) -> None:
        link = self.links[body["transactionId"]]
        chosen = [one["referenceNumber"] for patient in body["patient"] for one in patient["careContexts"]]
        link |= {"otp": "042137", "reference": str(uuid.uuid4()), "chosen": chosen}
        self.links[link["reference"]] = link
        assert self._client is not None
        async with self._client.post(f"{self.gateway}/sms", data=f"Your code is {link['otp']}".encode()):
            pass
        expiry = utc(datetime.now(UTC) + timedelta(minutes=5))
        meta = {"communicationMedium": "MOBILE", "communicationHint": "******0001", "communicationExpiry": expiry}
        said = {"referenceNumber": link["reference"], "authenticationType": "DIRECT", "meta": meta}
        answer = {"transactionId": body["transactionId"], "link": said, "response": {"requestId": request_id}}
        await self.say("on-init", "/user-initiated-linking/v3/link/care-context/on-init", answer)

    async def _confirm(self, body: Json, request_id: str) -> None:
        link = self.links[body["confirmation"]["linkRefNumber"]]
        answer: Json = {"response": {"requestId": request_id}}
        if str(body["confirmation"]["token"]).zfill(6) == link["otp"] or self.habits.links_any_otp:
            records = [self.records[one] for one in link["chosen"]]
            answer["patient"] = [self._listed(one, records) for one in sorted({each.patient for each in records})]
            self.linked |= set(link["chosen"])
        else:
            answer["error"] = {"code": "ABDM-1010", "message": "wrong OTP"}
        await self.say("on-confirm", "/user-initiated-linking/v3/link/care-context/on-confirm", answer)

    async def _share(self, body: Json, request_id: str) -> None:
        answer: Json = {"response": {"requestId": request_id}}
        if body["intent"] != "PROFILE_SHARE":
            answer["error"] = {"code": "ABDM-1149", "message": "not supported"}
        else:
            address, context = body["profile"]["patient"]["abhaAddress"], body["metaData"]["context"]
            number = self.shares.setdefault((address, context), str(len(self.shares) + 1))
            profile = {"context": context, "tokenNumber": number, "expiry": "1799"}
            answer["acknowledgement"] = {"status": "SUCCESS", "abhaAddress": address, "profile": profile}
        await self.say("on-share", "/patient-share/v3/on-share", answer)

    async def _status(self, body: Json, request_id: str) -> None:
        answer = {"acknowledgement": {"status": "OK"}, "response": {"requestId": request_id}}
        await self.say("status-on-notify", "/patients/v3/status/on-notify", answer)

    async def _consent(self, body: Json, request_id: str) -> None:
        notice = body["notification"]
        known = self.consents.setdefault(notice["consentId"], {"status": "GRANTED", "detail": None})
        if notice["status"] != "GRANTED":
            known["status"] = notice["status"]
        known["detail"] = known["detail"] or notice.get("consentDetail")
        taken = {"status": "OK", "consentId": notice["consentId"]}
        answer = {"acknowledgement": taken, "response": {"requestId": request_id}}
        await self.say("consent-on-notify", "/consent/v3/request/hip/on-notify", answer)

    def _refusal(self, request: Json) -> str:
        """NHA's code for a request that may not be answered; else an empty text."""
        consent = self.consents.get(request["consent"]["id"])
        if consent is None or consent["detail"] is None or consent["status"] == "REVOKED":
            return "ABDM-1062"
        permission = consent["detail"]["permission"]
        if consent["status"] == "EXPIRED" or datetime.fromisoformat(permission["dataEraseAt"]) <= datetime.now(UTC):
            return "ABDM-1061"
        asked, granted = request["dateRange"], permission["dateRange"]
        if not granted["from"] <= asked["from"] <= asked["to"] <= granted["to"]:
            return "ABDM-1063"
        try:
            fidelius.read_key_material(request["keyMaterial"], datetime.now(UTC))
        except FideliusError:
            return "ABDM-1010"
        often = permission["frequency"]
        if often["repeats"] and len(self.served.get(request["consent"]["id"], [])) >= often["repeats"]:
            return "ABDM-1010"
        if "DiagnosticReport" not in consent["detail"]["hiTypes"] or consent["detail"]["hip"]["id"] != self.facility:
            return "ABDM-1010"
        return ""

    async def _request(self, body: Json, request_id: str) -> None:
        request, answer = body["hiRequest"], {"response": {"requestId": request_id}}
        refusal = self._refusal(request)
        if refusal and not self.habits.checks_nothing:
            said = {**answer, "error": {"code": refusal, "message": "refused"}}
            await self.say("on-request", "/data-flow/v3/health-information/hip/on-request", said)
            return
        said = {**answer, "hiRequest": {"transactionId": body["transactionId"], "sessionStatus": "ACKNOWLEDGED"}}
        if not self.habits.skips_acknowledgement:
            await self.say("on-request", "/data-flow/v3/health-information/hip/on-request", said)
        consent_id = request["consent"]["id"]
        self.served.setdefault(consent_id, []).append(datetime.now(UTC))
        detail = self.consents[consent_id]["detail"]
        references = [one["careContextReference"] for one in detail["careContexts"]]
        sent = {}
        peer = fidelius.read_key_material(request["keyMaterial"], datetime.now(UTC) - timedelta(days=3650))
        pages = [*references, *self.habits.more]
        for number, reference in enumerate(pages, 1):
            if self._refusal(request) in ("ABDM-1062", "ABDM-1061") and not self.habits.forgets_revocation:
                sent[reference] = False
                continue
            page = self._page(reference, number, len(pages), body["transactionId"], peer)
            sent[reference] = await self._push(request["dataPushUrl"], page)
        await self._done(consent_id, body["transactionId"], references, sent)

    def _page(self, reference: str, number: int, count: int, transaction: str, peer: fidelius.Peer) -> Json:
        document = self.habits.document(self.records[reference].document())
        plain = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
        seed, nonce = os.urandom(32), os.urandom(32)
        if self.habits.same_keys or self.habits.same_nonce:
            self._material = self._material or (seed, nonce)
            seed, nonce = (self._material[0] if self.habits.same_keys else seed), self._material[1]
        sealed = fidelius.seal(plain, peer, seed=seed, nonce=nonce)
        entry = {
            "content": sealed.content, "media": "application/fhir+json",
            "checksum": hashlib.md5(plain).hexdigest(), "careContextReference": reference,
        }  # fmt: skip
        public = {
            "expiry": utc(datetime.now(UTC) + timedelta(minutes=20)),
            "parameters": "Curve25519/32byte random key",
            "keyValue": sealed.key_value,
        }
        material = {
            "cryptoAlg": "ECDH", "curve": "Curve25519", "dhPublicKey": public,
            "nonce": base64.b64encode(nonce).decode(),
        }  # fmt: skip
        return self.habits.page(
            {
                "pageNumber": number, "pageCount": count, "transactionId": transaction,
                "entries": [entry], "keyMaterial": material,
            }
        )  # fmt: skip

    async def _push(self, url: str, page: Json) -> bool:
        assert self._client is not None
        data = json.dumps(page).encode()
        for attempt in range(RETRIES):
            said: dict[str, str | None] = {"Content-Type": "application/json"}
            said |= {"Authorization": f"Bearer {await self.token()}"} | self.habits.push_headers
            headers = {name: value for name, value in said.items() if value is not None}
            try:
                async with self._client.post(url, data=data, headers=headers, allow_redirects=False) as answer:
                    text = await answer.text()
                    if answer.status < 300 and not text.startswith("<"):
                        return True
                    if 400 <= answer.status < 500 and answer.status != 429:
                        return False
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02 * (attempt + 1))
        return False

    async def _done(self, consent: str, transaction: str, references: list[str], sent: dict[str, bool]) -> None:
        good = {one for one, came in sent.items() if came or self.habits.says_delivered}
        lines = [
            {"careContextReference": one, "hiStatus": "DELIVERED" if one in good else "ERRORED", "description": ""}
            for one in references
        ]
        status = {"sessionStatus": "TRANSFERRED" if good else "FAILED", "hipId": self.facility}
        notification = {
            "consentId": consent, "transactionId": transaction, "doneAt": utc(),
            "notifier": {"type": "HIP", "id": self.facility},
            "statusNotification": {**status, "statusResponses": lines},
        }  # fmt: skip
        await self.say("data-notify", "/data-flow/v3/health-information/notify", {"notification": notification})


@asynccontextmanager
async def running_hip(gateway: str, client: str, secret: str, facility: str) -> AsyncIterator[Hip]:
    """Serve on a free port of 127.0.0.1, registered at the gateway."""
    hip = Hip(gateway, client, secret, facility)
    runner = web.ServerRunner(web.Server(hip.take, access_log=None), shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hip.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as client_session:
        hip._client = client_session
        try:
            await hip.register()
            yield hip
        finally:
            for task in list(hip._tasks):
                task.cancel()
            await asyncio.gather(*hip._tasks, return_exceptions=True)
            await runner.cleanup()
