// Calls of every kind, while each of the rate limits is exceeded.

import { Client, upstash } from "@upstash/qstash";
import { report } from "./report.mjs";

const client = new Client();

async function exceed(kind) {
  const response = await fetch(`${process.env.QSTASH_URL}/_qemu/rate-limit`, {
    method: "POST",
    body: JSON.stringify({ kind }),
  });
  if (!response.ok) throw new Error(await response.text());
}

async function failure(promise) {
  try {
    return { succeeded: await promise };
  } catch (error) {
    return { name: error.name, ...error };
  }
}

const chat = { provider: upstash(), model: "any", system: "be brief", user: "hello" };
const calls = {
  publish: () => client.publish({ url: "http://x", delay: "1h" }),
  enqueue: () => client.queue({ queueName: "q" }).enqueue({ url: "http://x", delay: "1h" }),
  batch: () => client.batch([{ url: "http://x", delay: "1h" }]),
  "queue.list": () => client.queue().list(),
  "chat.create": () => client.chat().create({ ...chat, messages: [] }),
  "chat.prompt": () => client.chat().prompt(chat),
  "chat.prompt, streaming": async () => {
    const stream = await client.chat().prompt({ ...chat, stream: true });
    for await (const chunk of stream) return chunk;
  },
};
for (const kind of ["daily", "burst", "chat", "off"]) {
  await exceed(kind);
  const answers = {};
  for (const [name, call] of Object.entries(calls)) answers[name] = await failure(call());
  report({ name: kind, answers });
}
