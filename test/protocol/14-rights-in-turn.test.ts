/** Many who publish to the same topics in turn: each has his own answer, whoever was asked about before. */
import { expect, test } from "bun:test";
import { startBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { WireClient } from "../harness/wire-client.ts";

const TOPICS = ["site/a", "site/b", "site/none"];
const publishing = (...on: string[]) => ({ allow: ["publish"] as const, on });
const ROLES = {
  own: { grants: [publishing("site/{client}")] },
  all: { grants: [publishing("site/#"), { deny: ["publish"] as const, on: ["site/none"] }] },
  small: { grants: [{ ...publishing("site/#"), maxPayloadBytes: 2 }] },
  larger: { grants: [{ ...publishing("site/#"), maxPayloadBytes: 3 }] },
};

/** Claims, and where a payload of three bytes is allowed under them. */
const PUBLISHERS: readonly [Readonly<Record<string, unknown>>, string][] = [
  [{ roles: ["all"] }, "site/a site/b"],
  [{ roles: ["own"], client: "a" }, "site/a"],
  [{ roles: ["own"], client: "b" }, "site/b"],
  [{ roles: ["own"], client: "b" }, "site/b"],
  [{ roles: ["own"] }, ""],
  [{ roles: ["small"] }, ""],
  [{ roles: ["larger"] }, "site/a site/b site/none"],
  [{ grants: [publishing("site/none")] }, "site/none"],
  [{}, ""],
];

/** Where each of them may publish, asked for topic by topic. */
async function allowed(clients: readonly WireClient[]): Promise<string[]> {
  const found: string[][] = clients.map(() => []);
  for (const topic of TOPICS) {
    for (const [at, client] of clients.entries()) {
      const answer = await client.request({ type: "publish", topic, payload: "x" });
      if (answer.type === "ok") found[at]!.push(topic);
      else expect(answer.code).toBe("forbidden");
    }
  }
  return found.map((topics) => topics.join(" "));
}

test("[P-13.1, P-14.6] who publishes to what others publish to has his own answer", async () => {
  await using broker = await startBroker({ access: { ...TOKENS_ONLY, roles: ROLES } });
  using watcher = await WireClient.connect(broker.wsUrl, { token: await tokenFor("watcher") });
  // Topics that concern somebody are remembered at once.
  await watcher.ok({ type: "subscribe", filter: "site/#" });
  const clients = await Promise.all(
    PUBLISHERS.map(async ([claims], at) =>
      WireClient.connect(broker.wsUrl, { token: await tokenFor(`p${at}`, claims) }),
    ),
  );
  const expected = PUBLISHERS.map(([, topics]) => topics);
  expect(await allowed(clients)).toEqual(expected);
  expect((await allowed(clients.toReversed())).toReversed()).toEqual(expected);
});

test("[P-13.1] what was allowed before a role changed is asked anew", async () => {
  await using broker = await startBroker({ access: TOKENS_ONLY });
  const operator = await tokenFor("operator", { grants: EVERYTHING });
  const put = async (...on: string[]) => {
    const answer = await fetch(`${broker.httpUrl}/admin/v1/roles/changing`, {
      method: "PUT",
      headers: { Authorization: `Bearer ${operator}`, "Content-Type": "application/json" },
      body: JSON.stringify({ grants: [publishing(...on)] }),
    });
    expect(answer.status).toBeLessThan(300);
  };
  await put("site/a");
  const token = await tokenFor("device", { roles: ["changing"] });
  using one = await WireClient.connect(broker.wsUrl, { token });
  using other = await WireClient.connect(broker.wsUrl, { token });
  expect(await allowed([one, other, one])).toEqual(["site/a", "site/a", "site/a"]);
  await put("site/b");
  expect(await allowed([one, other, one])).toEqual(["site/b", "site/b", "site/b"]);
});
