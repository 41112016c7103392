"""What a person asks within seconds of a start waits for the daemon, which has the data folder already."""

from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared import session as sessions
from engine.commands.shared.session import Session
from engine.model.errors import UnreachableError
from engine.store.core.lock import SiteLock


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
