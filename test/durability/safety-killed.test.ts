/** What operators take away stays away when the broker is killed as soon as it has answered [P-14.4], [P-14.5]. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Served, serve } from "../harness/served.ts";
import { EVERYTHING, SECRET, tokenFor } from "../harness/tokens.ts";
import { WireClient } from "../harness/wire-client.ts";

const ENV = { WARREN_JWT_SECRET: SECRET, WARREN_TRUSTED_PROXIES: "127.0.0.1" };

interface From {
  readonly token?: string;
  readonly address?: string;
}

/** Status and code of a publish; where it may be refused for its address, its token or its rights. */
async function answerTo({ url }: Served, { token, address }: From): Promise<[number, unknown]> {
  const answer = await fetch(`${url}/v1/topics/t`, {
    method: "POST",
    headers: {
      ...(token !== undefined && { Authorization: `Bearer ${token}` }),
      ...(address !== undefined && { "X-Forwarded-For": address }),
    },
    body: "1",
  });
  return [answer.status, ((await answer.json()) as { code?: unknown }).code];
}

test("[P-14.4, P-14.5, P-14.2, P-13.8] what was answered holds after kill -9", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "warren-killed-"));
  const issued = { grants: EVERYTHING, iat: Math.floor(Date.now() / 1000) - 60 };
  const root = await tokenFor("root");
  const tokens = {
    root,
    one: await tokenFor("ada", { ...issued, jti: "one" }),
    other: await tokenFor("ada", { ...issued, jti: "other" }),
    bob: await tokenFor("bob", issued),
    device: await tokenFor("cid", { ...issued, client: "device" }),
    eve: await tokenFor("eve", issued),
    holder: await tokenFor("holder", { roles: ["writer"] }),
    later: await tokenFor("bob", { ...issued, iat: Math.floor(Date.now() / 1000) }),
  };
  /** Makes changes at the same time and kills the broker as soon as it has said that they are made. */
  const changed = async (...changes: [method: string, path: string, body?: object][]) => {
    await using broker = await serve(dataDir, [], ENV);
    const headers = { Authorization: `Bearer ${root}`, "Content-Type": "application/json" };
    const answers = changes.map(async ([method, path, body]) => {
      const request = {
        method,
        headers,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      };
      const answer = await fetch(`${broker.url}/admin/v1/${path}`, request);
      const text = await answer.text();
      expect(answer.status, text).toBeLessThan(300);
      return text === "" ? {} : JSON.parse(text);
    });
    const made = await Promise.all(answers);
    broker.child.kill("SIGKILL");
    await broker.child.exited;
    return made;
  };
  const grants = [{ allow: ["publish"], on: ["t"] }];
  const [kept, gone] = await changed(
    ["POST", "keys", { principal: "kept", grants }],
    ["POST", "keys", { principal: "gone", grants }],
    ["PUT", "roles/writer", { grants }],
  );
  await changed(
    ["POST", "revocations", { jti: "one", reason: "lost" }],
    ["POST", "revocations", { principal: "bob", issuedBefore: Date.now() - 10_000 }],
    ["POST", "revocations", { client: "device" }],
    ["PUT", "bans/eve", { principal: "eve" }],
    ["PUT", "bans/range", { address: "2001:db8:7::/48" }],
    ["DELETE", `keys/${gone.id}`],
    ["DELETE", "roles/writer"],
  );
  await using broker = await serve(dataDir, [], ENV);
  for (const [who, answer] of [
    [{ token: tokens.other }, [200, undefined]],
    [{ token: kept.key }, [200, undefined]],
    [{ token: tokens.later }, [200, undefined]],
    [{ token: tokens.one }, [401, "token_revoked"]],
    [{ token: tokens.bob }, [401, "token_revoked"]],
    [{ token: tokens.device }, [401, "token_revoked"]],
    [{ token: tokens.eve }, [403, "banned"]],
    [{ token: tokens.root, address: "2001:db8:7:1::9" }, [403, "banned"]],
    [{ token: tokens.root, address: "2001:db8:8::9" }, [200, undefined]],
    [{ token: gone.key }, [401, "unauthenticated"]],
    [{ token: tokens.holder }, [403, "forbidden"]],
  ] as [From, [number, unknown]][]) {
    expect(await answerTo(broker, who), JSON.stringify(who)).toEqual(answer);
  }
  using late = await WireClient.open(`${broker.url.replace("http", "ws")}/ws`);
  expect(await late.request({ type: "auth", token: tokens.one })).toMatchObject({
    code: "token_revoked",
    detail: { reason: "lost" },
  });
  await rm(dataDir, { recursive: true, force: true });
}, 120_000);
