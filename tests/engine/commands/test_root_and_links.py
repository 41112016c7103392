"""The service's account puts a link in the place of each file of the data folder: no verb of root's follows it.

The files are those of a site that runs, and those that a kill or an upgrade leaves. One without a row in `FILES` fails.
Each row is tried as a symbolic link to a file of root's and as another name of it. First as it is: the verb names the
file, and does nothing. Then as if the link came a moment after the look at the folder: root has nothing to lose, for it
acts under the account.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from tests.support.filled_journal import fill_journal
from tests.support.root_commands import as_root, forked, give, needs_root, open_folder, python
from tests.support.sites import SITE_YAML, make_site

pytestmark = needs_root

# A name as it is here -> how such names are. Of a folder the link leads to a folder.
FILES = {
    "journal.db": "journal.db",
    "journal.db-wal": "journal.db-wal",
    "journal.db-shm": "journal.db-shm",
    "journal.db.new": "journal.db.new",  # while it is compacted
    "journal.anchor": "journal.anchor",
    "labrelay.lock": "labrelay.lock",
    "labrelay.reserve": "labrelay.reserve",
    "labrelay.sock": "labrelay.sock",
    "labrelay.key": "labrelay.key",
    "labrelay.key.new": "labrelay.key.new",  # while the key is changed
    "labrelay.key.old-00000000": "labrelay.key.old-*",
    "labrelay.key.aside-000000": "labrelay.key.aside-*",
    "set-up-link": "set-up-link",
    "compiled": "compiled",
    "compiled/CODE": "compiled/*",
    "before-upgrade": "before-upgrade",
    "before-upgrade/journal-0000.db": "before-upgrade/journal-*",
    "archive": "archive",  # this site's destination
    "archive/DOCUMENT": "archive/*",
}
ARE_FOLDERS = {"compiled", "before-upgrade", "archive"}
UNGUARDED = ("set-up-link", "archive", "compiled/", "before-upgrade/")  # no verb looks there before it begins
ACTS = (
    ("token", "add", "lab", "--may", "look"),
    ("key", "rotate", "--yes"),
    ("journal", "compact", "--yes"),
    ("backup", "now"),
    ("run", "--log", "json"),
)
LOOKS = (
    ("status",),
    ("messages", "list"),
    ("verify",),
    ("doctor",),
    ("check",),
    ("audit", "list"),
    ("key", "status"),
    ("journal", "accept-loss", "--reason", "lost", "--yes"),
    ("journal", "salvage", "--to", "{place}/saved", "--reason", "lost"),
    ("restore", "--to", "{place}/restored", "--reason", "lost"),
    ("upgrade", "--check"),
)
SITE = SITE_YAML + 'web: {listen: "127.0.0.1:0"}\n' + "backup: {folder: ../copies}\n"

# One verb after the other in one process, root before each. `run` is the last, and ends once it serves its socket.
VERBS = """\
import json, os, signal, sys, threading, time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from engine.__main__ import run
from engine.commands.daemon import run as daemon
from engine.store.core.files import ownership
from engine.store.journal import Journal

site, late, verbs = Path(sys.argv[1]), sys.argv[2] == "late", json.loads(sys.argv[3])
daemon.LEAVE_WITHIN_S = 60.0  # we go on behind it
if late:  # each look comes too early
    ownership._why_foreign = lambda facts, owner: None
    ownership.os.O_NOFOLLOW = 0

def end_it():
    while not (site / "var" / "labrelay.sock").is_socket():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

said = {}
for verb in verbs:
    assert os.getresuid() == (0, 0, 0), "each verb begins as root"
    if verb[0] == "run":
        threading.Thread(target=end_it, daemon=True).start()
    err = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(err):
        code = run(["--site", str(site), *verb])
    said[" ".join(verb)] = [int(code), err.getvalue()]
print(json.dumps(said), flush=True)
os._exit(0)
"""
# The service with what it makes, until it has made it; says what is there meanwhile.
LIFE = """\
import json, os, signal, sys, threading, time
from pathlib import Path
from engine.__main__ import run

data = Path(sys.argv[1]) / "var"
wanted = json.loads(sys.argv[2])

def end_it():
    while not all(list(data.glob(name)) for name in wanted):
        time.sleep(0.01)
    print(json.dumps([str(path.relative_to(data)) for path in data.rglob("*")]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_it, daemon=True).start()
run(["--site", sys.argv[1], "run"])
os._exit(0)
"""
MADE = (
    *("journal.db", "journal.db-wal", "journal.db-shm", "journal.anchor", "compiled/*", "archive/*"),
    *("labrelay.lock", "labrelay.reserve", "labrelay.sock", "labrelay.key", "set-up-link"),
)
PUT = "import os, sys; os.{how}(sys.argv[1], sys.argv[2])"


@pytest.fixture(scope="module")
def lived() -> Iterator[tuple[Path, set[str]]]:
    """A site that has run under the service's account, and the names that were in its data folder."""
    with open_folder() as folder:
        site = make_site(folder / "site", site=SITE)
        fill_journal(site / "var")
        (folder / "copies").mkdir(mode=0o700)
        for path in (site / "var", folder / "copies"):
            give(path)
        ran = python(LIFE, site, json.dumps(MADE), of_the_service=True)
        assert ran.out, ran.err
        names = set(json.loads(ran.out.splitlines()[0]))
        rotated = as_root("key", "rotate", "--yes", site=site)
        assert rotated.code == ExitCode.OK, rotated.err
        names |= {str(path.relative_to(site / "var")) for path in (site / "var").rglob("*")}
        yield site, names


def test_each_file_of_a_site_that_has_run_has_a_row(lived: tuple[Path, set[str]]) -> None:
    _, names = lived
    assert {name for name in names if not any(fnmatchcase(name, known) for known in FILES.values())} == set()
    assert set(MADE) <= {known for known in FILES.values() if any(fnmatchcase(name, known) for name in names)}


@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name in FILES for how in ("symlink", "link") if how == "symlink" or name not in ARE_FOLDERS],
)
def test_no_verb_of_roots_follows_a_link_of_the_service(lived: tuple[Path, set[str]], name: str, how: str) -> None:
    with open_folder() as place:
        site, roots, link = _linked(lived[0], place, name, how)
        before = _facts(roots)
        acts = [[part.format(place=place) for part in verb] for verb in (*LOOKS, *ACTS)]
        guarded = not name.startswith(UNGUARDED)

        said = _given(site, "checked", acts)
        assert _facts(roots) == before
        if guarded:
            silent = {verb for verb, (_, err) in said.items() if f"{link}: it " not in err}
            assert silent == set()
            done = {verb for verb, (code, _) in said.items() if code == ExitCode.OK} - {"check"}
            assert done == set()
            assert link.is_symlink() or link.stat().st_nlink > 1, "nothing was done"

        said = _given(site, "late", [list(verb) for verb in ACTS])
        assert _facts(roots) == before
        assert set(said) == {" ".join(verb) for verb in ACTS}


def _linked(template: Path, place: Path, name: str, how: str) -> tuple[Path, Path, Path]:
    """A copy of the site with a link; the folder of root's that it leads to or into, and the link."""
    shutil.copytree(template.parent, place, dirs_exist_ok=True)
    site, roots = place / "site", place / "roots"
    data = site / "var"
    roots.mkdir(mode=0o755)
    (roots / "victim").write_text("root:x\n")
    (roots / "victim").chmod(0o600)
    (data / "before-upgrade").mkdir(mode=0o700)
    real = {"CODE": "compiled/*", "DOCUMENT": "archive/*"}
    last = name.rpartition("/")[2]
    link = next(iter(data.glob(real[last]))) if last in real else data / name
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    for path in (data, place / "copies"):
        give(path)
    target = roots if name in ARE_FOLDERS else roots / "victim"
    ran = python(PUT.format(how=how), target, link, of_the_service=True)
    if ran.code and how == "link":  # where the kernel refuses that (fs.protected_hardlinks)
        os.link(target, link)
    assert os.path.lexists(link), ran.err
    return site, roots, link


def _facts(roots: Path) -> dict[str, tuple[object, ...]]:
    """All of root's that a link could spoil."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (roots, *roots.rglob("*")):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[path.name] = (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), facts.st_mtime_ns, content)
    return found


def _given(site: Path, way: str, verbs: list[list[str]]) -> dict[str, tuple[int, str]]:
    """Exit code and errors of each verb."""
    ran = forked(VERBS, site, way, json.dumps(verbs))
    assert ran.code == 0, ran.err
    return {verb: (code, err) for verb, (code, err) in json.loads(ran.out.splitlines()[-1]).items()}
