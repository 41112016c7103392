"""What a person has to do before all else: choose a password of the own, set up a second factor that is demanded."""

from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest

from engine.features.access.config import AccessConfig
from engine.model.errors import RefusedError
from tests.support.access import GOOD, ROOT, Browser, Site, site

OWN = "another staple entirely"
SETTING_UP = {"offer", "confirm"}

# The rule, the role, whether the user sees patients -> whether a second factor is demanded.
DEMANDED = [
    ((), "admin", True, False),
    (("required",), "viewer", False, True),
    (("admin",), "admin", False, True),
    (("admin",), "engineer", False, False),
    (("see-patients",), "viewer", True, True),
    (("see-patients",), "admin", False, False),
    (("engineer", "see-patients"), "engineer", False, True),
]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("rule", "role", "sees", "demanded"), DEMANDED)
def test_the_rule_names_those_who_need_a_second_factor(
    rule: tuple[str, ...], role: str, sees: bool, demanded: bool
) -> None:
    assert AccessConfig(second_factor=rule).demands_second_factor([role], sees_patients=sees) is demanded


def test_one_word_is_a_list_of_one() -> None:
    assert AccessConfig.model_validate({"second_factor": "required"}).second_factor == ("required",)
    with pytest.raises(ValueError, match="second_factor"):
        AccessConfig.model_validate({"second_factor": "always"})


async def everywhere_led_to_the_account(here: Site, browser: Browser) -> None:
    """Every page leads to the account, nothing else is let in, and the ways out stay open."""
    for (path, method), route in here.page.server.routes.items():
        if route.needs and not route.early and method == "GET" and "{" not in path:
            async with browser.client.get(path, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/account"), path
        elif route.needs and not route.early and "{" not in path:
            async with browser.client.request(method, path, allow_redirects=False) as answer:
                assert answer.status == 403, path
    async with browser.client.get("/session.json") as answer:
        assert answer.status == 200


def buttons(page: object) -> set[str]:
    return {one.attributes["value"] for one in page.all("button", name="act")}  # type: ignore[attr-defined]


async def test_a_password_that_an_admin_chose_is_changed_first(here: Site) -> None:
    async with here.browser() as admin, here.browser() as browser:
        await admin.log_in("admin")
        await admin.send("/users", "add", name="Asha", role="admin", password=GOOD)
        status, page = await browser.log_in("Asha")
        assert (status, browser.path, buttons(page)) == (200, "/account", {"password"})
        assert page.all("nav", **{"aria-label": "Pages"}) == []
        await everywhere_led_to_the_account(here, browser)
        status, page = await browser.send("/account", "password", password=GOOD, new=GOOD, again=GOOD)
        assert (status, buttons(page)) == (403, {"password"})
        _, fields = await browser.fields("/account", "password")
        for act in ("pin", "end", "drop", "offer"):
            assert (await browser.post("/account", fields | {"act": act, "once": act, "password": GOOD}))[0] == 400
        await browser.send("/account", "password", password=GOOD, new=OWN, again=OWN)
        assert browser.path == "/"
        assert (await browser.get("/users"))[0] == 200
        assert browser.path == "/users"
        assert (await browser.get("/account"))[1].all("button", value="pin")

        await admin.send("/user?name=Asha", "password", new=GOOD)
        assert (await browser.log_in("Asha"))[1].all("button", value="pin") == []
        await admin.send("/user?name=admin", "password", new=OWN)  # the own one was chosen by its user
        await admin.log_in("admin", OWN)
        assert (await admin.get("/users"))[0] == 200
        assert admin.path == "/users"


async def test_a_password_that_was_typed_at_a_terminal_stays(here: Site) -> None:
    async with here.browser() as browser:
        await browser.log_in("viewer")
        assert (await browser.get("/messages"))[0] == 200
        assert browser.path == "/messages"


async def test_a_second_factor_that_is_demanded_is_set_up_first(here: Site) -> None:
    rules = AccessConfig()
    here.accounts._rules = lambda: rules
    async with here.browser() as browser:
        await browser.log_in("engineer")
        assert (await browser.get("/system"))[0] == 200
        rules = AccessConfig(second_factor=("engineer",))  # a reload: it works with the next click
        _, page = await browser.get("/system")
        assert (browser.path, buttons(page)) == ("/account", {"offer"})
        await everywhere_led_to_the_account(here, browser)
        _, fields = await browser.fields("/account", "offer")
        for act in ("pin", "end", "drop", "password"):
            assert (await browser.post("/account", fields | {"act": act, "once": act, "password": GOOD}))[0] == 400
        _, page = await browser.send("/account", "offer", password=GOOD)
        app = pyotp.TOTP(page.one("code", class_="key").text)
        code = app.at(int(here.clock.now_us() / 1e6))
        assert "Not now" not in page.text
        _, page = await browser.post(
            "/account", browser.hidden(page) | {"act": "confirm", "code": code, "password": GOOD}
        )
        assert len(page.one("ol", class_="codes").all("li")) == 10
        assert (await browser.get("/system"))[0] == 200
        assert browser.path == "/system"

        _, page = await browser.send("/account", "drop", password=GOOD)
        assert "cannot do without" in page.text
        with pytest.raises(RefusedError):
            await here.accounts.own.drop_second_factor(browser.cookie("labrelay"), GOOD, address="127.0.0.1")
        await here.accounts.users.drop_second_factor("engineer", by=ROOT)  # a phone that is lost
        _, page = await browser.log_in("engineer")
        assert buttons(page) == {"offer"}
