"""Where a test lets messages go: endpoints, mounted apps; and what goes wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.core import ids
from emulator.core.faults import Fault, FaultKind
from emulator.core.forgery import Variant, sign_variant
from emulator.engine.entropy import SystemEntropy
from emulator.testing.answers import UNSET, script
from emulator.testing.instants import Duration, parse_duration
from emulator.testing.replays import ReplayedRequest, replay_recording

if TYPE_CHECKING:
    from emulator.testing.apps import AppError
    from emulator.testing.endpoints import Endpoint
    from emulator.testing.running import RunningEmulator

__all__ = ["Destinations"]


class Destinations(ABC):
    """To be inherited by what has a running emulator."""

    _running: RunningEmulator

    @abstractmethod
    def settle(self) -> None:
        """Let happen what is due at this very instant."""

    def endpoint(
        self,
        path: str = "/",
        *,
        status: int | Sequence[int] = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        json: Any = UNSET,
        delay: Duration = 0,
        hang: bool = False,
        refuse: bool = False,
        reset: bool = False,
    ) -> Endpoint:
        """Make a destination on loopback that answers as told, and records.

        Of several statuses each answers one request, the last all that follow.
        ``delay`` passes on the emulator's clock before an answer; ``hang``: none ever
        comes; ``refuse``: nothing listens; ``reset``: the connection breaks in the
        middle of the answer.
        """
        server = self._running.endpoints
        answers = script(
            status=status,
            headers=headers,
            body=body,
            json_body=json,
            delay=delay,
            hang=hang,
            reset=reset,
        )
        if refuse:
            return self._running.run(server.add_refusing(path))
        return self._running.run(server.add(path, answers))

    def mount(
        self, url: str, app: Any = None, *, asgi: Any = None, wsgi: Any = None
    ) -> str:
        """Deliver what is published to an origin to an app, in process; return the URL.

        An ASGI app gets an event loop of its own, its lifespan included, a WSGI app a
        thread for each call. Which of the two it is shows, or is said by ``asgi=`` or
        ``wsgi=``.
        """
        given = [one for one in (app, asgi, wsgi) if one is not None]
        if len(given) != 1:
            raise TypeError("mount() takes one app: mount(url, app), asgi= or wsgi=")
        kind = None if app is not None else asgi is not None
        return self._running.mounts.mount(url, given[0], asgi=kind)

    def replay(
        self,
        recording: str | Path,
        to: str | None = None,
        *,
        within: Duration = "30s",
    ) -> list[ReplayedRequest]:
        """Send an app what ``qemu tunnel --record`` has recorded, in order.

        ``to`` is the app's origin: a mounted one, or a server's URL. Requests are
        signed anew for it, as if QStash had called there; without ``to``, for the
        recorded URL, at which an app must be mounted. ``within`` is how long each
        answer may take in real time. Raises ``ValueError`` for what is no recording,
        or can't be sent.
        """
        return self._running.run(
            replay_recording(
                self._running, recording, to, timeout_s=parse_duration(within) / 1000
            )
        )

    @property
    def app_errors(self) -> list[AppError]:
        """What mounted apps raised, each a failed delivery, oldest first."""
        self.settle()
        return list(self._running.mounts.errors)

    def fault(
        self,
        kind: FaultKind | str,
        destination: str = "*",
        *,
        probability: float = 1.0,
        times: int | None = None,
        delay: Duration = "5s",
        retry_after: Duration = "10s",
    ) -> None:
        """Let deliveries go wrong from now on (``FaultKind`` says how they can).

        ``destination`` is a pattern of URLs as published; ``times``: how many
        deliveries it meets.
        """
        fault = Fault(
            kind=FaultKind(kind),
            destination=destination,
            probability=probability,
            times=times,
            delay_ms=parse_duration(delay),
            retry_after_s=parse_duration(retry_after) // 1000,
        )
        self._running.call(lambda: self._running.emulator.tenants.faults.add(fault))

    def sign(
        self, body: bytes | str, url: str, kind: Variant | str = Variant.VALID
    ) -> str:
        """Make a value of ``Upstash-Signature``, right or wrong in one way."""
        return sign_variant(
            kind,
            body=body.encode() if isinstance(body, str) else body,
            url=url,
            keys=self._running.engine.keys,
            now_ms=self._running.stamp.now_ms(),
            jwt_id=ids.jwt_id(SystemEntropy().token_bytes(ids.JWT_ID_BYTES)),
        )
