// QSTASH_DEV=true and a port: the SDK needs to be told nothing else.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";
import { reached } from "./feed.mjs";

const [url] = given;
const server = `http://127.0.0.1:${process.env.QSTASH_DEV_PORT}`;

try {
  const { messageId } = await new Client().publishJSON({ url, body: { hello: "world" } });
  await reached(messageId, "DELIVERED", server);
  report({ messageId });
} catch (error) {
  report({ error: error.message });
}
