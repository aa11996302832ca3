// The server's log, live.

/** Wait until a message's log shows a state, also if it has shown it before. */
export async function reached(messageId, state, server = process.env.QSTASH_URL) {
  const response = await fetch(`${server}/_qemu/feed`, {
    headers: { "Last-Event-ID": "0" },
    signal: AbortSignal.timeout(15_000),
  });
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const events = (rest + text).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event)?.[1];
      const entry = data === undefined ? {} : JSON.parse(data);
      if (entry.messageId === messageId && entry.state === state) return;
    }
  }
  throw new Error(`the feed ended before ${messageId} was ${state}`);
}
