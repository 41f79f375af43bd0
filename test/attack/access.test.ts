/** Attempts on access control at the real sockets: what is not granted is not had, however it is spelt. */
import { describe, expect, test } from "bun:test";
import { OPERATIONS } from "../../schemas/http.ts";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const GRANTS = [
  { allow: ["publish", "subscribe"], on: ["dev/{principal}/#", "café/#"] },
  { allow: ["consume"], on: ["jobs"] },
  { deny: ["publish", "subscribe"], on: ["dev/+/secret/#"] },
];

const FOREIGN_TOPICS = [
  "dev/other/x",
  "dev",
  "DEV/mine/x",
  "dev//mine",
  "/dev/mine/x",
  "dev/mine /x",
  "dev/mine\u200b/x",
  "dev/ｍine/x",
  "dev%2Fmine%2Fx",
  "dev\\mine\\x",
  "dev/{principal}/x",
  "dev/mine/../other/../x/../../other".replace("dev/mine/", "dev/"),
  "cafe\u0301/x",
  "dev/mine/secret",
  "dev/mine/secret/deep",
  "$SYS/x",
  "$inbox/x",
  "$dev/mine/x",
];

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-13.1, P-3.1] no spelling of a topic is another topic", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await broker.queue("all", ["#"]);
      const token = await tokenFor("mine", { grants: GRANTS });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      for (const topic of FOREIGN_TOPICS) {
        const refused = [
          topic,
          "error",
          expect.stringMatching(/^(forbidden|invalid_topic|invalid_filter)$/),
        ];
        const sent = await client.request({ type: "publish", topic, payload: 1 });
        expect([topic, sent.type, sent.code]).toEqual(refused);
        const live = await client.request({ type: "subscribe", filter: topic });
        expect([topic, live.type, live.code]).toEqual(refused);
        // Beside one that is allowed: all or none.
        const publish = [
          { topic: "dev/mine/x", payload: 1 },
          { topic, payload: 1 },
        ];
        const batch = await client.request({ type: "batch", publish });
        expect([topic, batch.type, batch.code, batch.detail.index]).toEqual([...refused, 1]);
      }
      expect(broker.warren.broker.engine.queues.describe("all").counts.ready).toBe(0);
    });

    test("[P-13.1, P-4.1] no wildcard reaches past what is granted, or to the broker's own", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const token = await tokenFor("mine", { grants: GRANTS });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      const filters = [
        "#",
        "+",
        "+/#",
        "dev/#",
        "dev/+/#",
        "dev/+",
        "+/mine/#",
        "dev/mine/+",
        "dev/mine/#",
      ];
      for (const filter of [
        ...filters,
        "$SYS/#",
        "$inbox/+",
        "+/mine/secret",
        "dev/mine/#/x",
        "dev/mi+/x",
      ]) {
        const answer = await client.request({ type: "subscribe", filter });
        expect([filter, answer.type]).toEqual([filter, "error"]);
      }
      await client.ok({ type: "subscribe", filter: "dev/mine/a/#" });
      using everything = await WireClient.connect(broker.wsUrl, { token: await tokenFor("root") });
      for (const filter of ["$SYS/#", "$inbox/#"]) {
        const answer = await everything.request({ type: "subscribe", filter });
        expect(answer).toMatchObject({ type: "error", code: "forbidden" });
      }
    });

    test("[P-13.1, P-5.2] no spelling of a queue is another queue, its dead letters neither", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      for (const name of ["jobs", "Jobs", "other"]) await broker.queue(name, []);
      const token = await tokenFor("mine", { grants: GRANTS });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      const names = [
        "jobs.dead",
        "Jobs",
        "other",
        "#",
        "+",
        "jobs ",
        " jobs",
        "jobs\u0000",
        "jobs/",
        "ｊobs",
      ];
      for (const queue of names) {
        const answer = await client.request({ type: "consume", queue, credit: 1 });
        expect([queue, answer.type]).toEqual([queue, "error"]);
        for (const path of ["pull", "settle", "alive"]) {
          const { status } = await fetch(
            `${broker.httpUrl}/v1/queues/${encodeURIComponent(queue)}/${path}`,
            { method: "POST", headers: { Authorization: `Bearer ${token}` }, body: "{}" },
          );
          expect([queue, path, status >= 400]).toEqual([queue, path, true]);
        }
      }
      await client.ok({ type: "consume", queue: "jobs", credit: 1 });
    });
  });
}

test("[P-12.4, P-13.1] no spelling of a path publishes to another topic", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  await broker.queue("all", ["#"]);
  const token = await tokenFor("mine", { grants: GRANTS });
  const paths = [
    "dev/mine/../other/x",
    "dev/mine/%2e%2e/other/x",
    "dev%2Fother%2Fx",
    "dev/mine%2F..%2F..%2Fother".replace("dev/mine", "dev"),
    "dev%252Fmine%252Fx",
    "dev/%6Fther/x",
    "%24SYS/x",
    "dev/mine/%73ecret",
    "dev/mine%00/x",
    "dev%c0%afmine/x",
    "dev/mine/+",
    "dev/mine/%23",
  ];
  for (const path of paths) {
    const answer = await fetch(`${broker.httpUrl}/v1/topics/${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      body: "x",
    });
    expect([path, [400, 403, 404]]).toEqual([path, expect.arrayContaining([answer.status])]);
  }
  expect(broker.warren.broker.engine.queues.describe("all").counts.ready).toBe(0);
});

test("[P-12.10, P-13.1] who may administrate every area but one is shut out of that one", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  const guarded = Object.entries(OPERATIONS).flatMap(([name, operation]) =>
    operation.access === "admin" ? [{ name, ...operation }] : [],
  );
  const areas = [...new Set(guarded.map(({ area }) => area))];
  expect(areas.length).toBeGreaterThan(5);
  const tokens = new Map<string, string>();
  for (const area of areas) {
    const others = areas.filter((one) => one !== area);
    // Rights to work with everything are no right to look at it.
    const grants = [
      { allow: ["admin"], on: [...others, `${area}/x`, `${area}x`] },
      { allow: ["publish", "subscribe", "consume"], on: ["#"] },
    ];
    tokens.set(area, await tokenFor("half", { grants }));
  }
  for (const { name, method, path, area } of guarded) {
    const place = path.replaceAll(/\{[^}]+\}|:[a-zA-Z]+/g, "x");
    const answer = await fetch(`${broker.httpUrl}${place}`, {
      method,
      headers: { Authorization: `Bearer ${tokens.get(area)}`, "Content-Type": "application/json" },
      ...(method !== "GET" && { body: "{}" }),
    });
    expect([name, answer.status]).toEqual([name, 403]);
  }
});
