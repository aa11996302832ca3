"""The way to destinations: one HTTP call in, one ``Outcome`` out.

``http_transport.py`` chooses a client by the URL's scheme: ``plain.py`` is our own and
speaks HTTP/1.1 to ``http://``; ``tls.py`` has aiohttp speak to ``https://``. Both send
the same request and give the same outcome (tests/transport/test_differential.py).
"""

from emulator.transport.http_transport import HttpTransport

__all__ = ["HttpTransport"]
