"""Many random histories at ABDM, one after the other; exit code 1 where one is not as the model has it.

python -m tests.histories.abdm [--count 100] [--seed 1] [--steps 60] [--told] [--acts FILE]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest

from engine.store.integrity.verify import run as verify
from tests.histories.abdm.play import kind, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.histories.abdm", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="how many histories (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the first (1)")
    parser.add_argument("--steps", type=int, default=60, help="acts of each (60)")
    parser.add_argument("--told", action="store_true", help="print all acts of a broken one")
    parser.add_argument("--acts", type=Path, help="play this list of acts, as a broken history has told it")
    asked = parser.parse_args()
    told = None if asked.acts is None else json.loads(asked.acts.read_text(encoding="utf-8").removeprefix("acts "))
    asked.count = asked.count if told is None else 1
    began, acts, broken = time.monotonic(), Counter[str](), 0
    for seed in range(asked.seed, asked.seed + asked.count):
        with tempfile.TemporaryDirectory(prefix="labrelay-abdm-") as folder, pytest.MonkeyPatch.context() as patch:
            try:
                history = asyncio.run(play(Path(folder), patch, str(seed), asked.steps, told=told, **kind(seed)))
                acts += history.done
                assert verify(history.site.folder, deep=True) == []
            except Exception as error:
                broken += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                print(f"{seed}: {type(error).__name__}: {error} ({where.name}, line {where.lineno})", flush=True)
                if asked.told:
                    print("\n".join(getattr(error, "__notes__", ())), flush=True)
    figures = ", ".join(f"{number} {name}" for name, number in sorted(acts.items()))
    print(
        f"{asked.count} histories from seed {asked.seed}, {broken} broken: {figures}; {time.monotonic() - began:.0f} s"
    )
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
