"""Deduplication: is this the same publish again?

Answers with a key; two publishes with equal keys are the same one, as long as the
window of the first is open. Who holds the keys, and for how long, isn't decided
here.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import chain
from operator import itemgetter

from emulator.core.header_map import pairs
from emulator.core.model import Publish
from emulator.core.resources import Endpoint

__all__ = ["WINDOW_MS", "key"]

WINDOW_MS = 10 * 60 * 1000
"""From the acceptance of the first message; duplicates don't extend it (DED-2)."""


def key(publish: Publish, endpoint: Endpoint | None = None) -> str | None:
    """Return what identifies a publish, or ``None`` if it wants no deduplication.

    An explicit id wins over the content (DED-7), and never equals a content's key
    (DED-10): the prefixes differ. A publish to a URL group has a key for each
    endpoint (DED-8); ids contain no white space, so it equals no other.
    """
    if publish.deduplication_id is not None:
        identity = f"id:{publish.deduplication_id}"
    elif publish.content_based_deduplication:
        identity = f"content:{_digest(publish)}"
    else:
        return None
    return identity if endpoint is None else f"{identity} {endpoint.url}"


def _digest(publish: Publish) -> str:
    """Hash the destination, the headers and the body (DED-6), and nothing else.

    Each part goes in with its length, so that no two contents run together.
    """
    digest = sha256()
    header = sorted(pairs(publish.header), key=itemgetter(0))
    for part in (publish.destination.text, *chain.from_iterable(header)):
        data = part.encode("utf-8", "surrogateescape")
        digest.update(b"%d:" % len(data) + data)
    digest.update(b"body:" + publish.body)
    return digest.hexdigest()
