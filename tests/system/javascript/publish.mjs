// Publishes every kind of body, each to a URL of its own.

import { Client } from "@upstash/qstash";
import { given, report } from "./report.mjs";

const [urls] = given;
const client = new Client();

const bodies = {
  json: (url) => client.publishJSON({ url, body: { to: "Zoë", items: [1, 2.5, null] } }),
  text: (url) =>
    client.publish({
      url,
      body: "größer 🎈\r\n",
      headers: { "Content-Type": "text/plain; charset=utf-8" },
    }),
  bytes: (url) => client.publish({ url, body: new Uint8Array([0, 112, 108, 97, 105, 110]) }),
  "bytes that are no text": (url) =>
    client.publish({
      url,
      body: Uint8Array.from({ length: 256 }, (_, index) => index),
      headers: { "Content-Type": "application/octet-stream" },
    }),
  nothing: (url) => client.publish({ url }),
  "no JSON": (url) => client.publishJSON({ url }),
};

for (const [name, url] of Object.entries(urls)) {
  const { messageId } = await bodies[name](url);
  report({ name, messageId });
}
