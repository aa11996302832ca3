import os
import unittest

from qstash import QStash

from emulator import Emulator, Settings


class Orders(unittest.TestCase):
    def setUp(self):
        emulator = Emulator(Settings(port=0, clock="virtual"))
        self.qemu = self.enterContext(emulator.in_thread())
        self.enterContext(self.qemu.environment())

    def test_an_order_is_confirmed_an_hour_later(self):
        hook = self.qemu.endpoint("/confirm")
        QStash(os.environ["QSTASH_TOKEN"]).message.publish_json(
            url=hook.url, body={"order": 7}, delay="1h"
        )

        self.qemu.advance("59m")
        assert hook.requests == []
        self.qemu.advance("1m")
        assert hook.last.json() == {"order": 7}
