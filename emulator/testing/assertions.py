"""Assertions about what was published and delivered, which explain themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, overload

from emulator.testing import expectations
from emulator.testing.answers import UNSET
from emulator.testing.instants import Duration, parse_duration
from emulator.testing.records import Delivery, PublishedMessage

__all__ = ["Assertions"]


class Assertions(ABC):
    """To be inherited by what knows the records."""

    @property
    @abstractmethod
    def published(self) -> list[PublishedMessage]:
        """What was published, oldest first, callbacks left out."""

    @property
    @abstractmethod
    def deliveries(self) -> list[Delivery]:
        """Every delivery that has ended, in order, callbacks included."""

    @overload
    def assert_published(
        self, url: str | None = ..., *, count: None = ..., **expected: Any
    ) -> PublishedMessage: ...

    @overload
    def assert_published(
        self, url: str | None = ..., *, count: int, **expected: Any
    ) -> list[PublishedMessage]: ...

    def assert_published(
        self, url: str | None = None, *, count: int | None = None, **expected: Any
    ) -> PublishedMessage | list[PublishedMessage]:
        """Assert that a message was published, and return the first such one.

        Expects what is given, of ``json``, ``body``, ``headers``, ``labels`` (it may
        have more of both), ``method``, ``retries``, ``delay``, ``queue``,
        ``url_group``, ``schedule_id``, ``callback``, ``failure_callback`` and
        ``flow_control_key``. With ``count`` exactly so many must match; they are
        returned as a list.
        """
        __tracebackhide__ = True
        wanted = _of_published(url, **expected)
        published = self.published
        found = expectations.select(published, wanted)
        if count is None and found:
            return found[0]
        if count is not None and len(found) == count:
            return found
        number = "a message" if count is None else f"{count} times a message"
        so_many = "" if count is None else f", not {len(found)} times"
        raise AssertionError(
            expectations.describe(
                f"expected {number} to be published{so_many}", published, wanted
            )
        )

    def assert_not_published(self, url: str | None = None, **expected: Any) -> None:
        """Assert that no message was published that is as ``assert_published`` says."""
        __tracebackhide__ = True
        found = expectations.select(self.published, _of_published(url, **expected))
        if found:
            shown = "\n".join(f"  {message!r}" for message in found)
            raise AssertionError(f"expected no such message, but found:\n{shown}")

    @overload
    def assert_delivered(
        self,
        url: str | None = ...,
        *,
        times: None = ...,
        status: int | None = ...,
        retried: int | None = ...,
        message_id: str | None = ...,
        is_callback: bool | None = ...,
    ) -> Delivery: ...

    @overload
    def assert_delivered(
        self,
        url: str | None = ...,
        *,
        times: int,
        status: int | None = ...,
        retried: int | None = ...,
        message_id: str | None = ...,
        is_callback: bool | None = ...,
    ) -> list[Delivery]: ...

    def assert_delivered(
        self,
        url: str | None = None,
        *,
        times: int | None = None,
        status: int | None = None,
        retried: int | None = None,
        message_id: str | None = None,
        is_callback: bool | None = None,
    ) -> Delivery | list[Delivery]:
        """Assert that a delivery succeeded, and return the first such one.

        With a ``status``: that one was answered so, be it a failure. With ``times``
        exactly so many deliveries must match; they are returned as a list.
        """
        __tracebackhide__ = True
        wanted = expectations.of_delivery(
            url=url,
            status=status,
            retried=retried,
            message_id=message_id,
            is_callback=is_callback,
        )
        deliveries = self.deliveries
        found = expectations.select(deliveries, wanted)
        if times is None and found:
            return found[0]
        if times is not None and len(found) == times:
            return found
        number = "a delivery" if times is None else f"{times} deliveries"
        so_many = "" if times is None else f", not {len(found)},"
        raise AssertionError(
            expectations.describe(f"expected {number}{so_many}", deliveries, wanted)
        )


def _of_published(
    url: str | None,
    *,
    json: Any = UNSET,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    delay: Duration | None = None,
    method: str | None = None,
    retries: int | None = None,
    queue: str | None = None,
    url_group: str | None = None,
    schedule_id: str | None = None,
    callback: str | None = None,
    failure_callback: str | None = None,
    flow_control_key: str | None = None,
) -> list[expectations.Expectation]:
    return expectations.of_published(
        url=url,
        json_body=json,
        body=body,
        headers=headers,
        labels=labels,
        delay_ms=None if delay is None else parse_duration(delay),
        method=method,
        retries=retries,
        queue=queue,
        url_group=url_group,
        schedule_id=schedule_id,
        callback=callback,
        failure_callback=failure_callback,
        flow_control_key=flow_control_key,
    )
