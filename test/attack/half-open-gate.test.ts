/**
 * Peers that are gone without a word, at the gate for client certificates: there are two connections for each,
 * and both must go when the heartbeat finds that nobody is there.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Authority, OPENSSL } from "../harness/certificates.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";
import { HostilePeer, upgradeRequest } from "./hostile-peer.ts";

const authority = OPENSSL === null ? undefined : new Authority();
afterAll(() => authority?.[Symbol.dispose]());
const server = authority?.make("server", "/CN=broker", "DNS:localhost;IP:127.0.0.1");
const hasTable = process.platform === "linux";

const PEERS = 5;
const HEARTBEAT_MS = 1000;

/** Connections of this machine that a process holds at this port of its own, as the system knows them. */
function heldAt(port: number): number {
  const lines = readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1, -1);
  const LISTENING = "0A";
  return lines.filter((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    const isHere = Number.parseInt(local?.split(":")[1] ?? "", 16) === port;
    // Without a file it is the system's alone, which is still taking leave.
    return isHere && state !== LISTENING && inode !== "0";
  }).length;
}

async function started(): Promise<TestBroker> {
  const { certFile, keyFile } = server!;
  const gate = { clientCertificate: "request", caFile: authority!.caFile };
  return startBroker({
    limits: { heartbeatMs: HEARTBEAT_MS },
    access: { tls: { certFile, keyFile, ...gate } },
  });
}

async function connected(broker: TestBroker): Promise<HostilePeer> {
  const peer = await HostilePeer.dial(broker.wsUrl, { ca: authority!.ca });
  peer.write(upgradeRequest(peer.host));
  await peer.until(({ type }) => type === "welcome");
  return peer;
}

/** What happens to those who are not there any more, before that is known. */
const MEANWHILE: Readonly<
  Record<string, (others: WireClient, broker: TestBroker) => Promise<void>>
> = {
  "while nothing is said to them": async () => undefined,
  "with more on its way to them than their end holds": async (others, broker) => {
    const payload = "x".repeat(200_000);
    const isFull = () =>
      [...broker.warren.sessions].filter(({ socket }) => socket.getBufferedAmount() > 0).length >=
      PEERS;
    // What the buffers of a system hold is up to it.
    for (let n = 0; n < 500 && !isFull(); n++) {
      await others.ok({ type: "publish", topic: "flood", payload, echo: false });
    }
    expect(isFull()).toBe(true);
  },
};

const isRunnable = server !== undefined && hasTable;
describe("[P-9.2, P-14.11] the gate for client certificates keeps nobody who vanished", () => {
  for (const [what, happens] of Object.entries(MEANWHILE)) {
    test.skipIf(!isRunnable)(
      `[P-9.2, P-14.3] peers that vanished leave no connection behind, ${what}`,
      async () => {
        await using broker = await started();
        const port = Number(new URL(broker.httpUrl).port);
        using others = await WireClient.connect(broker.wsUrl, { tls: { ca: authority!.ca } });
        const peers = await Promise.all(Array.from({ length: PEERS }, () => connected(broker)));
        for (const peer of peers) peer.send({ type: "subscribe", id: 1, filter: "flood" });
        await Promise.all(peers.map((peer) => peer.until(({ type }) => type === "ok")));
        expect(heldAt(port)).toBe(PEERS + 1);
        // No pong comes from a socket that nobody reads: to the broker that is a cable that was cut.
        for (const peer of peers) peer.socket.pause();
        await happens(others, broker);
        await eventually(
          () => broker.warren.sessions.size === 1,
          () => `one session, not ${broker.warren.sessions.size}`,
        );
        await eventually(
          () => heldAt(port) === 1,
          () => `one connection at the gate, not ${heldAt(port)}`,
        );
        await others.ok({ type: "publish", topic: "still/there" });
        for (const peer of peers) peer.socket.destroy();
      },
    );
  }
});
