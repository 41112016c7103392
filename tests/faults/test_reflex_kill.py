"""The daemon is killed while persons and a rule order proposed tests and results come again: each once for a tube."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from engine.actions.control import SOCKET_NAME, call
from engine.features.orders.rows import reading, reflex
from engine.features.orders.rows.reading import ItemFilter
from engine.model.errors import LabRelayError
from engine.store.integrity.verify import run as verify
from engine.store.queries.acts import acts_page
from engine.store.queries.reader import Reader
from tests.support.asking import asking, question, result
from tests.support.killed import Daemon
from tests.support.ordering_lis import order, ordering
from tests.support.ports import quiet_ports
from tests.support.waiting import until

KILLS, TUBES = 4, 24
SITE = """\
site: {name: Test Lab, timezone: Asia/Kolkata}
web: {enabled: false}
destinations:
  out: {kind: file, folder: out}
"""
HIS = """\
channel: his
source: {kind: mllp, listen: "127.0.0.1:PORT"}
role: orders
settings: {order_specimen: OBR-3}
routes:
  - mapping: orders-hl7
"""
CHANNEL = """\
channel: chem
source: {kind: astm, listen: "127.0.0.1:PORT"}
orders:
  codes: {TSH: TSH3, FT4: Free T4, FT3: Free T3}
  reflex: [{test: TSH, rule: TSH is high, add: FT4}, {test: TSH, rule: TSH is high, add: FT3, auto: true}]
routes:
  - mapping: astm-results
    to: out
    hold: [{when: =value > 50, name: TSH is high, shadow: true}]
"""


def listens(port: int) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) == 0


async def test_each_proposal_is_one_order_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    rng = random.Random(4711)
    his_port, port = quiet_ports(2)
    for name in ("config", "channels"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "labrelay.yaml").write_text(SITE)
    (tmp_path / "channels" / "his.yaml").write_text(HIS.replace("PORT", str(his_port)))
    (tmp_path / "channels" / "chem.yaml").write_text(CHANNEL.replace("PORT", str(port)))
    data, daemon, confirmed = tmp_path / "var", Daemon(tmp_path), list[str]()
    tubes = [f"T{number:03}" for number in range(TUBES)]

    def proposed(*, every: bool = True, adds: str = "FT4") -> list[reflex.ReflexView]:
        journal = Reader.beside(data)
        try:
            return [one for one in reflex.proposals(journal, all_of_them=every, limit=1000) if one.adds == adds]
        finally:
            journal.close()

    def confirm() -> None:
        for one in proposed(every=False):
            with contextlib.suppress(LabRelayError, OSError):  # killed meanwhile, or another person was first
                asked = {"proposal": one.id, "reason": "seen"}
                confirmed.append(call(data / SOCKET_NAME, "reflex_confirm", asked, timeout=5.0)["order"])

    async def send(wanted: list[str], value: str) -> None:
        async with asking(port) as peer:
            for tube in wanted:
                await peer.send(result(tube, f"P-{tube}", "TSH3", value))

    async with AsyncExitStack() as stack:
        stack.push_async_callback(daemon.kill)
        await daemon.start()
        await until(lambda: listens(his_port) and listens(port), 240.0)
        async with ordering(his_port) as his:
            for tube in tubes:
                await his.ask(order(f"M{tube}", ("NW", f"O{tube}", "TSH"), tube=tube, patient=f"P-{tube}"))
        async with asking(port) as peer:
            for tube in tubes:
                await peer.ask(question(tube))
        for round_ in range(KILLS):
            await send(tubes[: (round_ + 1) * TUBES // KILLS], f"{60 + round_}.0")
            await until(lambda: len(proposed()) == (round_ + 1) * TUBES // KILLS, 240.0)  # noqa: B023
            persons = [asyncio.create_task(asyncio.to_thread(confirm)) for _ in range(2)]
            await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill is meant to be any moment
            await daemon.kill()
            await asyncio.gather(*persons)
            await daemon.start()
            await until(lambda: listens(his_port) and listens(port), 240.0)

        def all_confirmed() -> bool:
            confirm()
            return not proposed(every=False)

        await until(all_confirmed, 240.0)
        await until(lambda: {one.state for one in proposed(adds="FT3")} == {"confirmed"}, 240.0)
    found = proposed()
    journal = Reader.beside(data)
    try:
        made = [one for one in reading.items(journal, ItemFilter(), limit=1000) if one.line.test == "FT4"]
        by_rule = [one for one in reading.items(journal, ItemFilter(), limit=1000) if one.line.test == "FT3"]
        acts = [one for one in acts_page(journal, limit=100_000) if one.verb == "reflex-confirm"]
    finally:
        journal.close()
    assert {one.state for one in found} == {"confirmed"}
    assert Counter(one.line.specimen for one in made) == dict.fromkeys(tubes, 1)
    assert Counter(one.line.specimen for one in by_rule) == dict.fromkeys(tubes, 1)
    assert all(one.line.patient.number == f"P-{one.line.specimen}" for one in made)
    assert {one.parent: one.item for one in found} == {one.parent: one.number for one in made}
    assert set(confirmed) <= {one.item_id for one in made}
    assert Counter("rule" in one.what for one in acts) == {True: TUBES, False: TUBES}
    assert verify(data, deep=True) == []
