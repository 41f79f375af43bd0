/** Looking at and moving the messages of queues that one may not use, over HTTP and by command [P-14.14]. */
import { expect, test } from "bun:test";
import { runCli } from "../harness/cli.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";

const RETAINED = { retainAckedMs: 3_600_000 };

/** `theirs` holds a dead letter, an acked message and one that waits; the attacker has the area and `mine`. */
async function started() {
  const broker = await startBroker({ access: TOKENS_ONLY });
  await broker.queue("theirs", ["bank/#"], RETAINED);
  await broker.queue("mine", ["shop/#"], RETAINED);
  await broker.queue("unbound", []);
  const root = asker(broker, await tokenFor("root"));
  for (const [queue, topic] of [
    ["theirs", "bank/a"],
    ["mine", "shop/a"],
  ] as const) {
    const messages = ["m0", "m1", "m2"].map((messageId) => ({ topic, messageId, payload: "pin" }));
    await root("POST", "/v1/publish", messages);
    const { body } = await root("POST", `/v1/queues/${queue}/pull`, { max: 2, waitMs: 10_000 });
    const [one, two] = body.deliveries.map(({ tag }: { tag: number }) => tag);
    await root("POST", `/v1/queues/${queue}/settle`, { reject: [one], ack: [two] });
  }
  return { broker, root };
}

function asker({ httpUrl }: TestBroker, token: string) {
  return async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${httpUrl}${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, text, body: text === "" ? undefined : JSON.parse(text) };
  };
}

const AREA = { allow: ["admin"], on: ["queues"] };
const MINE = { allow: ["consume"], on: ["mine", "mine.dead", "unbound"] };
const SHOP = { allow: ["publish", "subscribe"], on: ["shop/#"] };
const THEIRS = { allow: ["consume"], on: ["theirs", "theirs.dead"] };
const attackerOf = async (broker: TestBroker, ...grants: object[]) =>
  asker(broker, await tokenFor("mallory", { grants: [AREA, ...grants] }));

const peeks = (queue: string) => [
  `/admin/v1/queues/${queue}/messages`,
  `/admin/v1/queues/${queue}/messages?state=acked`,
  `/admin/v1/queues/${queue}/messages?search=pin`,
  `/admin/v1/queues/${queue}/messages/m0`,
  `/admin/v1/queues/${queue}/messages/nothing`,
  `/admin/v1/queues/${queue}.dead/messages`,
  `/admin/v1/queues/${queue}.dead/messages/m0`,
];

test("[P-14.14, P-13.3] who has the area queues alone is shown no message", async () => {
  const { broker } = await started();
  await using _ = broker;
  const mallory = await attackerOf(broker, MINE, SHOP);
  for (const path of [...peeks("theirs"), ...peeks("nowhere")]) {
    const { status, text, body } = await mallory("GET", path);
    expect([path, status, body.code, body.action]).toEqual([path, 403, "forbidden", "consume"]);
    expect(text).not.toContain("pin");
  }
  expect((await mallory("GET", peeks("mine")[0] as string)).text).toContain("pin");
  // Figures are not messages.
  expect((await mallory("GET", "/admin/v1/queues/theirs")).body.counts.ready).toBe(1);
});

test("[P-14.14, P-14.6] nor of a queue that brings what must not be received", async () => {
  const { broker } = await started();
  await using _ = broker;
  const mallory = await attackerOf(broker, THEIRS, { deny: ["receive"], on: ["bank/a"] });
  for (const path of peeks("theirs")) expect((await mallory("GET", path)).status).toBe(403);
});

test("[P-14.14, P-13.9] nothing is moved from or to what one may not use, and nothing counted", async () => {
  const { broker, root } = await started();
  await using _ = broker;
  const before = await stateOf(root);
  const dead = "/admin/v1/queues/theirs.dead";
  const attempts: [object[], string, object, string][] = [
    // To read: into a queue of one's own.
    [[MINE, SHOP], `${dead}/redrive`, { to: "mine" }, "consume"],
    [[MINE, SHOP], "/admin/v1/queues/theirs/replay", { to: "mine" }, "consume"],
    [[MINE, SHOP], `${dead}/messages/m0/resend`, { to: "mine" }, "consume"],
    [[MINE, SHOP], `${dead}/messages/m0/resend`, { topic: "shop/a" }, "consume"],
    // To guess: a count says whether the words are in it.
    [[MINE, SHOP], `${dead}/redrive`, { dryRun: true, search: "pin" }, "consume"],
    // To write: into the queue of others, over again or something else.
    [[THEIRS], `${dead}/redrive`, {}, "publish"],
    [[THEIRS], "/admin/v1/queues/theirs/replay", {}, "publish"],
    [[THEIRS], `${dead}/messages/m0/resend`, { payload: "forged" }, "publish"],
    [[MINE, SHOP], "/admin/v1/queues/mine.dead/redrive", { to: "theirs" }, "publish"],
    [[MINE, SHOP], "/admin/v1/queues/mine/replay", { to: "theirs" }, "publish"],
    [[MINE, SHOP], "/admin/v1/queues/mine.dead/messages/m0/resend", { to: "theirs" }, "publish"],
    [[MINE, SHOP], "/admin/v1/queues/mine.dead/messages/m0/resend", { topic: "bank/a" }, "publish"],
    // Where nobody could publish, and under conditions.
    [[MINE, SHOP], "/admin/v1/queues/mine.dead/redrive", { to: "unbound" }, "publish"],
    [
      [THEIRS, { allow: ["publish"], on: ["bank/#"], maxPayloadBytes: 10 }],
      `${dead}/redrive`,
      {},
      "publish",
    ],
  ];
  for (const [grants, path, body, action] of attempts) {
    const mallory = await attackerOf(broker, ...grants);
    const { status, body: told } = await mallory("POST", path, body);
    expect([path, body, status, told.code, told.action]).toEqual([
      ...[path, body, 403, "forbidden", action],
    ]);
  }
  expect(await stateOf(root)).toEqual(before);
  const owner = await attackerOf(broker, MINE, SHOP);
  const redriven = await owner("POST", "/admin/v1/queues/mine.dead/redrive", { dryRun: true });
  expect(redriven.body).toMatchObject({ state: "done", moved: 1 });
});

async function stateOf(root: ReturnType<typeof asker>) {
  const { queues } = (await root("GET", "/admin/v1/queues")).body;
  const { tasks } = (await root("GET", "/admin/v1/tasks")).body;
  return [
    queues.map(({ name, counts }: { name: string; counts: object }) => [name, counts]),
    tasks,
  ];
}

test("[P-14.14, P-13.7] commands get no further", async () => {
  const { broker } = await started();
  await using _ = broker;
  const token = await tokenFor("mallory", { grants: [AREA, MINE, SHOP] });
  const env = { WARREN_URL: broker.httpUrl, WARREN_TOKEN: token };
  for (const words of [
    ["queue", "peek", "theirs"],
    ["dead", "list", "theirs"],
    ["dead", "search", "theirs", "pin"],
    ["dead", "show", "theirs", "m0"],
    ["dead", "resend", "theirs", "m0", "--to", "mine"],
    ["dead", "redrive", "theirs", "--to", "mine"],
    ["dead", "redrive", "theirs", "--dry-run"],
    ["queue", "replay", "theirs", "--to", "mine"],
    ["queue", "define", "spy", "--binding", "bank/#"],
  ]) {
    const { code, out, err } = await runCli(words, { env });
    expect([words, code, out, err]).toEqual([words, 1, "", expect.stringContaining("forbidden")]);
    expect(err).not.toContain("pin");
  }
});

test("[P-5.13, P-13.9] who changes a message is who it is from", async () => {
  const { broker, root } = await started();
  await using _ = broker;
  const publish = { allow: ["publish"], on: ["shop/#"] };
  const alice = asker(broker, await tokenFor("alice", { grants: [publish] }));
  const later = { topic: "shop/later", payload: "10", delayMs: 3_600_000 };
  for (const messageId of ["kept", "changed", "moved"]) {
    await alice("POST", "/v1/publish", { ...later, messageId });
  }
  const mallory = await attackerOf(broker, MINE, SHOP);
  const path = (id: string) => `/v1/scheduled/${id}?topic=shop%2Flater`;
  expect((await mallory("PATCH", path("changed"), { payload: "10000" })).status).toBe(200);
  expect((await mallory("PATCH", path("moved"), { delayMs: 7_200_000 })).status).toBe(200);
  const list = "/admin/v1/queues/mine/messages";
  const messages = async () =>
    (await root("GET", `${list}?limit=100`)).body.messages as Record<string, unknown>[];
  const fromOf = (shown: Record<string, unknown>[]) =>
    Object.fromEntries(shown.map(({ messageId, from }) => [messageId, from]));
  expect(fromOf(await messages())).toMatchObject({
    ...{ kept: "alice", changed: "mallory", moved: "alice" },
  });
  const dead = "/admin/v1/queues/mine.dead/messages";
  const [{ messageId }] = (await root("GET", dead)).body.messages;
  expect((await mallory("POST", `${dead}/${messageId}/resend`, { payload: "x" })).status).toBe(200);
  expect(fromOf(await messages())).toMatchObject({ [messageId]: "mallory" });
});
