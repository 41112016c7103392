"""What a pause, a resumption or a restart does, in words: for those who are about to order it.

Each sentence is about the people and devices at the other end: whether an analyzer is answered, where results wait, and
what happens to them.
"""

from typing import Any

from engine.config.load import Site
from engine.config.source import E1381Options, TcpPart
from engine.config.source_fhir import FhirSearchPart
from engine.config.source_folder import FolderPart
from engine.config.source_http import HttpPart
from engine.config.source_serial import SerialPart
from engine.config.source_tee import TeePart
from engine.config.source_text import TextPart
from engine.model.phrases import N_, R_
from engine.model.records import Target

PORT_CLOSED = N_("Its port is closed. The analyzer cannot connect and gets no answer, not even a NAK.")
CALL_ENDED = N_("LabRelay closes the connection and makes no other. The analyzer gets no answer, not even a NAK.")
DEVICE_CLOSED = N_("The serial line is closed. The analyzer gets no answer, not even a NAK.")
FOLDER_LEFT = N_("The folder is not looked at. Files wait in it.")
SERVER_LEFT = N_("The server is not asked. Orders wait in it.")
SERVER_ASKED = N_("The server is asked again. Orders that it has got since are taken.")
SENDERS_REFUSED = N_("Each sender gets 503 and sends it again later. Nothing is stored.")
ANALYZER_KEEPS = N_("Results wait in the analyzer. It sends them when the pause is over.")
UNHEARD = R_("its analyzer waits for no acknowledgement: data that it sends meanwhile is lost")
STORED_GO_ON = N_("Received results are still delivered.")
WAIT_HERE = N_("Results are received as ever. They wait here, in their order.")
NO_ATTEMPT = N_("No attempt is made. One that is under way ends, and counts.")
OTHERS_GO_ON = N_("Other analyzers and other destinations go on.")
LINE_OPENS = N_("The line is opened. The analyzer sends the results that it has kept.")
SENDERS_TAKEN = N_("Requests are taken again. Senders repeat those that were refused.")
SENT_NOW = N_("Waiting results are sent at once, in their order.")
WHERE_REACHABLE = N_("While the destination is not reachable, they wait for its next try.")
LINE_RENEWED = N_("The line is closed, and opened at once. The analyzer may have to connect again.")
TEE_RENEWED = N_("The line between the analyzer and its middleware is closed, and opened at once.")
UNACKNOWLEDGED = N_("A message that is coming in is not acknowledged. The analyzer sends it again.")
CONNECTIONS_RENEWED = N_("Its connections are made anew.")

EFFECTS = {
    ("pause", "destination"): (NO_ATTEMPT, WAIT_HERE),
    ("pause", "lane"): (NO_ATTEMPT, WAIT_HERE, OTHERS_GO_ON),
    ("pause", "deliveries"): (NO_ATTEMPT, WAIT_HERE),
    ("resume", "destination"): (SENT_NOW, WHERE_REACHABLE),
    ("resume", "lane"): (SENT_NOW, WHERE_REACHABLE),
    ("resume", "deliveries"): (SENT_NOW, WHERE_REACHABLE),
    ("restart", "destination"): (CONNECTIONS_RENEWED, SENT_NOW),
    ("restart", "lane"): (SENT_NOW, WHERE_REACHABLE),
}


def effects(site: Site, verb: str, target: Target) -> tuple[str, ...]:
    """The effects of an order, in English, the nearest first."""
    if target.kind != "channel":
        return EFFECTS[verb, target.kind]
    channel = site.channels.get(target.name)
    if channel is None:  # a pause of what the configuration lacks now
        return ()
    source = channel.source
    if isinstance(source, FhirSearchPart):
        return (SERVER_LEFT, STORED_GO_ON) if verb == "pause" else (SERVER_ASKED,)
    answered = not waits_for_no_answer(source) and not isinstance(source, FolderPart)
    if verb == "restart":
        if isinstance(source, TeePart):
            return (TEE_RENEWED,)
        return (LINE_RENEWED, UNACKNOWLEDGED) if answered else (LINE_RENEWED,)
    if verb == "resume":
        return (SENDERS_TAKEN if isinstance(source, HttpPart) else LINE_OPENS,)
    keeps = (ANALYZER_KEEPS,) if answered and not isinstance(source, HttpPart) else ()
    return (_closed(source), *keeps, STORED_GO_ON)


def waits_for_no_answer(source: Any) -> bool:
    """Whether an analyzer sends without waiting for an acknowledgement."""
    if isinstance(source, TextPart):
        return not source.text_layout.framing.good
    return isinstance(source, E1381Options) and "none" in (source.acks, source.framing)


def _closed(source: Any) -> str:
    if isinstance(source, HttpPart):
        return SENDERS_REFUSED
    if isinstance(source, FolderPart):
        return FOLDER_LEFT
    if isinstance(source, SerialPart):
        return DEVICE_CLOSED
    return PORT_CLOSED if isinstance(source, TcpPart) and source.listen is not None else CALL_ENDED
