"""Names of resources: queues, URL groups, schedules (FMT-19)."""

from __future__ import annotations

from emulator.core.destination import is_resource_name
from emulator.errors import InvalidParameter

__all__ = ["MAX_NAME_CHARACTERS", "parse_resource_name"]

MAX_NAME_CHARACTERS = 512


def parse_resource_name(parameter: str, text: str) -> str:
    """Return a name as it is. Raises ``InvalidParameter`` if it can't be one."""
    if not is_resource_name(text):
        reason = "it may contain letters, digits, '-', '_' and '.', and nothing else"
        raise InvalidParameter(parameter, text, reason)
    if len(text) > MAX_NAME_CHARACTERS:
        reason = f"it is longer than {MAX_NAME_CHARACTERS} characters"
        raise InvalidParameter(parameter, text, reason)
    return text
