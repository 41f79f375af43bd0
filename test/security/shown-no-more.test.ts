/** What somebody must not be shown any more, for subscriptions of all shapes that he has by then [P-14.6]. */
import { describe, expect, test } from "bun:test";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const ALLOW = { allow: ["subscribe"], on: ["#"] };
const FILTERS = ["#", "a/#", "a/+", "+/b/#", "a/b/c", "a/b/+/d", "x/#", "x/ada", "x/bob", "z"];

/** The filters that are denied, and those of the subscriptions that share a topic with them. */
const table: [string[], string[]][] = [
  [["a/b/c"], ["#", "a/#", "+/b/#", "a/b/c"]],
  [["a/b/#"], ["#", "a/#", "a/+", "+/b/#", "a/b/c", "a/b/+/d"]],
  [["+"], ["#", "a/#", "x/#", "z"]],
  [["+/+"], ["#", "a/#", "a/+", "+/b/#", "x/#", "x/ada", "x/bob"]],
  [["+/+/c/d"], ["#", "a/#", "+/b/#", "a/b/+/d", "x/#"]],
  [["x/{principal}"], ["#", "x/#", "x/ada"]],
  [
    ["z", "a/b/c/d"],
    ["#", "a/#", "+/b/#", "a/b/+/d", "z"],
  ],
  [["none/of/these"], ["#"]],
];

async function putRole(broker: TestBroker, grants: unknown[]): Promise<void> {
  const headers = {
    Authorization: `Bearer ${await tokenFor("operator")}`,
    "Content-Type": "application/json",
  };
  const body = JSON.stringify({ grants });
  const path = `${broker.httpUrl}/admin/v1/roles/reader`;
  expect((await fetch(path, { method: "PUT", headers, body })).status).toBe(200);
}

describe.each(ENCODINGS)("[P-14.6, P-4.6] a denial to receive that comes, over %s", (encoding) => {
  test.each(table)(
    "of %p ends each subscription that could show it, and no other",
    async (on, ends) => {
      await using broker = await startBroker({ access: TOKENS_ONLY });
      await putRole(broker, [ALLOW]);
      const token = await tokenFor("ada", { roles: ["reader"] });
      using client = await WireClient.connect(broker.wsUrl, { encoding, token });
      for (const filter of FILTERS) await client.ok({ type: "subscribe", filter });
      await putRole(broker, [ALLOW, { deny: ["receive"], on }]);
      const ended: unknown[] = [];
      while (ended.length < ends.length) {
        const { code, filter, reason } = await client.expect("notice");
        expect([code, reason]).toEqual(["unsubscribed", "forbidden"]);
        ended.push(filter);
      }
      expect(ended.sort()).toEqual([...ends].sort());
      for (const filter of FILTERS) {
        const answer = await client.request({ type: "subscribe", filter });
        if (ends.includes(filter)) expect(answer).toMatchObject({ code: "forbidden" });
      }
      using publisher = await WireClient.connect(broker.wsUrl, {
        token: await tokenFor("publisher", { grants: EVERYTHING }),
      });
      const denied = on.map((filter) =>
        filter.replace("{principal}", "ada").replaceAll("+", "a").replace("#", "any"),
      );
      for (const topic of denied) await publisher.ok({ type: "publish", topic });
      expect(await client.everythingUntilNow()).toEqual([]);
      await putRole(broker, [ALLOW]);
      for (const filter of FILTERS) {
        expect((await client.request({ type: "subscribe", filter })).code).not.toBe("forbidden");
      }
    },
  );
});
