"""`labrelay simulate` for an analyzer whose dialect moves the specimen's number and reads times of another form."""

import importlib
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

import adapters.dialects
from engine.commands.shared.output import ExitCode
from engine.config import registry
from tests.support.command_line import Ran, labrelay
from tests.support.running import ASTM_ROUTE, astm_channel, channel, running_site
from workbench.simulator.packs import find_model, names
from workbench.simulator.read_back import check

# The rack in O-3, the specimen behind it; day, month, year.
SAMPLE = (
    "H|\\^&|||ACME TEST|||||||P||01022026101500\nP|1||P77||Rao^Meera||03041975|F\n"
    "O|1|RACK4^^S2602010001||^^^GLU|R|01022026101000\nR|1|^^^GLU|5.1|mmol/L|3.9 to 5.6|N||F||||01022026101400\nL|1|N\n"
)
READING = """
from datetime import datetime

from adapters.dialects.shared.fields import components, get, put
from engine.model.message import Parsed

def adapt(parsed: Parsed) -> Parsed:
    for record in parsed.segments:
        for number in {"H": (14,), "P": (8,), "O": (3, 7), "R": (13,)}.get(record.name, ()):
            old = get(record, number)
            if (record.name, number) == ("O", 3):
                put(record, number, components(old, parsed.delimiters)[2])
            elif old:
                put(record, number, old[4:8] + old[2:4] + old[:2] + old[8:])
    return parsed
"""
# Another analyzer: numbers where the standard has them; times as 01.02.2026 10:14:00, or the birth date alone.
DOTTED_SAMPLE = (
    "H|\\^&|||ACME TEST|||||||P||01.02.2026 10:15:00\nP|1||P77||Rao^Meera||03.04.1975|F\n"
    "O|1|S2602010001||^^^GLU|R\nR|1|^^^GLU|5.1|mmol/L|3.9 to 5.6|N||F||||01.02.2026 10:14:00\nL|1|N\n"
)
DOTTED_BIRTH_SAMPLE = DOTTED_SAMPLE.replace("01.02.2026 10:14:00", "")
DOTTED_READING = """
from adapters.dialects.shared.fields import get, put
from engine.model.message import Parsed

def adapt(parsed: Parsed) -> Parsed:
    for record in parsed.segments:
        for number in {"H": (14,), "P": (8,), "R": (13,)}.get(record.name, ()):
            if old := get(record, number):
                day, month, rest = old.split(".")
                put(record, number, rest[:4] + month + day + rest[5:].replace(":", ""))
    return parsed
"""
DECLARED = 'WRITES_NUMBERS = (("O", 3, 3),)\nWRITES_TIMES = "%d%m%Y%H%M%S"\n'
PACK = """
analyzer: acme-test
maker: Acme
models: [Test]
measures: chemistry
speaks: ASTM E1394
format: astm
seen: [{what: modelled, model: Test, file: none, shows: nothing, link: "https://example.org"}]
gives: {dialect: acme-test}
"""


class Acme:
    """A site's folder with the pack and a sample of the analyzer, and its dialect among those of the installation."""

    def __init__(self, folder: Path, modules: Path) -> None:
        self.site, self._module = folder, modules / "acme_test.py"
        pack, samples = folder / "analyzers" / "acme-test", folder / "samples" / "acme-test"
        pack.mkdir(parents=True)
        samples.mkdir(parents=True)
        (pack / "pack.yaml").write_text(PACK)
        (pack / "channel.yaml").write_text("channel: acme-test\n")
        self._sample = samples / "01.astm"
        self.sends(SAMPLE)

    def sends(self, sample: str) -> None:
        self._sample.write_text(sample)

    def reads(self, dialect: str) -> None:
        self._module.write_text(dialect)
        importlib.invalidate_caches()
        registry.dialects.cache_clear()


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Acme]:
    modules = tmp_path / "dialects"
    modules.mkdir()
    monkeypatch.setattr(adapters.dialects, "__path__", [*adapters.dialects.__path__, str(modules)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Acme(tmp_path / "site", modules)
    sys.modules.pop("adapters.dialects.acme_test", None)
    registry.dialects.cache_clear()


def test_what_python_compiles_beside_samples_is_no_analyzer(tmp_path: Path) -> None:
    compiled = tmp_path / "samples" / "__pycache__"
    compiled.mkdir(parents=True)
    (compiled / "api_client.cpython-311.pyc").write_bytes(b"compiled")
    assert names(tmp_path) == names()
    assert not any("pycache" in name for name in names())


async def test_messages_are_written_as_the_dialect_reads_them(acme: Acme) -> None:
    acme.reads(READING + DECLARED)
    async with running_site(acme.site, {"acme": astm_channel(analyzer="acme-test")}) as site:
        port = str(site.port("acme"))
        ran = await site.labrelay(
            "simulate", "acme-test", "--connect", f"127.0.0.1:{port}", "--specimens", "12", "--seed", "5", "-o", "json"
        )
        await site.settled()
        assert (ran.code, ran.json["dead_letters"]) == (ExitCode.OK, None), ran.err  # the file names no fixed port
        assert set(site.ends("acme")) == {"delivered"}, "the channel is to deliver every message"
        bundles = [bundle for view in site.messages("acme") for bundle in site.bundles(view.id)]
    found = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
    tubes = {number["value"] for one in found for number in one.get("identifier", []) if number["value"][:2] == "S5"}
    assert len(tubes) == 12, "each of the 12 messages is to have a new specimen's number"
    days = {one["effectiveDateTime"][:10] for one in found if one["resourceType"] == "Observation"}
    assert days == {"2026-03-02"}, "each result is to be of the day on which the simulator begins with a seed"
    births = [one["birthDate"] for one in found if one["resourceType"] == "Patient"]
    assert all(1935 <= datetime.fromisoformat(born).year < 2020 for born in births), (
        "each birth date is to be one that the simulator makes up"
    )


@pytest.mark.parametrize(
    ("declared", "missing"),
    [('WRITES_TIMES = "%d%m%Y%H%M%S"\n', "WRITES_NUMBERS"), ('WRITES_NUMBERS = (("O", 3, 3),)\n', "WRITES_TIMES")],
)
def test_a_dialect_that_does_not_say_how_is_refused_before_anything_is_sent(
    acme: Acme, declared: str, missing: str
) -> None:
    acme.reads(READING + declared)
    ran = labrelay("simulate", "acme-test", "--connect", "127.0.0.1:1", site=make(acme.site))
    refused(ran, "does not read the", missing)


@pytest.mark.parametrize("sample", [DOTTED_SAMPLE, DOTTED_BIRTH_SAMPLE], ids=["times", "birth-date"])
@pytest.mark.parametrize("declared", ["", 'WRITES_NUMBERS = (("O", 3, 1),)\n'], ids=["nothing", "numbers"])
def test_a_dialect_that_would_read_the_times_of_the_sample_is_refused(acme: Acme, declared: str, sample: str) -> None:
    acme.sends(sample)
    acme.reads(DOTTED_READING + declared)
    ran = labrelay("simulate", "acme-test", "--connect", "127.0.0.1:1", site=make(acme.site))
    refused(ran, "does not read the new times in a message like", "WRITES_TIMES")


@pytest.mark.parametrize("time", [" 10:14:00", ""], ids=["to-the-second", "date-alone"])
def test_a_dialect_that_declares_its_form_of_times_is_played_on_the_day_of_the_sample_too(
    acme: Acme, time: str
) -> None:
    acme.sends(DOTTED_SAMPLE.replace(" 10:14:00", time))
    acme.reads(DOTTED_READING + 'WRITES_TIMES = "%d.%m.%Y %H:%M:%S"\n')
    check(find_model("acme-test", acme.site), datetime(2026, 2, 1, 12, 0))


def refused(ran: Ran, why: str, missing: str) -> None:
    """The command ended, and said why and which declaration is missing."""
    assert ran.code == ExitCode.FAILED, f"simulate is to fail where a dialect declares no {missing}: {ran.err}"
    said = f"simulate is to say that the dialect declares no {missing}; it says: {ran.err}"
    assert f"dialect 'acme-test' {why}" in ran.err, said
    assert f"adapters/dialects/acme_test.py declares with {missing} " in ran.err, said


def make(site: Path) -> Path:
    (site / "config").mkdir()
    (site / "config" / "labrelay.yaml").write_text("site: {name: Test Lab, timezone: Asia/Kolkata}\n")
    return site


@pytest.mark.parametrize("name", names())
def test_every_shipped_dialect_reads_what_is_made_of_its_samples(name: str) -> None:
    check(find_model(name), datetime(2026, 3, 2, 8, 0))


async def test_dead_letters_of_the_channel_make_it_fail(tmp_path: Path) -> None:
    nothing = channel({"kind": "astm", "listen": "127.0.0.1:0"}, {**ASTM_ROUTE, "when": "=P-2 == 'no such'"})
    async with running_site(tmp_path / "site", {"xp": {**nothing, "analyzer": "sysmex-xp"}}) as site:
        file = tmp_path / "site" / "channels" / "xp.yaml"
        file.write_text(file.read_text().replace("127.0.0.1:0", f"127.0.0.1:{site.port('xp')}"))
        ran = await site.labrelay("simulate", "sysmex-xp", "--specimens", "3", "-q", "--seed", "1")
        again = await site.labrelay("simulate", "sysmex-xp", "--specimens", "3", "-o", "json", "--seed", "2")
    sent = sum(again.json["messages"].values())
    assert (ran.code, again.code) == (ExitCode.FAILED, ExitCode.FAILED)
    assert "the channel made dead letters: 3 NO_ROUTE; look: labrelay dlq list" in ran.out
    assert again.json["dead_letters"] == {"NO_ROUTE": sent}
