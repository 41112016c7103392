"""Several interleavings on one journal; one that breaks a rule ends its journal."""

import asyncio
from collections import Counter
from pathlib import Path

from engine.model.process.clock import ManualClock
from engine.store.integrity import verify
from tests.interleavings.desk import StillLoop
from tests.interleavings.play import BrokenError, Laboratory


def play(seeds: list[str], folder: Path) -> tuple[Counter[str], list[tuple[str, str]]]:
    """Play these on one journal; the counts, and (seed, words) of each that broke a rule."""
    clock = ManualClock()
    with asyncio.Runner(loop_factory=lambda: StillLoop(clock)) as runner:
        return runner.run(_play(seeds, folder, clock))


async def _play(seeds: list[str], folder: Path, clock: ManualClock) -> tuple[Counter[str], list[tuple[str, str]]]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, StillLoop)
    counts: Counter[str] = Counter()
    broken: list[tuple[str, str]] = []
    laboratory = Laboratory(folder / "0", loop, clock)
    for seed in seeds:
        try:
            await laboratory.play(seed)
        except Exception as error:  # what it left behind is no start for the next one
            broken.append((seed, str(error) if isinstance(error, BrokenError) else repr(error)))
            await laboratory.site.kill()
            counts += laboratory.counts
            laboratory = Laboratory(folder / seed.replace("/", "-"), loop, clock)
    await laboratory.site.kill()
    found = verify.run(laboratory.data)
    if found:
        broken.append((f"{seeds[0]} and those after it", f"VERIFY: {found[0].text}"))
    return counts + laboratory.counts, broken
