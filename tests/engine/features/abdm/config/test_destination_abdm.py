"""The destination of kind `abdm`: each mistake has its place, a reason and a remedy."""

from pathlib import Path

import pytest

from engine.config.load import load_site
from engine.features.abdm.config.destination import AbdmDestination
from engine.model.errors import ConfigError

ONE = "{IN0000000001: {name: Lab}}"
CALLBACKS = "{url: 'https://relay.example.org/abdm', listen: '127.0.0.1:8590'}"
CHANNEL = """\
channel: chem
source: {kind: mllp, listen: "127.0.0.1:6661"}
routes: [{mapping: abdm-report, to: abdm}]
"""


def site(
    folder: Path,
    *,
    facilities: str = ONE,
    callbacks: str = CALLBACKS,
    more: str = "",
    env: str = "sbx",
    secret: str = "${ABDM_CLIENT_SECRET}",
) -> Path:
    for name in ("config", "channels"):
        (folder / name).mkdir()
    (folder / "channels" / "chem.yaml").write_text(CHANNEL, encoding="utf-8")
    entry = [
        "site: {name: Lab, timezone: Asia/Kolkata}",
        "destinations:",
        "  abdm:",
        "    kind: abdm",
        f"    environment: {env}",
        "    client_id: SBX_000001",
        f"    client_secret: {secret}",
        f"    facilities: {facilities}",
        f"    callbacks: {callbacks}",
        *([more] if more else []),
        "",
    ]
    (folder / "config" / "labrelay.yaml").write_text("\n".join(entry), encoding="utf-8")
    return folder


def test_the_environment_decides_the_gateway(tmp_path: Path) -> None:
    found = load_site(site(tmp_path), require_secrets=False).config.destinations["abdm"]
    assert isinstance(found, AbdmDestination)
    assert found.place == "https://dev.abdm.gov.in"
    assert found.known_issuer == "https://dev.abdm.gov.in/auth/realms/central-registry"
    assert found.facility_of("chem") == "IN0000000001"


def test_callbacks_that_would_come_in_clear_over_the_internet_are_a_warning(tmp_path: Path) -> None:
    callbacks = CALLBACKS.replace("https://", "http://")
    (warning,) = load_site(site(tmp_path, callbacks=callbacks), require_secrets=False).warnings[-1:]
    assert warning.startswith(f"{AT}9:23: destinations.abdm.callbacks.url: ")
    assert "relay.example.org in clear" in warning


TWO = "{IN0000000001: {name: A, channels: chem}, IN0000000002: {name: B, channels: %s}}"
HOST = "{name: Host, secret: '${ABDM_CLIENT_SECRET}'}"
AT = "config/labrelay.yaml:"
MISTAKES = {
    "production without an issuer": ({"env": "abdm"}, f"{AT}4:5: destinations.abdm: issuer is missing"),
    "an environment that is none": ({"env": "prod"}, f"{AT}5:18: destinations.abdm.environment:"),
    "a secret that is written out": ({"secret": "hunter2"}, f"{AT}7:20: destinations.abdm.client_secret:"),
    "no facility": ({"facilities": "{}"}, f"{AT}8:17: destinations.abdm.facilities:"),
    "an id that is none": (
        {"facilities": "{'a b': {name: A}}"},
        f"{AT}8:19: destinations.abdm.facilities.a b: expected an id of 3 to 64 letters, digits",
    ),
    "facilities that share a channel": (
        {"facilities": TWO % "chem"},
        f"{AT}4:5: destinations.abdm: facilities: channel",
    ),
    "a channel that is not there": (
        {"facilities": TWO % "chm"},
        f"{AT}8:93: destinations.abdm.facilities.IN0000000002",
    ),
    "a facility without channels beside another": (
        {"facilities": "{IN0000000001: {name: A, channels: chem}, IN0000000002: {name: B}}"},
        f"{AT}4:5: destinations.abdm: facilities.IN0000000002 needs channels",
    ),
    "a listener in clear": (
        {"callbacks": "{url: 'https://x.example.org/a', listen: '0.0.0.0:8590'}"},
        f"{AT}9:16: destinations.abdm.callbacks: other machines reach this address",
    ),
    "the port of the page": (
        {"callbacks": "{url: 'https://x.example.org/a', listen: '127.0.0.1:8580'}"},
        f"{AT}9:58: destinations.abdm.callbacks.listen: 127.0.0.1:8580 is taken by the status page",
    ),
    "a path that opens all": (
        {"callbacks": "{url: 'https://x.example.org/a', listen: '127.0.0.1:8590', path: /}"},
        f"{AT}9:81: destinations.abdm.callbacks.path:",
    ),
    "an SMS service in clear": (
        {"more": "    sms: {url: 'http://sms.example.org', body: '{mobile} {code}', type: text}"},
        f"{AT}10:10: destinations.abdm.sms: url: codes and mobiles would go to sms.example.org in clear",
    ),
    "an SMS without its code": (
        {"more": "    sms: {url: 'https://sms.example.org', body: '{mobile}', type: text}"},
        f"{AT}10:10: destinations.abdm.sms: body has no {{code}}",
    ),
    "an SMS that is no JSON": (
        {"more": "    sms: {url: 'https://sms.example.org', body: '{mobile} {code}'}"},
        f"{AT}10:10: destinations.abdm.sms: body is no JSON",
    ),
    "an SMS that is no form": (
        {"more": "    sms: {url: 'https://sms.example.org', body: '{mobile} {code}', type: form}"},
        f"{AT}10:10: destinations.abdm.sms: body is no form",
    ),
    "a secret of the SMS service that is written out": (
        {"more": "    sms: {url: 'https://x.example.org', header: {name: k, secret: v}, body: '{mobile}{code}'}"},
        f"{AT}10:",
    ),
    "a header that is ours": (
        {"more": f"    sms: {{url: 'https://x.example.org', type: text, body: '{{mobile}}{{code}}', header: {HOST}}}"},
        f"{AT}10:10: destinations.abdm.sms: header: Host is not for this place",
    ),
    "an unknown key": ({"more": "    gatewy: https://x.example.org"}, f"{AT}10:5: destinations.abdm.gatewy:"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_has_place_and_reason(tmp_path: Path, case: str) -> None:
    keys, begin = MISTAKES[case]
    with pytest.raises(ConfigError) as caught:
        load_site(site(tmp_path, **keys), require_secrets=False)
    assert [one for one in caught.value.problems if one.startswith(begin)], caught.value.problems


def test_a_channel_of_no_facility_may_not_send_there(tmp_path: Path) -> None:
    folder = site(tmp_path, facilities=TWO % "west")
    text = CHANNEL.replace("chem", "west").replace("6661", "6662").replace("to: abdm", "to: abdm")
    (folder / "channels" / "west.yaml").write_text(text, encoding="utf-8")
    (folder / "channels" / "east.yaml").write_text(
        text.replace("west", "east").replace("6662", "6663"), encoding="utf-8"
    )
    with pytest.raises(ConfigError) as caught:
        load_site(folder, require_secrets=False)
    assert "channel east sends here, and no facility has it" in str(caught.value)


def test_a_site_has_one_account(tmp_path: Path) -> None:
    folder = site(tmp_path)
    file = folder / "config" / "labrelay.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text + text.partition("destinations:\n")[2].replace("  abdm:", "  other:").replace("8590", "8591"))
    with pytest.raises(ConfigError) as caught:
        load_site(folder, require_secrets=False)
    assert "abdm is of kind abdm, too; put all facilities into one of them" in str(caught.value)


@pytest.mark.parametrize(
    ("more", "facilities", "text"),
    [
        ("", ONE, ""),
        (", facilities: IN0000000001", ONE, ""),
        (", facilities: IN0000000002", ONE, "unknown facility 'IN0000000002'"),
        ("", None, "needs a destination of kind abdm: it takes the profiles that patients share"),
    ],
)
def test_a_channel_of_shared_profiles_is_of_a_facility(
    tmp_path: Path, more: str, facilities: str | None, text: str
) -> None:
    folder = site(tmp_path, facilities=facilities or ONE)
    share = f"channel: desk\nsource: {{kind: abdm-share{more}}}\nroutes: [{{to: out}}]\n"
    (folder / "channels" / "desk.yaml").write_text(share, encoding="utf-8")
    file = folder / "config" / "labrelay.yaml"
    config = file.read_text(encoding="utf-8") + "  out: {kind: file, folder: var/out}\n"
    if facilities is None:
        config = "site: {name: Lab, timezone: Asia/Kolkata}\ndestinations:\n  out: {kind: file, folder: var/out}\n"
        (folder / "channels" / "chem.yaml").unlink()
    file.write_text(config, encoding="utf-8")
    if not text:
        load_site(folder, require_secrets=False)
        return
    with pytest.raises(ConfigError) as error:
        load_site(folder, require_secrets=False)
    assert text in str(error.value)
    assert "channels/desk.yaml:2:" in str(error.value)
