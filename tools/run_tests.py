"""pytest, and at the end the tests that failed once more, alone: of tests by the thousand that meet real sockets, disks
and processes on a busy machine one may fail for its neighbours.

    python tools/run_tests.py ARGUMENTS    the arguments are pytest's

A test that fails and then passes is a defect of the test, or a rare one of the product. The run names it, and does not
fail for it. A test that fails twice fails the run; so do more than `MOST` that fail at once: these have one cause.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 5  # of a run: one that fails may leave a file open, for which the next one fails


def run(arguments: list[str]) -> int:
    """Run them in this process; return pytest's exit code."""
    import pytest

    with tempfile.TemporaryDirectory() as kept:
        cache = ["-o", f"cache_dir={kept}"]
        failed = int(pytest.main([*cache, *arguments]))
        if failed != pytest.ExitCode.TESTS_FAILED:
            return failed
        names = _failed(Path(kept))
        if not 0 < len(names) <= MOST:
            return failed
        print(f"== Once more, alone, what failed: {len(names)}", flush=True)
        others = {name: value for name, value in os.environ.items() if not name.startswith("LABRELAY_CORE_COVERAGE")}
        others.pop("LABRELAY_PASSED", None)
        others.pop("PYTEST_PLUGINS", None)
        files = sorted({name.partition("::")[0] for name in names})  # those of e2e are found by their path alone
        again = [sys.executable, "-m", "pytest", *cache, "-n0", "--last-failed", "--last-failed-no-failures=none"]
        again += files
        if subprocess.run(again, env=others, check=False).returncode:  # noqa: S603 - pytest
            return failed
        for name in names:
            print(f"== FAILED ONCE, passed alone: {name}", flush=True)
        return 0


def _failed(cache: Path) -> list[str]:
    kept = cache / "v" / "cache" / "lastfailed"
    return sorted(json.loads(kept.read_text(encoding="utf-8"))) if kept.is_file() else []


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(run(sys.argv[1:]))
