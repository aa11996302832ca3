"""When, and in what order. asyncio; no HTTP server, no SQL, no terminal."""
