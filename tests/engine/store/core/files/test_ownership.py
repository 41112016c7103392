"""What root makes in the service's data folder is the service's: its next start has to open it."""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.model.errors import StoreError
from engine.store.core.anchor import ANCHOR_NAME
from engine.store.core.files.lock import LOCK_NAME
from engine.store.core.vault import KEY_NAME
from engine.store.recovery.backups.copying import CONFIGURATION
from tests.support.filled_journal import fill_journal
from tests.support.root_commands import SERVICE, as_root, give, needs_root, open_folder, python
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
    (place / "link").symlink_to(place / "usb")
    for named, restored in (("usb", "restored"), ("link", "again")):
        ran = as_root("restore", place / named, "--to", place / restored, "--reason", "a new disk", site=site)
        assert ran.code == ExitCode.OK, ran.err
        assert strangers(place / restored) == []
    # A copy by its own path, while another machine goes on with the journal.
    (copy,) = (place / "usb").glob("*/full-*")
    claim = {"number": 5, "history": "ab", "machine": "lab-pc2", "at": "2026-03-02T10:00:00+00:00"}
    (copy.parent / "claim.json").write_text(json.dumps(claim))
    (copy.parent / "labrelay-1.0.tar").symlink_to("/dev/full")
    ran = as_root("restore", copy, "--to", place / "older", "--reason", "the disk of lab-pc2 broke", site=site)
    assert ran.code == ExitCode.PARTLY, ran.err
    assert "the journal went on after it: incarnation 5 on lab-pc2" in ran.out
    with closing(sqlite3.connect(place / "older" / "var" / "journal.db")) as connection:
        (begun,) = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'").fetchone()
    assert json.loads(begun)[0] == 6


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
    assert [*place.iterdir()] == []


@needs_root
def test_what_root_does_is_in_the_trail_under_roots_name(site: Path) -> None:
    filled(site)
    ran = as_root("token", "add", "lab", "--may", "look", site=site)
    assert ran.code == ExitCode.OK, ran.err
    (act,) = as_root("audit", "list", "-o", "json", site=site).json["acts"]
    assert (act["act"], act["actor"], act["account"]) == ("token-created", "root (SUDO_USER)", SERVICE.pw_name)


@needs_root
def test_root_reads_copies_of_the_service_that_only_root_reaches_and_the_owner_restores_them(site: Path) -> None:
    data, place = filled(site), site.parent
    assert as_root("backup", "now", site=site).code == ExitCode.OK
    roots, victim = place / "roots", place / "victim"
    (roots / "keys").mkdir(parents=True, mode=0o700)
    roots.chmod(0o700)
    (data / KEY_NAME).rename(roots / "keys" / KEY_NAME)
    os.chown(roots / "keys" / KEY_NAME, 0, 0)
    (place / "copies").rename(roots / "copies")  # as `cp -a` leaves them: the service's, in a folder of root's
    (copy,) = (roots / "copies").glob("*/full-*")
    names = ("../../victim", str(victim), "config/../../../victim", "var/labrelay.lock", "victim", "")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"] |= dict.fromkeys(names, "0" * 64)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    restore = ("restore", roots / "copies", "--reason", "a new disk", "--keys", roots / "keys", "--to")

    ran = as_root(*restore, place / "restored", site=site)
    assert ran.code == ExitCode.PARTLY, ran.err
    assert ran.out.count("no file of a configuration") == len(names)
    assert not victim.exists()
    assert {path.name for path in (place / "restored").iterdir()} <= {*CONFIGURATION, "var"}
    assert (place / "restored" / "var" / KEY_NAME).exists()
    assert strangers(place / "restored") == []

    (roots / "secret").write_text("root:x")
    settings = copy / "site" / "config" / "labrelay.yaml"
    settings.unlink()
    settings.symlink_to(roots / "secret")
    ran = as_root(*restore, place / "again", site=site)
    assert ran.code == StoreError.exit_code
    assert f"{settings}: it is a link" in ran.err
    assert [*(place / "again").iterdir()] == []
    settings.unlink()
    os.link(roots / "secret", settings)
    ran = as_root(*restore, place / "again", site=site)
    assert f"{settings}: it is no file with one name" in ran.err
    assert [*(place / "again").iterdir()] == []


# Where root is root: a line for each path; "True" where the account has no say in what the path leads to.
LED = """\
import os, sys
from pathlib import Path
from engine.store.core.files import ownership

owner, *paths = map(Path, sys.argv[1:])
ownership.act_as_owner(owner)
for path in paths:
    with ownership.as_given(path):
        print(os.geteuid() == 0)
"""


@needs_root
def test_root_is_the_owner_where_the_owner_has_a_say_in_the_way() -> None:
    with open_folder() as place:
        for name, mode, gid in (
            ("own", 0o755, 0),
            ("open", 0o777, 0),
            ("sticky", 0o1777, 0),
            ("group", 0o775, SERVICE.pw_gid),
            ("closed", 0o755, 0),
        ):
            (place / name).mkdir()
            os.chown(place / name, SERVICE.pw_uid if name == "own" else 0, gid)
            (place / name).chmod(mode)
            (place / name / "roots").mkdir()
            (place / name / "to-closed").symlink_to(place / "closed")
        (place / "closed" / "by-own").symlink_to("../own/to-closed")  # root's link to one that the owner can change
        (place / "closed" / "round").symlink_to("round")
        roots = {
            "own/x": False, "own/roots/x": False, "own/to-closed/x": False,
            "open/roots/x": False, "open/to-closed/x": False,
            "sticky/x": False, "sticky/roots": False, "sticky/roots/x": True, "sticky/to-closed/x": True,
            "group/roots/x": False,
            "closed/x": True, "closed/to-closed/x": True, "closed/by-own/x": False, "closed/round/x": False,
            "closed/../own/x": False, "own/../closed/x": False,
        }  # fmt: skip
        ran = python(LED, place / "own", *(place / path for path in roots))
        assert ran.out.split() == [str(one) for one in roots.values()], ran.err


# A file system without owners: the kernel refuses to give a folder away.
WITHOUT_OWNERS = """\
import errno, os, sys
from pathlib import Path
from engine.model.errors import StoreError
from engine.store.core.files import ownership

def refused(*arguments, **more):
    raise PermissionError(errno.EPERM, "Operation not permitted")

owner, folder = map(Path, sys.argv[1:])
ownership.act_as_owner(owner)
ownership.os.fchown = refused
try:
    ownership.make_for_owner(folder / "a" / "b")
except StoreError as error:
    print(error)
print(sorted(os.listdir(folder)))
os.umask(0)
ownership.os.mkdir, mkdir = lambda path, mode=0o777, **more: mkdir(path, 0o777), os.mkdir  # as mounted for all
ownership.make_for_owner(folder / "c")
ownership.act_as_owner(owner, for_good=True)
print(os.getresuid() == (owner.stat().st_uid,) * 3)
"""


@needs_root
def test_a_folder_that_cannot_be_given_away_is_refused_by_name_and_not_left() -> None:
    with open_folder() as place:
        (place / "own").mkdir()
        give(place / "own")
        ran = python(WITHOUT_OWNERS, place / "own", place)
        refused, left, for_good = ran.out.splitlines()
        assert f"{place}/a/b: cannot be written by {SERVICE.pw_name}" in refused, ran.err
        assert (left, for_good) == ("['own']", "True")
