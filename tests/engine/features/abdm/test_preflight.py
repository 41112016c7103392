"""Each fault that the preflight finds, by its code."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from engine.features.abdm.client.gateway import Gateway, fault_of
from engine.features.abdm.service import preflight
from engine.model.process.clock import SystemClock
from tests.support.abdm_site import FACILITY, SECRET, AbdmSite, abdm_site, destination

URL = "https://relay.example.org/abdm"
HIP: dict[str, Any] = {"id": FACILITY, "types": ["HIP"], "active": True}
ACCOUNT: dict[str, Any] = {"url": URL, "active": True, "blocklisted": False}

ANSWERS: dict[str, tuple[Any, list[str]]] = {
    "all well": ({"bridge": ACCOUNT, "services": [HIP]}, []),
    "a slash at the end": ({"bridge": ACCOUNT | {"url": URL + "/"}, "services": [HIP]}, []),
    "stolen": ({"bridge": ACCOUNT | {"url": "https://other.example"}, "services": [HIP]}, ["url-other"]),
    "no URL": ({"bridge": ACCOUNT | {"url": None}, "services": [HIP]}, ["url-missing"]),
    "closed": ({"bridge": ACCOUNT | {"active": False}, "services": [HIP]}, ["bridge-inactive"]),
    "blocked": ({"bridge": ACCOUNT | {"blocklisted": True}, "services": [HIP]}, ["bridge-blocked"]),
    "no service": ({"bridge": ACCOUNT, "services": None}, ["facility-missing"]),
    "a service that is no HIP": ({"bridge": ACCOUNT, "services": [HIP | {"types": ["HIU"]}]}, ["facility-missing"]),
    "a service that is closed": ({"bridge": ACCOUNT, "services": [HIP | {"active": False}]}, ["facility-inactive"]),
    "no account": ({"services": []}, ["bridge-unreadable"]),
    "a list": ([], ["bridge-unreadable"]),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_each_fault_of_the_account_has_its_code(case: str) -> None:
    said, codes = ANSWERS[case]
    found = list(preflight.bridge(destination("http://127.0.0.1:1", callbacks={"url": URL}), json.dumps(said).encode()))
    assert [one.code for one in found] == codes
    assert all(one.text and one.remedy for one in found)


class _Late(SystemClock):
    def now(self) -> datetime:
        return super().now() - timedelta(minutes=10)


async def _codes(site: AbdmSite, clock: SystemClock | None = None, **other: Any) -> list[str]:
    config = destination(other.pop("gateway", site.sandbox.url), **({"callbacks": {"url": site.ours.url}} | other))
    gateway = Gateway("abdm", config, clock or SystemClock())
    await gateway.start()
    try:
        return [one.code for one in await preflight.examine(config, gateway, fault_of)]
    finally:
        await gateway.close()


def test_callbacks_from_any_address_are_a_fault_in_production() -> None:
    """`check` warns by `in_clear`, the preflight by its code."""
    live: dict[str, Any] = {"environment": "abdm", "issuer": "https://issuer.example"}
    closed = {"url": URL, "allow": ["192.0.2.0/24"]}
    open_, shut = destination("https://x.example", callbacks={"url": URL}, **live), {"callbacks": closed} | live
    assert [path for path, _ in open_.in_clear()] == [("callbacks",)]
    assert list(destination("https://x.example", **shut).in_clear()) == []
    assert not destination("https://x.example", callbacks={"url": URL}).is_open


async def test_the_preflight_names_each_fault_at_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with abdm_site(tmp_path, monkeypatch) as site:
        assert await _codes(site) == []
        assert await _codes(site, facilities={"IN0000000009": {"name": "Another"}}) == ["facility-missing"]
        assert await _codes(site, gateway="http://127.0.0.1:1") == ["gateway-down"]
        assert "clock-off" in await _codes(site, _Late())
        live = {"environment": "abdm", "issuer": "https://issuer.example"}
        assert {"callbacks-open", "token-reuse"} <= set(await _codes(site, **live))
        bound = {"url": site.ours.url, "one_request_per_token": True}
        assert "token-reuse" not in await _codes(site, callbacks=bound, **live)
        closed = {"url": "http://127.0.0.1:1/abdm"}
        assert await _codes(site, callbacks=closed) == ["url-other", "callbacks-closed"]
        other = {"url": site.sandbox.url}
        assert await _codes(site, callbacks=other) == ["url-other", "callbacks-closed"]
        await site.ask("/bridge", {"url": site.sandbox.url})
        assert await _codes(site) == ["url-other"]
        gateway = site.ours.gateway
        mine = destination(site.sandbox.url, callbacks={"url": site.ours.url})
        assert await preflight.set_url(mine, gateway) is None
        assert await _codes(site) == []
        refused = await preflight.set_url(destination(site.sandbox.url, callbacks={"url": URL}), gateway)
        assert refused is not None
        assert refused.code == "url-refused"
        monkeypatch.setenv(SECRET, "wrong")
        assert await _codes(site) == ["session-refused"]
