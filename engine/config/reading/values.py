"""The types that keys of a site's YAML can have, for pydantic: text in, values out, and words for the documentation.

The YAML reader hands every scalar over as its text (so that ``NO`` is no boolean and ``22:00`` no number); its place
decides its type. Each type takes that text, or the finished value when a model is made in Python.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, time
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationInfo

from engine.config.reading.secrets import Secret, parse_secret
from engine.config.registry import dialects
from engine.model.texts.spelling import did_you_mean
from engine.model.texts.units import HostPort, parse_duration, parse_host_port, parse_size

T = TypeVar("T")


class Model(BaseModel):
    """One block of YAML: unknown keys refused, nothing changes after reading, values never shown in errors."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True)
class Words:
    """The name of a type in the reference documentation."""

    text: str


def _from_text(parse: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError("expected a whole number")
    return int(text)


def _flag(text: str) -> bool:
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    raise ValueError("expected true or false (yes, no, on and off are plain text in YAML 1.2)")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError("expected a date, as 2026-01-26") from error


def _time_of_day(text: str) -> time:
    if not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("expected a time of day from 00:00 to 23:59, as 06:00")
    hour, _, minute = text.partition(":")
    return time(int(hour), int(minute))


def _in_order(values: tuple[time, ...]) -> tuple[time, ...]:
    if any(one >= following for one, following in pairwise(values)):
        raise ValueError("expected times in the order of the day, each once")
    return values


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("unknown time zone; expected an IANA name, as Asia/Kolkata") from error
    return name


def _charset(name: str) -> str:
    try:
        known = codecs.lookup(name)
        "".encode(known.name)
    except (LookupError, ValueError) as error:
        raise ValueError("unknown character set; expected one such as utf-8, cp1252 or latin-1") from error
    return known.name


def _dialect(name: str) -> str:
    if name not in dialects():
        hint = did_you_mean(name, dialects()) or f"there are {', '.join(dialects())}"
        raise ValueError(f"no dialect has this name; {hint}")
    return name


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("expected a URL, as https://fhir.example.org/fhir") from error
    if parts.scheme not in ("http", "https") or port == 0:
        raise ValueError("expected a URL that starts with http:// or https://, as https://fhir.example.org/fhir")
    if not parts.hostname:
        raise ValueError("names no host; expected a URL, as https://fhir.example.org/fhir")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise ValueError("each part of the host name, between its dots, has 1 to 63 characters") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user and password do not belong into the URL; give them as auth: {basic: ...}")
    if parts.fragment:
        raise ValueError("the address takes no #fragment")
    return text


def _http_url(text: str) -> str:
    if "?" in text or "#" in text:
        _web_address(text.partition("#")[0])
        raise ValueError("the base address takes no ?query and no #fragment")
    return _web_address(text).rstrip("/")


def _endpoint(text: str) -> str:
    """The address of a service without a path."""
    if urlsplit(_http_url(text)).path:
        raise ValueError("expected an address without a path, as https://s3.ap-south-1.amazonaws.com")
    return _http_url(text)


def _bucket(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text):
        raise ValueError("expected the name of a bucket: 3 to 63 small letters, digits, '.' and '-', as lab-archive")
    return text


def _prefix(text: str) -> str:
    """The beginning of names; nothing in it needs encoding."""
    if not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*/)*", text) or len(text) > 256:
        raise ValueError("expected names of letters, digits, '.', '_' and '-', each with a / at its end, as results/")
    return text


def _topic(text: str) -> str:
    """A topic of MQTT (5.0, 4.7) with fields that reveal nothing of a patient."""
    for name in re.findall(r"\{([^{}]*)\}", text):
        if name not in TOPIC_FIELDS:
            hint = did_you_mean(name, TOPIC_FIELDS) or f"there are {', '.join(f'{{{one}}}' for one in TOPIC_FIELDS)}"
            raise ValueError(f"{{{name}}} is not allowed in a topic; {hint}")
    plain = re.sub(r"\{[^{}]*\}", "x", text)
    if re.search(r"[{}#+\x00]", plain) or not plain.isprintable():
        raise ValueError("a topic to publish to has no #, no + and no single brace")
    if plain.startswith("$") or "" in plain.split("/") or len(plain) > 256:
        raise ValueError("expected a topic of at most 256 characters without empty levels, as lab/{channel}/results")
    return text


def _uri(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+", text):
        raise ValueError("expected a URI, as https://lab.example.org/id or urn:oid:1.2.3")
    return text


def _path(value: Any, info: ValidationInfo) -> Any:
    """Relative paths start at the site's folder."""
    if not isinstance(value, str | Path):
        return value
    if not str(value):
        raise ValueError("expected a path")
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    path = Path(value).expanduser()
    return Path(folder) / path if folder is not None else path


def listed(value: Any) -> Any:
    """A single value where a list is allowed is a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"is no address or network: {error}; as 10.1.2.3 or 10.1.2.0/24") from None
    return text


def _some(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("is empty; expected at least one")
    return values


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("the same name is here twice")
    return values


TOPIC_FIELDS = ("channel", "destination", "message_type")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Several = Annotated[tuple[T, ...], BeforeValidator(listed), AfterValidator(_some), AfterValidator(distinct)]
"""One or a list of them, each once."""
Text = Annotated[str, StringConstraints(min_length=1), Words("text")]
Dialect = Annotated[str, AfterValidator(_dialect), Words("name of a dialect")]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), Words("name")]
Fixes = Annotated[tuple[Literal["unescaped_newlines"], ...], BeforeValidator(listed), Words("name or list of names")]
Names = Annotated[Several[Name], Words("name or list of names")]
Roles = Annotated[
    Several[Literal["viewer", "operator", "engineer", "admin", "see-patients"]], Words("role or list of roles")
]
Networks = Annotated[
    tuple[Annotated[str, AfterValidator(_network), Words("address or network")], ...],
    BeforeValidator(listed),
    AfterValidator(distinct),
    Words("address or network, or list of them"),
]
Texts = Annotated[tuple[Text, ...], BeforeValidator(listed), AfterValidator(distinct), Words("text or list of texts")]
NotEmpty = AfterValidator(_some)
Whole = Annotated[int, _from_text(_whole), Words("whole number")]
Flag = Annotated[bool, _from_text(_flag), Words("true or false")]
Duration = Annotated[float, _from_text(parse_duration), Words("duration")]
Size = Annotated[int, _from_text(parse_size), Words("size")]
Days = Annotated[
    tuple[Annotated[date, _from_text(_day), Words("date")], ...],
    BeforeValidator(listed),
    Words("date or list of dates"),
]
TimesOfDay = Annotated[
    tuple[Annotated[time, _from_text(_time_of_day)], ...],
    BeforeValidator(listed),
    AfterValidator(_some),
    AfterValidator(_in_order),
    Words("time of day or list of them"),
]
Address = Annotated[HostPort, _from_text(parse_host_port), Words("host:port")]
Addresses = Annotated[Several[Address], Words("host:port or list of them")]
Zone = Annotated[str, AfterValidator(_zone), Words("time zone")]
Charset = Annotated[str, AfterValidator(_charset), Words("character set")]
Charsets = Annotated[Several[Charset], Words("character set or list of them")]
HttpUrl = Annotated[str, AfterValidator(_http_url), Words("URL")]
WebAddress = Annotated[str, AfterValidator(_web_address), Words("URL")]
Topic = Annotated[str, AfterValidator(_topic), Words("topic")]
Endpoint = Annotated[str, AfterValidator(_endpoint), Words("URL")]
Bucket = Annotated[str, AfterValidator(_bucket), Words("name of a bucket")]
Prefix = Annotated[str, AfterValidator(_prefix), Words("text")]
Uri = Annotated[str, AfterValidator(_uri), Words("URI")]
Language = Literal["en", "hi", "ta", "te", "mr", "bn", "kn"]  # of the page, and of what is sent to people
FilePath = Annotated[Path, BeforeValidator(_path), Words("path")]
SecretName = Annotated[Secret, _from_text(parse_secret), Words("${NAME}")]
