import { Client } from "@upstash/qstash";

const url = process.env.APP_URL ?? "http://localhost:8000";
const qstash = new Client();

const { messageId } = await qstash.publishJSON({
  url: `${url}/confirm`,
  body: { item: "tea" },
  delay: "10s",
  retries: 2,
});
console.log("published", messageId);

const orders = qstash.queue({ queueName: "orders" });
await orders.upsert({ parallelism: 1 });
await orders.enqueueJSON({ url: `${url}/confirm`, body: { item: "coffee" } });

await qstash.schedules.create({
  scheduleId: "nightly",
  cron: "CRON_TZ=Europe/Berlin 0 3 * * *",
  destination: `${url}/confirm`,
  body: JSON.stringify({ item: "milk" }),
});

const { logs } = await qstash.logs();
for (const { state, url } of logs) console.log(state, url);
