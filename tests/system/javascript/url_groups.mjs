// Every method of client.urlGroups, and publishes to a URL group.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [urls] = given;
const client = new Client();
const { urlGroups } = client;

async function status(promise) {
  try {
    await promise;
    return 200;
  } catch (error) {
    return error.status;
  }
}

async function endpoints() {
  const group = await urlGroups.get("news");
  return group.endpoints;
}

report({ name: "list, none", answer: await urlGroups.list() });
const first = { url: "http://a.example/x?a=%2F", name: "First one" };
await urlGroups.addEndpoints({ name: "news", endpoints: [first, { url: "http://b" }] });
report({ name: "get", answer: await urlGroups.get("news") });
report({ name: "list", answer: await client.topics.list() });
await urlGroups.addEndpoints({
  name: "news",
  endpoints: [
    { url: "http://a2", name: "First one" },
    { url: "http://c", name: "c" },
  ],
});
report({ name: "addEndpoints, again", answer: await endpoints() });
await urlGroups.removeEndpoints({
  name: "news",
  endpoints: [{ name: "c" }, { url: "http://b" }, { url: "http://unknown" }],
});
report({ name: "removeEndpoints", answer: await endpoints() });
await urlGroups.removeEndpoints({ name: "news", endpoints: [{ name: "First one" }] });
report({ name: "get(emptied)", status: await status(urlGroups.get("news")) });

await urlGroups.addEndpoints({
  name: "news",
  endpoints: urls.map((url, index) => ({ url, name: `end-${index}` })),
});
const publish = { urlGroup: "news", body: { n: 1 }, deduplicationId: "n-1" };
const published = await client.publishJSON(publish);
report({ name: "publishJSON", answer: published });
report({ name: "publishJSON, again", answer: await client.publishJSON(publish) });
const messages = [];
for (const { messageId } of published) {
  await reached(messageId, "DELIVERED");
  messages.push(await client.messages.get(messageId));
}
report({ name: "messages", answer: messages });
const { logs } = await client.logs({ filter: { urlGroup: "news", state: "DELIVERED" } });
report({
  name: "logs",
  answer: logs.map((log) => [log.urlGroup, log.topicName, log.endpointName]),
});
const unknown = client.publish({ urlGroup: "unknown" });
report({ name: "publish(unknown)", status: await status(unknown) });

await urlGroups.delete("news");
report({ name: "delete, again", answer: (await urlGroups.delete("news")) ?? "nothing" });
report({ name: "list, deleted", answer: await urlGroups.list() });
