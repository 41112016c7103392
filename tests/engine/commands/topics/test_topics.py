"""Each topic of the help has everything that it is a list of."""

import re
from pathlib import Path

import pytest
import yaml

from adapters.codecs.text.layout_reader import ACTIONS, RULE_KEYS
from engine.actions.verbs import of_api
from engine.commands.shared.output import EXIT_WORDS, ExitCode
from engine.commands.shared.verb_list import TOPICS as SHORT
from engine.commands.shared.verb_list import verbs
from engine.commands.topics import commands, keys, short
from engine.config import pack, registry, sitewide
from engine.config.channel import RouteConfig, channel_model
from engine.config.destinations import destination
from engine.config.layouts import layout_files
from engine.config.sources import source
from engine.diagnostics.packs import packs
from engine.features.alerts.config import SINK_KINDS
from engine.mapping.functions import FUNCTIONS
from engine.mapping.functions.code_maps import CODE_MAPS
from engine.mapping.hold_rules import names
from engine.model.tables import table_lines
from engine.model.texts import reasons
from engine.model.texts.reasons import ReasonCode
from engine.monitoring import logs
from engine.monitoring.snapshot.channels import LinkState
from engine.views.help import library
from engine.views.help.markdown import narrowed, sections
from engine.web.api.lists import QUESTIONS, resources
from engine.web.api.problems import KINDS
from tests.support.packages import PACKAGES
from tests.support.status_sites import troubled_site

CHECKOUT = Path(__file__).parents[4]
WITH_JSON = frozenset(commands.verbs_with_json())
NAMED = re.compile(r"`labrelay help ([a-z-]+)(?: ([^`]+))?`")


def part(name: str, *words: str) -> str:
    return narrowed(library.topic(name), words)


def rows(text: str) -> list[str]:
    """The first cells of all tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("name", library.TOPICS)
def test_every_topic_has_a_heading_and_something_in_it(name: str) -> None:
    text = library.topic(name)
    assert text.startswith("# ")
    assert len(text.splitlines()) > 5
    assert {one.level for one in sections(text)[1:]} <= {2, 3, 4}
    for piece in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        list(yaml.parse(piece, Loader=yaml.SafeLoader))
    rooms = "engine|adapters|tests|docs|tools|requirements|systemd"
    assert [path for path in re.findall(rf"`((?:{rooms})/[\w./-]+)`", text) if not (CHECKOUT / path).exists()] == []
    named = set(re.findall(r"`labrelay(?: --site \S+)? ([a-z][a-z-]+)\b", text))
    assert named <= set(verbs())


def test_every_key_of_a_source_is_documented() -> None:
    known = {name for model in source.models().values() for name in model.model_fields}
    missing = known - set(rows(part("keys", "sources")))
    assert missing == set(), "add the model of these keys to source_keys in engine/commands/topics/keys.py"


def test_every_key_is_in_its_part() -> None:
    models = {
        "site": (sitewide.site_model(), sitewide.SiteInfo, sitewide.LimitsConfig),
        "alerts": tuple(SINK_KINDS.values()),
        "destinations": tuple(destination.kinds().values()),
        "channels": (channel_model(), RouteConfig),
        "packs": (pack.PackConfig,),
    }
    elsewhere = {
        *keys.parts(),
        *("access", "backup", "limits", "retention", "seen", "recognise", "gives", "source", "routes"),
        *("web", "traces", "site"),
    }
    for name, of in models.items():
        known = {key for model in of for key in model.model_fields}
        assert known - set(rows(part("keys", name))) - elsewhere == set(), name


@pytest.mark.parametrize("kind", destination.kinds())
def test_a_kind_of_destination_is_shown_with_its_keys_and_an_example(kind: str) -> None:
    text = part("keys", "destinations", kind)
    assert f"| `kind` | `{kind}` |" in text
    assert f"kind: {kind}\n" in text


@pytest.mark.parametrize("verb", [" ".join(path) for path, _ in commands.commands() if path])
def test_every_verb_is_documented_with_its_names_in_json(verb: str) -> None:
    text = part("commands", f"labrelay {verb}")
    assert f"# labrelay {verb}\n" in text
    assert ("\nJSON: " in text.partition("\n### ")[0]) == (verb in WITH_JSON)


def test_every_verb_and_exit_code_is_listed() -> None:
    text = library.topic("commands")
    assert set(verbs()) <= set(rows(text))
    codes = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert codes == [str(code.value) for code in ExitCode]
    assert set(EXIT_WORDS) == set(ExitCode), "say in EXIT_WORDS (engine/commands/shared/output.py) what each code means"


def test_every_code_of_a_message_is_listed() -> None:
    assert rows(library.topic("reasons")) == [reason.value for reason in ReasonCode]
    declared = [line.partition(": ")[0] for line in table_lines(reasons.__file__, "warning_codes.txt")]
    assert rows(library.topic("warnings")) == declared


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_explained(name: str) -> None:
    text = part("functions", name)
    assert text.startswith(f"### {name}\n")
    assert FUNCTIONS[name].signature in text


def test_every_table_of_codes_is_listed() -> None:
    assert set(CODE_MAPS) <= set(rows(library.topic("functions")))


def test_everything_that_can_be_chosen_is_listed() -> None:
    text = library.topic("kinds")
    for name in (
        *destination.kinds(),
        *source.presets(),
        *source.transports(),
        *registry.dialects(),
        *layout_files(None),
    ):
        assert f"`{name}`" in text, name


def test_layouts_packs_loggers_and_names_of_hold_rules_are_listed() -> None:
    layouts = library.topic("layouts")
    assert set(layout_files(None)) <= set(rows(layouts))
    assert {*RULE_KEYS, *ACTIONS} <= set(rows(layouts))
    assert {one.name for one in packs()} <= set(rows(library.topic("analyzers")))
    assert rows(library.topic("loggers")) == [f"{logs.OURS}.{name}" for name in logs.LOGGERS]
    assert rows(library.topic("holds")) == [*names.NAMES, *names.FUNCTIONS]


def test_resources_acts_and_problems_of_the_api_are_listed() -> None:
    text = library.topic("api")
    for path in [*(one.path for one in resources()), *(one.path for one in QUESTIONS)]:
        assert any(row.endswith(f" {path}") for row in rows(text)), path
    assert set(of_api()) | set(KINDS) <= set(rows(text))


def test_every_field_of_status_json_is_described() -> None:
    described = set(short.status_fields())
    found = set(_paths(troubled_site().to_json()))
    keyed = ("task_restarts.", "channels[].link_faults.", "facilities.", "unsent_after_s.")  # names of a site's own
    missing = {path for path in found if not path.startswith(keyed)} - described
    assert missing == set(), "say in engine/monitoring/snapshot/status_fields.txt what these mean"
    absent = described - found
    assert {path for path in absent if not path.startswith("abdm.") and ".paused." not in path} == set()
    text = library.topic("status")
    assert all(f"`{state.value}`" in narrowed(text, ["link.state"]) for state in LinkState)
    assert len(rows(text)) == len(described)


def _paths(value: object, place: str = "") -> list[str]:
    if isinstance(value, dict):
        inner = [(f"{place}.{name}".removeprefix("."), one) for name, one in value.items()]
        return [path for name, one in inner for path in (name, *_paths(one, name))]
    return [path for one in value for path in _paths(one, f"{place}[]")] if isinstance(value, list) else []


def test_texts_name_topics_that_exist() -> None:
    """`labrelay help NAME PART` in pages, in code and in examples."""
    paths = [*(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md"))]
    code = ((package, "py html txt yaml") for package in PACKAGES)
    for folder, kinds in (*code, ("config", "yaml"), ("channels", "yaml")):
        paths += [path for kind in kinds.split() for path in (CHECKOUT / folder).rglob(f"*.{kind}")]
    known = {*library.names(), *SHORT, *verbs(), "all"}
    for path in paths:
        for name, words in NAMED.findall(path.read_text(encoding="utf-8")):
            assert name in known, (path.name, name)
            if name in library.TOPICS and words and words.replace(".", "").islower():
                assert narrowed(library.topic(name), words.split()) or part(name, *re.split(r"[ .]", words)), (
                    path,
                    words,
                )
