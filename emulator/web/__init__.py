"""HTTP in: QStash's API, and what is ours under ``/_qemu``."""
