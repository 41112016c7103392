"""Documents to a whole object storage that people run: MinIO, over http and https, with locks, versions and rights.

Runs where ``minio`` is on the PATH (or ``LABRELAY_MINIO`` names it); else it is skipped. Each test has a server of its
own, on 127.0.0.1, with its data in the test's folder.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.codecs.signatures import authorization
from adapters.destinations import s3_out
from engine.model.errors import DeliveryError, DestinationDownError, TransientDeliveryError
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from tests.adapters.destinations.test_s3_out import BODY, PDF, WITH_PDF, Settings
from tests.e2e.counterparts import STARTS_WITHIN_S
from tests.support.certificates import Authority
from tests.support.deliveries import Secret, Tls, delivery
from tests.support.ports import quiet_ports

USER, PASSWORD = "labrelay-test", "labrelay-test-secret"
KEYS: dict[str, Any] = {"access_key": Secret(USER), "secret_key": Secret(PASSWORD)}
BUCKET, REGION = "lab-archive", "ap-south-1"


class Storage:
    """A server that runs, and what a test does there itself."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", query: str = ""
    ) -> tuple[int, bytes]:
        digest, at = hashlib.sha256(body).hexdigest(), datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        host = self.address.partition("://")[2]
        signed = {"host": host, "x-amz-date": at, "x-amz-content-sha256": digest, **(headers or {})}
        name = authorization(
            method, path, signed, digest, access_key=USER, secret_key=PASSWORD, region=REGION, at=at, query=query
        )
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"{self.address}{path}{'?' if query else ''}{query}", data=body,
                headers={**signed, "Authorization": name}, ssl=False,
            ) as answer,
        ):  # fmt: skip
            return answer.status, await answer.read()

    async def make(self, bucket: str = BUCKET, *, locked: bool = False) -> None:
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if locked else {}
        status, said = await self.ask("PUT", f"/{bucket}", headers)
        assert status == 200, said

    async def names(self) -> list[str]:
        _, said = await self.ask("GET", f"/{BUCKET}", query="list-type=2")
        return [part.split("</Key>")[0] for part in said.decode().split("<Key>")[1:]]

    async def content(self, name: str) -> bytes:
        status, said = await self.ask("GET", f"/{BUCKET}/{name}")
        assert status == 200, said
        return said


def program() -> str:
    found = os.environ.get("LABRELAY_MINIO") or shutil.which("minio")
    if found is None:
        pytest.skip("there is no minio on the PATH; LABRELAY_MINIO may name one")
    return found


@contextmanager
def minio(folder: Path, *, certificates: Path | None = None, port: int = 0) -> Iterator[Storage]:
    port = port or quiet_ports(1)[0]
    scheme = "http" if certificates is None else "https"
    folder.mkdir(parents=True, exist_ok=True)
    given = [] if certificates is None else ["--certs-dir", str(certificates)]
    environment = {
        **os.environ, "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_SITE_REGION": REGION,
        "MINIO_UPDATE": "off", "MINIO_BROWSER": "off", "CI": "true",
    }  # fmt: skip
    log = folder.parent / "minio.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program(), "server", *given, "--address", f"127.0.0.1:{port}", str(folder)],
            stdout=output, stderr=output, env=environment,
        )  # fmt: skip
    storage = Storage(f"{scheme}://127.0.0.1:{port}", folder)
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if asyncio.run(storage.ask("GET", "/"))[0] == 200:
                    break
            except aiohttp.ClientError:
                time.sleep(0.1)
        else:
            pytest.fail(f"minio did not start: {log.read_text()[-2000:]}")
        yield storage
    finally:
        process.terminate()
        process.wait(timeout=10)


async def put(storage: Storage, *bodies: bytes, probe: bool = False, **changes: Any) -> None:
    settings = Settings(**{"endpoint": storage.address, "region": REGION, "bucket": BUCKET, **KEYS, **changes})
    out = s3_out.build("archive", settings, SystemClock())
    await out.start()
    try:
        if probe:
            await out.probe()
        for number, body in enumerate(bodies, start=1):
            await out.deliver(delivery(body, message_id=number))
    finally:
        await out.close()


def test_objects_arrive_whole_and_a_repeat_takes_its_own_place(tmp_path: Path) -> None:
    large = bytes(range(256)) * 40_000  # 10 MB

    async def run(storage: Storage) -> None:
        await storage.make()
        await put(storage, BODY, large, WITH_PDF, prefix="results/", attachments=True, probe=True)
        before = await storage.names()
        await put(storage, BODY, large, prefix="results/")  # tried again
        assert await storage.names() == before
        assert len(before) == 4
        contents = {hashlib.sha256(await storage.content(name)).hexdigest() for name in before}
        assert contents == {hashlib.sha256(one).hexdigest() for one in (BODY, large, WITH_PDF, PDF)}

    with minio(tmp_path / "data") as storage:
        asyncio.run(run(storage))


@pytest.mark.parametrize("probe", [True, False])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secret_key": Secret("wrong")}, ReasonCode.NOT_AUTHORIZED),
        ({"access_key": Secret("nobody")}, ReasonCode.NOT_AUTHORIZED),
        ({"bucket": "another"}, ReasonCode.WRONG_ADDRESS),
        ({"region": "eu-central-1"}, ReasonCode.WRONG_ADDRESS),
    ],
)
def test_wrong_keys_buckets_and_regions_are_told(
    tmp_path: Path, changes: dict[str, Any], reason: ReasonCode, probe: bool
) -> None:
    async def run(storage: Storage) -> DestinationDownError:
        await storage.make()
        with pytest.raises(DestinationDownError) as caught:
            await put(storage, *([] if probe else [BODY]), probe=probe, **changes)
        assert await storage.names() == []
        return caught.value

    with minio(tmp_path / "data") as storage:
        error = asyncio.run(run(storage))
    assert error.reason is reason, error.detail
    assert "wrong" not in error.detail


def test_in_a_bucket_with_a_lock_a_repeat_adds_a_version(tmp_path: Path) -> None:
    """Nothing that was stored is taken away there, and a delivery that is tried again is delivered all the same."""

    async def run(storage: Storage) -> None:
        await storage.make(locked=True)
        await put(storage, BODY)
        await put(storage, BODY)
        assert len(await storage.names()) == 1
        _, said = await storage.ask("GET", f"/{BUCKET}", query="versions=")
        assert said.count(b"<Version>") == 2

    with minio(tmp_path / "data") as storage:
        asyncio.run(run(storage))


def test_over_tls_the_certificate_decides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificates = tmp_path / "certs"
    certificates.mkdir()
    issued = authority.sign("storage")
    shutil.copyfile(issued.cert, certificates / "public.crt")
    shutil.copyfile(issued.key, certificates / "private.key")

    async def run(storage: Storage) -> None:
        await storage.make()
        await put(storage, BODY, probe=True, tls=Tls(ca=authority.ca))
        assert len(await storage.names()) == 1
        with pytest.raises(DeliveryError) as caught:
            await put(storage, BODY)
        assert (caught.value.reason, "certificate is not trusted" in caught.value.detail) == (
            ReasonCode.NO_ANSWER,
            True,
        )

    with minio(tmp_path / "data", certificates=certificates) as storage:
        asyncio.run(run(storage))


def test_a_storage_that_is_away_or_comes_back_with_its_data_is_waited_for(tmp_path: Path) -> None:
    (port,) = quiet_ports(1)
    with minio(tmp_path / "data", port=port) as storage:
        asyncio.run(storage.make())
        asyncio.run(put(storage, BODY))
    with pytest.raises(TransientDeliveryError) as caught:
        asyncio.run(put(storage, BODY))
    assert caught.value.reason is ReasonCode.NO_ANSWER
    with minio(tmp_path / "data", port=port) as storage:
        asyncio.run(put(storage, BODY))
        assert len(asyncio.run(storage.names())) == 1
