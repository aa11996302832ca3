"""The journal: one SQLite file in which the state of all users outlives the process."""
