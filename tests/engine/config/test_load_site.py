"""Reading a site: every key has its meaning, every mistake has its place, a reason and a way out."""

from collections import Counter
from pathlib import Path

import pytest

from engine.config.destinations import destination
from engine.config.destinations.destination import FhirDestination, FileDestination
from engine.config.load import changed_files, load_site
from engine.config.reading.secrets import Secret
from engine.config.site_file import data_folder
from engine.config.sitewide import site_model
from engine.config.sources.source import AstmSource, MllpSource, presets, transports
from engine.model.errors import ConfigError
from engine.model.texts.units import HostPort
from tests.support.sites import CHANNEL_YAML, SITE_YAML, make_site

CHECKOUT = Path(__file__).parents[3]


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(folder)
    return list(caught.value.problems)


def one_problem(folder: Path) -> str:
    found = problems(folder)
    assert len(found) == 1, found
    return found[0]


def test_a_small_site_has_defaults_everywhere_else(tmp_path: Path) -> None:
    site = load_site(make_site(tmp_path))

    assert site.config.site.name == "Test Lab"
    assert site.config.data == tmp_path.resolve() / "var"
    assert site.config.web.listen == HostPort("127.0.0.1", 8580)
    archive = site.config.destinations["archive"]
    assert isinstance(archive, FileDestination)
    assert archive.folder == tmp_path.resolve() / "var" / "archive"
    channel = site.channels["haematology"]
    assert isinstance(channel.source, MllpSource)
    assert (channel.source.transport, channel.source.link, channel.source.format) == ("tcp", "mllp", "hl7v2")
    assert channel.timezone == "Asia/Kolkata"
    assert channel.routes[0].to == ("archive",)
    assert channel.charset == ("utf-8",)
    assert channel.repeat_window == 86_400


def test_durations_sizes_and_addresses_take_units(tmp_path: Path) -> None:
    site = SITE_YAML + (
        '  fhir: {kind: fhir, url: "https://fhir.example.org/r4/", timeout: 1m30s, retry: {first: 500ms, max: 1h}}\n'
    )
    channel = CHANNEL_YAML.replace('"127.0.0.1:0"', '"[::1]:2575", max_message: 2MiB, idle_timeout: 5m')
    loaded = load_site(make_site(tmp_path, site=site, channels={"a.yaml": channel.replace("to: archive", "to: fhir")}))

    fhir = loaded.config.destinations["fhir"]
    assert isinstance(fhir, FhirDestination)
    assert fhir.url == "https://fhir.example.org/r4"
    assert (fhir.timeout, fhir.retry.first, fhir.retry.max, fhir.retry.give_up_after) == (90.0, 0.5, 3600.0, None)
    source = loaded.channels["haematology"].source
    assert (source.listen, source.max_message, source.idle_timeout) == (HostPort("::1", 2575), 2 << 20, 300.0)


def test_astm_has_its_link_options(tmp_path: Path) -> None:
    source = 'source: {kind: astm, connect: "10.1.2.3:4000", checksum: warn, end: eot}'
    text = f"channel: a\n{source}\nroutes: [{{filter: later}}]"
    astm = load_site(make_site(tmp_path, channels={"a.yaml": text})).channels["a"].source

    assert isinstance(astm, AstmSource)
    assert (astm.link, astm.format, astm.framing, astm.checksum, astm.end) == (
        "e1381",
        "astm",
        "e1381",
        "warn",
        "eot",
    )
    assert astm.address == HostPort("10.1.2.3", 4000)


@pytest.mark.parametrize("given", ["framing: none, acks: none", "framing: none, acks: session", "framing: none"])
def test_other_framings_and_answers_go_together(tmp_path: Path, given: str) -> None:
    text = f'channel: a\nsource: {{kind: astm, listen: "127.0.0.1:0", {given}}}\nroutes: [{{filter: later}}]'
    assert isinstance(load_site(make_site(tmp_path, channels={"a.yaml": text})).channels["a"].source, AstmSource)


def test_transport_link_and_format_stand_for_a_kind_and_override_it(tmp_path: Path) -> None:
    by_parts = 'channel: a\nsource: {transport: tcp, link: e1381, listen: "127.0.0.1:0"}\nroutes: [{filter: later}]'
    mixed = 'channel: b\nsource: {kind: mllp, link: e1381, listen: "127.0.0.1:0"}\nroutes: [{filter: later}]'
    channels = load_site(make_site(tmp_path, channels={"a.yaml": by_parts, "b.yaml": mixed})).channels

    assert isinstance(channels["a"].source, AstmSource)
    assert channels["a"].source.format == "astm"
    assert isinstance(channels["b"].source, AstmSource)
    assert channels["b"].source.format == "hl7v2"


def test_plain_words_stay_words(tmp_path: Path) -> None:
    """YAML 1.1 would read these as a boolean and a number in base 60."""
    channel = CHANNEL_YAML + "settings: {country: NO, shift_ends: 22:00, codes: [on, 010]}\n"
    site = load_site(make_site(tmp_path, channels={"a.yaml": channel}))

    assert site.channels["haematology"].settings == {"country": "NO", "shift_ends": "22:00", "codes": ["on", "010"]}


def test_a_channel_can_have_code_tables_of_its_own(tmp_path: Path) -> None:
    text = CHANNEL_YAML + "settings: {tables: {analytes: tables/sysmex-xn.csv}}\n"

    assert load_site(make_site(tmp_path, channels={"a.yaml": text})).channels["haematology"].tables == {
        "analytes": ("tables/sysmex-xn.csv",)
    }


@pytest.mark.parametrize("names", ["call^value", "value^flag", "ABO^RhD^DAT^Kell", "cell^-^scale^-"])
def test_a_component_of_a_value_may_have_a_name_of_its_own(tmp_path: Path, names: str) -> None:
    text = CHANNEL_YAML + f"settings: {{r4: {names}, obx5: {names}}}\n"
    assert {*load_site(make_site(tmp_path, channels={"a.yaml": text})).channels["haematology"].settings.values()} == {
        names
    }


ROLES = "a component is value, call (a word beside the value), flag (H, LL ...), - (left out), or has a name of its own"


def either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


MISTAKES = {
    "unknown key": (
        CHANNEL_YAML + "charsett: utf-8\n",
        "channels/a.yaml:7:1: charsett: unknown key; did you mean charset?",
    ),
    "unknown key without a near one": (
        CHANNEL_YAML.replace("to: archive", "to: archive\n    colour: red"),
        "channels/a.yaml:7:5: routes.0.colour: unknown key; known keys here: "
        "when, mapping, to, on_dead, order, drain, hold, doubtful, filter",
    ),
    "key of a later version": (
        CHANNEL_YAML + "key_memory: 90d\n",
        "channels/a.yaml:7:1: key_memory: is not in this version of LabRelay; take it out",
    ),
    "key that belongs to settings": (
        CHANNEL_YAML + "local_system: urn:x\n",
        "channels/a.yaml:7:1: local_system: unknown key; mappings read it: write it under settings: of the channel",
    ),
    "unknown kind": (
        CHANNEL_YAML.replace("kind: mllp", "kind: mlpp"),
        "channels/a.yaml:2:16: source.kind: unknown value 'mlpp'; did you mean mllp?",
    ),
    "no kind": (
        CHANNEL_YAML.replace("kind: mllp, ", ""),
        f"channels/a.yaml:2:9: source: kind is missing; add kind: {either(tuple(presets()))}",
    ),
    "source is no block": (
        CHANNEL_YAML.replace('{kind: mllp, listen: "127.0.0.1:0"}', "mllp"),
        f"channels/a.yaml:2:9: source: expected a block with kind: {either(tuple(presets()))}",
    ),
    "option of another link": (
        CHANNEL_YAML.replace("kind: mllp", "kind: mllp, checksum: warn"),
        "channels/a.yaml:2:22: source.checksum: unknown key; known keys here: kind, idle_timeout, max_message, "
        "transport, listen, connect, allow, tls, max_connections, link, format, start_without_vt, end_by_idle, "
        "block_timeout",
    ),
    "no port": (
        CHANNEL_YAML.replace("127.0.0.1:0", "127.0.0.1"),
        "channels/a.yaml:2:31: source.listen: '127.0.0.1': expected host:port, as 127.0.0.1:2575",
    ),
    "neither listen nor connect": (
        CHANNEL_YAML.replace(', listen: "127.0.0.1:0"', ""),
        "channels/a.yaml:2:9: source: give either listen (the analyzer connects to us) or connect",
    ),
    "no unit": (
        CHANNEL_YAML + "usual_gap: 5\n",
        "channels/a.yaml:7:12: usual_gap: '5': expected a duration with its unit, as 30s, 5m, 1h30m or 30d",
    ),
    "out of bounds": (
        CHANNEL_YAML.replace("kind: mllp", "kind: mllp, max_message: 10B"),
        "channels/a.yaml:2:35: source.max_message: expected at least 1KiB",
    ),
    "not a boolean": (
        CHANNEL_YAML + "enabled: yes\n",
        "channels/a.yaml:7:10: enabled: 'yes': expected true or false (yes, no, on and off are plain text in YAML 1.2)",
    ),
    "transport that does not go with the kind": (
        CHANNEL_YAML.replace("kind: mllp", "kind: mllp, transport: http"),
        f"channels/a.yaml:2:9: source: this transport and link do not go together; use {either(tuple(presets()))}",
    ),
    "unknown transport": (
        CHANNEL_YAML.replace("kind: mllp", "kind: mllp, transport: pigeon"),
        f"channels/a.yaml:2:33: source.transport: unknown value 'pigeon'; use {either(transports())}",
    ),
    "unknown zone": (
        CHANNEL_YAML + "timezone: Asia/Calcuta\n",
        "channels/a.yaml:7:11: timezone: 'Asia/Calcuta': unknown time zone; expected an IANA name, as Asia/Kolkata; "
        "did you mean Asia/Calcutta?",
    ),
    "unknown charset": (
        CHANNEL_YAML + "charset: [utf-8, utf-88]\n",
        "channels/a.yaml:7:18: charset.1: 'utf-88': unknown character set; expected one such as utf-8, "
        "cp1252 or latin-1",
    ),
    "unknown destination": (
        CHANNEL_YAML.replace("to: archive", "to: [archve]"),
        "channels/a.yaml:6:10: routes.0.to: unknown destination 'archve'; did you mean archive?",
    ),
    "unknown mapping": (
        CHANNEL_YAML.replace("mapping: results", "mapping: result"),
        "channels/a.yaml:5:14: routes.0.mapping: unknown mapping 'result'; did you mean results?",
    ),
    "route without a way": (
        CHANNEL_YAML.replace("    to: archive\n", ""),
        "channels/a.yaml:4:5: routes.0: a route needs to: a destination or several (or filter, where such messages are "
        "not wanted)",
    ),
    "condition as a literal": (
        CHANNEL_YAML.replace("=MSH-9.1", "MSH-9.1"),
        "channels/a.yaml:4:5: routes.0: when is an expression and starts with =, as =MSH-9.1 == 'ORU'",
    ),
    "no routes": (
        'channel: a\nsource: {kind: mllp, listen: "127.0.0.1:0"}\nroutes: []\n',
        "channels/a.yaml:3:9: routes: is empty; expected at least one",
    ),
    "missing key": (
        CHANNEL_YAML.replace("channel: haematology\n", ""),
        "channels/a.yaml:1:1: channel: is missing; add channel: Name of the channel; part of report keys and lanes, "
        "so never change it lightly.",
    ),
    "bad name": (
        CHANNEL_YAML.replace("channel: haematology", "channel: ../etc"),
        "channels/a.yaml:1:10: channel: expected a name of letters, digits, '.', '_' and '-', at most 64, that begins "
        "with a letter or digit",
    ),
    "no value": (
        CHANNEL_YAML + "usual_gap:\n",
        "channels/a.yaml:7:11: usual_gap: has no value; give it one, or remove the line",
    ),
    "block where a value stands": (
        CHANNEL_YAML + "enabled: {x: y}\n",
        "channels/a.yaml:7:10: enabled: expected true or false; found a block of keys",
    ),
    "no value where a block needs one": (
        CHANNEL_YAML.replace("to: archive", "to:"),
        "channels/a.yaml:6:8: routes.0.to: has no value; give it one, or remove the line",
    ),
    "a block instead of a list": (
        CHANNEL_YAML.replace("  - when", "    when"),
        "channels/a.yaml:4:5: routes: expected a list, whose entries begin with -; found a block of keys",
    ),
    "a table that is no file": (
        CHANNEL_YAML + "settings: {tables: analytes}\n",
        "channels/a.yaml:7:20: settings.tables: 'analytes': tables maps a table's name to a CSV file, as tables: "
        "{analytes: tables/mine.csv}, or to several, the first of which is asked first: {analytes: [tables/mine.csv, "
        "sysmex-xn/codes.csv]}",
    ),
    "a unit among the components of R-4": (
        CHANNEL_YAML + "settings:\n  r4: value^-^unit\n",
        "channels/a.yaml:8:7: settings.r4: 'value^-^unit': unit would be a component of this name: it is read from R-5 "
        f"alone; {ROLES}",
    ),
    "a misspelt flag among the components of OBX-5": (
        CHANNEL_YAML + "settings:\n  obx5: value^flags\n",
        f"channels/a.yaml:8:9: settings.obx5: 'value^flags': flags: did you mean flag? {ROLES[0].upper()}{ROLES[1:]}",
    ),
    "a component of R-4 without a name": (
        CHANNEL_YAML + "settings:\n  r4: value^^strength\n",
        "channels/a.yaml:8:7: settings.r4: 'value^^strength': component 2 has no name; write - where it is to be left "
        "out",
    ),
    "two components of R-4 of one name": (
        CHANNEL_YAML + "settings:\n  r4: value^-^-^value\n",
        "channels/a.yaml:8:7: settings.r4: 'value^-^-^value': value is there twice, and one of the two would be lost",
    ),
    "components of R-4 in a list": (
        CHANNEL_YAML + "settings:\n  r4: [call, value]\n",
        "channels/a.yaml:8:7: settings.r4: expected the names of the components of R-4 in their order, as call^value; "
        f"{ROLES}",
    ),
    "duplicate key": (
        CHANNEL_YAML + "channel: other\n",
        "channels/a.yaml:7:1: key 'channel' is here a second time (first in line 1); remove one",
    ),
    "a tee with one end": (
        CHANNEL_YAML.replace('listen: "127.0.0.1:0"', 'tee: {listen: "127.0.0.1:0"}'),
        "channels/a.yaml:2:27: source.tee: give either listen (where the analyzer connects) and connect (the "
        "middleware's address), or analyzer and middleware with a block each",
    ),
    "a tee of texts": (
        CHANNEL_YAML.replace('kind: mllp, listen: "127.0.0.1:0"', 'kind: text, tee: {listen: "a:1", connect: "b:2"}'),
        "channels/a.yaml:2:27: source.tee: a tee is for kind mllp or astm; use one of these, or take tee out",
    ),
    "a tee between two clients": (
        CHANNEL_YAML.replace(
            'listen: "127.0.0.1:0"', 'tee: {analyzer: {listen: "127.0.0.1:0"}, middleware: {listen: "127.0.0.1:0"}}'
        ),
        "channels/a.yaml:2:27: source.tee: one end connects and the other is the TCP server today, so here one has "
        "listen and the other connect",
    ),
    "a tee that ends lines": (
        CHANNEL_YAML.replace('listen: "127.0.0.1:0"', 'idle_timeout: 1m, tee: {listen: "0.0.0.0:1", connect: "h:2"}'),
        "channels/a.yaml:2:9: source: a tee never ends a line by itself; take idle_timeout out",
    ),
    "a tee that answers": (
        CHANNEL_YAML.replace('listen: "127.0.0.1:0"', 'tee: {listen: "0.0.0.0:1", connect: "h:2"}')
        + "ack: on_delivery\n",
        "channels/a.yaml:1:1: ack: on_delivery: a tee answers nothing; take ack out",
    ),
    "a tee into itself": (
        CHANNEL_YAML.replace('listen: "127.0.0.1:0"', 'tee: {listen: "0.0.0.0:5100", connect: "127.0.0.1:5100"}'),
        "channels/a.yaml:2:27: source.tee: connect is the address that we listen on ourselves",
    ),
    "a tee with one cable": (
        CHANNEL_YAML.replace(
            'listen: "127.0.0.1:0"', "tee: {analyzer: {device: /dev/ttyS0}, middleware: {device: /dev/ttyS0}}"
        ),
        "channels/a.yaml:2:81: source.tee.middleware.device: is the line of channel haematology (channels/a.yaml) too; "
        "a line belongs to one channel",
    ),
    "a tee at a device server": (
        CHANNEL_YAML.replace(
            'listen: "127.0.0.1:0"', 'tee: {analyzer: {device: "socket://h:1"}, middleware: {listen: "127.0.0.1:0"}}'
        ),
        "channels/a.yaml:2:38: source.tee.analyzer: a device server is a TCP server: have it pass bytes on raw, and "
        "write connect: with its address",
    ),
    "unset name": (
        CHANNEL_YAML.replace('"127.0.0.1:0"', '"127.0.0.1:${LABRELAY_NO_SUCH_PORT}"'),
        "channels/a.yaml:2:31: source.listen: ${LABRELAY_NO_SUCH_PORT} is not set; set the environment variable or add "
        "LoadCredential=LABRELAY_NO_SUCH_PORT:... to the service",
    ),
}


@pytest.mark.parametrize(("channel", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_in_a_channel_has_place_reason_and_remedy(tmp_path: Path, channel: str, expected: str) -> None:
    assert one_problem(make_site(tmp_path, channels={"a.yaml": channel})) == expected


SITE_MISTAKES = {
    "page for everyone": (
        SITE_YAML + 'web: {listen: "0.0.0.0:8580"}\n',
        "config/labrelay.yaml:4:6: web: other machines can reach 0.0.0.0:8580, and passwords would go there in clear; "
        "add tls: (cert, key), or listen on 127.0.0.1 and go through an SSH tunnel",
    ),
    "unit of an unknown channel": (
        SITE_YAML.replace("Asia/Kolkata", "Asia/Kolkata, units: {east: [archve]}"),
        "config/labrelay.yaml:1:62: site.units.east: unknown channel 'archve'",
    ),
    "unknown destination kind": (
        SITE_YAML + "  b: {kind: fihr, url: x}\n",
        "config/labrelay.yaml:4:13: destinations.b.kind: unknown value 'fihr'; did you mean fhir?",
    ),
    "destination of a later version": (
        SITE_YAML + "  b: {kind: worklist, url: x}\n",
        "config/labrelay.yaml:4:13: destinations.b.kind: 'worklist' is not in this version of LabRelay; use "
        f"{either(tuple(destination.kinds()))}",
    ),
    "not an url": (
        SITE_YAML + "  b: {kind: fhir, url: fhir.example.org}\n",
        "config/labrelay.yaml:4:24: destinations.b.url: 'fhir.example.org': expected a URL that starts with http:// or "
        "https://, as https://fhir.example.org/fhir",
    ),
    "an url without a host": (
        SITE_YAML + "  b: {kind: fhir, url: 'https:///r4'}\n",
        "config/labrelay.yaml:4:25: destinations.b.url: 'https:///r4': names no host; expected a URL, as "
        "https://fhir.example.org/fhir",
    ),
    "no host name": (
        SITE_YAML + "  b: {kind: fhir, url: http://fhir..org/}\n",
        "config/labrelay.yaml:4:24: destinations.b.url: 'http://fhir..org/': each part of the host name, between its "
        "dots, has 1 to 63 characters",
    ),
    "bad destination name": (
        SITE_YAML + "  'a b': {kind: file, folder: x}\n",
        "config/labrelay.yaml:4:4: destinations.a b: expected a name of letters, digits, '.', '_' and '-', at most 64, "
        "that begins with a letter or digit",
    ),
    "retry that shrinks": (
        SITE_YAML + "  b: {kind: file, folder: x, retry: {first: 10m}}\n",
        "config/labrelay.yaml:4:37: destinations.b.retry: max is shorter than first; make it at least as long",
    ),
    "block of a later version": (
        SITE_YAML + "encryption: {key: a}\n",
        "config/labrelay.yaml:4:1: encryption: is not in this version of LabRelay; take it out",
    ),
    "retention shorter than what LabRelay itself asks": (
        SITE_YAML + "retention: {filtered: 30d}\n",
        "config/labrelay.yaml:4:23: retention.filtered: expected at least 91d",
    ),
    "an audit trail that is shorter than the messages": (
        SITE_YAML + "retention: {audit: 400d}\n",
        "config/labrelay.yaml:4:12: retention: delivered: 1830d is longer than audit: 400d; acts about a "
        "message must be known for as long as the message is",
    ),
    "less kept than the minimum": (
        SITE_YAML + "retention: {filtered: 100d, minimum: 366d}\n",
        "config/labrelay.yaml:4:12: retention: filtered: 100d is shorter than minimum: 366d; give a longer age, or "
        "another minimum",
    ),
    "a size without a minimum": (
        SITE_YAML + "retention: {size: 10GiB}\n",
        "config/labrelay.yaml:4:12: retention: size: needs minimum: as well, the age below which nothing goes, as "
        "minimum: 366d",
    ),
    "a name in a flow map without quotes": (
        SITE_YAML + "  b: {kind: http, url: http://x, auth: {bearer: {token: ${TOKEN}}}}\n",
        "config/labrelay.yaml:4:58: not readable as YAML: did not find expected ',' or '}'; put quotes around it "
        'inside {...} or [...], as "${NAME}"',
    ),
    "two ways to log in": (
        SITE_YAML + "  b: {kind: http, url: http://x, auth: {}}\n",
        "config/labrelay.yaml:4:40: destinations.b.auth: give exactly one way to log in: basic, bearer, oauth2 or hmac",
    ),
    "two proofs of one client": (
        SITE_YAML + "  b: {kind: http, url: http://x, auth: {oauth2: {token_url: http://x/t, client_id: a, key: k, "
        "client_secret: '${PATH}'}}}\n",
        "config/labrelay.yaml:4:49: destinations.b.auth.oauth2: give exactly one of client_secret, key and private_key",
    ),
    "misspelt key of a way to log in": (
        SITE_YAML + "  b: {kind: http, url: http://x, auth: {hmac: {keyid: a, secret: '${PATH}'}}}\n",
        "config/labrelay.yaml:4:48: destinations.b.auth.hmac.keyid: unknown key; did you mean key_id?",
    ),
    "secret of a client written out": (
        SITE_YAML + "  b: {kind: http, url: http://x, auth: {oauth2: {token_url: http://x/t?a=b, client_id: a, "
        "client_secret: hunter2}}}\n",
        "config/labrelay.yaml:4:106: destinations.b.auth.oauth2.client_secret: a secret is never written here; write "
        "${NAME} and give the value as a systemd credential or an environment variable of that name",
    ),
    "a topic that would name a patient": (
        SITE_YAML + "  b: {kind: mqtt, connect: 'x:1', client_id: a, topic: 'lab/{patient}'}\n",
        "config/labrelay.yaml:4:57: destinations.b.topic: 'lab/{patient}': {patient} is not allowed in a topic; there "
        "are {channel}, {destination}, {message_type}",
    ),
    "a misspelt field of a topic": (
        SITE_YAML + "  b: {kind: mqtt, connect: 'x:1', client_id: a, topic: 'lab/{chanel}'}\n",
        "config/labrelay.yaml:4:57: destinations.b.topic: 'lab/{chanel}': {chanel} is not allowed in a topic; did you "
        "mean channel?",
    ),
    "a topic to subscribe to": (
        SITE_YAML + "  b: {kind: mqtt, connect: 'x:1', client_id: a, topic: 'lab/#'}\n",
        "config/labrelay.yaml:4:57: destinations.b.topic: 'lab/#': a topic to publish to has no #, no + and no single "
        "brace",
    ),
    "a topic with an empty level": (
        SITE_YAML + "  b: {kind: mqtt, connect: 'x:1', client_id: a, topic: '/lab'}\n",
        "config/labrelay.yaml:4:57: destinations.b.topic: '/lab': expected a topic of at most 256 characters without "
        "empty levels, as lab/{channel}/results",
    ),
    "object storage with a path": (
        SITE_YAML
        + "  b: {kind: s3, endpoint: 'https://x/y', bucket: lab, access_key: '${PATH}', secret_key: '${PATH}'}\n",
        "config/labrelay.yaml:4:28: destinations.b.endpoint: 'https://x/y': expected an address without a path, as "
        "https://s3.ap-south-1.amazonaws.com",
    ),
    "a bucket that cannot be": (
        SITE_YAML
        + "  b: {kind: s3, endpoint: 'https://x', bucket: Lab_1, access_key: '${PATH}', secret_key: '${PATH}'}\n",
        "config/labrelay.yaml:4:48: destinations.b.bucket: 'Lab_1': expected the name of a bucket: 3 to 63 small "
        "letters, digits, '.' and '-', as lab-archive",
    ),
    "a key of the storage written out": (
        SITE_YAML + "  b: {kind: s3, endpoint: 'https://x', bucket: lab, access_key: '${PATH}', secret_key: hunter2}\n",
        "config/labrelay.yaml:4:88: destinations.b.secret_key: a secret is never written here; write ${NAME} and give "
        "the value as a systemd credential or an environment variable of that name",
    ),
    "duration out of bounds": (
        SITE_YAML + "  b: {kind: file, folder: x, timeout: 0s}\n",
        "config/labrelay.yaml:4:39: destinations.b.timeout: expected more than 0s",
    ),
    "a list for a site": ("- a\n", "config/labrelay.yaml:1:1: expected keys and values, as channel: chemistry"),
}


@pytest.mark.parametrize(("site", "expected"), SITE_MISTAKES.values(), ids=SITE_MISTAKES.keys())
def test_a_mistake_in_the_site_has_place_reason_and_remedy(tmp_path: Path, site: str, expected: str) -> None:
    assert expected in problems(make_site(tmp_path, site=site, channels={}))


def test_all_problems_of_all_files_come_at_once_in_their_order(tmp_path: Path) -> None:
    site = SITE_YAML + "colour: red\n"
    bad = CHANNEL_YAML.replace("mapping: results", "mapping: nothing-like-it") + "enabled: maybe\nusual_gap: 3\n"
    worse = "channel: b\nsource: {kind: mllp\n"

    found = problems(make_site(tmp_path, site=site, channels={"a.yaml": bad, "b.yaml": worse}))

    assert [line.split(": ")[0] for line in found] == [
        "channels/a.yaml:7:10",
        "channels/a.yaml:8:12",
        "channels/b.yaml:3:1",
        "config/labrelay.yaml:4:1",
    ]


def test_two_channels_cannot_share_a_name_or_an_address(tmp_path: Path) -> None:
    first = CHANNEL_YAML.replace("127.0.0.1:0", "127.0.0.1:2575")
    again = CHANNEL_YAML.replace("haematology", "other").replace("127.0.0.1:0", "0.0.0.0:2575")

    found = problems(make_site(tmp_path, channels={"a.yaml": first, "b.yaml": first, "c.yaml": again}))

    assert found == [
        "channels/b.yaml:1:10: channel: 'haematology' is the name of the channel in channels/a.yaml too; rename one",
        "channels/c.yaml:2:31: source.listen: 0.0.0.0:2575 is taken by channel haematology (channels/a.yaml); "
        "use another port",
    ]


def test_two_channels_that_call_one_analyzer_are_warned_about(tmp_path: Path) -> None:
    first = CHANNEL_YAML.replace('listen: "127.0.0.1:0"', 'connect: "127.0.0.1:2575"')
    assert "connect" in first
    again = first.replace("haematology", "other")

    warnings = load_site(make_site(tmp_path, channels={"a.yaml": first, "b.yaml": again})).warnings

    assert [one for one in warnings if "is called by" in one] == [
        "channels/b.yaml:2:32: source.connect: 127.0.0.1:2575 is called by channel haematology too; most analyzers "
        "serve one, and where both are served each result comes twice: take one out"
    ]


def test_a_channel_cannot_take_the_pages_port(tmp_path: Path) -> None:
    channel = CHANNEL_YAML.replace("127.0.0.1:0", "127.0.0.1:8580")

    assert "is taken by the status page" in one_problem(make_site(tmp_path, channels={"a.yaml": channel}))


def test_a_file_that_would_be_overlooked_is_a_problem(tmp_path: Path) -> None:
    assert one_problem(make_site(tmp_path, channels={"a.yml": CHANNEL_YAML})) == (
        "channels/a.yml:1:1: is not read; rename it to a.yaml"
    )


def test_a_channel_needs_a_zone_from_somewhere(tmp_path: Path) -> None:
    site = SITE_YAML.replace(", timezone: Asia/Kolkata", "")

    assert one_problem(make_site(tmp_path, site=site)) == (
        "channels/haematology.yaml:1:1: timezone: is missing here and in the site's file; add site.timezone there for "
        "all channels, or timezone here: IANA zone of the analyzer's clock, as Asia/Kolkata"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (", timezone: Asia/Kolkatta", "did you mean Asia/Kolkata?"),
        (", timezone: asia/kolkata", "did you mean Asia/Kolkata?"),
        (", timzone: Asia/Kolkata", "unknown key; did you mean timezone?"),
        (", timezone: ~", "has no value"),
        (", timezone: [Asia/Kolkata]", "expected"),
    ],
)
def test_a_zone_that_is_wrong_in_the_sites_file_is_one_problem(tmp_path: Path, wrong: str, said: str) -> None:
    site = SITE_YAML.replace(", timezone: Asia/Kolkata", wrong)
    assert site != SITE_YAML

    problem = one_problem(make_site(tmp_path, site=site))
    assert problem.startswith("config/labrelay.yaml:")
    assert said in problem
    both = problems(
        make_site(
            tmp_path / "both", site=SITE_YAML.replace("kind: file", "kind: fil").replace(", timezone: Asia/Kolkata", "")
        )
    )
    assert len(both) == 2, "a mistake elsewhere in the site's file does not hide that no zone is given"


# -- names and secrets -------------------------------------------------------------------------------------------

WITH_TOKEN = SITE_YAML + (
    "  fhir: {kind: fhir, url: 'https://${LR_TEST_HOST}/fhir', auth: {bearer: {token: '${LR_TEST_TOKEN}'}}}\n"
)


def test_names_are_read_from_the_environment_and_secrets_only_when_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LR_TEST_HOST", "fhir.example.org")
    monkeypatch.setenv("LR_TEST_TOKEN", "s3cret-value")
    fhir = load_site(make_site(tmp_path, site=WITH_TOKEN)).config.destinations["fhir"]

    assert isinstance(fhir, FhirDestination)
    assert fhir.url == "https://fhir.example.org/fhir"
    assert fhir.auth is not None
    assert fhir.auth.bearer is not None
    assert fhir.auth.bearer.token == Secret("LR_TEST_TOKEN")
    assert fhir.auth.bearer.token.reveal() == "s3cret-value"
    assert "s3cret" not in repr(fhir)


def test_a_credential_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "LR_TEST_TOKEN").write_text("from the credential\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("LR_TEST_TOKEN", "from the environment")

    assert Secret("LR_TEST_TOKEN").reveal() == "from the credential"
    (tmp_path / "LR_TEST_TOKEN").write_bytes(b"written on Windows\r\n")
    assert Secret("LR_TEST_TOKEN").reveal() == "written on Windows"


def test_a_secret_that_is_not_set_stops_the_daemon_and_warns_in_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LR_TEST_HOST", "fhir.example.org")
    monkeypatch.delenv("LR_TEST_TOKEN", raising=False)
    folder = make_site(tmp_path, site=WITH_TOKEN)

    assert "destinations.fhir.auth.bearer.token: ${LR_TEST_TOKEN} is not set" in one_problem(folder)
    warnings = load_site(folder, require_secrets=False).warnings
    assert any("${LR_TEST_TOKEN} is not set" in line for line in warnings)
    with pytest.raises(ConfigError, match="LR_TEST_TOKEN"):
        Secret("LR_TEST_TOKEN").reveal()


def test_a_literal_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    site = SITE_YAML + "  b: {kind: http, url: 'http://x', auth: {basic: {user: lab, password: hunter2}}}\n"
    text = one_problem(make_site(tmp_path, site=site))

    assert text.startswith("config/labrelay.yaml:4:72: destinations.b.auth.basic.password: a secret is never written")
    assert "hunter2" not in text


def test_a_password_in_an_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    site = SITE_YAML + "  b: {kind: http, url: 'http://lab:hunter2@x/'}\n"
    text = one_problem(make_site(tmp_path, site=site))

    assert "a user and password do not belong into the URL" in text
    assert "hunter2" not in text


# -- the whole ---------------------------------------------------------------------------------------------------


def test_the_hash_follows_every_file_that_can_change_a_result(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    before = load_site(folder).hash
    assert load_site(folder).hash == before

    table = folder / "mappings" / "tables" / "codes.csv"
    table.parent.mkdir()
    table.write_text("code,loinc\n", encoding="utf-8")
    with_table = load_site(folder).hash
    (folder / "channels" / "haematology.yaml").write_text(CHANNEL_YAML + "description: new\n", encoding="utf-8")

    assert len({before, with_table, load_site(folder).hash}) == 3


def test_files_of_rules_are_found_wherever_they_lie_and_are_in_one_order(tmp_path: Path) -> None:
    folder = make_site(tmp_path)
    rules = folder / "mappings"
    for name in ("x-y.yaml", "x/c.csv", "x/.hidden/d.yaml", ".b.yaml", ".yaml", "notes.txt"):
        (rules / name).parent.mkdir(parents=True, exist_ok=True)
        (rules / name).write_text(name, encoding="utf-8")
    (rules / "link.yaml").symlink_to("x-y.yaml")
    (rules / "gone.yaml").symlink_to("nowhere")
    (rules / "other").symlink_to("x")

    site = load_site(folder)
    own = [name.removeprefix("mappings/") for name in site.files if name.startswith("mappings/")]
    assert own == [".b.yaml", "link.yaml", "results.yaml", "x/.hidden/d.yaml", "x/c.csv", "x-y.yaml"]
    assert changed_files(site) == []
    (rules / "x" / "c.csv").unlink()
    assert changed_files(site) == ["mappings/x/c.csv"]


def test_a_destination_that_nothing_uses_is_a_warning(tmp_path: Path) -> None:
    site = load_site(make_site(tmp_path, site=SITE_YAML + "  spare: {kind: file, folder: var/spare}\n"))

    assert site.warnings == (
        "config/labrelay.yaml:4:3: destinations.spare: no route sends anything here; name it in to: of a route, or "
        "take it out",
    )


def test_a_place_in_a_channel_can_be_named_later(tmp_path: Path) -> None:
    site = load_site(make_site(tmp_path))

    assert site.node("haematology", "routes", 0, "when").place == "channels/haematology.yaml:4:11"


def test_the_data_folder_can_be_found_while_the_rest_is_broken(tmp_path: Path) -> None:
    folder = make_site(tmp_path, site=SITE_YAML + "data: journal\ncolour: red\n", channels={"a.yaml": "x: [\n"})

    assert data_folder(folder) == tmp_path.resolve() / "journal"


def test_the_repositorys_own_site_is_sound() -> None:
    site = load_site(CHECKOUT)

    assert set(site.channels) == {"haematology", "chemistry", "serology"}
    assert set(site.config.destinations) == {"lab-fhir", "archive"}
    assert site.warnings == ()


def test_no_two_parts_of_the_site_file_have_a_check_of_one_name() -> None:
    """They are bases of one model: one of both would be passed over without a word."""
    model = site_model()
    checks = model.__pydantic_decorators__.model_validators
    found = Counter(name for one in model.__mro__ for name in vars(one) if name in checks)
    assert found
    assert max(found.values()) == 1, found
