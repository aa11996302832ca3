"""The HTTP surface: ONE table of method, path and handler. Nothing else is decided.

A path's literal segments match in any case (BASE-6); ``{name}`` is one segment,
percent-decoded once (BASE-8); ``{destination}`` is the raw rest of the target, query
included (BASE-3). A trailing slash is tolerated (BASE-7). A handler that is a text
names what QStash has and qemu doesn't yet: it answers 501.
"""

from __future__ import annotations

from emulator.web import dlq, keys, local, logs, messages, publish
from emulator.web.router import Handler, LocalHandler

__all__ = ["LOCAL_ROUTES", "ROUTES"]

ROUTES: tuple[tuple[str, str, Handler | str], ...] = (
    ("POST", "/v2/publish/{destination}", publish.publish),
    ("POST", "/v2/batch", publish.batch),
    ("POST", "/v2/enqueue/{queue_name}/{destination}", "enqueue"),
    ("GET", "/v2/messages/{message_id}", messages.get_message),
    ("DELETE", "/v2/messages/{message_id}", messages.cancel_message),
    ("DELETE", "/v2/messages", messages.cancel_messages),
    ("GET", "/v2/events", logs.list_events),
    ("GET", "/v2/logs", logs.list_logs),
    ("GET", "/v2/dlq", dlq.list_dlq),
    ("DELETE", "/v2/dlq", dlq.delete_dlq),
    ("GET", "/v2/dlq/{dlq_id}", dlq.get_dlq_entry),
    ("DELETE", "/v2/dlq/{dlq_id}", dlq.delete_dlq_entry),
    ("POST", "/v2/dlq/retry", dlq.retry_dlq),
    ("POST", "/v2/dlq/retry/{dlq_id}", dlq.retry_dlq_entry),
    ("GET", "/v2/keys", keys.get_keys),
    ("POST", "/v2/keys/rotate", keys.rotate_keys),
    ("POST", "/v2/queues", "queues"),
    ("GET", "/v2/queues", "queues"),
    ("GET", "/v2/queues/{queue_name}", "queues"),
    ("DELETE", "/v2/queues/{queue_name}", "queues"),
    ("POST", "/v2/queues/{queue_name}/pause", "queues"),
    ("POST", "/v2/queues/{queue_name}/resume", "queues"),
    ("GET", "/v2/topics", "URL groups"),
    ("GET", "/v2/topics/{group}", "URL groups"),
    ("PATCH", "/v2/topics/{group}", "URL groups"),
    ("DELETE", "/v2/topics/{group}", "URL groups"),
    ("POST", "/v2/topics/{group}/endpoints", "URL groups"),
    ("DELETE", "/v2/topics/{group}/endpoints", "URL groups"),
    ("GET", "/v2/schedules", "schedules"),
    ("GET", "/v2/schedules/{schedule_id}", "schedules"),
    ("DELETE", "/v2/schedules/{schedule_id}", "schedules"),
    ("POST", "/v2/schedules/{schedule_id}/pause", "schedules"),
    ("PATCH", "/v2/schedules/{schedule_id}/pause", "schedules"),
    ("POST", "/v2/schedules/{schedule_id}/resume", "schedules"),
    ("PATCH", "/v2/schedules/{schedule_id}/resume", "schedules"),
    ("POST", "/v2/schedules/{destination}", "schedules"),
    ("GET", "/v2/flowControl", "flow control"),
    ("GET", "/v2/flowControl/{key}", "flow control"),
    ("POST", "/v2/flowControl/{key}/pause", "flow control"),
    ("POST", "/v2/flowControl/{key}/resume", "flow control"),
    ("POST", "/v2/flowControl/{key}/pin", "flow control"),
    ("POST", "/v2/flowControl/{key}/unpin", "flow control"),
    ("POST", "/v2/flowControl/{key}/resetRate", "flow control"),
    ("POST", "/v2/flowControl/{key}/reset", "flow control"),
    ("GET", "/v2/globalParallelism", "flow control"),
)

LOCAL_ROUTES: tuple[tuple[str, str, LocalHandler], ...] = (
    ("GET", "/_qemu/health", local.health),
    ("POST", "/_qemu/reset", local.reset),
    ("GET", "/_qemu/clock", local.get_clock),
    ("POST", "/_qemu/clock/advance", local.advance_clock),
    ("GET", "/_qemu/feed", local.feed),
)
