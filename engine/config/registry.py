"""YAML name -> module, imported on first use: a site without a serial line never imports one, and starts fast.

``engine`` imports no adapter by a statement. Codecs are in the tables below. A transport and a dialect are found by
their file; a destination is named by its model (`engine.config.destinations.destination_base`). The contents of such a
module:

    FORMATS       the functions of `engine.model.ports.Format`, or ``build(source)`` that returns such a thing
    WRITERS       a builder of messages of a format, as `adapters.codecs.hl7v2.writer`
    LINKS         ``links(source)``: the factory of a new `engine.model.ports.Link` for each connection;
                  ``assemble(frames, source)`` where the link has frames of its own
    DRAFTS        as of LINKS, of a draft of which nothing is known yet: any text is kept
    TWO_WAY       ``links(source)``: as of LINKS, of `engine.model.ports.TwoWayLink`;
                  ``links(source, sending=...)`` where the dialogue has ``sending``
    DIALOGUES     ``dialogue(dialect)``: how an analyzer asks for orders, a `engine.model.ports.Dialogue`
    ORDER_ANSWERS the answers to orders of a laboratory system, by the format that they came in
    ORDER_STATUS  a change of an order as a message for its laboratory system
    TEES          ``listeners(source)``: the factory of a new `engine.model.ports.TeeLink` for each connection
    LOG_INS       ``key_set(auth)``: the public keys of a destination's way to log in
    SOCKETS       of a server of ours: who may connect, and with which certificates
    ENCRYPTION    of health records for a reader that has given its public key
    `transport`   ``build(source, handler)``: an `engine.model.ports.Transport`; of `serial`,
                  ``ports()`` and ``look(device)``
    `dialect`     ``adapt(parsed)``, see `adapters.dialects`

``source`` is the ``source:`` block of a channel (`engine.config.sources.source`). Adapters know it as a Protocol of
their own; a link takes the options that have the same names.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

FORMATS = {
    "hl7v2": "adapters.codecs.hl7v2.message",
    "astm": "adapters.codecs.astm.records",
    "text": "adapters.codecs.text.layout",
    "auto": "adapters.codecs.auto_format",
    "json": "adapters.codecs.json_tree",
    "fhir": "adapters.codecs.json_tree",
}
LINKS = {
    "mllp": "adapters.codecs.hl7v2.mllp",
    "e1381": "adapters.codecs.astm.link",
    "text": "adapters.codecs.text.link",
    "whole": "adapters.codecs.text.whole_link",
    "auto": "adapters.codecs.auto_link",
}
DRAFTS = {"auto": "adapters.codecs.draft_link"}
ACKNOWLEDGEMENTS = {"hl7v2": "adapters.codecs.hl7v2.acknowledgement"}
WRITERS = {"hl7v2": "adapters.codecs.hl7v2.writer"}
TWO_WAY = {"mllp": "adapters.codecs.hl7v2.two_way", "e1381": "adapters.codecs.astm.two_way"}
DIALOGUES = {"hl7v2": "adapters.codecs.hl7v2.dialogues", "astm": "adapters.codecs.astm.dialogue"}
ORDER_ANSWERS = {
    "hl7v2": "adapters.codecs.hl7v2.order_answers",
    "json": "adapters.codecs.json_orders",
    "fhir": "adapters.codecs.json_orders",
}
ORDER_STATUS = {"hl7v2": "adapters.codecs.hl7v2.order_status"}
TEES = {"mllp": "adapters.codecs.hl7v2.tee", "e1381": "adapters.codecs.astm.tee"}
SENDERS = {"e1381": "adapters.codecs.astm.sender"}
SCORES = {"http": "adapters.clients.http.scores"}
LOG_INS = {"jwt": "adapters.clients.http.jwt"}
SOCKETS = {"accepting": "adapters.transports.sockets.accepting", "tls": "adapters.transports.sockets.tls"}
ENCRYPTION = {"abdm": "engine.features.abdm.wire.fidelius"}


def load(table: dict[str, str], name: str) -> ModuleType:
    """Import the module that ``table`` gives for ``name``.

    Raises:
        KeyError: no such name; configuration is checked before, so this is a fault of ours.
    """
    return import_module(table[name])


def transport(name: str) -> ModuleType:
    """Import ``adapters/transports/<name>.py``."""
    return import_module(f"adapters.transports.{name}")


def dialect(name: str) -> ModuleType:
    """Import the module of a dialect, one of `dialects`."""
    return import_module(f"adapters.dialects.{name.replace('-', '_')}")


@cache
def dialects() -> tuple[str, ...]:
    """The names of the dialects, sorted: each module of ``adapters/dialects/`` is one."""
    found = iter_modules(import_module("adapters.dialects").__path__)
    return tuple(one.name.replace("_", "-") for one in found if not one.ispkg)
