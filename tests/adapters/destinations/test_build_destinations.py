"""What a site's YAML says reaches the adapters: every kind is built from the models that read the configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from adapters.destinations import fhir_rest, file_out, http_out
from engine.config.destination import DestinationConfig, FhirDestination, FileDestination, HttpDestination
from engine.model.clock import ManualClock
from engine.model.ports import Destination
from tests.support.deliveries import delivery, put, transaction, transaction_response
from tests.support.scripted_http import http, scripted

CONFIG: TypeAdapter[DestinationConfig] = TypeAdapter(DestinationConfig)


async def delivered(destination: Destination, body: bytes) -> None:
    await destination.start()
    try:
        await destination.deliver(delivery(body))
    finally:
        await destination.close()


async def test_a_fhir_server_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PASSWORD", "secret")
    async with scripted(http(200, transaction_response("201"))) as server:
        config = CONFIG.validate_python(
            {
                "kind": "fhir",
                "url": server.url + "/",
                "auth": {"basic": {"user": "lab", "password": "${LAB_PASSWORD}"}},
                "timeout": "5s",
                "gzip": "true",
            }
        )
        assert isinstance(config, FhirDestination)
        await delivered(
            fhir_rest.build("lab", config, ManualClock()), transaction(put("Patient", "p", birthDate="1970-01-01"))
        )
    assert server.requests[0].line == "POST /fhir HTTP/1.1"
    assert server.requests[0].headers["authorization"] == "Basic bGFiOnNlY3JldA=="


async def test_a_web_service_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOKEN", "token")
    async with scripted(http(204)) as server:
        config = CONFIG.validate_python(
            {"kind": "http", "url": server.url, "method": "PUT", "auth": {"bearer": {"token": "${LAB_TOKEN}"}}}
        )
        assert isinstance(config, HttpDestination)
        await delivered(http_out.build("archive", config, ManualClock()), b"x")
    assert server.requests[0].line == "PUT /fhir HTTP/1.1"
    assert server.requests[0].headers["authorization"] == "Bearer token"


async def test_a_folder(tmp_path: Path) -> None:
    config = CONFIG.validate_python({"kind": "file", "folder": str(tmp_path / "out")})
    assert isinstance(config, FileDestination)
    await delivered(file_out.build("archive", config, ManualClock()), b"x")
    assert (tmp_path / "out").exists()


def test_what_a_site_does_not_use_is_not_loaded() -> None:
    """The daemon and the four plain destinations come without the libraries of the others."""
    code = (
        "import sys, engine.runtime.app\n"
        "from adapters.destinations import fhir_rest, file_out, http_out, mllp_out\n"
        "print(sorted({'aiomqtt', 'joserfc', 'paho', 'socks'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
