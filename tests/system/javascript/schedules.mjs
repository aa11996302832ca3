// Every method of client.schedules, against a server whose clock is turned.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";

const [url] = given;
const client = new Client({ headers: { "X-Client": "scenario" } });
const { schedules } = client;

async function advance(order) {
  const response = await fetch(`${process.env.QSTASH_URL}/_qemu/clock/advance`, {
    method: "POST",
    body: JSON.stringify(order),
  });
  if (!response.ok) throw new Error(await response.text());
}

async function failure(promise) {
  try {
    return { succeeded: await promise };
  } catch (error) {
    return { name: error.name, status: error.status };
  }
}

report({ name: "list, none", answer: await schedules.list() });
const created = await schedules.create({
  destination: "http://example.com/a%2Fb//c?x=1&x=2",
  cron: "  CRON_TZ=Asia/Kolkata 0 4 1 1 *  ",
  body: JSON.stringify({ hello: "world" }),
  method: "PUT",
  headers: {
    "x-api-key": "k",
    "Upstash-Callback-Forward-X-From": "callback",
    "Upstash-Failure-Callback-Forward-X-From": "failure",
  },
  callback: "http://localhost:1/callback?a=1",
  failureCallback: "http://localhost:1/failed",
  retries: 7,
  retryDelay: "1000 * (1 + retried)",
  delay: 90,
  timeout: "30s",
  scheduleId: "every.year-1",
  queueName: "reports",
  flowControl: { key: "k", parallelism: 2, rate: 5, period: "1d" },
  label: ["first", "second"],
});
report({ name: "create", answer: created });
report({ name: "get", answer: await schedules.get("every.year-1") });
report({ name: "list", answer: await schedules.list() });
await schedules.pause({ schedule: "every.year-1" });
await schedules.create({
  destination: "http://x",
  cron: "0 4 1 1 *",
  scheduleId: "every.year-1",
});
report({ name: "get, replaced", answer: await schedules.get("every.year-1") });
await schedules.resume({ schedule: "every.year-1" });
report({ name: "get, resumed", answer: await schedules.get("every.year-1") });
await schedules.delete("every.year-1");
const again = await schedules.delete("every.year-1");
report({ name: "delete, again", answer: again ?? "nothing" });
report({ name: "get(unknown)", answer: await failure(schedules.get("every.year-1")) });
const unknown = { schedule: "every.year-1" };
report({ name: "pause(unknown)", answer: await failure(schedules.pause(unknown)) });
const bad = { destination: "http://x", cron: "yearly" };
report({ name: "create(bad cron)", answer: await failure(schedules.create(bad)) });

const redacted = await schedules.create({
  destination: "http://x",
  cron: "0 4 1 1 *",
  body: "secret",
  headers: { "Content-Type": "text/plain", Authorization: "secret" },
  redact: { body: true, header: ["authorization"] },
});
report({ name: "get, redacted", answer: await schedules.get(redacted.scheduleId) });

const { scheduleId } = await schedules.create({
  destination: url,
  cron: "*/30 * * * *",
  body: "tick",
  headers: { "Content-Type": "text/plain" },
  flowControl: { key: "k", ratePerSecond: 5 },
  label: "tick",
});
const { nextScheduleTime } = await schedules.get(scheduleId);
await advance({ to: nextScheduleTime });
const fired = await schedules.get(scheduleId);
report({ name: "get, fired", scheduleId, nextScheduleTime, answer: fired });
const { logs } = await client.logs({ filter: { scheduleId } });
report({ name: "logs", answer: logs.map((log) => [log.state, log.scheduleId]) });
report({ name: "messages.get", answer: await client.messages.get(logs[0].messageId) });

await schedules.pause({ schedule: scheduleId });
await advance({ by: "1h" });
report({ name: "get, paused", answer: await schedules.get(scheduleId) });
await schedules.resume({ schedule: scheduleId });
await advance({ by: "30m" });
report({ name: "get, fired again", answer: await schedules.get(scheduleId) });
