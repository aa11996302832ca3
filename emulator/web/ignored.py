"""Headers that have no effect: accepted as QStash does (HDR-6), and told of once."""

from __future__ import annotations

import logging

from emulator.core.configuration_headers import unknown_configuration
from emulator.core.model import Incoming

__all__ = ["IGNORED_LOGGER", "IgnoredHeaders"]

IGNORED_LOGGER = "emulator.web.ignored"
"""Where each header that has no effect is a warning."""

_MAX_TOLD = 256
"""How many names are told of: they come from strangers."""

logger = logging.getLogger(IGNORED_LOGGER)


class IgnoredHeaders:
    """Tells whoever watches the server of configuration that QStash doesn't know."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def look_at(self, incoming: Incoming) -> None:
        """Tell of the names in a request to publish or to schedule that are new."""
        for name, nearest in unknown_configuration(
            (*incoming.headers, *incoming.parameters)
        ):
            if name in self._told or len(self._told) >= _MAX_TOLD:
                continue
            self._told.add(name)
            hint = f"; did you mean {nearest}?" if nearest else ""
            logger.warning(
                "%s isn't a header of QStash and has no effect%s", name[:100], hint
            )
