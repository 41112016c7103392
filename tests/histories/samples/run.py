"""Histories of samples as `make histories` plays them: what is broken, by fault and question, with the seed of each."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from tests.histories.samples.facts import History
from tests.histories.samples.known import FAULTS, is_known
from tests.histories.samples.play import Played, play_alone

BATCH = 100
STRIDE = 1_000_000  # between the seeds of two runs
EXAMPLES = 3


def play_all(
    what: str,
    draw: Callable[[int], History],
    seeds: Sequence[int],
    against: Path,
    folder: Path,
    pool: Executor,
    say: Callable[[str], None],
    *,
    called: bool = False,
) -> bool:
    """Whether something was broken that is not known.

    Args:
        what: samples, or shifts. draw: a history from a seed.
        called: by calls; those with orders are left out.
    """
    histories = [one for one in map(draw, seeds) if not (called and one.has_orders)]
    batches = [tuple(histories[at : at + BATCH]) for at in range(0, len(histories), BATCH)]
    folders = [folder / f"{what}{number}" for number in range(len(batches))]
    broken: dict[tuple[int, str, bool], list[tuple[Played, str]]] = defaultdict(list)
    count = 0
    for batch in pool.map(partial(play_alone, called=called), batches, [against] * len(batches), folders):
        count += len(batch)
        wrong = sum(bool(one.findings) for one in batch)
        say(f"{what} from {batch[0].history.seed}: {len(batch)} histories, {wrong} broken")
        for one in batch:
            fault = one.history.fault
            for finding in {(each.question, is_known(fault, each)): each for each in one.findings}.values():
                broken[fault, finding.question, is_known(fault, finding)].append((one, finding.words))
    for (fault, question, known), some in sorted(broken.items()):
        said = f"known: {FAULTS[fault]}" if known else "NOT KNOWN"
        say(f"\n{question} of {fault}: {len(some)} histories; {said}")
        for one, words in some[:EXAMPLES]:
            say(f"  {one.history.seed:10} {one.history.name}, {' '.join(one.history.outputs)}: {words}")
    new = [place for place in broken if not place[-1]]
    say(f"{what}: {count} histories; {len(new)} ways in which they broke are not known")
    return bool(new)


def seeds_of(seed: int, count: int) -> range:
    return range(seed * STRIDE, seed * STRIDE + count)
