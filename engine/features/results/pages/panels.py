"""Parts of pages of the core: what was decided about the documents of a message."""

from collections.abc import Iterable

from engine.model.document_facts import DocumentFacts
from engine.views.decided import counted, decided
from engine.web.pages.panels import Panels


class _Panels(Panels):
    def remarks(self, facts: DocumentFacts) -> Iterable[str]:
        return counted(decided(facts))


PANELS = _Panels()
