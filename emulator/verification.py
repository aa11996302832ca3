"""``emulator.explain``: what is wrong with a signature, at this moment.

Only brings the time to what ``core/explain.py`` decides.
"""

from __future__ import annotations

from emulator.core import explain as rules
from emulator.core.explain_text import Explanation
from emulator.engine.clock import real_now_ms
from emulator.settings import DEV_USERS

__all__ = ["explain"]


def explain(
    *,
    signature: str,
    body: bytes | str,
    url: str | None = None,
    current_signing_key: str,
    next_signing_key: str,
    now_ms: int | None = None,
    tolerance_s: int = 0,
    region: str | None = None,
) -> Explanation:
    """Say everything that is wrong with the signature of a request.

    ``signature`` is the header ``Upstash-Signature``, ``body`` the raw body, ``url``
    the one that was published to; without it, that isn't checked. ``region`` is the
    header ``Upstash-Region``. Print the answer, or ask it: ``is_valid``, ``causes``.
    """
    return rules.explain(
        signature=signature,
        body=body,
        url=url,
        current_signing_key=current_signing_key,
        next_signing_key=next_signing_key,
        now_ms=real_now_ms() if now_ms is None else now_ms,
        tolerance_s=tolerance_s,
        known_users={user.name: user.keys for user in DEV_USERS},
        region=region,
    )
