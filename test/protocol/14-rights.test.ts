/** Rights as clients meet them: conditions of grants, and what is kept from being shown [P-14.6]. */
import { describe, expect, test } from "bun:test";
import { startBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

for (const encoding of ENCODINGS) {
  describe(`over ${encoding}`, () => {
    test("[P-14.6] conditions of a grant hold for each publish", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await broker.queue("jobs", ["kept/#"]);
      const grants = [
        { allow: ["publish"], on: ["small/#"], maxPayloadBytes: 5 },
        { allow: ["publish"], on: ["kept/#", "live/#"], queues: false },
      ];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("dev", { grants }),
      });
      const publish = (topic: string, payload: unknown) =>
        client.request({ type: "publish", topic, payload });
      expect((await publish("small/a", "abc")).type).toBe("ok");
      // The same topic again: the answer of the check before is not that of this one.
      expect(await publish("small/a", "much too long")).toMatchObject({
        code: "forbidden",
        detail: { action: "publish", on: "small/a", qualifiers: ["maxPayloadBytes"], limit: 5 },
      });
      expect((await publish("live/a", 1)).type).toBe("ok");
      expect(await publish("kept/a", 1)).toMatchObject({
        code: "forbidden",
        detail: { qualifiers: ["queues"] },
      });
    });

    test("[P-14.6] what must not be received is not subscribed to", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      const grants = [
        { allow: ["subscribe", "publish"], on: ["#"] },
        { deny: ["receive"], on: ["+/secret/#"] },
      ];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("reader", { grants }),
      });
      for (const filter of ["#", "a/#", "a/secret/x"]) {
        const answer = await client.request({ type: "subscribe", filter });
        expect(answer).toMatchObject({ type: "error", code: "forbidden" });
      }
      await client.ok({ type: "subscribe", filter: "a/open" });
      await client.ok({ type: "publish", topic: "a/secret", payload: 1 });
      await client.ok({ type: "publish", topic: "a/open", payload: 2 });
      expect((await client.expect("event")).payload).toBe(2);
    });

    test("[P-14.6] nor consumed from a queue that its topics go to, or their dead letters", async () => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await broker.queue("secrets", ["a/#"]);
      await broker.queue("open", ["b/open"]);
      const grants = [
        { allow: ["consume"], on: ["#"] },
        { deny: ["receive"], on: ["+/secret/#"] },
      ];
      using client = await WireClient.connect(broker.wsUrl, {
        encoding,
        token: await tokenFor("worker", { grants }),
      });
      const consume = (queue: string) => client.request({ type: "consume", queue, credit: 1 });
      expect(await consume("secrets")).toMatchObject({ code: "forbidden" });
      expect(await consume("secrets.dead")).toMatchObject({ code: "forbidden" });
      expect(await consume("open")).toMatchObject({ type: "ok" });
    });
  });
}

test("[P-14.6] the same over HTTP", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  await broker.queue("secrets", ["a/#"]);
  const token = await tokenFor("web", {
    grants: [
      { allow: ["publish"], on: ["small"], maxPayloadBytes: 5 },
      { allow: ["consume"], on: ["#"] },
      { deny: ["receive"], on: ["a/secret"] },
    ],
  });
  const post = (path: string, body: unknown) =>
    fetch(`${broker.httpUrl}${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  expect((await post("/v1/topics/small", 12345)).status).toBe(200);
  const refused = await post("/v1/topics/small", 123456);
  expect(refused.status).toBe(403);
  expect(await refused.json()).toMatchObject({ code: "forbidden", limit: 5 });
  expect((await post("/v1/queues/secrets/pull", {})).status).toBe(403);
});
