/** Floods of what is nested too deeply: refused with what a client can use, and ended like other nonsense. */
import { expect, test } from "bun:test";
import { startBroker } from "../harness/start-broker.ts";
import { ENCODINGS, type Frame, WireClient } from "../harness/wire-client.ts";

const LEVELS = 100_000;
const arrays = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const objects = (levels: number) => `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`;

function nested(levels: number): unknown {
  let value: unknown = [];
  for (let i = 1; i < levels; i++) value = [value];
  return value;
}

for (const encoding of ENCODINGS) {
  test(`[P-2.6] a payload that is too deep is refused as what it is, and may be corrected (${encoding})`, async () => {
    await using broker = await startBroker();
    using client = await WireClient.connect(broker.wsUrl, { encoding });
    await client.ok({ type: "publish", topic: "t", payload: nested(64) });
    for (const levels of [65, 90]) {
      const publish: Frame = { type: "publish", topic: "t", payload: nested(levels) };
      const refused = await client.request(publish);
      const detail = { pointer: "/payload", limit: 64 };
      expect(refused).toMatchObject({ code: "invalid_frame", retry: false, detail });
      const messages = [{ topic: "t" }, { topic: "t", payload: nested(levels) }];
      expect(await client.request({ type: "batch", publish: messages })).toMatchObject({
        code: "invalid_frame",
        detail: { index: 1, limit: 64 },
      });
    }
    await client.ok({ type: "ping" });
  });

  test(`[P-2.4, P-2.6] twenty payloads in a row that are too deep close with 4400 (${encoding})`, async () => {
    await using broker = await startBroker();
    using client = await WireClient.connect(broker.wsUrl, { encoding });
    const deep = (count: number) => {
      const payload = nested(90);
      for (let i = 0; i < count; i++) client.send({ type: "publish", topic: "t", payload });
    };
    deep(19);
    await client.ok({ type: "publish", topic: "t" });
    deep(19);
    await client.ok({ type: "ping" });
    deep(20);
    expect((await client.closed()).code).toBe(4400);
  });
}

for (const [what, text] of Object.entries({
  arrays: arrays(LEVELS),
  objects: objects(LEVELS / 4),
  "arrays beside arrays": `[${arrays(LEVELS / 2)},${arrays(LEVELS / 2)}]`,
})) {
  test(`[P-2.6, P-2.4] a hundred thousand ${what}: the same answer, with its id, and the same end`, async () => {
    await using broker = await startBroker();
    using client = await WireClient.connect(broker.wsUrl);
    client.socket.send(`{"type":"publish","payload":${text},"topic":"t","id":7}`);
    expect(await client.expect("error")).toMatchObject({
      id: 7,
      code: "invalid_frame",
      detail: { pointer: "/payload", limit: 64 },
    });
    client.socket.send(`{"type":"ping","unknown":${text},"id":8}`);
    expect(await client.expect("ok")).toMatchObject({ id: 8 });
    for (let i = 0; i < 20; i++) {
      client.socket.send(`{"type":"publish","topic":"t","payload":${text}}`);
    }
    expect((await client.closed()).code).toBe(4400);
  });
}

test("[P-2.6, P-12.1] bodies that are too deep are refused, and others are served", async () => {
  await using broker = await startBroker();
  const headers = { "Content-Type": "application/json" };
  const post = async (path: string, body: string) => {
    const answer = await fetch(`${broker.httpUrl}${path}`, { method: "POST", headers, body });
    const { code, pointer } = (await answer.json()) as Frame;
    return { status: answer.status, code, pointer };
  };
  const refused = { status: 400, code: "invalid_frame", pointer: "/payload" };
  const text = arrays(LEVELS);
  expect(await post("/v1/publish", `{"topic":"t","payload":${text}}`)).toEqual(refused);
  expect(await post("/v1/topics/t", text)).toEqual(refused);
  expect((await post("/v1/batch", `{"publish":[{"topic":"t","payload":${text}}]}`)).status).toBe(
    400,
  );
  expect((await post("/v1/publish", "[".repeat(LEVELS))).code).toBe("malformed_frame");
});
