"""A saved view: the address of a list, kept under a name."""

from dataclasses import dataclass

OF_ALL = 0  # the user of a view that all have


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """
    Attributes:
        number: what a form names it by.
        user: the id of the user who has it, or `OF_ALL`.
        name: as its person wrote it; it and the rest are empty where the row is damaged.
        path: of the list.
        query: of its address, encoded, without the language.
    """

    number: int
    user: int
    name: str
    path: str
    query: str

    @property
    def is_shared(self) -> bool:
        return self.user == OF_ALL
