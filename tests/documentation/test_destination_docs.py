"""The examples of docs/destinations.md are what the configuration reads."""

import re
from pathlib import Path

import pytest
import yaml

from engine.config import destination
from engine.config.load import load_site
from tests.support.sites import make_site

PAGE = (Path(__file__).parents[2] / "docs" / "destinations.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
LOG_INS = [example["auth"] for example in EXAMPLES if "auth" in example]
DESTINATIONS = [
    (name, block)
    for example in EXAMPLES
    if "auth" not in example
    for name, block in example.get("destinations", example).items()
    if "kind" in block  # others show a single key
]


def test_every_kind_has_its_example() -> None:
    assert {block["kind"] for _, block in DESTINATIONS} == set(destination.KINDS)
    assert {kind for auth in LOG_INS for kind in auth} == {"oauth2", "hmac"}


@pytest.mark.parametrize(("name", "block"), DESTINATIONS)
def test_an_example_is_sound(tmp_path: Path, name: str, block: dict[str, object]) -> None:
    check(tmp_path, {name: block})


@pytest.mark.parametrize("auth", LOG_INS)
def test_an_example_of_logging_in_is_sound(tmp_path: Path, auth: dict[str, object]) -> None:
    check(tmp_path, {"x": {"kind": "http", "url": "https://x.example.org", "auth": auth}})


def check(folder: Path, destinations: dict[str, object]) -> None:
    site = yaml.safe_dump({"site": {"name": "Lab", "timezone": "UTC"}, "destinations": destinations})
    loaded = load_site(make_site(folder, site=site, channels={}), require_secrets=False)
    assert loaded.config.destinations.keys() == destinations.keys()
