"""Who asks: the name that the kernel knows, and beside it what a process says of itself, marked as such."""

import os
import pwd
from pathlib import Path

import pytest

from engine.model.site import actor

SSH = "10.0.0.5 4711 10.0.0.1 22"
FROM_THERE = "10.0.0.5 (SSH_CONNECTION)"
NO_LOG_IN = 2**32 - 1
GAMES, MAIL = pwd.getpwnam("games").pw_uid, pwd.getpwnam("mail").pw_uid  # two accounts that each system has
NAMED = {  # uid, log-in that the kernel knows, statements -> name, what else is known
    "root who logged in as such": (0, 0, {}, "root", {"role": "root"}),
    "a person through sudo": (0, GAMES, {"SUDO_USER": "games"}, "games", {"role": "root", "account": "root"}),
    "the log-in goes over a statement": (
        0, GAMES, {"SUDO_USER": "mail"}, "games", {"role": "root", "account": "root", "given": "mail (SUDO_USER)"},
    ),
    "a statement alone": (
        0, NO_LOG_IN, {"SUDO_USER": "games"}, "games (SUDO_USER)",
        {"role": "root", "account": "root", "given": "games (SUDO_USER)"},
    ),
    "a statement of an account that is not there": (
        0, NO_LOG_IN, {"SUDO_USER": "no-such\x00"}, "root", {"role": "root", "given": "no-such\x00 (SUDO_USER)"},
    ),
    "root by sudo of root": (0, NO_LOG_IN, {"SUDO_USER": "root"}, "root", {"role": "root"}),
    "no log-in, no statement": (0, NO_LOG_IN, {}, "root", {"role": "root"}),
    "a system user": (GAMES, GAMES, {}, "games", {"role": "viewer"}),
    "a system user without log-in": (GAMES, NO_LOG_IN, {}, "games", {"role": "viewer"}),
    "a system user who states another name": (
        GAMES, NO_LOG_IN, {"SUDO_USER": "mail"}, "games", {"role": "viewer", "given": "mail (SUDO_USER)"},
    ),
    "a system user who became another": (MAIL, GAMES, {}, "games", {"role": "viewer", "account": "mail"}),
    "an account without a name": (99999, NO_LOG_IN, {}, "uid 99999", {"role": "viewer"}),
    "an address that is only stated": (0, 0, {"SSH_CONNECTION": SSH}, "root", {"role": "root", "given": FROM_THERE}),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_the_name_is_the_log_in_and_a_statement_is_marked(case: str, tmp_path: Path) -> None:
    uid, login, environment, name, by = NAMED[case]
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "loginuid").write_text(f"{login}\n")
    told = actor.of_process(uid, 77, actor.stated_by(environment), role="viewer", proc=tmp_path, sessions=tmp_path)
    assert (str(told), dict(told.by)) == (name, by)


def test_a_person_is_found_by_the_name_stated_or_proven() -> None:
    assert actor.is_called("asha", "asha")
    assert actor.is_called("asha (SUDO_USER)", "asha")
    assert actor.is_called("asha (SUDO_USER)", "asha (SUDO_USER)")
    assert not actor.is_called("asha", "ash")
    assert not actor.is_called("asha (SUDO_USER)", "asha (")


def test_the_kernel_says_where_a_person_works(tmp_path: Path) -> None:
    here = actor.of_this_process()
    assert here.by["role"] in (actor.ROOT, actor.SERVICE)
    process = tmp_path / "77"
    (process / "fd").mkdir(parents=True)
    stated = actor.stated_by({"SSH_CONNECTION": SSH, "PATH": "/bin"})
    assert stated == {"SSH_CONNECTION": SSH}

    def by() -> dict[str, str]:
        return dict(actor.of_process(99999, 77, stated, proc=tmp_path, sessions=tmp_path).by)

    # Any user can set a variable and open a terminal: neither is where they sit.
    (process / "fd" / "0").symlink_to("/dev/tty1")
    assert by() == {"given": FROM_THERE}
    (process / "stat").write_text(f"77 (a) b) S 1 77 77 {os.makedev(136, 3)} 77 0\n")  # the kernel's word
    assert by() == {"given": FROM_THERE, "from": "/dev/pts/3"}
    (process / "sessionid").write_text("12\n")
    (tmp_path / "12").write_text("UID=0\nREMOTE=1\nREMOTE_HOST=192.0.2.9\nTTY=pts/3\n")
    assert by() == {"given": FROM_THERE, "from": "192.0.2.9 (ssh)"}
    (tmp_path / "12").write_text("REMOTE_HOST=10.0.0.5\n")  # and what agrees is said once
    assert by() == {"from": "10.0.0.5 (ssh)"}
    (process / "sessionid").write_text(f"{NO_LOG_IN}\n")
    assert by() == {"given": FROM_THERE, "from": "/dev/pts/3"}
    assert dict(actor.of_process(99999, 78, proc=tmp_path, sessions=tmp_path).by) == {}
