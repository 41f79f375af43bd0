/**
 * Runs on Node, with the clients that Node's users have: `ws`, `@msgpack/msgpack` and the built-in
 * `fetch`. Orders come in as JSON lines on standard input, what happens goes out as JSON lines. Binary
 * travels in these lines as `{"$binary": <base64>}`; what is on the wire is the client's own doing.
 */
import { createInterface } from "node:readline";
import { decode, encode } from "@msgpack/msgpack";
import WebSocket from "ws";

const sockets = new Map();

function revive(_key, value) {
  return typeof value?.$binary === "string" ? Buffer.from(value.$binary, "base64") : value;
}

/** Before `JSON.stringify` would ask a Buffer for its own idea of JSON. */
function portable(value) {
  if (value instanceof Uint8Array) return { $binary: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(portable);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, portable(item)]));
}

function tell(socket, happened, more = {}) {
  process.stdout.write(`${JSON.stringify({ socket, happened, ...more })}\n`);
}

function opened(id, { url, protocols, headers }) {
  const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: true });
  sockets.set(id, socket);
  socket.on("open", () => tell(id, "open", { protocol: socket.protocol }));
  socket.on("message", (data, isBinary) => {
    const value = isBinary ? decode(data) : JSON.parse(data.toString());
    tell(id, "message", { isBinary, value: portable(value) });
  });
  socket.on("pong", (data) => tell(id, "pong", { text: data.toString() }));
  socket.on("close", (code, reason) => tell(id, "close", { code, reason: reason.toString() }));
  socket.on("unexpected-response", (request, response) => {
    let body = "";
    response.on("data", (chunk) => {
      body += chunk;
    });
    response.on("end", () => {
      tell(id, "refused", { status: response.statusCode, headers: response.headers, body });
      request.destroy();
    });
  });
  socket.on("error", (error) => tell(id, "error", { message: error.message }));
}

async function fetched(id, { url, method, headers, json, msgpack, bytes, text }) {
  const body =
    json !== undefined
      ? JSON.stringify(json)
      : msgpack !== undefined
        ? encode(msgpack)
        : (bytes ?? text);
  const answer = await fetch(url, { method, headers, ...(body !== undefined && { body }) });
  const got = Buffer.from(await answer.arrayBuffer());
  const type = answer.headers.get("content-type");
  const value =
    got.length === 0
      ? undefined
      : type === "application/msgpack"
        ? portable(decode(got))
        : type?.includes("json")
          ? JSON.parse(got.toString())
          : got.toString();
  tell(id, "answer", { status: answer.status, type, value });
}

const ORDERS = {
  connect: opened,
  fetch: fetched,
  json: (id, { value }) => sockets.get(id).send(JSON.stringify(value)),
  msgpack: (id, { value }) => sockets.get(id).send(encode(value)),
  text: (id, { value }) => sockets.get(id).send(value),
  bytes: (id, { value }) => sockets.get(id).send(value),
  ping: (id, { value }) => sockets.get(id).ping(value),
  close: (id, { code, reason }) => sockets.get(id).close(code, reason),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { socket, order, ...options } = JSON.parse(line, revive);
  await ORDERS[order](socket, options);
}
for (const socket of sockets.values()) socket.terminate();
