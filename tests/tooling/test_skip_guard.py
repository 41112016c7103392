"""The guard of skips guards: an unknown skip fails a run, a known one and an expected failure do not."""

import subprocess
from pathlib import Path

import pytest

from tests.support.inner_pytest import inner_pytest


def outcome(folder: Path, test: str, known: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``test`` as a file of its own under a guard that knows ``known``."""
    (folder / "known.txt").write_text(known, encoding="utf-8")
    (folder / "test_one.py").write_text("import pytest\n" + test, encoding="utf-8")
    (folder / "conftest.py").write_text(
        "from pathlib import Path\nfrom tests.support.skips import SkipGuard\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', 'corpus: x')\n"
        "    config.pluginmanager.register(SkipGuard(Path(__file__).with_name('known.txt')))\n",
        encoding="utf-8",
    )
    return inner_pytest(folder, "-q")


SKIPPED = "def test_it():\n    pytest.skip('no strace here')\n"


def test_an_unknown_skip_fails_the_run_and_is_named(tmp_path: Path) -> None:
    ran = outcome(tmp_path, SKIPPED)

    assert ran.returncode == pytest.ExitCode.TESTS_FAILED
    assert "test_one.py::test_it: Skipped: no strace here" in ran.stdout


@pytest.mark.parametrize(
    ("test", "known"),
    [
        (SKIPPED, "test_one.py::test_*\n"),
        ("@pytest.mark.corpus\n" + SKIPPED, "# real messages\n@corpus\n"),
        ("@pytest.mark.xfail\ndef test_it():\n    assert False\n", ""),
        ("def test_it():\n    pass\n", ""),
    ],
)
def test_what_is_known_passes(tmp_path: Path, test: str, known: str) -> None:
    ran = outcome(tmp_path, test, known)
    assert ran.returncode == pytest.ExitCode.OK
    assert ("tests/known-skips.txt allows: 1 by" in ran.stdout) is bool(known)


def test_a_skipped_module_is_noticed_too(tmp_path: Path) -> None:
    ran = outcome(tmp_path, "pytest.importorskip('no_such_module')\ndef test_it(): pass\n")

    assert ran.returncode != pytest.ExitCode.OK
    assert "no_such_module" in ran.stdout
