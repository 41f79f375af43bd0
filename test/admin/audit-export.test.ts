/** An export of the audit trail that takes long: who asked for it may not be let in any more [P-14.4, P-14.8]. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";

/** More than the buffers between two sockets hold. */
const ENTRIES = 30_000;
const ENTRY_BYTES = 1000;
let broker: TestWarren;

beforeAll(async () => {
  broker = await startTestWarren(TOKENS_ONLY);
  const { audit } = broker.warren.broker.engine;
  for (let n = 0; n < ENTRIES; n++) {
    audit.write({
      time: n,
      action: "a.b",
      outcome: "done",
      detail: { x: "x".repeat(ENTRY_BYTES) },
    });
    // More than these do not wait for their commit.
    if (n % 2000 === 0) await audit.query({ limit: 1 });
  }
  await audit.query({ limit: 1 });
});
afterAll(() => broker[Symbol.asyncDispose]());

/** Asks for everything, and takes no more than its beginning until it is told to. */
async function exportWith(token: string) {
  const socket = connect(Number(new URL(broker.url).port), "127.0.0.1");
  const begun = Promise.withResolvers<string>();
  const ended = Promise.withResolvers<void>();
  let bytes = 0;
  let last = "";
  socket.on("data", (data) => {
    if (bytes === 0) {
      socket.pause();
      begun.resolve(data.toString().split("\r\n", 1)[0] ?? "");
    }
    bytes += data.length;
    last = data.toString().slice(-5);
    // The end of an answer in chunks.
    if (last === "0\r\n\r\n") ended.resolve();
  });
  socket.on("close", () => ended.resolve());
  socket.write(
    `GET /admin/v1/audit?format=ndjson HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  );
  expect(await begun.promise).toContain("200");
  return {
    async rest() {
      socket.resume();
      await ended.promise;
      socket.destroy();
      return { bytes, isWhole: last === "0\r\n\r\n" };
    },
  };
}

const iat = Math.floor(Date.now() / 1000) - 60;
const asRoot = async (method: string, path: string, body?: object) => {
  const headers = { Authorization: `Bearer ${await tokenFor("root")}` };
  const { status } = await broker.json(method, `/admin/v1/${path}`, body, headers);
  expect(status).toBeLessThan(300);
};

describe("[P-14.4, P-14.8] an export that is not read", () => {
  const taken: [string, string, () => Promise<void>][] = [
    ["its token is revoked", "ann", () => asRoot("POST", "revocations", { principal: "ann" })],
    ["its principal is banned", "ben", () => asRoot("PUT", "bans/ben", { principal: "ben" })],
    ["its role goes", "cid", () => asRoot("DELETE", "roles/auditor")],
  ];
  test.each(taken)("ends when %s", async (_, name, take) => {
    await asRoot("PUT", "roles/auditor", { grants: [{ allow: ["admin"], on: ["audit"] }] });
    const slow = await exportWith(await tokenFor(name, { iat, roles: ["auditor"] }));
    await take();
    const { bytes, isWhole } = await slow.rest();
    expect(isWhole).toBe(false);
    expect(bytes).toBeLessThan((ENTRIES * ENTRY_BYTES) / 2);
  });

  test("is whole otherwise, whatever is taken from others", async () => {
    const slow = await exportWith(await tokenFor("operator", { iat, grants: EVERYTHING }));
    await asRoot("POST", "revocations", { principal: "somebody" });
    const { bytes, isWhole } = await slow.rest();
    expect(isWhole).toBe(true);
    expect(bytes).toBeGreaterThan(ENTRIES * ENTRY_BYTES);
  });
});
