"""The checks: what the destination saw, held against the books.

``outstanding`` says what is still to come; each of the others, in sentences, what must
not be. A delivery is made again after a kill only if it was under way, or if its end
was too fresh to be in the file (docs/explanation/persistence.md).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jwt

from tests.system.crash.books import Books, Plan
from tests.system.crash.destination import Arrival
from tests.system.crash.load import FLOW_KEYS, QUEUES

__all__ = ["Run", "complaints", "outstanding", "repeats"]

_SLACK_S = 1.0
"""How long the end of a delivery may take to be in the file. It is written within
milliseconds, but the machine of a test is busy."""

_ROUNDING_S = 0.002

_SIGNATURES = 300
"""How many are verified."""


@dataclass(slots=True)
class Run:
    """The life of one process."""

    how: str
    """How it ended."""

    started_s: float

    ready_s: float | None = None

    killed_s: float = 0.0
    """When its end was begun …"""

    ended_s: float = 0.0
    """… and when it was over."""


def outstanding(books: Books, arrivals: Iterable[Arrival]) -> list[str]:
    """Return what was acknowledged and hasn't happened yet."""
    seen = {
        (each.kind, each.message_id, each.retried)
        if each.kind == "message"
        else (each.kind, each.name, each.source_retried)
        for each in arrivals
    }
    missing = []
    for message_id, sent in books.expected():
        plan, last = sent.plan, sent.plan.last_retried
        wanted: list[tuple[str, str, int]] = []
        for retried in range(last + 1):
            if not plan.is_refused:
                wanted.append(("message", message_id, retried))
            if plan.calls_back:
                wanted.append(("callback", message_id, retried))
        if plan.fails and plan.calls_back:
            wanted.append(("failure", message_id, last))
        missing += [
            f"{kind} of {name} ({plan}), retried {retried}, never arrived"
            for kind, name, retried in wanted
            if (kind, name, retried) not in seen
        ]
        if plan.fails and message_id not in books.failed:
            missing.append(f"{message_id} ({plan}) never was in the DLQ")
    return missing


def repeats(arrivals: Iterable[Arrival]) -> int:
    """Count the deliveries that were made again."""
    keys = [(each.message_id, each.retried) for each in arrivals]
    return len(keys) - len(set(keys))


def complaints(
    books: Books, arrivals: Sequence[Arrival], runs: Sequence[Run]
) -> list[str]:
    """Return everything that was wrong."""
    found = list(books.complaints)
    found += outstanding(books, arrivals)
    found += _unexplained_repeats(books, arrivals, runs)
    found += _strangers(books, arrivals)
    found += _callbacks_made_twice(arrivals)
    found += _too_early(books, arrivals)
    found += _after_cancel(books, arrivals)
    found += _overtaken(books, arrivals)
    found += _too_many_at_once(books, arrivals, runs)
    found += _while_paused(books, arrivals, runs)
    found += _firings(arrivals, runs)
    found += _unsigned(books, arrivals)
    found += [
        f"{message_id} failed more than once: {ids}"
        for message_id, ids in books.failed.items()
        if len(ids) > 1
    ]
    return found


def _unexplained_repeats(
    books: Books, arrivals: Iterable[Arrival], runs: Sequence[Run]
) -> Iterator[str]:
    by_delivery: dict[tuple[str, int], list[Arrival]] = defaultdict(list)
    for each in arrivals:
        by_delivery[each.message_id, each.retried].append(each)
        final_s = books.finals.get(each.message_id)
        if final_s is not None and each.at_s > final_s:
            late_s = each.at_s - final_s
            yield f"{each.message_id} came {late_s:.3f} s after the log said it ended"
    for (message_id, retried), same in by_delivery.items():
        for first, second in pairwise(same):
            what = f"{message_id}, retried {retried}, came again"
            if first.run >= second.run:
                yield f"{what} from the same process ({first.run}, {second.run})"
            elif first.left_s is not None:
                ago_s = runs[first.run].killed_s - first.left_s
                if ago_s > _SLACK_S:
                    yield f"{what}, answered {ago_s:.3f} s before the end of its run"


def _strangers(books: Books, arrivals: Iterable[Arrival]) -> Iterator[str]:
    """Find messages that nobody published."""
    unknown: dict[int, set[str]] = defaultdict(set)
    for each in arrivals:
        if each.kind == "message" and each.message_id not in books.owners:
            unknown[int(each.name)].add(each.message_id)
    for token, ids in unknown.items():
        sent = books.sent[token]
        if token in books.in_doubt:
            continue
        # One that failed may have been retried from the DLQ, which makes another.
        too_many = len(ids) > sent.copies and not sent.plan.fails
        if sent.acknowledged_s is not None or too_many:
            yield f"{token} ({sent.plan}) also came as {sorted(ids)}"


def _callbacks_made_twice(arrivals: Iterable[Arrival]) -> Iterator[str]:
    made: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for each in arrivals:
        if each.kind in ("callback", "failure"):
            made[each.kind, each.name, each.source_retried].add(each.message_id)
    for what, ids in made.items():
        if len(ids) > 1:
            yield f"{what} was made more than once: {sorted(ids)}"


def _too_early(books: Books, arrivals: Iterable[Arrival]) -> Iterator[str]:
    for each in arrivals:
        sent = books.owners.get(each.message_id)
        if sent is not None and each.message_id == sent.message_ids[0]:
            early_s = sent.sent_s + sent.plan.delay_s - each.at_s
            if early_s > _ROUNDING_S:
                yield f"{each.message_id} came {early_s:.3f} s too early"


def _after_cancel(books: Books, arrivals: Iterable[Arrival]) -> Iterator[str]:
    """Find deliveries after a cancel, but for the one that was under way (MSG-12)."""
    late: dict[str, int] = defaultdict(int)
    for each in arrivals:
        cancel = books.cancels.get(each.message_id)
        if cancel is None or cancel.acknowledged_s is None:
            continue
        sent = books.owners[each.message_id]
        if each.at_s > cancel.acknowledged_s:
            late[each.message_id] += 1
            due_s = sent.sent_s + sent.plan.delay_s
            if late[each.message_id] > 1 or cancel.acknowledged_s < due_s:
                late_s = each.at_s - cancel.acknowledged_s
                yield f"{each.message_id} came {late_s:.3f} s after its cancel"


def _overtaken(books: Books, arrivals: Iterable[Arrival]) -> Iterator[str]:
    """Check the order of queues that deliver one after the other (QUE-11)."""
    first: dict[str, dict[int, None]] = defaultdict(dict)
    last: dict[tuple[str, int], int] = {}
    for each in arrivals:
        plan = _plan_of(books, each)
        if plan is None or plan.queue is None or QUEUES[plan.queue] != 1:
            continue
        token = int(each.name)
        first[plan.queue].setdefault(token)
        before = last.get((plan.queue, each.run), 0)
        if token < before:
            yield f"{token} came after {before} in queue {plan.queue}, run {each.run}"
        last[plan.queue, each.run] = token
    for name, tokens in first.items():
        for token, after in pairwise(tokens):
            if token > after:
                yield f"{token} came before {after} in queue {name}"


def _too_many_at_once(
    books: Books, arrivals: Iterable[Arrival], runs: Sequence[Run]
) -> Iterator[str]:
    """Count what was under way at once in each queue, and for each flow-control key."""
    steps: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    for each in arrivals:
        plan = _plan_of(books, each)
        if plan is None:
            continue
        end_s = each.left_s or runs[each.run].killed_s
        for name in (plan.queue, plan.flow_key):
            # What came late from a process that was gone was under way in it.
            if name is not None and each.at_s < end_s:
                steps[name, each.run] += [(each.at_s, 1), (end_s, -1)]
    for (name, run), changes in steps.items():
        most = (QUEUES | FLOW_KEYS)[name]
        under_way = worst = 0
        for _, change in sorted(changes):
            under_way += change
            worst = max(worst, under_way)
        if worst > most:
            yield f"{worst} of {name} were under way at once in run {run}, not {most}"


def _while_paused(
    books: Books, arrivals: Sequence[Arrival], runs: Sequence[Run]
) -> Iterator[str]:
    """A pause holds over a restart, from the first moment."""
    pauses: dict[tuple[str, str], float] = {}
    for change in books.changes:
        place = change.kind, change.name
        if change.kind not in ("queue", "flow key"):
            continue
        assert isinstance(change.state, tuple)
        # A queue's parallelism, and whether it is paused; whether a key is, and pinned.
        is_pause = change.state[1] if change.kind == "queue" else change.state[0]
        paused_s = pauses.pop(place, None)
        if paused_s is not None and not is_pause:
            for number, run in enumerate(runs):
                if not paused_s < run.started_s < change.asked_s:
                    continue
                for each in arrivals:
                    plan = _plan_of(books, each)
                    if (
                        plan is not None
                        and change.name in (plan.queue, plan.flow_key)
                        and each.run >= number
                        and each.at_s < change.asked_s
                    ):
                        yield f"{each.name} came while {change.name} was paused"
        if is_pause and change.acknowledged_s is not None:
            pauses[place] = change.acknowledged_s


def _firings(arrivals: Iterable[Arrival], runs: Sequence[Run]) -> Iterator[str]:
    """Each schedule fires once a minute, if it isn't paused and somebody is there."""
    firings: dict[tuple[str, int], set[str]] = defaultdict(set)
    known: set[str] = set()
    for each in arrivals:
        if each.kind == "schedule" and each.message_id not in known:
            known.add(each.message_id)
            firings[each.name, int(each.at_s // 60)].add(each.message_id)
            if each.name == "paused":
                yield f"a paused schedule fired: {each.message_id}"
    for (name, minute), ids in firings.items():
        if len(ids) > 1:
            yield f"{name} fired {len(ids)} times in minute {minute}"
    for run in runs:
        if run.ready_s is None:
            continue
        for minute in range(int(run.ready_s // 60) + 1, int(run.killed_s // 60) + 1):
            is_whole = run.ready_s + 1 < minute * 60 < run.killed_s - _SLACK_S
            if is_whole and ("steady", minute) not in firings:
                yield f"a schedule didn't fire in minute {minute}"


def _unsigned(books: Books, arrivals: Sequence[Arrival]) -> Iterator[str]:
    for each in arrivals[:: max(1, len(arrivals) // _SIGNATURES)]:
        if not any(_verifies(each, key) for key in books.seen_keys):
            yield f"{each.message_id} is signed with an unknown key"


def _verifies(arrival: Arrival, key: str) -> bool:
    try:
        jwt.decode(arrival.signature, key, ["HS256"], options={"verify_exp": False})
    except jwt.InvalidTokenError:
        return False
    return True


def _plan_of(books: Books, arrival: Arrival) -> Plan | None:
    if arrival.kind != "message":
        return None
    sent = books.sent.get(int(arrival.name))
    return None if sent is None else sent.plan
