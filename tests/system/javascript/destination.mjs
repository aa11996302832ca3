// An app that QStash delivers to. It reports every call, and verifies it first.
//
// A URL's query says how it answers: ?answers=500,500,200 answers the third call, and
// all that follow, with 200; 489-final also says that no retry will help (DLV-13).
// APP_URL is the address that it is called by, if that isn't the one it listens on.

import { createHash, createHmac } from "node:crypto";
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import { isUtf8 } from "node:buffer";
import { Receiver } from "@upstash/qstash";
import { report } from "./report.mjs";

const receiver = new Receiver();
const calls = new Map();

// The SDK takes text, so a body that isn't any is verified by hand (SIG-15).
function verifyBytes(signature, body, url) {
  const [header, payload, mac] = signature.split(".");
  const key = process.env.QSTASH_CURRENT_SIGNING_KEY;
  const expected = createHmac("sha256", key).update(`${header}.${payload}`);
  if (mac !== expected.digest("base64url")) throw new Error("not our signature");
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  if (claims.sub !== url) throw new Error(`for ${claims.sub}`);
  const hash = createHash("sha256").update(body).digest("base64url");
  if (claims.body.replace(/=+$/, "") !== hash) throw new Error("for another body");
}

async function whyRefused(signature, body, url) {
  try {
    if (isUtf8(body)) await receiver.verify({ signature, body: body.toString(), url });
    else verifyBytes(signature, body, url);
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
}

function answerTo(url) {
  const answers = new URL(url).searchParams.get("answers")?.split(",") ?? ["404"];
  const call = calls.get(url) ?? 0;
  calls.set(url, call + 1);
  return answers[Math.min(call, answers.length - 1)];
}

const server = createServer(async (request, response) => {
  const url = base + request.url;
  const { method, headers } = request;
  const body = await buffer(request);
  const refusal = await whyRefused(headers["upstash-signature"] ?? "", body, url);
  const [status, isFinal] = refusal ? ["401"] : answerTo(url).split("-");
  report({ type: "delivery", url, method, headers, body: body.toString("base64"), refusal });
  if (isFinal) response.setHeader("Upstash-NonRetryable-Error", "true");
  response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8", "X-Answer": status });
  response.end(`answer ${status}`);
});

let base;
server.listen(0, "localhost", () => {
  const url = `http://localhost:${server.address().port}`;
  base = process.env.APP_URL ?? url;
  report({ type: "ready", url });
});
