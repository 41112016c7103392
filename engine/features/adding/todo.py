"""Drafts wait for a person."""

from collections.abc import Sequence

from engine.features.adding.service.putting import Adding
from engine.model.texts.phrases import Phrase
from engine.monitoring.snapshot.states import Level
from engine.monitoring.todo import Entry, Look, Way


async def entries(look: Look) -> Sequence[Entry]:
    running = look.service(Adding)
    if running is None:
        return ()
    return [
        Entry(
            key=f"draft/{name}",
            level=Level.ATTENTION,
            phrase=Phrase("{name} is being added: nothing of it goes out yet", {"name": name}),
            step=f"labrelay add look {name}",
            way=Way("Go on", f"/add/{name}/recognise"),
            subject=name,
        )
        for name, channel in running.app.parts.built.site.channels.items()
        if channel.draft
    ]
