"""What a person asks within seconds of a start waits for the daemon, which has the data folder already."""

from pathlib import Path
from typing import Any

import pytest

from engine.actions import control
from engine.commands.shared import session as sessions
from engine.commands.shared.output import ExitCode
from engine.commands.shared.session import Session
from engine.model.errors import UnreachableError
from engine.store.core.files.lock import SiteLock
from tests.support.command_line import labrelay
from tests.support.sites import make_site


class Starting(Session):
    """Its daemon takes requests from the third on; ``cause``: of the system's error before that."""

    cause: Exception = FileNotFoundError()
    asked = 0

    @property
    def data(self) -> Path:
        assert self.site is not None
        return Path(self.site)

    def call(self, verb: str, args: Any = None, *, timeout: float = 10.0, content: bytes = b"") -> dict[str, Any]:
        self.asked += 1
        if self.asked < 3:
            raise UnreachableError("no daemon runs") from self.cause
        return {"user": "asha"}


def test_a_daemon_that_is_starting_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LOOK_S", 0.0)
    session = Starting(site=str(tmp_path))
    with pytest.raises(UnreachableError):
        session.call_also_at_start("user_add")
    assert session.asked == 1, "no process has the data folder"

    lock = SiteLock.acquire(tmp_path)
    try:
        assert session.call_also_at_start("user_add") == {"user": "asha"}
        sent = Starting(site=str(tmp_path))
        sent.cause = ConnectionResetError()
        with pytest.raises(UnreachableError):
            sent.call_also_at_start("user_add")
        assert sent.asked == 1, "it may have been taken, so it is not sent again"

        monkeypatch.setattr(sessions, "START_S", 0.0)
        late = Starting(site=str(tmp_path))
        with pytest.raises(UnreachableError):
            late.call_also_at_start("user_add")
        assert late.asked == 1
    finally:
        lock.release()


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        (("user", "add", "asha", "--password-stdin"), {"user": "asha"}, "asha may log in as viewer"),
        (("alert", "test"), {"tested": []}, "There is no sink"),
    ],
    ids=["user add", "alert test"],
)
def test_the_first_commands_of_a_new_site_wait_for_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], answer: dict[str, Any], said: str
) -> None:
    site, asked = make_site(tmp_path / "site"), list[str]()
    (site / "var").mkdir()

    def call(path: Path, verb: str, args: Any = None, **more: Any) -> dict[str, Any]:
        asked.append(verb)
        if len(asked) < 3:
            raise UnreachableError("no daemon runs") from FileNotFoundError()
        return answer

    monkeypatch.setattr(sessions, "LOOK_S", 0.0)
    monkeypatch.setattr(control, "call", call)
    lock = SiteLock.acquire(site / "var")
    try:
        done = labrelay(*command, site=site, given="a password that is long\n")
    finally:
        lock.release()
    assert (done.code, len(asked)) == (ExitCode.OK, 3), done.err
    assert said in done.err + done.out
