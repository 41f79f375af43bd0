/**
 * Peers that begin something and never come to its end: the broker closes them, and is not hindered by
 * them meanwhile. Bun's bounds on that cannot be set, so that these tests wait for them as they are.
 */
import { afterAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { Authority, OPENSSL } from "../harness/certificates.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";

const authority = OPENSSL === null ? undefined : new Authority();
afterAll(() => authority?.[Symbol.dispose]());
const server = authority?.make("server", "/CN=broker", "DNS:localhost;IP:127.0.0.1");

interface Slow {
  readonly what: string;
  readonly begin: string | Uint8Array;
  /** What it sends again and again, so that it is never idle. */
  readonly drip?: string;
}

const HEADS: readonly Slow[] = [
  { what: "says nothing", begin: "" },
  { what: "half a first line", begin: "GET /heal" },
  { what: "half a first line, drop by drop", begin: "GET /", drip: "x" },
  { what: "half a head", begin: "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " },
  {
    what: "a head, drop by drop",
    begin: "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    drip: "y",
  },
  {
    what: "headers without end",
    begin: "GET /ws HTTP/1.1\r\nHost: localhost\r\n",
    drip: "A: b\r\n",
  },
];
const HANDSHAKES: readonly Slow[] = [
  { what: "says nothing before TLS", begin: "" },
  { what: "half a greeting", begin: Uint8Array.from([0x16, 3, 1, 2, 0, 1, 0]) },
  { what: "a greeting, drop by drop", begin: Uint8Array.from([0x16, 3, 1, 2, 0]), drip: "\u0001" },
];

/** Opens a connection for each and resolves with what it heard when all have been closed by the broker. */
async function closed(open: () => Socket, all: readonly Slow[], serves: () => Promise<void>) {
  const waiting = new Map<string, Socket>();
  const heard: string[] = [];
  for (const { what, begin, drip } of all) {
    const socket = open();
    waiting.set(what, socket);
    const dropping = drip === undefined ? undefined : setInterval(() => socket.write(drip), 300);
    socket.on("error", () => undefined);
    socket.on("data", (bytes) => heard.push(`${what}: ${bytes}`));
    socket.on("close", () => {
      clearInterval(dropping);
      waiting.delete(what);
    });
    if (begin.length > 0) socket.write(begin);
  }
  await serves();
  await eventually(
    () => waiting.size === 0,
    () => `the end of ${[...waiting.keys()].join(", ")}`,
  );
  await serves();
  return heard;
}

async function serving(
  { wsUrl }: TestBroker,
  tls?: { readonly ca: string },
): Promise<() => Promise<void>> {
  const live = await WireClient.connect(wsUrl, tls === undefined ? {} : { tls });
  await live.ok({ type: "subscribe", filter: "witness" });
  return async () => {
    await live.ok({ type: "publish", topic: "witness", payload: 1 });
    expect((await live.expect("event")).payload).toBe(1);
  };
}

const portOf = ({ httpUrl }: TestBroker) => Number(new URL(httpUrl).port);

test("[P-14.11, P-12.1] heads that never end are closed, however they come, and nobody answers them", async () => {
  await using broker = await startBroker();
  const port = portOf(broker);
  const heard = await closed(() => connect(port, "127.0.0.1"), HEADS, await serving(broker));
  expect(heard).toEqual([]);
}, 60_000);

for (const clientCertificate of ["none", "request"] as const) {
  const where = clientCertificate === "none" ? "over TLS" : "at the gate for client certificates";
  test.skipIf(server === undefined)(
    `[P-14.11, P-14.3] ${where} heads and handshakes that never end are closed`,
    async () => {
      const { certFile, keyFile } = server!;
      const gate = clientCertificate !== "none" && { clientCertificate, caFile: authority!.caFile };
      const tls = { certFile, keyFile, ...gate };
      await using broker = await startBroker({ access: { tls } });
      const port = portOf(broker);
      const trust = { ca: authority!.ca };
      const over = () => connectTls({ port, host: "127.0.0.1", servername: "localhost", ...trust });
      const serves = await serving(broker, trust);
      const heard = await Promise.all([
        closed(over, HEADS, serves),
        closed(
          () => connect(port, "127.0.0.1"),
          HANDSHAKES,
          async () => undefined,
        ),
      ]);
      expect(heard.flat()).toEqual([]);
    },
    60_000,
  );
}

test.skipIf(server === undefined)(
  "[P-14.3] a stop waits for nobody whose handshake never ends",
  async () => {
    const { certFile, keyFile } = server!;
    const tls = { certFile, keyFile, clientCertificate: "request", caFile: authority!.caFile };
    const broker = await startBroker({ access: { tls } });
    const socket = connect(portOf(broker), "127.0.0.1");
    let over = false;
    socket
      .on("error", () => undefined)
      .on("close", () => {
        over = true;
      });
    await new Promise((resolve) => socket.once("connect", resolve));
    using _client = await WireClient.connect(broker.wsUrl, { tls: { ca: authority!.ca } });
    await broker[Symbol.asyncDispose]();
    await eventually(
      () => over,
      () => "the end of its connection",
    );
  },
);
