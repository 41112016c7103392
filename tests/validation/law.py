"""An analyzer by HAPI's HL7 v2 library asks a running site for work, over IHE LAW.

    python -m tests.validation.law CLASSPATH

It writes QBP_Q11 and ORL_O34, and reads our RSP_K11 and OML_O33, by the structures of v2.5.1. CLASSPATH is the file
with HAPI's class path, as `make validate-hapi` makes it.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.engine.features.orders.exchange.test_hl7_questions import becomes, line, ordered
from tests.engine.features.orders.exchange.test_law import WHO, law_site

ANALYZER = Path(__file__).with_name("hapi_v2") / "Analyzer.java"


async def heard(class_path: str, folder: Path, port: int, container: str) -> list[str]:
    """What the analyzer has read, as its own lines. The library keeps its last message number in ``folder``."""
    ran = await asyncio.create_subprocess_exec(
        "java", "-cp", class_path, str(ANALYZER), str(port), container, stdout=asyncio.subprocess.PIPE, cwd=folder
    )
    out, _ = await ran.communicate()
    assert ran.returncode == 0, f"HAPI refuses what it heard of {container}"
    return out.decode().splitlines()


async def exchange(class_path: str, folder: Path) -> None:
    async with law_site(folder, demographics=True) as (site, _):
        tube = {"specimen_type": "SER", "specimen_namespace": "LAB"}
        await ordered(site, line("022", "TSH", WHO, **tube), line("022", "FT4", WHO, priority="stat", **tube))
        found = await heard(class_path, folder, site.port("lab"), "022")
        assert found == ["022\tNW\tW1\t658^TSH^99ABT", "022\tNW\tW2\t20490^^99ROC"], found
        await becomes(site, "accepted", "accepted")
        assert await heard(class_path, folder, site.port("lab"), "033") == ["033\tDC"]


def main() -> None:
    class_path = Path(sys.argv[1]).read_text(encoding="utf-8").strip()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(exchange(class_path, Path(folder)))
    print("IHE LAW: HAPI's HL7 v2 library reads our RSP_K11 and OML_O33, and its QBP_Q11 and ORL_O34 are understood")


if __name__ == "__main__":
    main()
