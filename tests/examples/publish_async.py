import asyncio
import os

from qstash import AsyncQStash

URL = os.environ.get("APP_URL", "http://localhost:8000")


async def main():
    qstash = AsyncQStash(os.environ["QSTASH_TOKEN"])
    receipt = await qstash.message.publish_json(
        url=f"{URL}/confirm", body={"item": "tea"}
    )
    print("published", receipt.message_id)


asyncio.run(main())
