"""Channels of analyzers with a text format of their own: from the line to the server, on real sockets."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.model.errors import ConfigError, StoreError
from engine.receiving.channel import Channel
from engine.store.operations import append
from tests.support.command_line import labrelay
from tests.support.journals import replaced
from tests.support.running import Json, running_site
from tests.support.serial_peers import Cable
from tests.support.sites import make_site
from tests.support.waiting import until

ENQ, ACK, NAK, STX, ETX, EOT = b"\x05", b"\x06", b"\x15", b"\x02", b"\x03", b"\x04"
FIELDS = b"\x1emtrsl|\x1epi4711|\x1epn|\x1esi|\x1eciS-0815|\x1ertTSH|\x1ernTSH|\x1ett18:35|\x1etd10/25/24|\x1eql|"
FIELDS += b"\x1eqn2.31 uUI/ml|"

MINIVIDAS = {"kind": "text", "listen": "127.0.0.1:0", "layout": "biomerieux-minividas"}
SPOTCHEM = {"kind": "text", "listen": "127.0.0.1:0", "layout": "arkray-spotchem-el"}
SPOTCHEM_TEXT = b"24/10/29 13:08 ID# S-1   [B. Plasma] Na       131  mmol/L K        9.7  mmol/L "


def minividas(fields: bytes = FIELDS) -> bytes:
    return STX + fields + b"\x1d%02x" % (sum(fields + b"\x1d") & 0xFF) + ETX


def text_channel(source: Json) -> Json:
    routes = [{"when": "=R", "mapping": "astm-results", "to": "lab-fhir"}, {"filter": "no result in it"}]
    # What stands in R-4 of mini VIDAS its pack says.
    return {"source": source, "settings": {"r4": "call^value"}, "routes": routes}


def values(bundles: list[Json]) -> list[tuple[str, float]]:
    """The code as sent and the number of each observation."""
    return [
        (entry["resource"]["code"]["coding"][-1]["code"], entry["resource"]["valueQuantity"]["value"])
        for bundle in bundles
        for entry in bundle["entry"]
        if entry["resource"]["resourceType"] == "Observation"
    ]


async def test_a_text_is_acknowledged_once_it_is_kept_and_delivered_as_results(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"vidas": text_channel(MINIVIDAS)}) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port("vidas"))
        writer.write(ENQ)
        assert await reader.readexactly(1) == ACK
        assert site.messages() == []  # which promised nothing
        writer.write(minividas())
        assert await reader.readexactly(1) == ACK
        assert [view.channel for view in site.messages()] == ["vidas"]
        writer.write(EOT)
        await site.settled()

        assert site.ends() == ["delivered"]
        assert values(site.bundles(site.messages()[0].id)) == [("TSH", 2.31)]
        writer.close()
    async with running_site(tmp_path, {"vidas": text_channel(MINIVIDAS)}) as site:
        assert site.ends() == ["delivered"]  # nothing of it is assembled once more


async def test_a_wrong_checksum_is_refused_and_the_repeated_text_is_taken_once(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"vidas": text_channel(MINIVIDAS)}) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port("vidas"))
        writer.write(ENQ + minividas().replace(b"2.31", b"2.37") + minividas())
        assert await reader.readexactly(3) == ACK + NAK + ACK
        await site.settled()

        assert site.ends() == ["delivered"]
        assert site.app.parts.sources["vidas"].channel.counts.faults == {"bad-checksum": 1}
        writer.close()


async def test_a_printer_that_waits_for_nothing(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"electrolytes": text_channel(SPOTCHEM)}) as site:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port("electrolytes"))
        writer.write(STX + SPOTCHEM_TEXT + ETX + STX + SPOTCHEM_TEXT[:40])
        writer.close()
        await writer.wait_closed()
        await until(lambda: len(site.messages()) == 2)
        await site.settled()

        assert site.ends() == ["delivered", "INCOMPLETE"]
        assert values(site.bundles(site.messages()[0].id)) == [("Na", 131), ("K", 9.7)]


class NothingKept:
    """A store that keeps nothing while ``fails``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, channel: Channel) -> None:
        self.fails = True
        self.asked = 0
        replaced(monkeypatch, channel._journal, append.store_message, append.store_completing_frame, by=self._asked)

    def _asked(
        self, run: Callable[..., "asyncio.Future[object]"], *arguments: object, **named: object
    ) -> "asyncio.Future[object]":
        self.asked += 1
        if not self.fails:
            return run(*arguments, **named)
        failed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        failed.set_exception(StoreError("database or disk is full"))
        return failed


async def test_what_cannot_be_kept_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_site(tmp_path, {"vidas": text_channel(MINIVIDAS)}) as site:
        store = NothingKept(monkeypatch, site.app.parts.sources["vidas"].channel)
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port("vidas"))
        writer.write(minividas())
        assert await reader.readexactly(1) == NAK
        store.fails = False
        writer.write(minividas())
        assert await reader.readexactly(1) == ACK
        await site.settled()
        assert site.ends() == ["delivered"]
        writer.close()


async def test_while_nothing_can_be_kept_a_printer_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second report has come in part when the first cannot be kept: time passes, and it is not the printer's."""
    (tmp_path / "layouts").mkdir()
    shipped = (Path(__file__).parents[3] / "layouts" / "arkray-spotchem-el.yaml").read_text()
    quick = shipped.replace("layout: arkray-spotchem-el", "layout: quick").replace("<ETX>}", "<ETX>, timeout: 500ms}")
    (tmp_path / "layouts" / "quick.yaml").write_text(quick)
    async with running_site(tmp_path, {"el": text_channel(SPOTCHEM | {"layout": "quick"})}) as site:
        store = NothingKept(monkeypatch, site.app.parts.sources["el"].channel)
        _, writer = await asyncio.open_connection("127.0.0.1", site.port("el"))
        second = SPOTCHEM_TEXT.replace(b"S-1", b"S-2")
        writer.write(STX + SPOTCHEM_TEXT + ETX + STX + second[:40])
        await until(lambda: store.asked >= 2)  # one retry, a second later
        writer.write(second[40:] + ETX)
        store.fails = False
        await until(lambda: len(site.messages()) == 2)
        await site.settled()

        assert site.ends() == ["delivered", "delivered"]
        writer.close()


async def test_every_value_can_be_explained_down_to_its_place_in_the_text(tmp_path: Path) -> None:
    async with running_site(tmp_path, {"electrolytes": text_channel(SPOTCHEM)}) as site:
        (tmp_path / "one.txt").write_bytes(STX + SPOTCHEM_TEXT + ETX)
        ran = await site.labrelay(
            "explain", "--channel", "electrolytes", str(tmp_path / "one.txt"), "--show-values", "--purpose", "a test"
        )
        assert ran.code == 0, ran.err
        (line,) = [line for line in ran.out.splitlines() if "valueQuantity.value = 9.7" in line]
        assert "R[2]-4 (line 1, character 59)" in line

        _, writer = await asyncio.open_connection("127.0.0.1", site.port("electrolytes"))
        writer.write(STX + SPOTCHEM_TEXT + ETX)
        await until(lambda: len(site.messages()) == 1)
        ran = await site.labrelay("explain", "1", "--show-values", "--purpose", "a test")
        assert "R[2]-4 (line 1, character 59)" in ran.out, ran.err
        writer.close()


async def test_a_serial_line_that_is_pulled_in_a_text_leaves_evidence_and_comes_back(tmp_path: Path) -> None:
    cable = Cable(tmp_path / "port")
    serial = {"kind": "text-serial", "device": cable.path, "layout": "biomerieux-minividas"}
    try:
        async with running_site(tmp_path, {"vidas": text_channel(serial)}) as site:
            connected = site.app.parts.sources["vidas"].channel.connections
            await until(lambda: bool(connected))
            await cable.send(ENQ + minividas()[:50])
            assert await cable.receive() == ACK
            await until(lambda: any(one.link.held for one in connected.values()))
            cable.pull()
            await until(lambda: len(site.messages()) == 1)
            cable.plug()
            await until(lambda: bool(connected))
            await cable.send(ENQ + minividas())
            assert await cable.receive(2) == ACK + ACK
            await site.settled()

            assert site.ends() == ["INCOMPLETE", "delivered"]
    finally:
        cable.close()


async def test_a_changed_layout_counts_after_a_reload(tmp_path: Path) -> None:
    own = tmp_path / "layouts" / "own.yaml"
    own.parent.mkdir()
    rules = "text: {as: lines}\nrules:\n  - {line: '(?P<v>.*)', new: R, set: {R-3: GLU, R-4: '{v}', O-3: S1}}\n"
    own.write_text("layout: own\nframing: {start: <STX>, end: <ETX>}\n" + rules)
    source = {"kind": "text", "listen": "127.0.0.1:0", "layout": "own"}
    async with running_site(tmp_path, {"own": text_channel(source)}) as site:
        own.write_text("layout: own\nframing: {start: <SOH>, end: <ETX>}\n" + rules)
        await site.app.reload()
        _, writer = await asyncio.open_connection("127.0.0.1", site.port("own"))
        writer.write(b"\x015.4\x03")
        await until(lambda: len(site.messages()) == 1)
        await site.settled()

        assert values(site.bundles(site.messages()[0].id)) == [("GLU", 5.4)]
        writer.close()


def channel_file(source: str) -> dict[str, str]:
    return {"analyzer.yaml": f"channel: analyzer\nsource: {source}\nroutes:\n  - to: archive\n"}


def test_a_layout_of_the_site_comes_before_a_shipped_one_and_counts_for_the_hash(tmp_path: Path) -> None:
    source = '{kind: text, listen: "127.0.0.1:0", layout: arkray-spotchem-el}'
    folder = make_site(tmp_path, channels=channel_file(source))
    before = load_site(folder).hash
    (folder / "layouts").mkdir()
    own = folder / "layouts" / "arkray-spotchem-el.yaml"
    own.write_text("layout: arkray-spotchem-el\ntext: {as: lines}\nrules:\n  - {line: .*, skip: true}\n")
    site = load_site(folder)

    assert site.hash != before
    source_model: object = site.channels["analyzer"].source
    assert getattr(source_model, "layout").path == own  # noqa: B009
    assert getattr(source_model, "reads_as") == "astm"  # noqa: B009


def test_check_reads_layouts_that_no_channel_uses(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    for name in ("layouts/a.yaml", "analyzers/b/layout.yaml"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("layout: a\ntext: {as: line}\nrules: []\n")
    ran = labrelay("check", site=folder)

    assert "layouts/a.yaml:2:12: expected lines, fields or csv; did you mean lines?" in ran.out + ran.err
    assert "analyzers/b/layout.yaml:2:12: expected lines" in ran.out + ran.err


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            '{kind: text, listen: "127.0.0.1:0", layout: arkray-spotchem}',
            "channels/analyzer.yaml:2:53: source.layout: 'arkray-spotchem': no layout has this name; did you mean "
            "arkray-spotchem-el?",
        ),
        ('{kind: text, listen: "127.0.0.1:0"}', "channels/analyzer.yaml:2:9: source.layout: is missing"),
    ],
)
def test_what_is_wrong_with_the_source_is_said_at_its_place(tmp_path: Path, source: str, problem: str) -> None:
    folder = make_site(tmp_path, channels=channel_file(source))

    with pytest.raises(ConfigError) as caught:
        load_site(folder)
    assert caught.value.problems[0].startswith(problem)


async def test_a_layout_for_files_is_refused_on_a_line(tmp_path: Path) -> None:
    (tmp_path / "layouts").mkdir()
    (tmp_path / "layouts" / "own.yaml").write_text("layout: own\ntext: {as: lines}\nrules: []\n")
    source = {"kind": "text", "listen": "127.0.0.1:0", "layout": "own"}
    with pytest.raises(ConfigError, match=r"^layouts/own\.yaml:1:1: framing is missing"):
        async with running_site(tmp_path, {"own": text_channel(source)}):
            pass
