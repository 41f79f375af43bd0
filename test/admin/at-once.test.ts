/** Changes of the operator's plane that come together: none undoes another [P-14.4, P-14.5]. */
import { expect, test } from "bun:test";
import { ManualClock } from "../harness/manual-clock.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren } from "../harness/warren.ts";

const LIFE_MS = 60_000;
const names = Array.from({ length: 8 }, (_, n) => `scanner-${n}`);

async function house() {
  const clock = new ManualClock(Date.now());
  const broker = await startTestWarren(TOKENS_ONLY, { clock });
  const bearer = { Authorization: `Bearer ${await tokenFor("root")}` };
  const ask = (method: string, path: string, body?: unknown) =>
    broker.json(method, `/admin/v1/${path}`, body, bearer);
  return { clock, broker, ask };
}

test("[P-14.5] bans that are over and are renewed together are all in force", async () => {
  const { clock, broker, ask } = await house();
  await using _ = broker;
  const ban = async (name: string) => {
    const body = { principal: name, expiresAt: clock.now() + LIFE_MS };
    expect((await ask("PUT", `bans/${name}`, body)).status).toBe(200);
  };
  await Promise.all(names.map(ban));
  clock.advance(LIFE_MS);
  expect((await ask("GET", "bans")).body.bans).toEqual([]);
  await Promise.all(names.map(ban));
  const { bans } = (await ask("GET", "bans")).body;
  expect(bans.map(({ id }: { id: string }) => id)).toEqual(names);
});

test("[P-14.4] revocations that are over and are made again together all take back", async () => {
  const { clock, broker, ask } = await house();
  await using _ = broker;
  const revoke = async (principal: string) => {
    const body = { principal, expiresAt: clock.now() + LIFE_MS };
    expect((await ask("POST", "revocations", body)).status).toBe(200);
  };
  await Promise.all(names.map(revoke));
  clock.advance(LIFE_MS);
  expect((await ask("GET", "revocations")).body.revocations).toEqual([]);
  await Promise.all(names.map(revoke));
  const { revocations } = (await ask("GET", "revocations")).body;
  const whose = revocations.map(({ principal }: { principal: string }) => principal);
  expect(whose.sort()).toEqual(names);
});
