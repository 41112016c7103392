"""Keys and values that are planned, and that this version does not support yet.

They are known by name, so that a person who finds them in the documentation of a later version reads "not in this
version" instead of "unknown key", and so that nothing is accepted and then silently ignored. Patterns are key paths,
``*`` for a name or a list position.
"""

NOT_YET = "is not in this version of LabRelay"

KEYS = frozenset(
    {
        # site
        "encryption",
        # channels
        "key_memory",
        "reject",
        "source.frame_limit",
        "source.pack",
    }
)

VALUES: dict[str, tuple[str, ...]] = {
    "destinations.*.kind": ("worklist",),
}

# Mappings read these from `settings:`; people look for them one level higher.
SETTINGS = frozenset(
    {
        "create_service_request",
        "encounters",
        "lab",
        "local_system",
        "no_patient",
        "no_specimen",
        "obx2_default",
        "observation_key",
        "on_missing",
        "specimen_system",
    }
)


def pattern(path: tuple[str | int, ...], known: frozenset[str] | dict[str, tuple[str, ...]]) -> str | None:
    """The entry of ``known`` that ``path`` matches."""
    for entry in known:
        parts = entry.split(".")
        if len(parts) == len(path) and all(part in ("*", str(step)) for part, step in zip(parts, path, strict=True)):
            return entry
    return None
