"""What root makes in the service's data folder is the service's: its next start has to open it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.errors import StoreError
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.lock import LOCK_NAME
from engine.store.core.vault import KEY_NAME
from tests.support.filled_journal import fill_journal
from tests.support.root_commands import SERVICE, as_root, give, needs_root, open_folder
from tests.support.sites import SITE_YAML, make_site


@pytest.fixture
def site() -> Iterator[Path]:
    with open_folder() as folder:
        made = make_site(folder / "site", site=SITE_YAML + "backup: {folder: ../copies}\n", channels={})
        for name in (made / "var", folder / "copies"):
            name.mkdir(mode=0o700)
            give(name)
        yield made


def strangers(data: Path) -> list[str]:
    """What in a folder the service cannot open."""
    return [path.name for path in (data, *data.rglob("*")) if path.stat().st_uid != SERVICE.pw_uid]


def filled(site: Path) -> Path:
    fill_journal(site / "var")
    give(site / "var")
    return site / "var"


@needs_root
def test_a_journal_that_root_writes_anew_is_still_the_services(site: Path) -> None:
    data = filled(site)
    (data / LOCK_NAME).unlink()
    ran = as_root("journal", "compact", "--yes", site=site)
    assert ran.code == ExitCode.OK, ran.err
    assert LOCK_NAME in {path.name for path in data.iterdir()}
    assert strangers(data) == []


@needs_root
def test_a_journal_that_root_opens_first_is_the_services(site: Path) -> None:
    data = site / "var"
    ran = as_root("key", "init", site=site)
    assert ran.code == ExitCode.OK, ran.err
    ran = as_root("journal", "accept-loss", "--reason", "new", "--yes", site=site)
    assert "there is no journal yet" in ran.err
    ran = as_root("backup", "now", site=site)  # it opens a journal, and begins one
    assert ran.code == ExitCode.OK, ran.err
    assert {KEY_NAME, LOCK_NAME, ANCHOR_NAME} < {path.name for path in data.iterdir()}
    assert strangers(data) == []


@needs_root
def test_a_key_that_root_rotates_is_the_services(site: Path) -> None:
    data = filled(site)
    ran = as_root("key", "rotate", "--yes", site=site)
    assert ran.code == ExitCode.OK, ran.err
    assert len([*data.glob(f"{KEY_NAME}*")]) == 2
    assert strangers(data) == []


@needs_root
def test_what_root_copies_restores_and_saves_is_the_services(site: Path) -> None:
    filled(site)
    place = site.parent
    for act in (
        ("backup", "now"),
        ("restore", "--to", place / "restored", "--reason", "a new disk"),
        ("journal", "salvage", "--to", place / "saved", "--reason", "bad sectors"),
    ):
        ran = as_root(*act, site=site)
        assert ran.code == ExitCode.OK, ran.err
    (copy,) = (place / "copies").glob("*/full-*")
    for act in (("backup", "verify", copy), ("backup", "drill")):
        ran = as_root(*act, site=site)
        assert ran.code == ExitCode.OK, ran.err
    for folder in (site / "var", place / "copies", place / "restored", place / "saved"):
        assert strangers(folder) == []


# -- what the command line names is root's -------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    "act",
    [
        ("messages", "export", "--to", "out.db"),
        ("messages", "export", "--to", "out.csv"),
        ("messages", "export", "--to", "out.ndjson"),
        ("messages", "export", "--deid", "--to", "out.ndjson"),
        ("audit", "export", "--to", "out.csv"),
        ("audit", "export", "--to", "out.json"),
        ("key", "recovery-sheet", "--yes", "--to", "out.txt"),
    ],
    ids=lambda act: f"{act[0]}-{act[-1]}-{len(act)}",
)
def test_root_writes_where_only_root_may_and_not_where_the_service_leads_it(site: Path, act: tuple[str, ...]) -> None:
    filled(site)
    assert as_root("token", "add", "lab", "--may", "look", site=site).code == ExitCode.OK  # an act to export
    place = site.parent / "roots"
    place.mkdir(mode=0o700)
    out = place / act[-1]
    ran = as_root(*act[:-1], out, site=site)
    assert ran.code in (ExitCode.OK, ExitCode.PARTLY), ran.err
    assert out.stat().st_size > 100
    assert (out.stat().st_uid, stat.S_IMODE(out.stat().st_mode)) == (0, 0o600)
    assert [*place.iterdir()] == [out]
    out.unlink()
    (site.parent / "copies" / "led").symlink_to(place)
    give(site.parent / "copies")
    ran = as_root(*act[:-1], site.parent / "copies" / "led" / act[-1], site=site)
    assert ran.code not in (ExitCode.OK, ExitCode.PARTLY)
    assert "inside LabRelay" not in ran.err
    assert [*place.iterdir()] == []


@needs_root
def test_root_restores_from_where_only_root_may_look(site: Path) -> None:
    filled(site)
    place = site.parent
    assert as_root("backup", "now", site=site).code == ExitCode.OK
    (place / "copies").rename(place / "usb")
    for path in (place / "usb", *(place / "usb").rglob("*")):
        os.chown(path, 0, 0)
    ran = as_root("restore", place / "usb", "--to", place / "restored", "--reason", "a new disk", site=site)
    assert ran.code == ExitCode.OK, ran.err
    assert strangers(place / "restored") == []


@needs_root
@pytest.mark.parametrize("verb", ["backup", "salvage"])
def test_a_folder_that_only_root_reaches_is_refused_by_name(site: Path, verb: str) -> None:
    filled(site)
    place = site.parent / "roots"
    place.mkdir(mode=0o700)
    act = {
        "backup": ("backup", "now", "--folder", place),
        "salvage": ("journal", "salvage", "--to", place / "saved", "--reason", "bad sectors"),
    }[verb]
    ran = as_root(*act, site=site)
    assert ran.code == StoreError.exit_code
    assert f"{place}/" in ran.err
    assert f"cannot be written by {SERVICE.pw_name}, to whom the data folder belongs" in ran.err


@needs_root
def test_what_root_does_is_in_the_trail_under_roots_name(site: Path) -> None:
    filled(site)
    ran = as_root("token", "add", "lab", "--may", "look", site=site)
    assert ran.code == ExitCode.OK, ran.err
    (act,) = as_root("audit", "list", "-o", "json", site=site).json["acts"]
    assert (act["act"], act["actor"], act["account"]) == ("token-created", "root (SUDO_USER)", SERVICE.pw_name)
