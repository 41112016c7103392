"""A site loads what it uses: libraries for other sites, and for readers that have not come, cost it nothing."""

import subprocess
import sys
from pathlib import Path

from tests.support.running import hl7_channel, make_running_site

SCRIPT = """
import asyncio, sys, urllib.request
from pathlib import Path
from engine.runtime.app import App

LATER = {"jinja2"}
OTHERS = {"aiomqtt", "fhir", "hl7apy", "joserfc", "paho", "serial", "workbench", "engine.web.api.reads"}
OTHERS |= {"argon2", "pyotp", "segno"}  # a log-in
OTHERS |= {"adapters.clients.otlp", "adapters.clients.otlp"}  # traces

async def main():
    app, started = App(Path(sys.argv[1])), asyncio.Event()
    running = asyncio.create_task(app.run(lambda app: started.set()))
    await started.wait()
    address = f"http://127.0.0.1:{app.page.port}"
    for path in ("/healthz", "/status.json"):
        await asyncio.to_thread(lambda: urllib.request.urlopen(address + path).read())
    print(sorted((LATER | OTHERS) & sys.modules.keys()))
    await asyncio.to_thread(lambda: urllib.request.urlopen(address + "/").read())
    print(sorted(LATER - sys.modules.keys()))
    app.stop()
    await running

asyncio.run(main())
"""


def test_a_plain_site_loads_nothing_for_other_sites_and_for_its_page_only_once_it_is_read(tmp_path: Path) -> None:
    nowhere = {"lab-fhir": {"kind": "fhir", "url": "http://127.0.0.1:9/fhir"}}
    site = make_running_site(tmp_path / "site", {"lab": hl7_channel()}, nowhere, web="127.0.0.1:0")
    ran = subprocess.run([sys.executable, "-c", SCRIPT, str(site)], capture_output=True, text=True, timeout=120)
    assert ran.stdout.splitlines() == ["[]", "[]"], ran.stderr


def test_no_model_is_built_before_it_is_used() -> None:
    """Pydantic makes a checker of a model in a millisecond, and there are over a hundred."""
    script = """
import engine.runtime.app
from pydantic import BaseModel

def below(model):
    return {each for child in model.__subclasses__() for each in {child, *below(child)}}

ours = [model for model in below(BaseModel) if model.__module__.startswith("engine.")]
print(len(ours) > 50, [model.__name__ for model in ours if model.__pydantic_complete__])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "True []\n", ran.stderr
