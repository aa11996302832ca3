"""What QStash decides. Pure: no asyncio, no clock, no chance, no I/O."""
