"""The process behind `labrelay try` that compiles and maps: it is started by that command and gets requests on its
standard input.
"""

import io
import os
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands.shared.mapping_options import ChannelMapper, channel_mapper, mapper_for
from engine.commands.shared.session import Session
from engine.config.site import shipped
from engine.devtools.playground.child import limit_memory, serve
from engine.devtools.playground.files import Folders
from engine.devtools.playground.trial import Bench
from engine.model.priority import give_way

if TYPE_CHECKING:
    from engine.config.load import Site

GIVES_WAY = 10  # nice: analyzers are answered on the same machine


@dataclass
class TrySettings:
    """The options of the command line, with the folders that follow from them, for page and process alike.

    Attributes:
        site: the site's folder; empty without one.
        beside: the folder of a mapping that was named by its file; empty without one.
        settings: the values of ``--set``.
    """

    site: str = ""
    channel: str = ""
    timezone: str = ""
    beside: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def folders(self) -> Folders:
        own = [Path(self.beside)] if self.beside else []
        home = None
        ours = [folder for kind in ("mappings", "analyzers") if (folder := shipped(kind)) is not None]
        if self.site:
            home = Path(self.site) / "mappings"
            theirs = [home, Path(self.site) / "analyzers"]
            own += [folder for folder in theirs if folder.resolve() not in ours]  # or a folder that a save will make
        # The checkout of LabRelay is a site too: there, its files are the user's own.
        within = [folder for folder in ours if self.site and folder.parent == Path(self.site).resolve()]
        return Folders((*own, *within), tuple(folder for folder in ours if folder not in within), home)

    @cached_property
    def _loaded(self) -> "Site":
        return Session(site=self.site).load_corrected()

    def mapper(self, mapping: str, first: tuple[Path, ...]) -> ChannelMapper:
        """The mapper that maps as the channel would. Raises ConfigError."""
        zone = self.timezone or None
        if not self.channel:
            session = Session(site=self.site or None, settings=self.settings)
            made = mapper_for(session, mapping=mapping, timezone=zone)
        else:
            made = channel_mapper(self._loaded, self.channel, mapping=mapping, timezone=zone, settings=self.settings)
        made.look_first_in(*first)
        return made


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = io.TextIOWrapper(sys.stderr.buffer)  # stray output must not get among the answers
    limit_memory()
    give_way(GIVES_WAY)
    benches: dict[str, Bench] = {}

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        bench = benches.get("")
        if bench is None:
            setting = TrySettings(**request["setting"])
            bench = benches[""] = Bench(setting.mapper, setting.folders(), Path(request["scratch"]))
        if "data" in request:
            return bench.messages(bytes.fromhex(request["data"]))
        return bench.run(request["mapping"], request["texts"], request["message"], request["charset"])

    serve(answer, requests, answers)


if __name__ == "__main__":
    main()
