"""All of the help as lines of JSON, one for each page or topic: the daemon's page, which imports nothing for it."""

import sys

import orjson

from engine.model.process.priority import give_way
from engine.web.help.rendered import everything

if __name__ == "__main__":
    give_way()
    for one in everything():
        sys.stdout.buffer.write(orjson.dumps(one) + b"\n")
