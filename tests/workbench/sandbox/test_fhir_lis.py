"""The laboratory system of the sandbox that orders at its own FHIR server, and LabRelay that searches it."""

from datetime import datetime
from pathlib import Path

from engine.features.orders.rows.reading import ItemFilter, items
from tests.engine.features.orders.exchange.test_orders_of_a_lis import ANALYZER
from tests.engine.features.orders.exchange.test_polled_orders import fault, polling
from tests.support.running import running_site
from tests.support.waiting import until
from workbench.sandbox import Sandbox
from workbench.sandbox.fhir_lis import FhirLis
from workbench.sandbox.lis import LisOrder, play

AT = datetime(2026, 3, 2, 8, 0)


async def test_orders_on_the_sandbox_are_found_by_a_search(tmp_path: Path) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    try:
        his = {**polling(sandbox.url, page="3"), "lis": {"codes": {"TSH": "TSH", "FT4": "FERR"}}}
        async with running_site(tmp_path, {"chemistry": ANALYZER, "his": his}) as site:
            lis = FhirLis(sandbox.url)
            await play(lis, ["TSH", "FT4"], tubes=8, cancels=0.5, rate=0, seed=7, at=lambda: AT)
            orders, cancels = lis.counts["new"], lis.counts["cancel"]
            assert orders > 8
            assert cancels

            def states() -> list[str]:
                return [one.state.value for one in items(site.journal, ItemFilter())]

            await until(lambda: states().count("waiting") == orders - cancels)
            assert set(states()) <= {"waiting", "cancelled"}
            assert fault(site) == ""
            tube = LisOrder("LIS-9", "00042", "TSH", "SIM-9", stat=True)
            await lis.order([tube], at=AT)
            await until(lambda: any(one.line.placer == "LIS-9" for one in items(site.journal, ItemFilter())))
            (one,) = [one for one in items(site.journal, ItemFilter()) if one.line.placer == "LIS-9"]
            assert (one.line.specimen, one.line.patient.number, one.line.priority) == ("00042", "SIM-9", "stat")
    finally:
        await sandbox.stop()
