"""The connection that LabRelay opens to an analyzer of IHE LAW, over TLS with real certificates."""

import logging
from pathlib import Path
from typing import Any

import pytest

from engine.config.findings.tls_files import certificate_files, fingerprints, problems
from engine.config.load import load_site
from engine.model.errors import ConfigError
from tests.engine.features.orders.exchange.test_hl7_questions import becomes, line, ordered, states
from tests.engine.features.orders.exchange.test_law import WHO, answer_to, law_site, query
from tests.support.asking_hl7 import taking, values
from tests.support.certificates import Authority
from tests.support.sites import make_site
from tests.support.waiting import until


def own(port: int, **tls: Path) -> dict[str, Any]:
    files = {name: str(file) for name, file in tls.items()}
    return {"orders_on": "own", "connect": f"localhost:{port}", "tls": files}


@pytest.mark.parametrize("mutual", [False, True])
async def test_orders_go_out_over_tls_to_an_analyzer_that_is_trusted(tmp_path: Path, mutual: bool) -> None:
    authority = Authority(tmp_path / "ca")
    client = authority.sign("labrelay")
    files = {"ca": authority.ca, **({"cert": client.cert, "key": client.key} if mutual else {})}
    async with (
        taking(tls=authority.server_context(demand_client=mutual)) as takes,
        law_site(tmp_path / "site", **own(takes.port, **files)) as (site, analyzer),
    ):
        ours = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        assert values(await analyzer.ask(query("022")), "QAK", 2) == ["OK"]
        order = await ours.hear()
        assert values(order, "OBR", 2) == ["W1"]
        ours.send(answer_to(order, ("W1", "OK")))
        await becomes(site, "accepted")


async def test_no_order_goes_to_an_analyzer_that_is_not_trusted_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trusted, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "Another authority")
    caplog.set_level(logging.WARNING)
    async with taking(tls=other.server_context()) as takes:
        orders = {**own(takes.port, ca=trusted.ca), "deadline": "500ms"}
        async with law_site(tmp_path / "site", **orders) as (site, analyzer):
            await ordered(site, line("022", "TSH", WHO))
            await analyzer.ask(query("022"))
            await until(
                lambda: any("CERTIFICATE_VERIFY_FAILED" in getattr(one, "detail", "") for one in caplog.records)
            )
            await becomes(site, "waiting")
            assert takes.open == []


async def test_an_analyzer_in_the_clear_gets_nothing_where_tls_is_asked_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with taking() as takes, law_site(tmp_path / "site", **own(takes.port, ca=authority.ca)) as (site, analyzer):
        clear = await takes.line()
        await ordered(site, line("022", "TSH", WHO))
        await analyzer.ask(query("022"))
        assert await clear.first() == b"\x16"  # a handshake, and no block
        assert states(site) == ["waiting"]


CHANNEL = """channel: a
source: {kind: mllp, listen: "127.0.0.1:0"}
orders: {codes: {TSH: "1"}, MORE}
routes: [{filter: later}]
"""


def site_with(folder: Path, more: str) -> Any:
    return load_site(make_site(folder, channels={"a.yaml": CHANNEL.replace("MORE", more)}))


def test_its_files_are_checked_watched_and_part_of_a_reload(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    client = authority.sign("labrelay")
    tls = f"{{ca: {authority.ca}, cert: {client.cert}, key: {client.key}}}"
    site = site_with(tmp_path / "site", f'orders_on: own, connect: "lab-3:6000", tls: {tls}')
    assert list(problems(site)) == []
    assert [(one.owner, one.cert) for one in certificate_files(site)] == [("orders of channel a", client.cert)]
    before = fingerprints(site)
    client.cert.write_bytes(b"broken")
    (found,) = problems(site)
    assert "orders.tls.cert" in found
    assert "is no PEM certificate" in found
    assert fingerprints(site) != before


def test_tls_without_a_connection_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        site_with(tmp_path, "tls: {}")
    (found,) = caught.value.problems
    assert "tls is for the connection of orders_on: own" in found
