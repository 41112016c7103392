"""A running site whose file gives system users a role: what they reach with the command line, and the trail of it."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from engine.actions import control_server
from engine.actions.admission import system_users
from engine.commands.shared.output import ExitCode
from engine.commands.shared.session import Session
from engine.config.load import load_site
from engine.model.errors import ConfigError, RefusedError
from engine.model.site import actor
from engine.runtime.app import App
from tests.support.command_line import labrelay
from tests.support.other_accounts import as_account
from tests.support.running import hl7_channel, running_site
from tests.support.sites import SITE_YAML, make_site

GAMES = pwd.getpwnam("games").pw_uid


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _map(site: Path, **users: object) -> None:
    path = site / "config" / "labrelay.yaml"
    said = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(said | {"access": {"system_users": users}}))


async def test_a_viewer_reads_the_status_and_is_refused_an_act_which_the_trail_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_site(tmp_path, {"haematology": hl7_channel()}) as site:
        socket = tmp_path / "var" / "labrelay.sock"
        assert _mode(socket) == 0o600
        _map(tmp_path, games="viewer")
        assert (await site.labrelay("reload")).code == ExitCode.OK
        assert _mode(socket) == 0o660
        with monkeypatch.context() as patch:
            patch.setattr(control_server, "_peer", lambda _line: (GAMES, os.getpid()))
            assert (await site.labrelay("status")).code == ExitCode.OK
            pause = ("pause", "channel", "haematology", "--reason", "x", "--yes")
            ran = await site.labrelay(*pause)
            assert ran.code == ExitCode.REFUSED
            assert "games (viewer) lacks the permission act" in ran.err
            assert (await site.labrelay("reload")).code == ExitCode.REFUSED
        _map(tmp_path, games=["operator"])
        assert (await site.labrelay("reload")).code == ExitCode.OK
        monkeypatch.setattr(control_server, "_peer", lambda _line: (GAMES, os.getpid()))
        assert (await site.labrelay(*pause)).code == ExitCode.OK
        acts = (await site.labrelay("audit", "list", "-o", "json")).json["acts"]
        found = [(one["act"], one["role"], one["state"], one["what"]) for one in acts if one["role"] != "root"]
        assert [one[:3] for one in found] == [("pause", "operator", "done"), ("refused", "viewer", "refused")]
        assert found[1][3] == {"verb": "pause", "missing": ["act"]}
        export = tmp_path / "trail.json"
        assert (await site.labrelay("audit", "export", "--to", str(export))).code == ExitCode.OK
        events = [entry["resource"] for entry in yaml.safe_load(export.read_text())["entry"]]
        assert [one["outcome"] for one in events if one["subtype"][0]["code"] == "refused"] == ["4"]


async def test_a_name_that_only_sudo_states_is_sent_with_the_command_and_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon cannot read the environment of another account's process, so the command sends what it says."""
    monkeypatch.setattr(actor, "_login", lambda _pid, _proc: "")
    monkeypatch.setenv("SUDO_USER", "games")
    async with running_site(tmp_path, {"haematology": hl7_channel()}) as site:
        pause = await site.labrelay("pause", "channel", "haematology", "--reason", "x", "--yes")
        assert pause.code == ExitCode.OK
        (act,) = (await site.labrelay("audit", "list", "--actor", "games", "-o", "json")).json["acts"]
    assert (act["actor"], act["given"]) == ("games (SUDO_USER)", "games (SUDO_USER)")
    assert act["account"] == act["role"] == "root"


async def test_a_site_that_gives_roles_opens_its_socket_at_the_start(tmp_path: Path) -> None:
    make_site(tmp_path, site=f'{SITE_YAML}access: {{system_users: {{"%games": viewer}}}}\nweb: {{enabled: false}}\n')
    modes = []

    def look(app: App) -> None:
        modes.append(_mode(tmp_path / "var" / "labrelay.sock"))
        app.stop()

    await App(tmp_path).run(look)
    assert modes == [0o660]


@pytest.fixture
def closed() -> Iterator[Path]:
    """A site that all may read, and its data folder only its owner."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    make_site(folder)
    for path in folder.rglob("*"):  # whatever the umask
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "var").mkdir(mode=0o700)
    (folder / "var" / "journal.db").touch(mode=0o600)
    yield folder
    shutil.rmtree(folder)


def _why(site: Path) -> str:
    try:
        Session(site=str(site)).raise_if_closed()
    except RefusedError as error:
        return str(error)
    return ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_another_account_reads_no_file_of_the_journal_and_learns_which_verbs_work(closed: Path) -> None:
    assert _why(closed) == ""
    assert "labrelay status, todo, tap, and acts" in as_account("games", do=partial(_why, closed))
    (closed / "var").chmod(0o711)  # it may pass, and open nothing
    assert "labrelay status, todo, tap, and acts" in as_account("games", do=partial(_why, closed))
    (closed / "var" / "journal.db").unlink()
    assert as_account("games", do=partial(_why, closed)) == ""


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ("{asha: oprator}", "access.system_users.asha"),
        ("{asha: see-patients}", "see-patients is given besides a role"),
        ("{asha: [viewer, viewer]}", "twice"),
        ("{asha: []}", "at least one"),
        ("{'a b': viewer}", "access.system_users"),
        ("{'%': viewer}", "access.system_users"),
    ],
)
def test_a_role_or_account_that_is_wrong_is_refused(tmp_path: Path, users: str, words: str) -> None:
    make_site(tmp_path, site=f"{SITE_YAML}access: {{system_users: {users}}}\n")
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert words in "\n".join(caught.value.problems)


def test_accounts_and_groups_have_one_role_or_several(tmp_path: Path) -> None:
    text = '{asha: operator, "%lab": [viewer, see-patients], "lab-2@example.org": admin}'
    make_site(tmp_path, site=f"{SITE_YAML}access: {{system_users: {text}}}\n")
    assert system_users(load_site(tmp_path).config) == {
        "asha": ("operator",),
        "%lab": ("viewer", "see-patients"),
        "lab-2@example.org": ("admin",),
    }
    assert labrelay("check", site=tmp_path).code == ExitCode.OK
