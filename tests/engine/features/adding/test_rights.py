"""Who may write what: the service into the site, and a person who may not see patients into a draft."""

import asyncio
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.commands.shared.output import ExitCode
from engine.config.load import load_site
from engine.diagnostics import service
from engine.features.access.service.service import AccessService
from engine.model.errors import LabRelayError, RefusedError
from tests.engine.features.adding.test_engineers_day import (
    PEOPLE,
    ROOT,
    ROWS,
    XN,
    Laboratory,
    laboratory,
    over_tcp,
    recognise,
    said,
    send_text,
)
from tests.support.access import GOOD
from tests.support.astm_peer import one_record_a_frame, session
from tests.support.command_line import labrelay
from tests.support.other_accounts import as_account
from tests.support.ports import quiet_ports
from tests.support.root_commands import open_folder
from tests.support.running import make_running_site, running_app
from tests.support.senders import AstmAnalyzer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
SERVICE = "daemon"  # the account of the service: one that each Debian has
TIMES = {"column-time": "When", "time": "%Y-%m-%d %H:%M:%S"}


def installed(folder: Path) -> Path:
    """A site as the installer makes it: root's, and the service may read it."""
    make_running_site(folder, {}, {"out": {"kind": "file", "folder": "var/out"}}, web="127.0.0.1:0")
    account = pwd.getpwnam(SERVICE)
    (folder / "var").mkdir()
    os.chown(folder / "var", account.pw_uid, account.pw_gid)
    for path in (folder, *(one for one in folder.rglob("*") if one.name != "var")):
        os.chown(path, 0, account.pw_gid)
        path.chmod(0o750 if path.is_dir() else 0o640)
    return folder


async def _tried(folder: Path) -> dict[str, Any]:
    """What the page of a running service says, and what becomes of the first step."""
    async with running_app(folder) as app:
        with suppress(RefusedError):  # is there since the first time
            await app.service(AccessService).accounts.users.add("esther", "engineer", GOOD, by=ROOT)
        async with Laboratory(app, None, folder).browser() as browser:  # type: ignore[arg-type]
            _, page = await browser.get("/add?lang=en")
            _, new = await browser.get("/add/new?lang=en")
            (port,) = quiet_ports(1)
            form = {"called": "Chemistry", "how": "listen", "address": "127.0.0.1", "port": str(port), "act": "listen"}
            _, fields = await browser.fields("/add/new?lang=en", to="/")
            status, answer = await browser.post("/add/new?lang=en", fields | form)
            buttons = [one.text for one in new.one("main").all("button")]
            return {"page": said(page), "new": said(new), "buttons": buttons, "status": status, "answer": said(answer)}


def tried(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = as_account(SERVICE, do=lambda: asyncio.run(_tried(folder)))
    return found


@needs_root
def test_an_installed_service_says_what_is_closed_until_it_is_granted() -> None:
    if not as_account(SERVICE, do=lambda: os.access(__file__, os.R_OK)):
        pytest.skip(f"the account {SERVICE} cannot read this checkout")
    with open_folder() as above:
        folder = installed(above / "site")
        assert (
            asyncio.run(_tried(installed(above / "other")))["status"] == 200
        )  # root may; a child imports nothing anew
        closed = tried(folder)
        assert "may not write into these folders yet" in closed["page"]
        assert str(folder / "mappings" / "tables") in closed["new"]
        assert "Listen" not in closed["buttons"]
        assert (closed["status"], "may not write into" in closed["answer"]) == (403, True)
        assert list((folder / "channels").glob("*")) == []

        before = os.umask(0o077)  # root's may be narrow
        try:
            service.grant(folder)
        finally:
            os.umask(before)
        asked = [need.directive for need in service.needs(load_site(folder))]
        assert asked == [f"ReadWritePaths=-{folder / name}" for name in service.ADDED]
        opened = tried(folder)
        assert "may not write" not in opened["page"] + opened["new"]
        assert opened["status"] == 200, opened["answer"]
        assert [one.name for one in (folder / "channels").iterdir()] == ["chemistry.yaml"]
        # Nothing else of the site is the service's, nor a folder where a link could take the place of one of these.
        account = pwd.getpwnam(SERVICE)
        own = [
            path
            for path in (folder, *folder.rglob("*"))
            if "var" not in path.parts and path.stat().st_uid == account.pw_uid
        ]
        assert own == [folder / "channels" / "chemistry.yaml"]
        writable = {
            path for path in (folder, *folder.rglob("*")) if path.is_dir() and path.stat().st_mode & stat.S_IWGRP
        }
        assert writable == {folder / name for name in service.ADDED}


@needs_root
def test_a_grant_is_for_the_service_alone_and_follows_no_link(tmp_path: Path) -> None:
    folder = make_running_site(tmp_path / "site", {}, {})
    with pytest.raises(LabRelayError, match="must be the service's"):
        service.grant(folder)
    assert labrelay("service", "--adding", site=folder).code == ExitCode.USAGE
    os.chown(folder, 0, pwd.getpwnam(SERVICE).pw_gid)
    (tmp_path / "elsewhere").mkdir(0o700)
    (folder / "layouts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabRelayError, match="is a link"):
        service.grant(folder)
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o700


def test_no_name_becomes_another_line_of_the_unit(tmp_path: Path) -> None:
    hostile = {"kind": "file", "folder": "/srv/out\nExecStartPre=+/bin/sh"}
    with pytest.raises(LabRelayError):
        service.drop_in(load_site(make_running_site(tmp_path, {}, {"out": hostile})))


async def test_who_may_not_see_patients_says_nothing_of_columns(tmp_path: Path) -> None:
    """A column that is said to be the code would be shown: a patient's number, too."""
    async with laboratory(tmp_path / "site") as lab, lab.browser() as browser, lab.browser("ravi") as blind:
        assert ("ravi", "engineer", False) in PEOPLE
        name, _ = await over_tcp(lab, browser)
        await send_text(lab, name, ROWS)
        _, page = await blind.get(f"/add/{name}/recognise?lang=en")
        assert "needs the right to see patients" in said(page)
        assert "Sample ID" not in said(page)
        assert not [one for one in page.one("main").all("button") if "codes" in one.text]
        _, fields = await blind.fields(f"/add/{name}/listen?lang=en", "remove")
        columns = {"column-specimen": "Sample ID", "column-test": "Patient", "column-value": "Result", **TIMES}
        form = fields | columns | {"act": "recognise", "decimal": ","}
        for pack in ("", "sysmex-xn"):
            status, page = await blind.post(f"/add/{name}/recognise?lang=en", form | {"analyzer": pack})
            assert (status, "may see patients" in said(page)) == (403, True), said(page)
        assert "4711" not in said((await blind.get(f"/add/{name}/codes?lang=en"))[1])

        other, port = await over_tcp(lab, browser, "Cells")
        await AstmAnalyzer(port).play(session(*one_record_a_frame(XN)))
        await lab.came(other, 1)
        assert (await recognise(blind, other, analyzer="siemens-dca-vantage"))[0] == 403
        assert (await recognise(blind, other))[0] == 200  # as it was recognised
