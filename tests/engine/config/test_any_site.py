"""Whatever stands in a site's files: a site, or problems that each have a place. Never another exception."""

import re
import tempfile
from pathlib import Path

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.config import channel, sitewide, tls, web
from engine.config.destinations import destination, destination_auth, destination_base
from engine.config.load import load_site
from engine.config.sources import source
from engine.model.errors import ConfigError
from tests.support.examples import examples
from tests.support.sites import CHANNEL_YAML, SITE_YAML, make_site

PLACE = re.compile(r"^[\w./-]+:\d+:\d+: \S")
KEYS = sorted(
    {
        name
        for model in (
            sitewide.site_model(),
            sitewide.SiteInfo,
            web.WebConfig,
            channel.channel_model(),
            channel.RouteConfig,
            source.AstmSource,
            tls.ServerTls,
            destination.FhirDestination,
            destination_base.RetryConfig,
            destination_auth.AuthConfig,
        )
        for name in model.model_fields
    }
    | {"colour", "retention", "local_system"}
)
TEXTS = (
    "~ mllp astm fhir 5m 16MiB 127.0.0.1:0 [::1]:80 NO 0 -1 =MSH-9.1 ${X} ${} Asia/Kolkata utf-8 true { http://[ "
    "http://x:99999/"
)
SCALARS = st.sampled_from(["", "\u0000", "a" * 100, *TEXTS.split()])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


def judge(site: str, channel_text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_site(Path(folder), site=site, channels={"a.yaml": channel_text})
        found: tuple[str, ...] = ()
        try:
            load_site(Path(folder))
        except ConfigError as error:
            found = error.problems or ("no problem is named",)
    assert [problem for problem in found if not PLACE.match(problem) or "\n" in problem] == []


@settings(max_examples=examples(150))
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
)
def test_any_structure_is_a_site_or_problems_with_places(site: object, one: object) -> None:
    judge(yaml.safe_dump(site), yaml.safe_dump(one))


@settings(max_examples=examples(150))
@example(0, 0, "\xa0")  # looks like a blank and is none
@given(st.integers(0, len(SITE_YAML)), st.integers(0, len(CHANNEL_YAML)), st.text(max_size=3))
def test_any_slip_of_the_pen_is_a_site_or_problems_with_places(at: int, there: int, slip: str) -> None:
    judge(SITE_YAML[:at] + slip + SITE_YAML[at + 1 :], CHANNEL_YAML[:there] + slip + CHANNEL_YAML[there + 1 :])
