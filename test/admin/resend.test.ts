/** A dead letter that is changed and sent again is held to what a publish is held to [P-13.9], [P-3.2]. */
import { describe, expect, test } from "bun:test";
import { pack } from "../../src/packing.ts";
import { unpack } from "../../src/unpacking.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

const QUEUES = "/admin/v1/queues";
const DEAD = `${QUEUES}/jobs.dead/messages`;
const MSGPACK = { "Content-Type": "application/msgpack", Accept: "application/msgpack" };
const settings = {
  queues: { jobs: { bindings: ["jobs/#"] } },
  limits: { headers: 2, headerBytes: 64, payloadDepth: 4 },
};

/** One dead letter, `m`. */
async function withDead(more: object = {}): Promise<TestWarren> {
  const broker = await startTestWarren({ ...settings, ...more });
  await broker.json("POST", "/v1/publish", { topic: "jobs/a", messageId: "m", payload: { n: 1 } });
  const { body } = await broker.json("POST", "/v1/queues/jobs/pull", { waitMs: 30_000 });
  await broker.json("POST", "/v1/queues/jobs/settle", { reject: [body.deliveries[0].tag] });
  return broker;
}

const deep = (levels: number): unknown => (levels === 0 ? 1 : [deep(levels - 1)]);

describe("[P-13.9, P-3.2] resend refuses what a publish with these fields would be refused for", () => {
  const many = { a: "1", b: "2", c: "3" };
  const cases: readonly [what: string, fields: Record<string, unknown>][] = [
    ["too many headers", { headers: many }],
    ["headers too long", { headers: { a: "x".repeat(64) } }],
    ["a payload too deep", { payload: deep(5) }],
    ["no base64", { payload: "not base64!", payloadEncoding: "base64" }],
    ["base64 cut short", { payload: "QQ", payloadEncoding: "base64" }],
    ["base64 of no text", { payload: 5, payloadEncoding: "base64" }],
    ["base64 of nothing", { payloadEncoding: "base64" }],
    ["a priority that is none", { priority: 10 }],
    ["half a priority", { priority: 1.5 }],
    ["a key too long", { key: "k".repeat(257) }],
    ["an id too long", { messageId: "i".repeat(129) }],
    ["an empty id", { messageId: "" }],
    ["a topic that is a filter", { topic: "jobs/#" }],
    ["a topic of the broker's", { topic: "$sys/x" }],
    ["a header that is no text", { headers: { a: 1 } }],
  ];
  test("[P-13.9] with the code and the place of the fault that a publish has", async () => {
    await using broker = await withDead();
    for (const [what, fields] of cases) {
      const resent = await broker.json("POST", `${DEAD}/m/resend`, fields);
      const published = await broker.json("POST", "/v1/batch", [{ topic: "jobs/a", ...fields }]);
      const said = [resent.status, resent.body.code, resent.body.limit];
      expect([what, ...said]).toEqual([
        what,
        published.status,
        published.body.code,
        published.body.limit,
      ]);
      expect([what, resent.status < 500 && resent.status >= 400]).toEqual([what, true]);
    }
    const { body } = await broker.json("GET", DEAD);
    expect(body.messages).toMatchObject([{ messageId: "m", payload: { n: 1 } }]);
    expect((await broker.json("GET", `${QUEUES}/jobs`)).body.counts.ready).toBe(0);
    const { body: audit } = await broker.json("GET", "/admin/v1/audit?action=message.resend");
    const refused = audit.entries.filter(({ outcome }: { outcome: string }) => {
      return outcome === "refused";
    });
    // A body that does not fit its schema is told by its operation, all others by what they do: the same.
    expect(refused).toHaveLength(cases.length);
  });

  test("[P-13.9] at the bounds it goes through", async () => {
    await using broker = await withDead();
    const edit = { headers: { a: "x".repeat(62), b: "" }, payload: deep(4), priority: 0 };
    expect((await broker.json("POST", `${DEAD}/m/resend`, edit)).status).toBe(200);
    const { body } = await broker.json("GET", `${QUEUES}/jobs/messages/m`);
    expect(body).toMatchObject(edit);
  });

  test("[P-13.9] a queue without room refuses it, and it stays where it is", async () => {
    await using broker = await withDead();
    const put = (settings: object) => broker.json("PUT", `${QUEUES}/jobs`, settings);
    await put({ maxBytes: 10_000 });
    await broker.json("POST", "/v1/publish", { topic: "jobs/a", payload: "x".repeat(9000) });
    const large = { payload: "y".repeat(2000) };
    const full = await broker.json("POST", `${DEAD}/m/resend`, large);
    expect([full.status, full.body.code, full.body.queue]).toEqual([507, "queue_full", "jobs"]);
    await put({ draining: true });
    const paused = await broker.json("POST", `${DEAD}/m/resend`, {});
    expect([paused.status, paused.body.code]).toEqual([409, "queue_paused"]);
    const { body } = await broker.json("GET", DEAD);
    expect(body.messages).toMatchObject([{ messageId: "m", payload: { n: 1 } }]);
  });

  test("[P-13.9, P-14.9, P-14.10] the channel of its topic has its say", async () => {
    const schema = { type: "object", required: ["n"] };
    const channels = { jobs: { filter: "jobs/#", maxPayloadBytes: 40, schema } };
    await using broker = await withDead({ channels });
    const resend = (body: object) => broker.json("POST", `${DEAD}/m/resend`, body);
    expect((await resend({ payload: { m: 1 } })).body.code).toBe("schema_violation");
    expect((await resend({ payload: { n: "x".repeat(50) } })).body.code).toBe("too_large");
    expect((await resend({ payload: { n: 2 } })).status).toBe(200);
  });
});

describe("[P-13.9, P-2.6, P-12.1] the same operations in MessagePack", () => {
  test("[P-13.9, P-2.6] an edited payload keeps what only MessagePack can say", async () => {
    await using broker = await withDead();
    const payload = { bytes: Uint8Array.of(0, 255), large: 2n ** 60n };
    const edit = pack({ payload, headers: { h: "v" }, priority: null });
    const sent = await broker.request("POST", `${DEAD}/m/resend`, edit, MSGPACK);
    const answer = unpack(new Uint8Array(await sent.arrayBuffer()));
    expect(answer).toEqual({ messageId: "m", queue: "jobs" });
    const shown = await broker.request("GET", `${QUEUES}/jobs/messages/m`, undefined, MSGPACK);
    const message = unpack(new Uint8Array(await shown.arrayBuffer())) as Record<string, unknown>;
    expect(message).toMatchObject({ messageId: "m", headers: { h: "v" }, state: "ready" });
    const found = message.payload as { bytes: Uint8Array; large: bigint };
    expect([[...found.bytes], found.large]).toEqual([[0, 255], 2n ** 60n]);
    const tooDeep = pack({ payload: deep(5) });
    const refused = await broker.request("POST", `${DEAD}/m/resend`, tooDeep, MSGPACK);
    expect(refused.status).toBe(400);
  });

  test("[P-13.9, P-13.10, P-14.8] finding, redriving, tasks and the audit trail", async () => {
    await using broker = await withDead();
    const ask = async (method: string, path: string, body?: object) => {
      const packed = body === undefined ? undefined : pack(body);
      const answer = await broker.request(method, path, packed, MSGPACK);
      expect(answer.headers.get("Content-Type")).toBe("application/msgpack");
      return unpack(new Uint8Array(await answer.arrayBuffer())) as Record<string, unknown>;
    };
    const page = await ask("GET", `${DEAD}?search=rejected%20n&header=a%3D1`);
    expect(page).toEqual({ messages: [] });
    const all = await ask("GET", `${DEAD}?reason=rejected`);
    expect(all.messages).toMatchObject([{ messageId: "m", deaths: [{ queue: "jobs" }] }]);
    const dry = await ask("POST", `${QUEUES}/jobs.dead/redrive`, { dryRun: true });
    expect(dry).toMatchObject({ state: "done", moved: 1, held: 0, dryRun: true });
    const task = await ask("POST", `${QUEUES}/jobs.dead/redrive`, { ids: ["m"], ratePerSecond: 5 });
    expect(await ask("GET", `/admin/v1/tasks/${task.id}`)).toMatchObject({ id: task.id });
    expect(await ask("GET", "/admin/v1/tasks")).toMatchObject({ tasks: [{ id: task.id }] });
    const replay = await ask("POST", `${QUEUES}/jobs/replay`, { ackedAfter: 5 });
    expect(replay).toMatchObject({ kind: "replay", select: { from: 5 } });
    const { entries } = await ask("GET", "/admin/v1/audit?limit=2");
    expect(entries).toMatchObject([{ action: "queue.replay" }, { action: "queue.redrive" }]);
  });
});
