"""The examples of docs/destinations.md and of `labrelay help keys destinations` are what the configuration reads."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from engine.config.destinations import destination
from engine.config.destinations.destination_base import DestinationBase
from engine.config.load import load_site
from engine.views.help import library
from tests.support.sites import make_site

PAGE = (Path(__file__).parents[2] / "docs" / "destinations.md").read_text(encoding="utf-8")
EXAMPLES = [
    yaml.safe_load(text)
    for page in (PAGE, library.topic("keys"))
    for text in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
]
LOG_INS = [example["auth"] for example in EXAMPLES if "auth" in example]
DESTINATIONS = [
    (name, block)
    for example in EXAMPLES
    if "auth" not in example
    for name, block in example.get("destinations", example).items()
    if "kind" in block  # others show a single key
]


def test_every_model_of_a_kind_is_listed() -> None:
    models = {one for one in vars(destination).values() if isinstance(one, type) and issubclass(one, DestinationBase)}
    unlisted = models - {DestinationBase, *destination.kinds().values()}
    assert unlisted == set(), "add the model to DestinationConfig in engine/config/destinations/destination.py"


@pytest.mark.parametrize(("kind", "model"), destination.kinds().items())
def test_every_kind_has_its_example(kind: str, model: type[DestinationBase]) -> None:
    """On the page, as its model has it: `labrelay help keys destinations` shows the same."""
    named = f"engine/config/destinations/destination.py: {model.__name__}"
    assert hasattr(model, "example"), f"{named} needs `example`: one entry of destinations: of this kind, as YAML"
    assert f"kind: {kind}\n" in model.example, f"{named}.example says kind: {kind}"
    block = f"```yaml\ndestinations:\n{textwrap.indent(model.example, '  ').rstrip()}\n```"
    assert block in section(f"`kind: {kind}`"), f"docs/destinations.md needs this in a section of its own:\n{block}"


def test_every_example_is_of_a_kind() -> None:
    assert {block["kind"] for _, block in DESTINATIONS} == set(destination.kinds())
    assert {kind for auth in LOG_INS for kind in auth} == {"oauth2", "hmac"}


@pytest.mark.parametrize(("name", "block"), DESTINATIONS)
def test_an_example_is_sound(tmp_path: Path, name: str, block: dict[str, object]) -> None:
    check(tmp_path, {name: block})


@pytest.mark.parametrize("auth", LOG_INS)
def test_an_example_of_logging_in_is_sound(tmp_path: Path, auth: dict[str, object]) -> None:
    check(tmp_path, {"x": {"kind": "http", "url": "https://x.example.org", "auth": auth}})


def section(heading: str) -> str:
    """The text below a heading of the page."""
    return PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def check(folder: Path, destinations: dict[str, object]) -> None:
    site = yaml.safe_dump({"site": {"name": "Lab", "timezone": "UTC"}, "destinations": destinations})
    loaded = load_site(make_site(folder, site=site, channels={}), require_secrets=False)
    assert loaded.config.destinations.keys() == destinations.keys()
