"""Documents to a whole S3 server, a fake (s3rver), with signatures verified by another implementation (aws4)."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.destinations import s3_out
from engine.model.errors import DestinationDownError
from engine.model.process.clock import SystemClock
from engine.model.texts.reasons import ReasonCode
from tests.adapters.destinations.test_s3_out import BODY, PDF, WITH_PDF, Settings
from tests.e2e.counterparts import node
from tests.support.deliveries import Secret, delivery

KEYS = {"access_key": Secret("S3RVER"), "secret_key": Secret("S3RVER")}


@contextmanager
def server(folder: Path) -> Iterator[str]:
    with node("s3.mjs", {"folder": str(folder), "bucket": "lab-archive", "region": "ap-south-1"}) as port:
        yield f"http://127.0.0.1:{port}"


async def put(endpoint: str, *bodies: bytes, probe: bool = False, **changes: Any) -> None:
    out = s3_out.build("archive", Settings(endpoint=endpoint, **{**KEYS, **changes}), SystemClock())
    await out.start()
    try:
        if probe:
            await out.probe()
        for number, body in enumerate(bodies, start=1):
            await out.deliver(delivery(body, message_id=number))
    finally:
        await out.close()


def kept(folder: Path) -> dict[str, str]:
    """What the fake has written: SHA-256 by name."""
    return {
        path.name.split("._S3rver_")[0]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*._S3rver_object")
    }


async def test_objects_arrive_whole_and_once(tmp_path: Path) -> None:
    large = bytes(range(256)) * 40_000  # 10 MB
    with server(tmp_path) as endpoint:
        await put(endpoint, BODY, large, WITH_PDF, prefix="results/", attachments=True, probe=True)
        await put(endpoint, BODY, prefix="results/")  # a repeat
    key = delivery().key
    assert kept(tmp_path) == {
        f"0000000001-{key}.json": hashlib.sha256(BODY).hexdigest(),
        f"0000000002-{key}.json": hashlib.sha256(large).hexdigest(),
        f"0000000003-{key}-1.pdf": hashlib.sha256(PDF).hexdigest(),
        f"0000000003-{key}.json": hashlib.sha256(WITH_PDF).hexdigest(),
    }


@pytest.mark.parametrize("probe", [True, False])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"secret_key": Secret("wrong")}, ReasonCode.NOT_AUTHORIZED),
        ({"access_key": Secret("nobody")}, ReasonCode.NOT_AUTHORIZED),
        ({"bucket": "another"}, ReasonCode.WRONG_ADDRESS),
    ],
)
async def test_wrong_keys_and_buckets_are_told(
    tmp_path: Path, changes: dict[str, Any], reason: ReasonCode, probe: bool
) -> None:
    with server(tmp_path) as endpoint, pytest.raises(DestinationDownError) as caught:
        await put(endpoint, *([] if probe else [BODY]), probe=probe, **changes)
    assert caught.value.reason is reason
    assert kept(tmp_path) == {}
