/**
 * What operators take away takes effect on everybody who has it, however many they are, and on nobody else
 * [P-14.4], [P-14.5], [P-4.6]. How soon is measured: `bench/effect.ts`.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { CLOSE } from "../../schemas/errors.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { WireClient } from "../harness/wire-client.ts";

/** More than a turn of the event loop has time to end. */
const FLEET = 300;
const FILTERS = ["fleet/all", "fleet/{n}/orders"];
let broker: TestBroker;
let operator = "";

beforeAll(async () => {
  broker = await startBroker({ access: TOKENS_ONLY });
  operator = await tokenFor("operator");
});
afterAll(() => broker[Symbol.asyncDispose]());

async function ask(method: string, path: string, body?: object): Promise<unknown> {
  const answer = await fetch(`${broker.httpUrl}/admin/v1/${path}`, {
    method,
    headers: { Authorization: `Bearer ${operator}`, "Content-Type": "application/json" },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  expect(answer.status, text).toBeLessThan(300);
  return text === "" ? undefined : JSON.parse(text);
}

/** Many connections of one name, with a client id, a token id and a role of its own. */
async function connected(name: string, count: number): Promise<WireClient[]> {
  const token = await tokenFor(name, {
    ...{ roles: [name], client: `client-${name}`, jti: `jti-${name}` },
    iat: Math.floor(Date.now() / 1000) - 60,
  });
  return Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const client = await WireClient.connect(broker.wsUrl, { token });
      for (const filter of FILTERS) {
        await client.ok({ type: "subscribe", filter: filter.replace("{n}", `${n}`) });
      }
      return client;
    }),
  );
}

async function putRole(name: string, on: readonly string[]): Promise<void> {
  await ask("PUT", `roles/${name}`, { grants: [{ allow: ["subscribe"], on }] });
}

const ENDS: [string, string, () => Promise<unknown>, number][] = [
  [
    "jti",
    "token_revoked",
    () => ask("POST", "revocations", { jti: "jti-fleet" }),
    CLOSE.unauthenticated,
  ],
  [
    "principal",
    "token_revoked",
    () => ask("POST", "revocations", { principal: "fleet" }),
    CLOSE.unauthenticated,
  ],
  [
    "client",
    "token_revoked",
    () => ask("POST", "revocations", { client: "client-fleet" }),
    CLOSE.unauthenticated,
  ],
  [
    "what was issued before",
    "token_revoked",
    () => ask("POST", "revocations", { principal: "fleet", issuedBefore: Date.now() - 1000 }),
    CLOSE.unauthenticated,
  ],
  ["ban", "banned", () => ask("PUT", "bans/fleet", { principal: "fleet" }), CLOSE.kicked],
];

describe("[P-14.4] hundreds of connections lose what is taken from them, others nothing", () => {
  let fleet: WireClient[] = [];
  let others: WireClient[] = [];

  beforeEach(async () => {
    await putRole("fleet", ["fleet/#"]);
    await putRole("others", ["fleet/#"]);
    fleet = await connected("fleet", FLEET);
    others = await connected("others", 20);
  });

  async function othersAreServed(): Promise<void> {
    const token = await tokenFor("publisher", { grants: EVERYTHING });
    using publisher = await WireClient.connect(broker.wsUrl, { token });
    await publisher.ok({ type: "publish", topic: "fleet/all", payload: 1 });
    for (const client of others) {
      expect((await client.expect("event")).topic).toBe("fleet/all");
      expect(client.inbox).toEqual([]);
    }
  }

  async function forgive(): Promise<void> {
    for (const client of [...fleet, ...others]) client[Symbol.dispose]();
    const { revocations } = (await ask("GET", "revocations")) as { revocations: { id: string }[] };
    for (const { id } of revocations) await ask("DELETE", `revocations/${id}`);
    const { bans } = (await ask("GET", "bans")) as { bans: { id: string }[] };
    for (const { id } of bans) await ask("DELETE", `bans/${id}`);
  }

  test.each(ENDS)("[P-14.5] by %s: an error and the close code", async (_, code, take, close) => {
    await take();
    for (const client of fleet) {
      expect((await client.expect("error")).code).toBe(code);
      expect((await client.closed()).code).toBe(close);
    }
    await othersAreServed();
    await forgive();
  });

  test("[P-4.6] by role: a notice for each subscription, and the connection stays", async () => {
    await putRole("fleet", ["elsewhere/#"]);
    for (const [n, client] of fleet.entries()) {
      const ended = [await client.expect("notice"), await client.expect("notice")];
      expect(ended.map(({ code, filter }) => [code, filter]).sort()).toEqual(
        FILTERS.map((filter) => ["unsubscribed", filter.replace("{n}", `${n}`)]).sort(),
      );
      await client.ok({ type: "ping" });
    }
    await othersAreServed();
    await forgive();
  });

  test("[P-14.5] a kick ends the one that is named", async () => {
    const { session } = fleet[7]!.welcome;
    await ask("DELETE", `connections/${session}`);
    expect((await fleet[7]!.closed()).code).toBe(CLOSE.kicked);
    await Promise.all(fleet.filter((_, n) => n !== 7).map((client) => client.ok({ type: "ping" })));
    await othersAreServed();
    await forgive();
  });
});
