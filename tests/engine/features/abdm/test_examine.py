"""`labrelay doctor` and `labrelay check --online` say what a laboratory still lacks at ABDM."""

import asyncio
from pathlib import Path

import pytest
import yaml

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.features.abdm.config.destination import found_in
from engine.features.abdm.rules.account import AbdmFault
from engine.features.abdm.service import preflight
from engine.model.site.health import Health
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level
from tests.support.abdm_reports import SETTINGS, write_site
from tests.support.abdm_site import FACILITY, SECRET, destination
from tests.support.command_line import labrelay
from tests.support.ports import quiet_ports
from tests.support.running import channel
from workbench.abdm import AbdmSandbox, Settings

WEST = "IN0000000002"
OK, WARN, FAIL = Health.OK, Health.WARN, Health.FAIL
SMS = {"url": "https://sms.example.org/send", "body": '{"to": "{mobile}", "text": "{code} {facility}"}'}


def fault(code: str, facility: str = "", level: Level = Level.PROBLEM) -> AbdmFault:
    return AbdmFault(code=code, text=Phrase(code), remedy=Phrase("mend it"), facility=facility, level=level)


FINE = "the gateway takes our calls, and callbacks can come in"
OURS, THEIRS = f"{FACILITY}: the gateway has its HIP service", f"{WEST}: the gateway has its HIP service"
# Faults of the preflight -> the lines.
LINES: dict[str, tuple[list[AbdmFault], list[tuple[Health, str]]]] = {
    "all well": ([], [(OK, OURS), (OK, THEIRS), (OK, FINE)]),
    "a laboratory": (
        [fault("facility-missing", WEST)],
        [(FAIL, f"{WEST}: facility-missing"), (OK, OURS), (OK, FINE)],
    ),
    "the account": ([fault("url-other")], [(FAIL, "url-other"), (OK, OURS), (OK, THEIRS)]),
    "nothing was seen": ([fault("gateway-down", level=Level.ATTENTION)], [(WARN, "gateway-down")]),
    "a refused log-in": ([fault("session-refused")], [(FAIL, "session-refused")]),
}


@pytest.mark.parametrize("case", LINES)
def test_each_fault_is_a_line_and_each_laboratory_in_order_has_one(case: str) -> None:
    faults, expected = LINES[case]
    two = {FACILITY: {"name": "A", "channels": "a"}, WEST: {"name": "B", "channels": "b"}}
    found = list(preflight.of_gateway(destination("http://127.0.0.1:1", facilities=two), faults))
    assert [(one.health, one.text) for one in found] == expected
    assert [one.advice for one in found] == ["mend it"] * len(faults) + [""] * (len(found) - len(faults))
    assert {one.subject for one in found} == {"ABDM"}


def test_each_code_that_hides_another_one_is_a_code_of_the_preflight() -> None:
    source = Path(preflight.__file__).read_text(encoding="utf-8")
    for code in {*preflight.HIDES, *(one for hidden in preflight.HIDES.values() for one in hidden)}:
        assert f'code="{code}"' in source


def test_what_the_files_lack_is_said_for_each_laboratory(tmp_path: Path) -> None:
    def lacks() -> list[str]:
        loaded = load_site(site, require_secrets=False)
        named = found_in(loaded.config.destinations)
        assert named is not None
        return [line.text for line in preflight.lacking(*named, loaded.channels)]

    def west(enabled: bool) -> None:
        route = {"mapping": "abdm-report", "to": "abdm"}
        made = channel({"kind": "mllp", "listen": "127.0.0.1:0"}, route, settings=SETTINGS, enabled=enabled)
        (site / "channels" / "west.yaml").write_text(yaml.safe_dump({"channel": "west", **made}), encoding="utf-8")

    facilities = {FACILITY: {"name": "A", "channels": "chem"}, WEST: {"name": "B", "channels": "west"}}
    site = write_site(tmp_path, "http://127.0.0.1:1", 8590, facilities=facilities)
    west(False)
    no_sms = "no SMS service: patients who search for their reports from their app find none"
    assert lacks() == [f"{WEST}: no channel brings its reports", no_sms]
    west(True)
    assert lacks() == [no_sms]


async def test_the_commands_say_it_by_one_look_at_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = AbdmSandbox(settings=Settings())
    await sandbox.start()
    (port,) = quiet_ports(1)
    try:
        site = write_site(tmp_path, sandbox.url, port, facilities={WEST: {"name": "Made-up West"}}, sms=SMS)
        monkeypatch.delenv(SECRET, raising=False)
        unset = await asyncio.to_thread(labrelay, "doctor", site=site)
        assert "the gateway is not asked" in unset.out
        monkeypatch.setenv(SECRET, Settings().secret)
        examined = await asyncio.to_thread(labrelay, "doctor", site=site)
        checked = await asyncio.to_thread(labrelay, "check", "--online", site=site)
        assert sandbox.state.counts["call bridge-services"] == 2
    finally:
        await sandbox.stop()
    lacks = f"ABDM: {WEST}: the account has no HIP service for it"
    assert f"fail  {lacks}\n      -> link the facility" in examined.out
    assert f"{lacks}: link the facility" in checked.out
    assert "fail  ABDM: callbacks cannot come in" in examined.out
    assert checked.code == ExitCode.CONFIG
    assert "takes effect at the next start" not in checked.out
    assert Settings().secret not in examined.out + checked.out + examined.err + checked.err
