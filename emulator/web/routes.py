"""The HTTP surface: ONE table of method, path and handler. Nothing else is decided.

A path's literal segments match in any case (BASE-6); ``{name}`` is one segment,
percent-decoded once (BASE-8); ``{destination}`` is the raw rest of the target, query
included (BASE-3). A trailing slash is tolerated (BASE-7). A handler that is a text
names what QStash has and qemu doesn't yet: it answers 501.
"""

from __future__ import annotations

from emulator.web import (
    dlq,
    faults,
    flow_control,
    keys,
    local,
    logs,
    messages,
    publish,
    queues,
    schedules,
    state,
    url_groups,
    verify,
)
from emulator.web.router import Handler, LocalHandler

__all__ = ["LOCAL_ROUTES", "ROUTES"]

ROUTES: tuple[tuple[str, str, Handler | str], ...] = (
    ("POST", "/v2/publish/{destination}", publish.publish),
    ("POST", "/v2/batch", publish.batch),
    ("POST", "/v2/enqueue/{queue_name}/{destination}", publish.enqueue),
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
    ("POST", "/v2/queues", queues.upsert_queue),
    ("GET", "/v2/queues", queues.list_queues),
    ("GET", "/v2/queues/{queue_name}", queues.get_queue),
    ("DELETE", "/v2/queues/{queue_name}", queues.delete_queue),
    ("POST", "/v2/queues/{queue_name}/pause", queues.pause_queue),
    ("POST", "/v2/queues/{queue_name}/resume", queues.resume_queue),
    ("GET", "/v2/topics", url_groups.list_url_groups),
    ("GET", "/v2/topics/{group}", url_groups.get_url_group),
    ("PATCH", "/v2/topics/{group}", url_groups.set_group_headers),
    ("DELETE", "/v2/topics/{group}", url_groups.delete_url_group),
    ("POST", "/v2/topics/{group}/endpoints", url_groups.upsert_endpoints),
    ("DELETE", "/v2/topics/{group}/endpoints", url_groups.remove_endpoints),
    ("GET", "/v2/schedules", schedules.list_schedules),
    ("GET", "/v2/schedules/{schedule_id}", schedules.get_schedule),
    ("DELETE", "/v2/schedules/{schedule_id}", schedules.delete_schedule),
    ("POST", "/v2/schedules/{schedule_id}/pause", schedules.pause_schedule),
    ("PATCH", "/v2/schedules/{schedule_id}/pause", schedules.pause_schedule),
    ("POST", "/v2/schedules/{schedule_id}/resume", schedules.resume_schedule),
    ("PATCH", "/v2/schedules/{schedule_id}/resume", schedules.resume_schedule),
    ("POST", "/v2/schedules/{destination}", schedules.create_schedule),
    ("GET", "/v2/flowControl", flow_control.list_flow_keys),
    ("GET", "/v2/flowControl/{key}", flow_control.get_flow_key),
    ("POST", "/v2/flowControl/{key}/pause", flow_control.pause_flow_key),
    ("POST", "/v2/flowControl/{key}/resume", flow_control.resume_flow_key),
    ("POST", "/v2/flowControl/{key}/pin", flow_control.pin_flow_key),
    ("POST", "/v2/flowControl/{key}/unpin", flow_control.unpin_flow_key),
    ("POST", "/v2/flowControl/{key}/resetRate", flow_control.reset_flow_key),
    ("POST", "/v2/flowControl/{key}/reset", flow_control.reset_flow_key),
    ("GET", "/v2/globalParallelism", flow_control.get_global_parallelism),
    *(
        (method, f"/v2/{path}/{{destination}}", "Upstash Workflow")
        for path in ("workflows", "trigger", "wait", "notify", "waiters")
        for method in ("GET", "POST", "DELETE")
    ),
)

LOCAL_ROUTES: tuple[tuple[str, str, LocalHandler], ...] = (
    ("GET", "/_qemu/health", local.health),
    ("POST", "/_qemu/reset", local.reset),
    ("GET", "/_qemu/clock", local.get_clock),
    ("POST", "/_qemu/clock/advance", local.advance_clock),
    ("GET", "/_qemu/feed", local.feed),
    ("GET", "/_qemu/faults", faults.list_faults),
    ("POST", "/_qemu/faults", faults.add_fault),
    ("DELETE", "/_qemu/faults", faults.clear_faults),
    ("GET", "/_qemu/rate-limit", local.get_rate_limit),
    ("POST", "/_qemu/rate-limit", local.set_rate_limit),
    ("GET", "/_qemu/state", state.export_state),
    ("PUT", "/_qemu/state", state.import_state),
    ("POST", "/_qemu/verify", verify.verify),
)
