import os

from qstash import QStash

URL = os.environ.get("APP_URL", "http://localhost:8000")

qstash = QStash(os.environ["QSTASH_TOKEN"])

receipt = qstash.message.publish_json(
    url=f"{URL}/confirm", body={"item": "tea"}, delay="10s", retries=2
)
print("published", receipt.message_id)

qstash.queue.upsert("orders", parallelism=1)
qstash.message.enqueue_json(
    queue="orders", url=f"{URL}/confirm", body={"item": "coffee"}
)

qstash.schedule.create_json(
    schedule_id="nightly",
    cron="CRON_TZ=Europe/Berlin 0 3 * * *",
    destination=f"{URL}/confirm",
    body={"item": "milk"},
)
