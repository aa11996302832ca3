"""The tables of a journal's file, and the statements that write to them.

Meant to be read by people, too: ``sqlite3 qemu.db 'SELECT * FROM history'``. Instants
are Unix milliseconds; ``value`` and ``outcome`` are records of ``core/records.py``.
Nothing here is ordered by chance: what has an order has a number of its own. Each row
has a checksum (``group.py``): SQLite's own check sees no damage to what rows say.
"""

from __future__ import annotations

__all__ = [
    "APPLICATION_ID",
    "DELETE_DLQ",
    "DELETE_GARBAGE_OF_DLQ",
    "DELETE_RESOURCE",
    "INSERT_DLQ",
    "INSERT_LOG",
    "INSERT_MESSAGE",
    "INSERT_USER",
    "MOVE_MESSAGE",
    "OF_USERS",
    "PUT_FACT",
    "PUT_PERIOD",
    "PUT_RESOURCE",
    "PUT_WINDOW",
    "RESET",
    "TABLES",
    "VERSION",
]

APPLICATION_ID = 0x71656D75
"""``qemu`` in ASCII: what ``file`` and SQLite's ``application_id`` show."""

VERSION = 1
"""SQLite's ``user_version``. Newer ones are refused, older ones brought up to it."""

TABLES = """
CREATE TABLE users (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  checksum INTEGER NOT NULL
);
CREATE TABLE facts (
  -- What a user has only one of: keys, counters, where the log begins.
  user INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (user, name)
) WITHOUT ROWID;
CREATE TABLE messages (
  -- Kept as long as the log or the DLQ shows them. A state changes in place; that
  -- a delivery is under way stands in the log alone.
  number INTEGER PRIMARY KEY,
  user INTEGER NOT NULL,
  id TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  created_sequence INTEGER, -- where the log says CREATED, if no row of it does
  state TEXT NOT NULL,
  due_ms INTEGER NOT NULL,
  retried INTEGER NOT NULL,
  cancel_requested INTEGER NOT NULL,
  state_checksum INTEGER NOT NULL, -- of what changes
  value TEXT NOT NULL,
  body BLOB NOT NULL,
  checksum INTEGER NOT NULL -- of the rest
);
CREATE TABLE log (
  user INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  state TEXT NOT NULL,
  message INTEGER NOT NULL, -- messages.number
  retried INTEGER NOT NULL,
  next_delivery_ms INTEGER,
  duration_ms INTEGER,
  dlq_id TEXT,
  outcome TEXT,
  response_body BLOB,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (user, sequence)
) WITHOUT ROWID;
CREATE TABLE dlq (
  user INTEGER NOT NULL,
  sequence INTEGER NOT NULL, -- where the log says FAILED
  id TEXT NOT NULL,
  message INTEGER NOT NULL,
  failed_at_ms INTEGER NOT NULL,
  retried INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  response_body BLOB NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (user, sequence)
) WITHOUT ROWID;
CREATE UNIQUE INDEX dlq_by_id ON dlq (user, id);
CREATE INDEX dlq_by_message ON dlq (message);
CREATE TABLE windows (
  -- Of deduplication.
  user INTEGER NOT NULL,
  key TEXT NOT NULL,
  message_id TEXT NOT NULL,
  until_ms INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (user, key)
) WITHOUT ROWID;
CREATE INDEX windows_by_end ON windows (user, until_ms);
CREATE TABLE queues (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  user INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  UNIQUE (user, name)
);
CREATE TABLE url_groups (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  user INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  UNIQUE (user, name)
);
CREATE TABLE flow_keys (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  user INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  UNIQUE (user, name)
);
CREATE TABLE schedules (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  user INTEGER NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  checksum INTEGER NOT NULL,
  body BLOB NOT NULL,
  UNIQUE (user, name)
);
CREATE TABLE periods (
  -- Of flow-control keys: how many deliveries have started since when.
  user INTEGER NOT NULL,
  key TEXT NOT NULL,
  started INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (user, key)
) WITHOUT ROWID;
CREATE VIEW history AS
  SELECT u.name AS user, l.sequence, l.time_ms, l.state, m.id AS message_id,
    json_extract(m.value, '$.url') AS url, l.retried, l.dlq_id, l.outcome
  FROM (
    SELECT user, sequence, time_ms, state, message, retried, dlq_id, outcome FROM log
    UNION ALL
    SELECT user, created_sequence, created_at_ms, 'CREATED', number, 0, NULL, NULL
    FROM messages WHERE created_sequence IS NOT NULL
  ) AS l
  JOIN messages AS m ON m.number = l.message
  JOIN users AS u ON u.number = l.user
  ORDER BY l.user, l.sequence;
"""

INSERT_USER = "INSERT INTO users VALUES (?,?,?)"

INSERT_MESSAGE = "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"

MOVE_MESSAGE = (
    "UPDATE messages SET state = ?, due_ms = ?, retried = ?, cancel_requested = ?, "
    "state_checksum = ? WHERE number = ?"
)

INSERT_LOG = "INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"

INSERT_DLQ = "INSERT INTO dlq VALUES (?,?,?,?,?,?,?,?,?)"

DELETE_GARBAGE_OF_DLQ = (
    "DELETE FROM messages WHERE number = "
    "(SELECT message FROM dlq WHERE user = ? AND id = ? AND sequence < ?)"
)
"""The message of an entry that is about to go, unless the log still shows it."""

DELETE_DLQ = "DELETE FROM dlq WHERE user = ? AND id = ?"

PUT_WINDOW = "INSERT OR REPLACE INTO windows VALUES (?,?,?,?,?)"

PUT_FACT = "INSERT OR REPLACE INTO facts VALUES (?,?,?,?)"

PUT_PERIOD = "INSERT OR REPLACE INTO periods VALUES (?,?,?,?,?)"

# An update keeps the number, and with it the place.
PUT_RESOURCE = {
    table: (
        f"INSERT INTO {table} (user, name, value, checksum) VALUES (?,?,?,?) "
        "ON CONFLICT (user, name) DO UPDATE "
        "SET value = excluded.value, checksum = excluded.checksum"
    )
    for table in ("queues", "url_groups", "flow_keys")
} | {
    "schedules": (
        "INSERT INTO schedules (user, name, value, checksum, body) VALUES (?,?,?,?,?) "
        "ON CONFLICT (user, name) DO UPDATE SET value = excluded.value, "
        "checksum = excluded.checksum, body = excluded.body"
    )
}

DELETE_RESOURCE = {
    table: f"DELETE FROM {table} WHERE user = ? AND name = ?" for table in PUT_RESOURCE
}

OF_USERS = ("facts", "messages", "log", "dlq", "windows", "periods", *PUT_RESOURCE)
"""Tables whose rows are a user's."""

RESET = tuple(f"DELETE FROM {table} WHERE user = ?" for table in OF_USERS)
