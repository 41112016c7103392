"""A journal whose tables are not those of this LabRelay: each command says so in one sentence, and changes nothing."""

from hashlib import sha256
from pathlib import Path

import pytest

from engine.commands.shared.output import ExitCode
from engine.store.core import connecting
from tests.support.command_line import labrelay
from tests.support.copies import Place
from tests.support.journals import queue, running
from tests.support.made_up_steps import with_made_up_steps

SITE = """
site: {name: X}
web: {enabled: false}
backup: {folder: ../copies}
destinations:
  archive: {kind: file, folder: var/archive}
"""
COMMANDS = (
    ("run",),
    ("status",),
    ("doctor",),
    ("verify",),
    ("verify", "--deep"),
    ("messages", "list"),
    ("audit", "verify"),
    ("upgrade", "--check"),
    ("journal", "stats"),
    ("journal", "compact"),
    ("journal", "accept-loss", "--reason", "x", "--yes"),
    ("journal", "salvage", "--to", "{folder}/saved", "--reason", "x"),
    ("key", "rotate", "--yes"),
    ("backup", "now"),
    ("backup", "drill"),
    ("backup", "verify", "{copy}"),
    ("restore", "{copy}", "--to", "{folder}/restored", "--keys", "{site}/var", "--reason", "x"),
)


@pytest.fixture
async def other(tmp_path: Path) -> Place:
    """A site with a journal of which more of the schema is in the first step, and a copy of it."""
    place = Place(tmp_path)
    (place.site / "config" / "labrelay.yaml").write_text(SITE)
    (place.site / "channels" / "chem.yaml").unlink()
    with pytest.MonkeyPatch.context() as patch:
        one_file = [(1, "\n;".join(sql for _, sql in with_made_up_steps()))]
        patch.setattr(connecting, "steps", lambda: one_file)
        async with running(place.data) as journal:
            await queue(journal, b"1")
            await place.copy(journal)
            await queue(journal, b"2")
    return place


def files(folder: Path) -> dict[str, str]:
    """What holds something; a reader makes an empty log."""
    paths = (path for path in folder.rglob("journal.*") if not path.name.endswith("-shm") and path.stat().st_size)
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_opens_it_says_so_and_leaves_it_as_it_is(tmp_path: Path, other: Place, command: tuple[str, ...]) -> None:
    before = files(tmp_path)
    (copy,) = other.copies.glob("labrelay-*/full-*")
    ran = labrelay(*(word.format(folder=tmp_path, site=other.site, copy=copy) for word in command), site=other.site)
    assert ran.code == ExitCode.FAILED
    said = ran.out + ran.err
    assert said.count("the journal was made by another build of LabRelay, with other tables than this one has") == 1
    assert "open it with that build, or move the data folder aside, and labrelay run begins a new journal" in said
    assert files(tmp_path) == before
