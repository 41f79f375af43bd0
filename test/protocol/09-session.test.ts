/** The life of a connection [P-9]: credentials, liveness, the planned stop. */
import { describe, expect, test } from "bun:test";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { eventually } from "../harness/eventually.ts";
import { HeldEngine } from "../harness/held-engine.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { RawClient } from "../harness/raw-client.ts";
import { startBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(encoding, () => {
    test("[P-9.1] auth replaces the rights, and what follows is judged by the new ones", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const token = await tokenFor("ada", { grants: [] });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      expect((await client.request({ type: "publish", topic: "t" })).code).toBe("forbidden");
      const answer = client.expect(({ id }) => id === "after");
      client.send({ type: "auth", id: "now", token: await tokenFor("ada") });
      client.send({ type: "publish", id: "after", topic: "t" });
      expect(await client.expect(({ id }) => id === "now")).toMatchObject({ type: "ok" });
      expect(await answer).toMatchObject({ type: "ok" });
    });

    test("[P-9.1] the principal may not change, and a failed auth leaves everything as it was", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const token = await tokenFor("ada");
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      await client.ok({ type: "subscribe", filter: "t" });
      const other = await client.request({ type: "auth", token: await tokenFor("bob") });
      expect(other).toMatchObject({ code: "forbidden" });
      const wrong = await client.request({ type: "auth", token: "wrong" });
      expect(wrong).toMatchObject({ code: "unauthenticated" });
      await client.ok({ type: "publish", topic: "t" });
      expect(await client.expect("event")).toMatchObject({ from: "ada" });
    });

    test("[P-9.1] rights to a queue that end, end its consumer", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await broker.queue("q", ["t"]);
      const token = await tokenFor("ada");
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      await client.ok({ type: "consume", queue: "q", credit: 1 });
      await client.ok({ type: "auth", token: await tokenFor("ada", { grants: [] }) });
      expect(await client.expect("notice")).toEqual({
        type: "notice",
        code: "consumer_ended",
        queue: "q",
        reason: "forbidden",
      });
      expect(broker.warren.broker.engine.queues.describe("q").counts.consumers).toBe(0);
    });

    test("[P-9.1] a token's end is told before, and closes with 4401", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const exp = Math.floor(Date.now() / 1000) + 2;
      const token = await tokenFor("ada", { exp, grants: EVERYTHING });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      expect(client.welcome.expiresAt).toBe(exp * 1000);
      expect(await client.expect("notice")).toEqual({
        type: "notice",
        code: "token_expiring",
        expiresAt: exp * 1000,
      });
      expect(await client.expect("error")).toMatchObject({ code: "token_expired" });
      expect((await client.closed()).code).toBe(4401);
      expect(Date.now()).toBeGreaterThanOrEqual(exp * 1000);
    });

    test("[P-9.1] a new token in time moves the end", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const exp = Math.floor(Date.now() / 1000) + 2;
      const token = await tokenFor("ada", { exp, grants: EVERYTHING });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      const later = exp + 3600;
      const fresh = await tokenFor("ada", { exp: later, grants: EVERYTHING });
      expect(await client.ok({ type: "auth", token: fresh })).toMatchObject({
        expiresAt: later * 1000,
      });
      await eventually(
        () => Date.now() > exp * 1000,
        () => "the first token to end",
      );
      await client.ok({ type: "publish", topic: "t" });
    });

    test("[P-9.2] ping answers with the time", async () => {
      await using broker = await startBroker();
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      const { time } = await client.ok({ type: "ping" });
      expect(Number.isInteger(time)).toBe(true);
    });

    test("[P-9.3, P-5.2] a planned stop is told to everyone, then 1012", async () => {
      await using broker = await startBroker();
      await broker.queue("q", ["t"]);
      using client = await WireClient.connect(broker.wsUrl, { encoding });
      await client.ok({ type: "consume", queue: "q", credit: 1 });
      const stopped = broker.stop();
      const notice = await client.expect("notice");
      expect(notice).toMatchObject({ code: "draining" });
      expect(notice.reconnectAfterMs).toBeGreaterThan(0);
      expect((await client.closed()).code).toBe(1012);
      await stopped;
    });
  });
}

describe("liveness", () => {
  test("[P-9.2] a peer that says nothing for two heartbeats is closed, however much is sent to it", async () => {
    const clock = new ManualClock(Date.now());
    await using broker = await startBroker({ deps: { clock }, limits: { heartbeatMs: 1600 } });
    const { sessions } = broker.warren;
    using mute = await RawClient.connect(broker.wsUrl);
    using lively = await WireClient.connect(broker.wsUrl);
    mute.send({ type: "subscribe", id: 1, filter: "t" });
    await mute.until(({ id }) => id === 1);
    let rounds = 0;
    while (sessions.size > 1 && rounds++ < 100) {
      clock.advance(100);
      // Whatever comes from the peer counts: this one is never closed.
      await lively.ok({ type: "publish", topic: "t", payload: rounds });
    }
    expect(rounds * 100).toBeGreaterThan(2 * 1600);
    expect(rounds * 100).toBeLessThan(4 * 1600);
    await eventually(
      () => mute.ended,
      () => "the end of the mute connection",
    );
    expect(mute.frames.filter(({ type }) => type === "event").length).toBeGreaterThan(10);
  });

  test("[P-9.2] a peer that only answers pings stays", async () => {
    const clock = new ManualClock(Date.now());
    await using broker = await startBroker({ deps: { clock }, limits: { heartbeatMs: 1600 } });
    const { sessions } = broker.warren;
    using client = await WireClient.connect(broker.wsUrl);
    const [session] = [...sessions];
    // Bun's client answers pings by itself; each has to come back before the next half heartbeat.
    for (let half = 0; half < 20; half++) {
      for (let tick = 0; tick < 8; tick++) clock.advance(100);
      await eventually(
        () => session!.heardAt >= sessions.tick - 8,
        () => "a pong",
      );
    }
    expect(sessions.size).toBe(1);
    await client.ok({ type: "ping" });
  });
});

describe("the planned stop", () => {
  test("[P-9.3] pending publishes are answered before the close; new ones are refused", async () => {
    let engine: HeldEngine | undefined;
    await using broker = await startBroker({
      engine(limits) {
        engine = new HeldEngine({ clock: systemClock, random: systemRandom, limits });
        return engine;
      },
    });
    await broker.queue("q", ["t"]);
    using client = await WireClient.connect(broker.wsUrl);
    using waiting = await WireClient.connect(broker.wsUrl);
    const pending = client.request({ type: "publish", topic: "t" });
    await engine!.holds(1);
    const stopped = broker.stop();
    expect(await client.expect("notice")).toMatchObject({ code: "draining" });
    expect((await waiting.closed()).code).toBe(1012);
    const refused = await client.request({ type: "publish", topic: "t" });
    expect(refused).toMatchObject({ code: "draining", retry: true });
    engine!.release();
    expect(await pending).toMatchObject({ type: "ok", queues: 1 });
    expect((await client.closed()).code).toBe(1012);
    await stopped;
  });

  test("[P-9.3, P-1.4] while draining, new connections get 503 with Retry-After", async () => {
    let engine: HeldEngine | undefined;
    await using broker = await startBroker({
      engine(limits) {
        engine = new HeldEngine({ clock: systemClock, random: systemRandom, limits });
        return engine;
      },
    });
    await broker.queue("q", ["t"]);
    using client = await WireClient.connect(broker.wsUrl);
    client.send({ type: "publish", topic: "t" });
    await engine!.holds(1);
    const stopped = broker.stop();
    await client.expect("notice");
    const refused = await fetch(`${broker.httpUrl}/ws`, {
      headers: { Upgrade: "websocket", Connection: "Upgrade" },
    });
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(await refused.json()).toMatchObject({ code: "draining" });
    engine!.release();
    await stopped;
  });
});
