"""Every exception that qemu raises. Imports nothing.

::

    QemuError                          everything raised by us
    ├── RequestError                   the caller's fault; .status; becomes JSON
    │   ├── InvalidHeader              .header .value .reason           400
    │   ├── InvalidParameter           .parameter .value .reason        400
    │   ├── InvalidDestination         .destination .reason             400
    │   ├── InvalidExpression          .expression .position .reason    400
    │   ├── InvalidBody                .reason                          400
    │   ├── InvalidState               .line .reason                    400
    │   ├── QuotaExceeded              .quota .limit                    400, 412
    │   ├── Unauthorized                                                401
    │   ├── Forbidden                  .reason                          403
    │   ├── NotFound                   .kind .id                        404
    │   ├── Conflict                   .reason                          409
    │   ├── TooSlow                    .idle_s                          408
    │   ├── TooLarge                   .limit_bytes                     413
    │   ├── LimitExceeded              .headers                         429
    │   ├── NotSupported               .feature                         501
    │   ├── NotStored                  .path .reason                    503
    │   └── Overloaded                 .limit_bytes .pending            503
    ├── NotIdle                        .waiting
    ├── SettingsError                  .setting .source .reason
    └── JournalError                   .path .reason
        ├── JournalLocked              .pid .url
        ├── JournalTooNew              .found .supported
        └── JournalCorrupt             .found

Data stands in attributes, the sentence in ``__str__``. The sentences of request
errors follow QStash's own where they are known (contract ERR-4).

A destination's failure is not here: it is an ``Outcome``, a value.
"""

from __future__ import annotations

__all__ = [
    "Conflict",
    "Forbidden",
    "InvalidBody",
    "InvalidDestination",
    "InvalidExpression",
    "InvalidHeader",
    "InvalidParameter",
    "InvalidState",
    "JournalCorrupt",
    "JournalError",
    "JournalLocked",
    "JournalTooNew",
    "LimitExceeded",
    "NotFound",
    "NotIdle",
    "NotStored",
    "NotSupported",
    "Overloaded",
    "QemuError",
    "QuotaExceeded",
    "RequestError",
    "SettingsError",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "shown",
]

_SHOWN_CHARACTERS = 80


def shown(value: str) -> str:
    """Quote a caller's text for an error: on one line, and never long."""
    if len(value) > _SHOWN_CHARACTERS:
        value = value[: _SHOWN_CHARACTERS - 1] + "…"
    return '"' + value.encode("unicode_escape").decode("ascii") + '"'


class QemuError(Exception):
    """Base of everything raised by us."""


class RequestError(QemuError):
    """The caller's mistake. ``status`` is the HTTP status to answer with."""

    status = 400


class InvalidHeader(RequestError):
    """A configuration header, or its query-parameter twin, can't be used.

    ``sentence`` replaces ours where QStash's own words are known (ERR-4).
    """

    def __init__(
        self, header: str, value: str, reason: str, *, sentence: str = ""
    ) -> None:
        super().__init__(header, value, reason)
        self.header = header
        self.value = value
        self.reason = reason
        self.sentence = sentence

    def __str__(self) -> str:
        return (
            self.sentence or f"invalid {self.header} {shown(self.value)}: {self.reason}"
        )


class InvalidParameter(RequestError):
    """A query parameter or JSON key of a listing, filter or action can't be used."""

    def __init__(self, parameter: str, value: str, reason: str) -> None:
        super().__init__(parameter, value, reason)
        self.parameter = parameter
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid {self.parameter} {shown(self.value)}: {self.reason}"


class InvalidDestination(RequestError):
    """Neither a URL we can call, nor a URL group's name, nor a built-in API."""

    def __init__(self, destination: str, reason: str, *, sentence: str = "") -> None:
        super().__init__(destination, reason)
        self.destination = destination
        self.reason = reason
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence or f"invalid destination url: {self.reason}"


class InvalidExpression(RequestError):
    """A retry-delay expression that doesn't parse; ``position`` counts from 0."""

    def __init__(self, expression: str, position: int, reason: str) -> None:
        super().__init__(expression, position, reason)
        self.expression = expression
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"invalid Upstash-Retry-Delay {shown(self.expression)}: "
            f"{self.reason} at position {self.position}"
        )


class InvalidBody(RequestError):
    """The request's body isn't what the endpoint takes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid body: {self.reason}"


class InvalidState(RequestError):
    """A file of exported state can't be imported; ``line`` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"line {self.line} of the state: {self.reason}; nothing was changed"


class QuotaExceeded(RequestError):
    """A limit of the quota profile is exceeded (ERR-4, ERR-5).

    The status is 412 where it limits how many resources there are (ERR-2).
    """

    def __init__(self, quota: str, limit: int, *, status: int = 400) -> None:
        super().__init__(quota, limit)
        self.quota = quota
        self.limit = limit
        self.status = status

    def __str__(self) -> str:
        return f"quota {self.quota} exceeded, current limit: {self.limit}"


class Unauthorized(RequestError):
    """No token, or one that nobody here has (AUTH-6)."""

    status = 401

    def __str__(self) -> str:
        return "unable to authenticate: invalid token"


class Forbidden(RequestError):
    """The caller is known, or local, but may not do this."""

    status = 403

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class NotFound(RequestError):
    """No such resource. ``kind`` is the API's word for it: message, topic …"""

    status = 404

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(kind, id)
        self.kind = kind
        self.id = id

    def __str__(self) -> str:
        return f"{self.kind} {self.id} not found"


class Conflict(RequestError):
    """The request is fine, but not in the state that the emulator is in."""

    status = 409

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class TooLarge(RequestError):
    """More bytes than any request may have (BAT-10)."""

    status = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(limit_bytes)
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"request body is larger than {self.limit_bytes} bytes"


class TooSlow(RequestError):
    """The rest of a request's body didn't come."""

    status = 408

    def __init__(self, idle_s: float) -> None:
        super().__init__(idle_s)
        self.idle_s = idle_s

    def __str__(self) -> str:
        return f"nothing more of the request's body came for {self.idle_s:g} s"


class LimitExceeded(RequestError):
    """Too many calls (ERR-8 to ERR-11); ``headers`` tell the SDKs which limit it is."""

    status = 429

    def __init__(self, sentence: str, headers: dict[str, str]) -> None:
        super().__init__(sentence, headers)
        self.sentence = sentence
        self.headers = headers

    def __str__(self) -> str:
        return self.sentence


class NotSupported(RequestError):
    """QStash has it and qemu doesn't yet: never a silent 200."""

    status = 501

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature

    def __str__(self) -> str:
        return f"{self.feature} is not supported yet"


class NotStored(RequestError):
    """The state can't be kept, so nothing was changed. Not the caller's mistake."""

    status = 503

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"nothing was changed: {self.path} can't be written ({self.reason}); "
            "make room or make it writable, then try again"
        )


class Overloaded(RequestError):
    """What still has to be delivered takes all the memory that it may."""

    status = 503

    def __init__(self, limit_bytes: int, pending: int) -> None:
        super().__init__(limit_bytes, pending)
        self.limit_bytes = limit_bytes
        self.pending = pending

    def __str__(self) -> str:
        return (
            f"{self.pending} messages are pending, and take all of max-pending-bytes, "
            f"which is {self.limit_bytes}: let some be delivered, cancel some, "
            "or set it higher"
        )


class NotIdle(QemuError):
    """Work is left that can't be done. ``waiting`` has a line for each message."""

    def __init__(self, reason: str, waiting: tuple[str, ...]) -> None:
        super().__init__(reason, waiting)
        self.reason = reason
        self.waiting = waiting

    def __str__(self) -> str:
        return "\n".join([self.reason, *(f"  {line}" for line in self.waiting)])


class SettingsError(QemuError):
    """A setting has a value that can't be used; ``source`` says where it came from."""

    def __init__(self, setting: str, reason: str, *, source: str = "") -> None:
        super().__init__(setting, reason, source)
        self.setting = setting
        self.reason = reason
        self.source = source

    def __str__(self) -> str:
        origin = f" (from {self.source})" if self.source else ""
        return f"{self.setting}{origin}: {self.reason}"


class JournalError(QemuError):
    """The file that keeps the state can't be used. ``path`` is as it was given."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class JournalLocked(JournalError):
    """Another process uses the file: ``pid`` and ``url`` say which, if it is known."""

    def __init__(self, path: str, pid: int | None, url: str) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(path, f"in use by {who}{f' ({url})' if url else ''}")
        self.pid = pid
        self.url = url


class JournalTooNew(JournalError):
    """A newer qemu has written the file, in a form that this one doesn't know."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        super().__init__(
            path,
            f"written by a newer qemu (schema {found}, this one knows {supported})",
        )
        self.found = found
        self.supported = supported


class JournalCorrupt(JournalError):
    """The file isn't what qemu wrote; ``found`` says what is wrong with it."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(path, f"damaged, or not a file of qemu's: {found}")
        self.found = found
