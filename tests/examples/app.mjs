import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { Client, Receiver } from "@upstash/qstash";

const url = process.env.APP_URL ?? "http://localhost:8000";
const qstash = new Client();
const receiver = new Receiver();

const routes = {
  async "/order"(body) {
    const order = JSON.parse(body);
    return qstash.publishJSON({ url: `${url}/confirm`, body: order });
  },
  async "/confirm"(body, headers) {
    const signature = headers["upstash-signature"];
    await receiver.verify({ signature, body, url: `${url}/confirm` });
    console.log("confirmed", body);
    return {};
  },
};

createServer(async (request, response) => {
  try {
    const answer = await routes[request.url](await text(request), request.headers);
    response.end(JSON.stringify(answer));
  } catch (error) {
    response.writeHead(500).end(error.message);
  }
}).listen(new URL(url).port, () => console.log(`app is running at ${url}`));
