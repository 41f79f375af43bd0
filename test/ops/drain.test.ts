/** A planned stop of a real process: told, answered, kept [P-9.3], [P-12.2]. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { serve } from "../harness/served.ts";
import { startTestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

let dataDir: string;
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "warren-drain-"));
});
afterEach(() => rm(dataDir, { recursive: true, force: true }));

const QUEUES = { WARREN_QUEUES: JSON.stringify({ jobs: { bindings: ["jobs/#"] } }) };
const socketOf = (url: string) => WireClient.connect(`${url.replace("http", "ws")}/ws`);

/** A request that never ends: its body is announced and does not come. */
function stuckRequest(url: string) {
  const { hostname, port } = new URL(url);
  return Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      open(socket) {
        socket.write("POST /v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[");
      },
      data: () => undefined,
    },
  });
}

describe("[P-9.3] SIGTERM", () => {
  test("[P-9.3] notice, then 1012, then exit 0; the next start goes on where it was", async () => {
    const first = await serve(dataDir, [], QUEUES);
    const client = await socketOf(first.url);
    await client.ok({ type: "subscribe", filter: "#" });
    const published = await client.ok({ type: "publish", topic: "jobs/a", payload: "keep me" });
    first.child.kill("SIGTERM");
    const notice = await client.expect("notice");
    expect(notice).toMatchObject({ code: "draining", reconnectAfterMs: expect.any(Number) });
    expect(await client.closed()).toMatchObject({ code: 1012 });
    expect(await first.child.exited).toBe(0);
    expect(first.log().map(({ msg }) => msg)).toEqual(
      expect.arrayContaining(["listening", "draining", "stopped"]),
    );
    await using second = await serve(dataDir, [], QUEUES);
    const again = await socketOf(second.url);
    await again.ok({ type: "consume", queue: "jobs", credit: 1 });
    expect(await again.expect("delivery")).toMatchObject({
      messageId: published.messageId,
      payload: "keep me",
      attempt: 1,
    });
  });

  test("[P-5.8] publishes on their way are answered before the connection closes", async () => {
    const first = await serve(dataDir, [], QUEUES);
    const client = await socketOf(first.url);
    const answers = Array.from({ length: 200 }, (_, payload) =>
      client.request({ type: "publish", topic: "jobs/a", payload }),
    );
    await answers[0];
    first.child.kill("SIGTERM");
    // What is refused or cut off was never confirmed; what was confirmed is there.
    const settled = await Promise.allSettled(answers);
    const confirmed = settled.filter(
      (one) => one.status === "fulfilled" && one.value.type === "ok",
    ).length;
    expect(confirmed).toBeGreaterThan(0);
    expect(await first.child.exited).toBe(0);
    await using second = await serve(dataDir, [], QUEUES);
    const answer = await fetch(`${second.url}/admin/v1/queues/jobs`);
    const { counts } = (await answer.json()) as { counts: { ready: number } };
    expect(counts.ready).toBeGreaterThanOrEqual(confirmed);
  });

  test("[P-12.7] a waiting pull is answered with what there is", async () => {
    await using broker = await serve(dataDir, [], QUEUES);
    const waiting = fetch(`${broker.url}/v1/queues/jobs/pull`, {
      method: "POST",
      body: '{"waitMs":60000}',
    });
    const consumers = async () => {
      const answer = await fetch(`${broker.url}/admin/v1/queues/jobs`);
      return ((await answer.json()) as { counts: { consumers: number } }).counts.consumers;
    };
    for (let tries = 0; (await consumers()) === 0; tries++) expect(tries).toBeLessThan(10_000);
    broker.child.kill("SIGTERM");
    expect(await (await waiting).json()).toEqual({ deliveries: [] });
    expect(await broker.child.exited).toBe(0);
  });

  test("[P-12.2] while it drains it is not ready and takes no new work", async () => {
    const { limits } = configFrom({});
    const engine = new MemoryEngine({ clock: systemClock, random: systemRandom, limits });
    const gate = Promise.withResolvers<void>();
    const close = engine.close.bind(engine);
    engine.close = () => gate.promise.then(close);
    await using broker = await startTestWarren(
      { queues: { jobs: { bindings: ["#"] } } },
      { engine },
    );
    const stopped = broker.warren.stop("test");
    const ready = await broker.json("GET", "/readyz");
    expect([ready.status, ready.body.code]).toEqual([503, "draining"]);
    expect(Number(ready.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect((await broker.request("GET", "/healthz")).status).toBe(200);
    expect(await (await broker.request("GET", "/metrics")).text()).toContain("warren_draining 1\n");
    for (const [path, body] of [
      ["/v1/publish", { topic: "a" }],
      ["/v1/topics/a", "x"],
      ["/v1/queues/jobs/pull", {}],
    ] as const) {
      const answer = await broker.json("POST", path, body);
      expect([answer.status, answer.body.code], path).toEqual([503, "draining"]);
    }
    const upgrade = await broker.json("GET", "/ws", undefined, {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    });
    expect([upgrade.status, upgrade.body.code]).toEqual([503, "draining"]);
    gate.resolve();
    await stopped;
  });

  test("[P-9.3] a second signal ends it at once", async () => {
    await using broker = await serve(dataDir, [], QUEUES);
    const stuck = await stuckRequest(broker.url);
    // A connection that is open already can still ask.
    const kept = await WireClient.connect(`${broker.url.replace("http", "ws")}/ws`);
    broker.child.kill("SIGTERM");
    expect(await kept.closed()).toMatchObject({ code: 1012 });
    await broker.logged("draining");
    broker.child.kill("SIGTERM");
    expect(await broker.child.exited).toBe(1);
    stuck.end();
  });

  test("[P-9.3] limits.drainMs bounds the stop, whatever a client does", async () => {
    await using broker = await serve(dataDir, ["--limits-drain-ms", "200"]);
    const stuck = await stuckRequest(broker.url);
    broker.child.kill("SIGINT");
    expect(await broker.child.exited).toBe(0);
    stuck.end();
  });
});
