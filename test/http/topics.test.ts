/** What topics keep, over HTTP [P-12.9]. */
import { describe, expect, test } from "bun:test";
import { decode } from "@msgpack/msgpack";
import { systemClock as clock, systemRandom as random } from "../../src/clock.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { DEFAULT_LIMITS as limits } from "../../src/limits.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const CHANNELS = {
  kept: { filter: "k/#", history: {}, retained: true },
  bare: { filter: "k/bare" },
};

const started = (settings: object = {}): Promise<TestWarren> =>
  startTestWarren(
    { channels: CHANNELS, ...settings },
    { engine: new MemoryEngine({ clock, random, limits }) },
  );

describe("[P-12.9]", () => {
  test("publishing over HTTP enters the history and sets the value", async () => {
    await using warren = await started();
    const one = await warren.json("POST", "/v1/publish", {
      topic: "k/a",
      payload: 1,
      retain: true,
    });
    expect(one.body.results[0]).toMatchObject({ offset: 1, epoch: expect.any(String) });
    const batch = [
      { topic: "k/a", payload: 2 },
      { topic: "k/b", payload: 3 },
    ];
    const { body } = await warren.json("POST", "/v1/batch", batch);
    expect(body.results).toMatchObject([{ offset: 2 }, { offset: 1 }]);
    const type = { "Content-Type": "application/json", "Warren-Retain": "true" };
    const raw = await warren.json("POST", "/v1/topics/k/c", "4", type);
    expect(raw.body).toMatchObject({ offset: 1 });
    expect((await warren.json("GET", "/v1/retained/k/c")).body.payload).toBe(4);
    const wrong = await warren.json("POST", "/v1/topics/k/c", "4", { "Warren-Retain": "yes" });
    expect([wrong.status, wrong.body.header]).toEqual([400, "warren-retain"]);
    const nowhere = await warren.json("POST", "/v1/topics/k/bare", "4", type);
    expect([nowhere.status, nowhere.body.pointer]).toEqual([501, "/retain"]);
    // An empty body of no type is nothing.
    await warren.json("POST", "/v1/topics/k/c", new Uint8Array(), { "Warren-Retain": "true" });
    expect((await warren.json("GET", "/v1/retained/k/c")).status).toBe(404);
  });

  test("[P-8.1, P-11.1] who names no limit gets as many as one page may have", async () => {
    await using warren = await started({ limits: { historyMessages: 2 } });
    const batch = [1, 2, 3].map((payload) => ({ topic: "k/a", payload }));
    await warren.json("POST", "/v1/batch", batch);
    const { status, body } = await warren.json("GET", "/v1/history/k/a");
    expect([status, body.messages?.length, body.next]).toEqual([200, 2, 2]);
    const over = await warren.json("GET", "/v1/history/k/a?limit=3");
    expect([over.status, over.body.pointer]).toEqual([400, "/limit"]);
  });

  test("[P-8.1] the history, in pages", async () => {
    await using warren = await started();
    for (let payload = 1; payload <= 5; payload++) {
      await warren.json("POST", "/v1/publish", { topic: "k/a b", payload, headers: { n: "1" } });
    }
    const get = async (query: string) =>
      (await warren.json("GET", `/v1/history/k/a%20b${query}`)).body;
    const page = await get("?limit=2");
    expect(page).toMatchObject({ topic: "k/a b", offset: 5, next: 2, epoch: expect.any(String) });
    expect(page.messages).toMatchObject([
      { offset: 1, topic: "k/a b", payload: 1, headers: { n: "1" } },
      { offset: 2, payload: 2 },
    ]);
    expect(
      (await get("?after=2")).messages.map(({ offset }: { offset: number }) => offset),
    ).toEqual([3, 4, 5]);
    const back = await get("?reverse=true&limit=2&before=5");
    expect([back.next, back.messages[0].payload]).toEqual([3, 4]);
    expect((await get("?after=5")).next).toBeUndefined();
    for (const query of ["?limit=0", "?limit=1001", "?after=-1", "?reverse=maybe", "?page=1"]) {
      expect((await warren.json("GET", `/v1/history/k/a${query}`)).status).toBe(400);
    }
    expect((await warren.json("GET", "/v1/history/other")).body).toMatchObject({
      status: 501,
      code: "not_supported",
      pointer: "/topic",
    });
    expect((await warren.json("GET", "/v1/history/k/%23")).body.code).toBe("invalid_topic");
  });

  test("[P-4.4] the retained value, or 404", async () => {
    await using warren = await started();
    const missing = await warren.json("GET", "/v1/retained/k/a");
    expect([missing.status, missing.body.code]).toEqual([404, "not_found"]);
    expect((await warren.json("GET", "/v1/retained/k/bare")).status).toBe(501);
    const message = { topic: "k/a", payload: "AP8=", payloadEncoding: "base64", retain: true };
    await warren.json("POST", "/v1/publish", { ...message, contentType: "image/png" });
    const json = await warren.json("GET", "/v1/retained/k/a");
    expect(json.body).toEqual({
      topic: "k/a",
      messageId: expect.any(String),
      time: expect.any(Number),
      payload: "AP8=",
      payloadEncoding: "base64",
      contentType: "image/png",
    });
    const accept = { Accept: "application/msgpack" };
    for (const path of ["/v1/retained/k/a", "/v1/history/k/a"]) {
      const answer = await warren.request("GET", path, undefined, accept);
      const value = decode(await answer.arrayBuffer()) as Record<string, unknown>;
      const one = path.includes("history") ? (value.messages as { payload: unknown }[])[0] : value;
      expect(one).toMatchObject({ payload: new Uint8Array([0, 255]) });
      expect(one).not.toHaveProperty("payloadEncoding");
    }
  });

  test("[P-13.1] the same rights as over a WebSocket", async () => {
    await using warren = await started(TOKENS_ONLY);
    const as = async (grants: object[]) => ({
      Authorization: `Bearer ${await tokenFor("p", { grants })}`,
    });
    const on = ["#"];
    const writer = await as([{ allow: ["publish"], on }]);
    await warren.json("POST", "/v1/publish", { topic: "k/a", payload: 1, retain: true }, writer);
    const status = async (path: string, grants: object[]) =>
      (await warren.json("GET", path, undefined, await as(grants))).status;
    const subscribe = { allow: ["subscribe"], on };
    const history = { allow: ["history"], on };
    const receive = { deny: ["receive"], on: ["k/a"] };
    expect(await status("/v1/retained/k/a", [subscribe])).toBe(200);
    expect(await status("/v1/retained/k/a", [history])).toBe(403);
    expect(await status("/v1/retained/k/a", [subscribe, receive])).toBe(403);
    expect(await status("/v1/history/k/a", [history])).toBe(200);
    expect(await status("/v1/history/k/a", [subscribe])).toBe(403);
    expect(await status("/v1/history/k/a", [history, receive])).toBe(403);
    expect((await warren.json("GET", "/v1/history/k/a")).status).toBe(401);
  });
});
