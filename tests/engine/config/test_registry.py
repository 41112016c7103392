"""Names of the YAML, and the adapters behind them."""

import subprocess
import sys

from engine.config import registry
from engine.config.sources import source


def test_every_transport_and_every_link_of_a_source_has_its_adapter() -> None:
    for name in source.transports():
        made = callable(getattr(registry.transport(name), "build", None))
        assert made, f"adapters/transports/{name}.py: write build(source, handler), which makes the transport"
    assert set(source.links()) == registry.LINKS.keys(), (
        "name the module of the link in LINKS (engine/config/registry.py)"
    )


def test_reading_a_configuration_loads_no_adapter() -> None:
    code = (
        "import sys, engine.config.load; print([name for name in sys.modules if name.startswith(('adapters', 'aio'))])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
