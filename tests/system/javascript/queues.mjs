// Every method of client.queue(…), and batches for queues.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [url, endpointUrls] = given;
const client = new Client({ headers: { "X-Client": "scenario" } });
const queue = client.queue({ queueName: "emails" });

async function failure(promise) {
  try {
    return { succeeded: await promise };
  } catch (error) {
    return { name: error.name, status: error.status };
  }
}

report({ name: "list, none", answer: await client.queue().list() });
await queue.upsert({ parallelism: 3, paused: true });
report({ name: "get", answer: await queue.get() });
await queue.upsert({ parallelism: 2 });
report({ name: "get, upserted again", answer: await queue.get() });

await queue.upsert({ parallelism: 1, paused: true });
const text = await queue.enqueue({ url, body: "one", method: "PUT" });
const json = await queue.enqueueJSON({
  url,
  body: { n: 2 },
  headers: { "X-N": "2" },
  label: "mail",
});
report({ name: "enqueue", answer: [text, json] });
report({ name: "get, paused", answer: await queue.get() });
await queue.resume();
await reached(json.messageId, "DELIVERED");
report({ name: "message", answer: await client.messages.get(json.messageId) });
const { logs } = await client.logs({ filter: { queueName: "emails" } });
report({ name: "logs", answer: logs.map((log) => [log.messageId, log.queueName, log.state]) });

await client.urlGroups.addEndpoints({
  name: "news",
  endpoints: endpointUrls.map((url) => ({ url })),
});
await queue.pause();
const three = await queue.enqueue({ urlGroup: "news", body: "three" });
report({ name: "enqueue(urlGroup)", answer: three });
report({
  name: "batch",
  answer: await client.batch([
    { url, body: "four", queueName: "on-the-fly" },
    { urlGroup: "news", body: "five", queueName: "emails" },
    { urlGroup: "news", body: "six" },
  ]),
});
const batchJSON = await client.batchJSON([{ topic: "news", queueName: "emails", body: { n: 7 } }]);
report({ name: "batchJSON", answer: batchJSON });
report({ name: "get, paused again", answer: await queue.get() });
await queue.resume();
await reached(batchJSON[0][1].messageId, "DELIVERED");
report({ name: "list", answer: await queue.list() });

await queue.delete();
report({ name: "delete, again", answer: (await queue.delete()) ?? "nothing" });
report({ name: "get(unknown)", answer: await failure(queue.get()) });
report({ name: "pause(unknown)", answer: await failure(queue.pause()) });
report({ name: "list, deleted", answer: (await queue.list()).map((each) => each.name) });
