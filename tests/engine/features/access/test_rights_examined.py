"""Who may act and does not see patients is told, before an upgrade and by doctor: they do not say whose a result is."""

from pathlib import Path

import pytest

from engine.features.access.service.service import AccessService
from tests.support.access import GOOD, ROOT
from tests.support.acting_pages import acting_site
from tests.support.running import hl7_channel

# person: role, sees patients, is told
PEOPLE = {
    "looks": ("viewer", False, False),
    "looks and sees": ("viewer", True, False),
    "acts": ("operator", False, True),
    "acts and sees": ("operator", True, False),
    "administers": ("admin", False, True),
}


@pytest.mark.parametrize("command", [("upgrade", "--check"), ("doctor",)])
async def test_who_does_not_say_whose_a_result_is(tmp_path: Path, command: tuple[str, ...]) -> None:
    async with acting_site(tmp_path, {"lab": hl7_channel()}) as here:
        users = here.site.app.service(AccessService).accounts.users
        for name, (role, sees, _) in PEOPLE.items():
            await users.add(name, role, GOOD, by=ROOT, sees_patients=sees)
        ran = await here.site.labrelay(*command, "-o", "json")
    (line,) = [one for one in ran.json["lines"] if one["subject"] == "rights"]
    told = {name for name in line["text"].partition(": ")[2].split(", ") if name in PEOPLE}
    assert told == {name for name, (*_, is_told) in PEOPLE.items() if is_told}
