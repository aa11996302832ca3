"""What a user has from the start, made by the verbs that anybody else would use."""

from __future__ import annotations

from emulator.core.resources import Declared
from emulator.engine.queues import Queues
from emulator.engine.schedules import Schedules
from emulator.engine.store import Store
from emulator.engine.url_groups import UrlGroups

__all__ = ["declare"]


def declare(
    declared: Declared,
    *,
    store: Store,
    queues: Queues,
    url_groups: UrlGroups,
    schedules: Schedules,
) -> None:
    """Make what is declared, as far as it isn't there.

    What was kept from another run has it as declared from now on. What calls have
    changed beyond that stays: pauses, more endpoints, when a schedule fires next.
    """
    for name, parallelism, is_paused in declared.queues:
        queue = store.queues.get(name)
        if queue is None or queue.parallelism != parallelism:
            paused = is_paused if queue is None else None
            queues.upsert(name, parallelism=parallelism, is_paused=paused)
    for name, endpoints, defaults in declared.url_groups:
        group = store.url_groups.get(name)
        if group is None or not set(endpoints) <= set(group.endpoints):
            url_groups.upsert_endpoints(name, endpoints)
        if store.url_groups[name].defaults != defaults:
            url_groups.set_defaults(name, defaults)
    for schedule_id, cron, publish in declared.schedules:
        schedule = store.schedules.get(schedule_id)
        before = None if schedule is None else (schedule.cron, schedule.publish)
        if before != (cron, publish):
            schedules.put(publish, cron, schedule_id)
