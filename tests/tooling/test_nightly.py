"""`make nightly`: each step that passes leaves its date and commit, also behind one that fails."""

import fcntl
from pathlib import Path

import pytest

from tests.support.repository import commit
from tools import nightly
from tools.nightly import Last
from tools.size import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository in which some targets of `make` fail."""
    rules = "".join(f"{call[0]}:\n\t@test {call[0]} != faults\n" for calls in nightly.STEPS.values() for call in calls)
    (tmp_path / "Makefile").write_text("".join(dict.fromkeys(rules.splitlines(keepends=True))), encoding="utf-8")
    (tmp_path / "tests").mkdir()
    commit(tmp_path)
    return tmp_path


def noted(checkout: Path) -> dict[str, Last]:
    return nightly.read((checkout / nightly.FILE).read_text()) if (checkout / nightly.FILE).exists() else {}


def test_steps_that_pass_are_noted_also_behind_one_that_fails(
    checkout: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert nightly.main(["e2e", "faults", "soak"], checkout) == 1
    first = noted(checkout)
    assert [step for step, last in first.items() if last.date] == ["e2e", "soak"]
    assert first["faults"].fails_since.endswith(first["e2e"].commit)
    assert "== FAILED: faults" in capfd.readouterr().out
    (checkout / "Makefile").write_text("faults:\n")
    commit(checkout)
    assert nightly.main(["faults"], checkout) == 0
    assert noted(checkout)["faults"].date
    assert not noted(checkout)["faults"].fails_since


def test_a_step_that_fails_again_has_failed_since_the_first_time(checkout: Path) -> None:
    passed = Last("2026-11-01", "0123456789ab", "3", "2026-11-02 ba9876543210")
    (checkout / nightly.FILE).write_text(nightly.written({"faults": passed}))
    assert nightly.main(["faults"], checkout) == 1
    assert noted(checkout) == {"faults": passed}


def test_every_call_of_a_step_must_pass(checkout: Path) -> None:
    (checkout / "Makefile").write_text("validate-astm:\n\t@true\nvalidate-hapi:\n\t@false\n")
    commit(checkout)
    assert nightly.main(["validators"], checkout) == 1
    assert not noted(checkout)["validators"].date


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("Makefile", "e2e:\n", "not as committed"),
        ("tests/conftest.py", "", "not as committed"),
        (
            "Makefile.committed",
            "e2e:\n\t@git commit -q --allow-empty -m x --author 't <t@x>'\n",
            "HEAD moved while e2e ran",
        ),
        ("Makefile.committed", "e2e:\n\t@touch new\n", "not as committed"),
    ],
)
def test_a_checkout_that_is_not_a_commit_gets_no_pass(
    checkout: Path, file: str, text: str, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / file.partition(".committed")[0]).write_text(text)
    if file.endswith(".committed"):
        commit(checkout)
    monkeypatch.setenv("GIT_COMMITTER_NAME", "t")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "t@example.org")
    with pytest.raises(SystemExit):
        nightly.main(["e2e"], checkout)
    assert told in capsys.readouterr().err
    assert not noted(checkout)


def test_two_runs_are_not_at_once(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (checkout / "Makefile").open() as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            nightly.main(["e2e"], checkout)
    assert "another run" in capsys.readouterr().err


def test_variables_of_a_person_change_no_step() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    outer = dict.fromkeys(("MAKEFLAGS", "REF", "FAULTS", "VALIDATE", "LABORATORIES", "PYTEST_ADDOPTS", "HOME"), "x")
    assert nightly.environment(outer, makefile) == {"HOME": "x", "CI": "1"}


def test_the_last_pass_of_each_step_is_shown(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = {"e2e": Last("2026-11-30", "0123456789ab", "16")}
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
