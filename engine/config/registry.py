"""YAML name -> module, imported on first use. The only place where LabRelay plugs things together.

A new destination is one module and one line here. ``engine`` reaches ``adapters`` through this table only, so a
site that needs no serial port never imports one, and the daemon starts fast.

What such a module offers, by its table:

    FORMATS       the functions of `engine.model.ports.Format`, or ``build(source)`` that returns such a thing
    WRITERS       what makes messages of a format, as `adapters.codecs.hl7v2.writer`
    LINKS         ``links(source)``: what makes a new `engine.model.ports.Link` for each connection;
                  ``assemble(frames, max_message=...)`` where the link has frames of its own
    TEES          ``listeners(source)``: what makes a new `engine.model.ports.TeeLink` for each connection
    TRANSPORTS    ``build(source, handler)``: an `engine.model.ports.Transport`; of `serial`,
                  ``ports()`` and ``look(device)``
    LOG_INS       ``key_set(auth)``: the public keys of a destination's way to log in
    DIALECTS      ``adapt(parsed)``, see `adapters.dialects`

``source`` is the ``source:`` block of a channel (`engine.config.source`); adapters know it as a Protocol of their own.
"""

from importlib import import_module
from types import ModuleType

FORMATS = {
    "hl7v2": "adapters.codecs.hl7v2.message",
    "astm": "adapters.codecs.astm.records",
    "text": "adapters.codecs.text.layout",
    "auto": "adapters.codecs.auto_format",
}
LINKS = {
    "mllp": "adapters.codecs.hl7v2.mllp",
    "e1381": "adapters.codecs.astm.link",
    "text": "adapters.codecs.text.link",
    "whole": "adapters.codecs.text.whole_link",
    "auto": "adapters.codecs.auto_link",
}
ACKNOWLEDGEMENTS = {
    "hl7v2": "adapters.codecs.hl7v2.acknowledgement",
}
WRITERS = {
    "hl7v2": "adapters.codecs.hl7v2.writer",
}
TEES = {
    "mllp": "adapters.codecs.hl7v2.tee",
    "e1381": "adapters.codecs.astm.tee",
}
SENDERS = {
    "e1381": "adapters.codecs.astm.sender",
}
TRANSPORTS = {
    "tcp": "adapters.transports.tcp",
    "folder": "adapters.transports.folder",
    "serial": "adapters.transports.serial",
    "tee": "adapters.transports.tee",
}
DIALECTS: dict[str, str] = {
    "cepheid-genexpert": "adapters.dialects.cepheid_genexpert",
    "cepheid-genexpert-hl7": "adapters.dialects.cepheid_genexpert_hl7",
    "horiba-pentra": "adapters.dialects.horiba_pentra",
    "mindray-bs": "adapters.dialects.mindray_bs",
    "roche-cobas-6800": "adapters.dialects.roche_cobas_6800",
    "roche-cobas-c111": "adapters.dialects.roche_cobas_c111",
    "roche-cobas-c311": "adapters.dialects.roche_cobas_c311",
    "roche-cobas-e411": "adapters.dialects.roche_cobas_e411",
    "siemens-clinitek": "adapters.dialects.siemens_clinitek",
    "siemens-dca-vantage": "adapters.dialects.siemens_dca_vantage",
    "sysmex": "adapters.dialects.sysmex",
}
LOG_INS = {
    "jwt": "adapters.destinations.http.jwt",
}


def load(table: dict[str, str], name: str) -> ModuleType:
    """Import the module that ``table`` gives for ``name``.

    Raises:
        KeyError: no such name; configuration is checked before, so this is a fault of ours.
    """
    return import_module(table[name])
