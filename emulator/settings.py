"""Settings: everything that can be chosen about an emulator, with its default.

Reads no file and no environment: ``cli/config.py`` does, and says where a value
came from. What can't be used raises ``SettingsError`` on construction.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from emulator.core.destination import url_problem
from emulator.core.faults import Fault
from emulator.core.limits import PROFILES, Limits, limits_of
from emulator.core.loopback import loopback_problem
from emulator.core.model import SigningKeys
from emulator.core.reroute import Route, repeated_origin
from emulator.core.resources import NOTHING_DECLARED, Declared
from emulator.errors import SettingsError

__all__ = ["CLOCKS", "DEV_USERS", "REGIONS", "Settings", "User"]

CLOCKS = ("real", "virtual")

REGIONS = ("EU-CENTRAL-1", "US-EAST-1")
"""The values of ``Upstash-Region`` (DLV-2)."""

_REACHED_BY = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}
"""How this machine reaches what listens on several addresses."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+")

_HOST_NAME = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A tenant: who may call, and with which keys its deliveries are signed."""

    name: str

    token: str = field(repr=False)

    keys: SigningKeys = field(repr=False)

    read_only_token: str | None = field(default=None, repr=False)
    """Another token, which may read everything and change nothing (AUTH-9)."""


DEV_USERS = (
    User(
        name="defaultUser",
        token="eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0=",
        keys=SigningKeys(
            "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
        ),
    ),
    User(
        name="testUser1",
        token="eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        keys=SigningKeys(
            "sig_7GVPjvuwsfqF65iC8fSrs1dfYruM", "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua"
        ),
    ),
    User(
        name="testUser2",
        token="eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        keys=SigningKeys(
            "sig_6jWGaWRxHsw4vMSPJprXadyvrybF", "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx"
        ),
    ),
    User(
        name="testUser3",
        token="eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
        keys=SigningKeys(
            "sig_5T8FcSsynBjn9mMLBsXhpacRovJf", "sig_7GFR4YaDshFcqsxWRZpRB161jguD"
        ),
    ),
)
"""The four public users of QStash's own dev server (ENV-11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an emulator behaves. The defaults are those of ``qemu start``."""

    host: str = "127.0.0.1"
    """The address to listen on. Loopback unless told otherwise."""

    port: int = 8080
    """0 picks any free port."""

    quota: str = "payg"
    """A profile of ``core/limits.py``: free, payg or pro (LIM-1)."""

    strict: bool = False
    """Take the smallest value where QStash's own sources disagree on a limit (C-22)."""

    refuse_loopback: bool = False
    """Refuse destinations on this machine, as QStash does (PUB-6)."""

    region: str = "EU-CENTRAL-1"
    """What deliveries carry as ``Upstash-Region`` (DLV-4)."""

    clock: str = "real"
    """``virtual`` stands still until it is advanced."""

    speed: float = 1.0
    """How many seconds pass in one real second."""

    start_time_ms: int | None = None
    """What the clock shows at the start; ``None``: the real time."""

    signature_clock: str = "real"
    """Which clock dates signatures; ``virtual``: the one that schedules.

    Apps verify with the machine's clock, and refuse what another one dates (SIG-7):
    only for an app whose own clock is set to the emulator's.
    """

    seed: int | None = None
    """Makes ids reproducible; ``None``: nobody can foretell them."""

    routes: tuple[Route, ...] = ()
    """Hosts whose messages are delivered elsewhere."""

    allowed_hosts: tuple[str, ...] = ()
    """Names that requests may give as ``Host``, besides those nobody can own."""

    allowed_origins: tuple[str, ...] = ("https://console.upstash.com",)
    """Web pages that may call, besides those of this machine (BASE-14)."""

    llm_upstream: str | None = None
    """The URL that ``api/llm`` is delivered to; ``None``: it can't be (LLM-1)."""

    declared: Declared = NOTHING_DECLARED
    """Queues, URL groups and schedules that the first user has from the start."""

    faults: tuple[Fault, ...] = ()
    """What goes wrong with deliveries on purpose, from the start."""

    users: tuple[User, ...] = DEV_USERS
    """Who may call. The first is the one that the banner shows."""

    max_log_entries: int = 200_000
    """How many log entries each user keeps; the oldest go first (LOG-11)."""

    max_dlq_entries: int = 100_000
    """How many entries the DLQ of each user keeps; the oldest go first."""

    max_pending_bytes: int = 2_147_483_648
    """How much memory each user's pending messages may take, about; 503 above it."""

    grace_ms: int = 60_000
    """How long a finished message can still be read (MSG-8)."""

    db: str | None = None
    """The file that keeps the state; ``None``: it ends with the process."""

    def __post_init__(self) -> None:
        _check(0 <= self.port <= 65535, "port", "must be between 0 and 65535")
        _check(bool(self.host), "host", "must not be empty")
        _one_of("quota", self.quota, tuple(PROFILES))
        _one_of("region", self.region, REGIONS)
        _one_of("clock", self.clock, CLOCKS)
        _one_of("signature_clock", self.signature_clock, CLOCKS)
        _check(0 < self.speed <= 1_000_000, "speed", "must be above 0 and at most 1e6")
        _check(
            self.clock == "real" or self.speed == 1,
            "speed",
            "a virtual clock has no speed: it stands still until it is advanced",
        )
        _check(
            self.start_time_ms is None or 0 <= self.start_time_ms < 2**53,
            "start_time",
            "must lie between 1970 and the year 287396",
        )
        _check(
            all(_HOST_NAME.fullmatch(name) for name in self.allowed_hosts),
            "allowed_hosts",
            "must be names in lower case, without scheme and port",
        )
        _check(
            all(_ORIGIN.fullmatch(origin) for origin in self.allowed_origins),
            "allowed_origins",
            "must be in lower case and end with the host or the port, "
            "such as https://app.example",
        )
        repeated = repeated_origin(self.routes)
        _check(repeated is None, "routes", f"{repeated} has two routes")
        problem = None if self.llm_upstream is None else url_problem(self.llm_upstream)
        _check(problem is None, "llm_upstream", f"can't be called: {problem}")
        _check(self.max_log_entries >= 1, "max_log_entries", "must be at least 1")
        _check(self.max_dlq_entries >= 1, "max_dlq_entries", "must be at least 1")
        _check(self.max_pending_bytes >= 1, "max_pending_bytes", "must be at least 1")
        _check(self.grace_ms >= 0, "grace_ms", "must not be negative")
        _check(self.db != "", "db", "must not be empty")
        _check("\0" not in (self.db or ""), "db", "must be the path of a file")
        _check_declared(self.declared, self.limits)
        _check(bool(self.users), "users", "there must be at least one")
        names = [user.name for user in self.users]
        _check(all(names), "users", "a name must not be empty")
        _check(len(set(names)) == len(names), "users", "two of them share a name")
        tokens = [
            token
            for user in self.users
            for token in (user.token, user.read_only_token)
            if token is not None
        ]
        _check(all(tokens), "users", "a token must not be empty")
        _check(len(set(tokens)) == len(tokens), "users", "two of them share a token")

    @property
    def limits(self) -> Limits:
        """The limits of the chosen profile."""
        return limits_of(
            self.quota, strict=self.strict, refuse_loopback=self.refuse_loopback
        )

    def url_at(self, port: int) -> str:
        """Return where this machine reaches an emulator that listens on a port."""
        host = _REACHED_BY.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _check_declared(declared: Declared, limits: Limits) -> None:
    """Refuse more resources than the plan allows: the API would, too (LIM-13)."""
    for setting, count, limit in (
        ("queues", len(declared.queues), limits.max_queues),
        ("url_groups", len(declared.url_groups), limits.max_url_groups),
        ("schedules", len(declared.schedules), limits.max_schedules),
    ):
        _check(
            limit is None or count <= limit,
            setting,
            f"the plan allows {limit}, not {count}",
        )
    for name, parallelism, _ in declared.queues:
        limit = limits.max_queue_parallelism
        _check(
            limit is None or parallelism <= limit,
            "queues",
            f"the plan allows {name} a parallelism of {limit}, not {parallelism}",
        )
    for name, endpoints, _ in declared.url_groups:
        for endpoint in endpoints if limits.refuses_loopback else ():
            problem = loopback_problem(endpoint.url)
            _check(problem is None, "url_groups", f"{name}: {problem}")
        limit = limits.max_endpoints
        _check(
            limit is None or len(endpoints) <= limit,
            "url_groups",
            f"the plan allows {name} {limit} endpoints, not {len(endpoints)}",
        )


def _check(holds: bool, setting: str, reason: str) -> None:
    if not holds:
        raise SettingsError(setting, reason)


def _one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    _check(
        value in allowed, setting, f"must be one of {', '.join(allowed)}, not {value!r}"
    )
