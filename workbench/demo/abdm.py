"""`labrelay demo --show abdm`: a result of an analyzer, until the patient reads it in the app.

The simulator plays ABDM: its gateway, its consent manager, and the app of a made-up patient. The app hears of the new
report, raises a consent of the patient's own, and asks for the record. It comes encrypted, and the app opens it.
"""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import aiohttp
import yaml

from engine.config.load import Site, load_site
from engine.features.abdm.config.destination import found_in
from engine.model.errors import LabRelayError
from engine.model.texts.units import HostPort
from workbench.abdm import Settings
from workbench.abdm.people import PEOPLE
from workbench.demo.parts import Part, command_for, labrelay, listens, play, refuse_taken

CHEMISTRY, HAEMATOLOGY = "chemistry", "haematology"
SHOWN = "ABDM is"
SECRET = "LABRELAY_DEMO_ABDM_SECRET"  # noqa: S105 - the name of a variable
CHANNEL = (Path(__file__).parent / "abdm_channel.txt").read_text(encoding="utf-8")
RESULTS = (("2345-7^Glucose^LN", "148.50", "mg/dL", "70-110", "H"), ("2160-0^Creatinine^LN", "0.80", "mg/dL", "", "N"))
PULL_AFTER = "1s"
SHOWS_WITHIN_S = 60.0


def prepare(folder: Path) -> None:
    """Make a copy of the demo's site a laboratory of ABDM: one channel, and the patient's app as its only destination.

    The simulator and the listener for callbacks take the addresses of the parts that are not played.

    Raises:
        LabRelayError: the site is not the demo's.
    """
    site = load_site(folder)
    simulator, callbacks = _server(site), listens(site, HAEMATOLOGY, SHOWN)
    analyzer = listens(site, CHEMISTRY, SHOWN)
    facility = next(iter(Settings().facilities))
    for channel in (folder / "channels").glob("*.yaml"):
        channel.unlink()
    text = CHANNEL.format(listen=analyzer, facility=facility)
    (folder / "channels" / f"{CHEMISTRY}.yaml").write_text(text, encoding="utf-8")
    file = folder / "config" / "labrelay.yaml"
    said = yaml.safe_load(file.read_text(encoding="utf-8"))
    said["destinations"] = {
        "abdm": {
            "kind": "abdm",
            "environment": "sbx",
            "gateway": f"http://{simulator}",
            "client_id": Settings().client,
            "client_secret": f"${{{SECRET}}}",
            "facilities": {facility: {"name": "City Lab"}},
            "callbacks": {"url": f"http://{callbacks}/abdm", "listen": str(callbacks)},
            "push_private": ["127.0.0.0/8"],
            "retry": {"first": "1s", "max": "1m"},
        }
    }
    file.write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    os.environ[SECRET] = Settings().secret  # of this process and its parts


def _server(site: Site) -> HostPort:
    server = next((one for one in site.config.destinations.values() if one.kind == "fhir"), None)
    if server is None:
        raise LabRelayError("ABDM is shown with the demo's own site; start the demo in another folder")
    place = urlsplit(server.url)
    return HostPort(place.hostname or "", place.port or 80)


async def run(site: Site, *, leave: bool, say: Callable[[str], None]) -> int:
    """Play it; 0 if the patient has the report. Without ``leave`` the parts go on until it is cancelled."""
    found = found_in(site.config.destinations)
    assert found is not None
    ours = found[1]
    place, web, listen = urlsplit(ours.place), site.config.web.listen, listens(site, CHEMISTRY, SHOWN)
    simulator = HostPort(place.hostname or "", place.port or 80)
    callbacks = ours.callbacks.listen
    refuse_taken({"simulator": simulator, "status page": web, CHEMISTRY: listen, "callbacks": callbacks})
    logs = site.config.data / "demo"
    plays = ["abdm", "sandbox", "--port", str(simulator.port), "--pull-after", PULL_AFTER]
    network = Part("the simulator", plays, logs / "simulator.log")
    daemon = Part("the daemon", ["--site", str(site.folder), "run"], logs / "daemon.log")
    return await play(
        (f"Starting a simulator of ABDM on http://{simulator}/; its people are made up", network, simulator),
        (f"Starting LabRelay; its page: http://{web}/", daemon, listen),
        lambda: _play(site, f"http://{simulator}", ours.callbacks.url, say),
        leave=leave,
        say=say,
    )


async def _play(site: Site, gateway: str, callbacks: str, say: Callable[[str], None]) -> bool:
    person = PEOPLE[0]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
        async with http.post(f"{gateway}/bridge", json={"url": callbacks}) as answer:  # as the owner registers it, once
            answer.raise_for_status()
        message = site.config.data / "demo" / "result.hl7"
        message.write_text(_result(datetime.now(ZoneInfo(site.channels[CHEMISTRY].timezone))), encoding="utf-8")
        say("")
        say(f"1  The analyzer sends a result of {person.name}")
        await labrelay(site.folder, "send", str(message), f"mllp://{listens(site, CHEMISTRY, SHOWN)}", "--yes")
        shown: dict[str, Any] = {}
        said: set[str] = set()
        due = asyncio.get_running_loop().time() + SHOWS_WITHIN_S
        while not shown.get("documents") and asyncio.get_running_loop().time() < due:
            async with http.get(f"{gateway}/app/{person.address}") as answer:
                shown = await answer.json()
            for number, (key, words) in enumerate(_STEPS.items(), start=2):
                if shown[key] and key not in said:
                    said.add(key)
                    say(f"{number}  {words}")
            await asyncio.sleep(0.1)
        async with http.get(f"{gateway}/violations") as answer:
            violations = await answer.json()
    say("")
    command = command_for(site.folder)
    if not shown.get("documents"):
        say("The report has not arrived. Look at the log of the daemon:")
        say(f"  {site.config.data / 'demo' / 'daemon.log'}")
        return False
    say("The app opens it, and shows:")
    for line in _lines(shown["documents"][0]["document"]):
        say(f"  {line}")
    say("")
    say(f"The simulator found {len(violations)} faults in what LabRelay said. Look at it while this goes on:")
    say(f"  {gateway}/app/{person.address}      the patient's app")
    say(f"  {command} messages list      the analyzer's message")
    return not violations


_STEPS = {
    "linked": "LabRelay links the report to the patient's address",
    "notices": "The patient's app hears of it",
    "consents": "The patient asks for the record, and consents by that",
    "documents": "LabRelay checks the consent, encrypts the record and sends it",
}


def _result(at: datetime) -> str:
    """An ORU^R01 with results of the first of the simulator's people."""
    one, when = PEOPLE[0], f"{at:%Y%m%d%H%M%S%z}"
    given, _, family = one.name.rpartition(" ")
    born = "{:04}{:02}{:02}".format(*one.birth)
    ids = f"SIM-1^^^LAB^MR~{one.number}^^^NDHM^HIN~{one.address}^^^NDHM^ABHA"
    rows = [
        f"OBX|{n}|NM|{code}||{value}|{unit}|{limits}|{flag}|||F|||{when}"
        for n, (code, value, unit, limits, flag) in enumerate(RESULTS, start=1)
    ]
    return "\r".join(
        [
            f"MSH|^~\\&|ANALYZER|LAB|||{when}||ORU^R01^ORU_R01|{when}|P|2.5.1||||||UNICODE UTF-8",
            f"PID|1||{ids}||{family}^{given}||{born}|{one.gender}",
            f"OBR|1||{at:%y%m%d%H%M%S}|CHEM^Chemistry^L|||{when}|||||||||||||||{when}||CH|F",
            *rows,
            "",
        ]
    )


def _lines(document: str) -> list[str]:
    """The results of a document, as a person reads them."""
    resources = [entry["resource"] for entry in json.loads(document, parse_float=str)["entry"]]
    patient = next(one for one in resources if one["resourceType"] == "Patient")
    found = [f"{patient['name'][0].get('text') or PEOPLE[0].name}"]
    for one in resources:
        if one["resourceType"] == "Observation":
            said = one["valueQuantity"]
            flags = [flag["coding"][0]["code"] for flag in one.get("interpretation", ())]
            name = one["code"].get("text") or one["code"]["coding"][0].get("display", "")
            found.append(f"{name}: {said['value']} {said.get('unit', '')} {' '.join(flags)}".rstrip())
    return found
