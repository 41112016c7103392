"""`make nightly`: each step that passes leaves its date and commit, also behind one that fails."""

from pathlib import Path

import pytest

from tests.support.repository import commit
from tools import nightly
from tools.nightly import Pass
from tools.size import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository in which some targets of `make` fail."""
    rules = "".join(f"{call[0]}:\n\t@test {call[0]} != faults\n" for calls in nightly.STEPS.values() for call in calls)
    (tmp_path / "Makefile").write_text("".join(dict.fromkeys(rules.splitlines(keepends=True))), encoding="utf-8")
    (tmp_path / "tests").mkdir()
    commit(tmp_path)
    return tmp_path


def test_steps_that_pass_are_noted_also_behind_one_that_fails(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert nightly.main(["e2e", "faults", "soak"], checkout) == 1
    passes = nightly.read((checkout / nightly.FILE).read_text())
    assert list(passes) == ["e2e", "soak"]
    assert "== FAILED: faults" in capfd.readouterr().out


def test_every_call_of_a_step_must_pass(checkout: Path) -> None:
    (checkout / "Makefile").write_text("validate-astm:\n\t@true\nvalidate-hapi:\n\t@false\n")
    commit(checkout)
    assert nightly.main(["validators"], checkout) == 1
    assert not (checkout / nightly.FILE).exists()


def test_a_checkout_with_changes_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "Makefile").write_text("e2e:\n")
    with pytest.raises(SystemExit):
        nightly.main(["e2e"], checkout)
    assert "not committed" in capsys.readouterr().err
    assert not (checkout / nightly.FILE).exists()


def test_the_last_pass_of_each_step_is_shown(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = {"e2e": Pass("2026-11-30", "0123456789ab", 16)}
    (checkout / nightly.FILE).write_text(nightly.written(passes))
    assert nightly.main(["--last"], checkout) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "e2e         passed 2026-11-30 on 0123456789ab in 16 min" in shown
    assert "soak        NOT YET" in shown
    assert len(shown) == len(nightly.STEPS)


def test_the_committed_file_is_of_these_steps() -> None:
    text = (ROOT / nightly.FILE).read_text(encoding="utf-8")
    assert nightly.written(nightly.read(text)) == text


def test_each_step_is_a_target() -> None:
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for calls in nightly.STEPS.values():
        assert all(f"\n{call[0]}: " in targets for call in calls)
