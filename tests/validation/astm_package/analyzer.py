"""An analyzer by the package astm 0.5: it runs in that package's own environment, and shares no code with LabRelay.

    python analyzer.py < commands.json > answers.json

The commands are a list, and so are the answers:

    {"do": "decode", "frames": [...]}       the records in the frames of a message; frames and texts are latin-1
    {"do": "encode", "records": [...]}      the frames of these records, one record a frame
    {"do": "talk", "port": 5000, "sessions": [[record, ...], ...], "answers": 1}
                                            send each session, then hear as many messages; the records of each

The package's `Client` sends, its `RequestHandler` receives, on one connection: an analyzer's line goes both ways, and
the package has a class for each. Its handler never hands on a message in several ETB frames, so this one joins them by
the package's own `join`.
"""

import json
import sys
import time

from astm.asynclib import loop
from astm.client import DEFAULT_RECORDS_FLOW_MAP, Client
from astm.codec import decode_message, is_chunked_message, iter_encode, join
from astm.server import BaseRecordsDispatcher, RequestHandler

ENCODING = "latin-1"
WITHIN_S = 60.0
FLOW = {**DEFAULT_RECORDS_FLOW_MAP, "H": ["C", "P", "L", "Q"], "Q": ["Q", "L"]}  # the package knows no question


class Heard(BaseRecordsDispatcher):
    """The records of each message."""

    def __init__(self):
        BaseRecordsDispatcher.__init__(self, ENCODING)
        self.messages = []
        self._records = []
        self.dispatch = {}

    def on_unknown(self, record):
        self._records.append(record)
        if record[0] == "L":
            self.messages.append(self._records)
            self._records = []


class Listener(RequestHandler):
    def handle_message(self, message):
        if is_chunked_message(message):
            self._chunks.append(message)
            return
        chunks, self._chunks = [*self._chunks, message], []
        self.dispatcher(join(chunks) if len(chunks) > 1 else message)


class Talker(Client):
    """Sends the sessions, and then leaves the line to a `Listener`, in place of closing it."""

    listener = None
    sessions = 0

    def _open_session(self):  # it has connected, or has sent EOT
        self.sessions -= 1
        if self.sessions >= 0:
            Client._open_session(self)
            return
        self.flush()
        self.timer.cancel()
        self._del_channel()
        self.listener = Listener(self.socket, Heard())

    def _close_session(self, close_connection=False):
        raise RuntimeError("the package's client has given up")


def talk(port, sessions, answers):
    def emitter():
        for records in sessions:
            for record in records:
                if not (yield record):
                    raise RuntimeError(f"a record was refused: {record[0]}")

    talker = Talker(emitter, "127.0.0.1", port, encoding=ENCODING, flow_map=FLOW)
    talker.sessions = len(sessions)
    until = time.monotonic() + WITHIN_S
    while talker.listener is None or len(talker.listener.dispatcher.messages) < answers:
        if time.monotonic() > until:
            raise RuntimeError(f"no answer within {WITHIN_S} s")
        loop(0.05, count=1)
    while talker.listener._is_transfer_state:  # until the host's EOT
        loop(0.05, count=1)
    talker.listener.close()
    return talker.listener.dispatcher.messages


def decode(frames):
    texts = [frame.encode(ENCODING) for frame in frames]
    records = []
    chunks = []
    for text in texts:
        chunks.append(text)
        if not is_chunked_message(text):
            _, found, _ = decode_message(join(chunks) if len(chunks) > 1 else text, ENCODING)
            records += found
            chunks = []
    return records


def encode(records):
    return [frame.decode(ENCODING) for frame in iter_encode(records, ENCODING)]


DOES = {"talk": talk, "decode": decode, "encode": encode}

if __name__ == "__main__":
    answered = []
    for command in json.load(sys.stdin):
        answered.append(DOES[command.pop("do")](**command))
    json.dump(answered, sys.stdout)
