"""The limits of the quota profiles (contract section 25), as data.

Read by the rules in this folder; nothing here enforces anything. MB means
1 048 576 bytes (LIM-12). ``None`` means unlimited.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["PROFILES", "STRICT_MAX_RETRIES", "Limits", "limits_of"]

_MB = 1_048_576
_HOUR_S = 3600
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one plan allows."""

    max_message_bytes: int
    """LIM-2: a message's body; a stored response body is cut to it (CBK-23)."""

    max_delay_s: int | None
    """LIM-3."""

    max_retries: int = 999
    """LIM-4."""

    max_response_s: int
    """LIM-5: how long a destination may take to answer."""

    log_retention_s: int
    """LIM-6."""

    dlq_retention_s: int
    """LIM-6."""

    global_parallelism: int
    """LIM-8: deliveries under way at once; the rest waits."""

    max_queues: int | None = None
    """LIM-7."""

    max_queue_parallelism: int | None = None
    """LIM-7."""

    max_url_groups: int | None = None
    """LIM-9."""

    max_endpoints: int | None = None
    """LIM-9: of one URL group."""

    max_schedules: int | None = None
    """LIM-10."""

    max_messages_per_day: int | None = None
    """LIM-11."""

    refuses_loopback: bool = False
    """Whether this machine is no destination (PUB-6). No plan's affair: a setting."""


PROFILES: dict[str, Limits] = {
    "free": Limits(
        max_message_bytes=1 * _MB,
        max_delay_s=7 * _DAY_S,
        max_response_s=15 * 60,
        log_retention_s=3 * _DAY_S,
        dlq_retention_s=3 * _DAY_S,
        global_parallelism=10,
        max_queues=10,
        max_queue_parallelism=2,
        max_url_groups=1,
        max_endpoints=100,
        max_schedules=10,
        max_messages_per_day=1000,
    ),
    "payg": Limits(
        max_message_bytes=10 * _MB,
        max_delay_s=365 * _DAY_S,
        max_response_s=2 * _HOUR_S,
        log_retention_s=7 * _DAY_S,
        dlq_retention_s=7 * _DAY_S,
        global_parallelism=100,
        max_queues=100,
        max_queue_parallelism=10,
        max_url_groups=100,
        max_endpoints=100,
        max_schedules=1000,
    ),
    # The dev server's "pro" has no published numbers: the plan "fixed 1M".
    "pro": Limits(
        max_message_bytes=50 * _MB,
        max_delay_s=None,
        max_response_s=6 * _HOUR_S,
        log_retention_s=14 * _DAY_S,
        dlq_retention_s=30 * _DAY_S,
        global_parallelism=200,
        max_queues=1000,
        max_queue_parallelism=10,
        max_url_groups=1000,
        max_endpoints=1000,
        max_schedules=10_000,
        max_messages_per_day=1_000_000,
    ),
}

STRICT_MAX_RETRIES = 5
"""LIM-4: what users of the vendor's dev server report; opt-in, not for ``pro``."""


def limits_of(quota: str, *, strict: bool, refuse_loopback: bool = False) -> Limits:
    """Return the limits of a profile of ``PROFILES``.

    Without ``strict``, how many resources there are and how many messages a day
    isn't limited (LIM-13). With it, it is, and what the sources disagree on is
    narrowed to its smallest value (C-22). Raises ``KeyError`` for an unknown profile.
    """
    limits = replace(PROFILES[quota], refuses_loopback=refuse_loopback)
    if not strict:
        return replace(
            limits,
            max_queues=None,
            max_queue_parallelism=None,
            max_url_groups=None,
            max_endpoints=None,
            max_schedules=None,
            max_messages_per_day=None,
        )
    if quota == "pro":
        return limits
    return replace(limits, max_retries=STRICT_MAX_RETRIES)
