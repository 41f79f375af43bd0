/**
 * What Warren is measured beside: `Bun.serve` with the same JSON work per message and nothing else.
 * No access rules, no schema checks, no limits, no timers, no redelivery. Live publishes leave
 * message by message; queues are those of `floor.ts`. It speaks as much of the protocol as the
 * generator needs.
 */
import { parseArgs } from "node:util";
import type { ServerWebSocket } from "bun";
import { type Definition, Floor, type PublishFrame } from "./floor.ts";
import { dropPeer, newPeer, type Peer } from "./peer.ts";
import { type Endpoint, pull, push, settle } from "./plane.ts";

interface Frame extends PublishFrame {
  readonly type: string;
  readonly filter?: string;
  readonly queue?: string;
  readonly credit?: number;
  readonly tags?: number[];
}

const { values } = parseArgs({
  options: { port: { type: "string" }, "data-dir": { type: "string" } },
});

let floor: Floor | undefined;
/** The one wildcard filter, and the text before its `+`: the bare thing publishes to one topic. */
let wildcard = "";
let wildcardPrefix = "";

function publish(ws: ServerWebSocket<Peer>, frame: Frame): void {
  if (floor !== undefined && floor.topic === frame.topic) {
    floor.publish(ws.data, frame);
    return;
  }
  const wild = wildcard !== "" && frame.topic.startsWith(wildcardPrefix);
  const messageId = Bun.randomUUIDv7();
  const event = JSON.stringify({
    type: "event",
    topic: frame.topic,
    filter: wild ? wildcard : undefined,
    messageId,
    payload: frame.payload,
    time: Date.now(),
  });
  server.publish(wild ? wildcard : frame.topic, event, false);
  if (frame.id !== undefined) {
    ws.send(JSON.stringify({ type: "ok", id: frame.id, messageId, queues: 0 }));
  }
}

function subscribe(ws: ServerWebSocket<Peer>, filter: string): void {
  if (filter.includes("+")) {
    wildcard = filter;
    wildcardPrefix = filter.slice(0, filter.indexOf("+"));
  }
  ws.subscribe(filter);
}

function handle(ws: ServerWebSocket<Peer>, frame: Frame): void {
  if (frame.type === "publish") {
    publish(ws, frame);
  } else if (frame.type === "ack") {
    floor?.ack(ws.data, frame.tags ?? []);
  } else if (frame.type === "reject") {
    floor?.reject(ws.data, frame.tags ?? []);
  } else {
    if (frame.type === "subscribe") subscribe(ws, frame.filter ?? "");
    else if (frame.type === "unsubscribe") ws.unsubscribe(frame.filter ?? "");
    else if (frame.type === "consume") floor?.consume(ws.data, frame.credit ?? 0);
    ws.send(JSON.stringify({ type: "ok", id: frame.id }));
  }
}

async function define(name: string, request: Request): Promise<void> {
  const definition = (await request.json()) as Definition & { webhook?: Endpoint };
  floor ??= new Floor(values["data-dir"] ?? ".", name, definition);
  if (definition.webhook !== undefined) push(floor, definition.webhook);
}

const missing = () => new Response("not found", { status: 404 });

const server = Bun.serve<Peer, string>({
  hostname: "127.0.0.1",
  port: Number(values.port ?? 0),
  routes: {
    "/admin/v1/queues/:name": async (request) => {
      const { name = "" } = request.params;
      if (request.method === "PUT") await define(name, request);
      return Response.json({ name, counts: floor?.counts() });
    },
    "/admin/v1/queues/:name/redrive": async () =>
      Response.json({ id: "redrive", state: "done", moved: await floor?.redrive() }),
    "/v1/queues/:queue/pull": async (request) => {
      const { max } = (await request.json()) as { max: number };
      return floor === undefined ? missing() : pull(floor, max);
    },
    "/v1/queues/:queue/settle": async (request) => {
      const { ack } = (await request.json()) as { ack: number[] };
      return floor === undefined ? missing() : settle(floor, ack);
    },
  },
  fetch(request, self) {
    const { pathname } = new URL(request.url);
    if (pathname === "/readyz") return new Response("ready");
    if (pathname === "/ws" && self.upgrade(request, { data: newPeer() })) return;
    return missing();
  },
  websocket: {
    perMessageDeflate: false,
    open(ws) {
      ws.data.ws = ws;
      ws.send('{"type":"welcome"}');
    },
    message(ws, text) {
      const parsed = JSON.parse(text as string) as Frame | Frame[];
      if (Array.isArray(parsed)) for (const frame of parsed) handle(ws, frame);
      else handle(ws, parsed);
    },
    close(ws) {
      dropPeer(ws.data);
      floor?.leave(ws.data);
    },
  },
});

process.on("SIGTERM", () => {
  floor?.close();
  process.exit(0);
});
