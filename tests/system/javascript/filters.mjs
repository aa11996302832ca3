// The filters of client.messages.cancel, client.logs and client.dlq.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [url, groupUrls] = given;
const client = new Client();
const { messages, dlq } = client;

await client.urlGroups.addEndpoints({
  name: "news",
  endpoints: groupUrls.map((url) => ({ url })),
});

/** Publish a message of each kind: two for the URL group, one each for the others. */
async function publishAll(options) {
  const answers = [
    await client.publish({ urlGroup: "news", label: "grouped", ...options }),
    await client.queue({ queueName: "jobs" }).enqueue({ url, label: "queued", ...options }),
    await client.publish({
      url,
      label: ["controlled", "other"],
      flowControl: { key: "a key", parallelism: 9 },
      ...options,
    }),
  ];
  return answers.flat().map((answer) => answer.messageId);
}

const soon = new Date(Date.now() + 60_000);
const filters = {
  urlGroup: { urlGroup: "news" },
  "urlGroup, two": { urlGroup: ["news", "unknown"] },
  queueName: { queueName: "jobs" },
  flowControlKey: { flowControlKey: ["a key"] },
  url: { url: [groupUrls[0], url] },
  "label and url": { label: ["other", "grouped"], url: groupUrls[1] },
  "label, two": { label: ["other", "grouped"] },
  callerIp: { callerIp: "127.0.0.1", label: "queued" },
  "callerIp, other": { callerIp: "10.0.0.1" },
  scheduleId: { scheduleId: "none" },
  toDate: { toDate: soon, label: "queued" },
  "toDate, number": { toDate: 1 },
  fromDate: { fromDate: soon },
  "fromDate, number": { fromDate: 1, queueName: "jobs" },
};
const places = {
  host: { host: new URL(url).host, label: "queued" },
  "host, other": { host: "example.com" },
  path: { path: groupUrls.map((url) => new URL(url).pathname) },
};

const cancelled = {};
for (const [name, filter] of Object.entries({ ...filters, ...places })) {
  await publishAll({ delay: "1h" });
  const answer = await messages.cancel({ filter });
  const rest = await messages.cancel({ all: true });
  cancelled[name] = [answer.cancelled, rest.cancelled];
}
report({ name: "messages.cancel", answer: cancelled });
await publishAll({ delay: "1h" });
const limited = await messages.cancel({ filter: { label: "grouped" }, count: 1 });
report({ name: "messages.cancel(count)", answer: limited });
const misspelled = messages.cancel({ filter: { labeel: "queued" } }).catch(({ status }) => status);
report({ name: "messages.cancel(misspelled)", status: await misspelled });

for (const messageId of await publishAll({ retries: 0 })) await reached(messageId, "FAILED");
const failed = { state: "FAILED" };
const logged = {};
for (const [name, filter] of Object.entries({ ...filters, ...places })) {
  const { logs } = await client.logs({ filter: { ...filter, ...failed } });
  logged[name] = logs.map((log) => log.label).sort();
}
report({ name: "logs", answer: logged });
const listed = {};
for (const [name, filter] of Object.entries(filters)) {
  const { messages } = await dlq.listMessages({ filter });
  listed[name] = messages.map((entry) => entry.label).sort();
}
report({ name: "dlq.listMessages", answer: listed });
report({ name: "dlq entries", answer: (await dlq.listMessages()).messages });
const byHost = dlq.listMessages({ filter: places.host }).catch(({ status }) => status);
report({ name: "dlq.listMessages(host)", status: await byHost });

const queued = await dlq.retry({ filter: { queueName: "jobs" } });
const controlled = await dlq.retry({ filter: { flowControlKey: "a key" } });
const grouped = await dlq.retry({ filter: { urlGroup: "news" }, count: 1 });
const retried = [];
for (const { responses } of [queued, controlled, grouped]) {
  for (const { messageId } of responses) retried.push(await client.messages.get(messageId));
}
report({ name: "dlq.retry", cursor: Boolean(grouped.cursor), answer: retried });
for (const { messageId } of retried) await reached(messageId, "FAILED");
const page = await dlq.delete({ filter: { urlGroup: "news" }, count: 1 });
const last = await dlq.delete({ filter: { urlGroup: "news" }, cursor: page.cursor });
report({ name: "dlq.delete(pages)", answer: [page.deleted, last.deleted, last.cursor ?? "ends"] });
const byStatus = { filter: { responseStatus: [500, 404], queueName: "jobs" } };
report({ name: "dlq.delete", answer: await dlq.delete(byStatus) });
report({ name: "dlq.delete(all)", answer: await dlq.delete({ all: true }) });
