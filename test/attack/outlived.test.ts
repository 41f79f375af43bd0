/** Requests that take longer than the credentials they came with are good [P-12.7], [P-14.4], [P-14.5]. */
import { describe, expect, test } from "bun:test";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { HostilePeer } from "./hostile-peer.ts";

const WORK = [
  { allow: ["consume"], on: ["jobs"] },
  { allow: ["publish"], on: ["jobs/#"] },
];

async function started() {
  const broker = await startBroker({ access: { ...TOKENS_ONLY, trustedProxies: ["127.0.0.1"] } });
  await broker.queue("jobs", ["jobs/#"]);
  const root = await tokenFor("root");
  const admin = async (method: string, path: string, body?: unknown) => {
    const answer = await fetch(`${broker.httpUrl}/admin/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${root}`, "Content-Type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    expect(answer.status).toBeLessThan(300);
    const text = await answer.text();
    return text === "" ? undefined : JSON.parse(text);
  };
  return { broker, admin };
}

/** A pull that waits as long as one may; resolves with what it was answered. */
async function pulling({ httpUrl, warren }: TestBroker, token: string, consumers = 1) {
  const answer = fetch(`${httpUrl}/v1/queues/jobs/pull`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${token}`,
      "Content-Type": "application/json",
      "X-Forwarded-For": "203.0.113.7",
    },
    body: JSON.stringify({ max: 1, waitMs: 60_000 }),
  });
  await eventually(
    () => warren.broker.engine.queues.describe("jobs").counts.consumers === consumers,
    () => "a pull that waits",
  );
  return async () => {
    const { status } = await answer;
    const body = (await (await answer).json()) as Record<string, unknown>;
    return { status, code: body.code, deliveries: body.deliveries };
  };
}

type Admin = Awaited<ReturnType<typeof started>>["admin"];
type Credential = { readonly token: string; readonly key: string };

/** What is done while it waits, and what it is answered then. */
const CUTS: Readonly<
  Record<string, readonly [(admin: Admin, shown: Credential) => Promise<unknown>, number, string]>
> = {
  "its key is revoked": [(admin, { key }) => admin("DELETE", `/keys/${key}`), 401, "token_revoked"],
  "its key gets another secret": [
    (admin, { key }) => admin("POST", `/keys/${key}/rotate`, { graceMs: 0 }),
    ...([401, "token_revoked"] as const),
  ],
  "its principal is revoked": [
    (admin) => admin("POST", "/revocations", { principal: "worker" }),
    ...([401, "token_revoked"] as const),
  ],
  "its principal is banned": [
    (admin) => admin("PUT", "/bans/b", { principal: "worker" }),
    ...([403, "banned"] as const),
  ],
  "its address is banned": [
    (admin) => admin("PUT", "/bans/b", { address: "203.0.113.0/24" }),
    ...([403, "banned"] as const),
  ],
  "its role loses the queue": [
    (admin) => admin("PUT", "/roles/worker", { grants: [] }),
    ...([403, "forbidden"] as const),
  ],
};

describe("[P-12.7] a pull that waits is cut off", () => {
  for (const [what, [happens, status, code]] of Object.entries(CUTS)) {
    test(`[P-14.4, P-14.5] when ${what}, and holds nothing any more`, async () => {
      const { broker, admin } = await started();
      await using _ = broker;
      await admin("PUT", "/roles/worker", { grants: WORK });
      const made = await admin("POST", "/keys", { principal: "worker", roles: ["worker"] });
      const answered = await pulling(broker, made.key);
      await happens(admin, { token: made.key, key: made.id });
      expect(await answered()).toMatchObject({ status, code });
      await eventually(
        () => broker.warren.broker.engine.queues.describe("jobs").counts.consumers === 0,
        () => "nobody who waits",
      );
    });
  }

  test("when its token expires", async () => {
    const { broker } = await started();
    await using _ = broker;
    const exp = Math.ceil(Date.now() / 1000) + 2;
    const token = await tokenFor("worker", { grants: WORK, exp });
    const answered = await pulling(broker, token);
    expect(await answered()).toMatchObject({ status: 401, code: "token_expired" });
  });

  test("and others that wait are not", async () => {
    const { broker, admin } = await started();
    await using _ = broker;
    const answered = await pulling(broker, await tokenFor("other", { grants: WORK }));
    await admin("POST", "/revocations", { principal: "worker" });
    await admin("PUT", "/bans/b", { principal: "worker" });
    await admin("PUT", "/roles/some", { grants: [] });
    const token = await tokenFor("root");
    await fetch(`${broker.httpUrl}/v1/topics/jobs/a`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}` },
      body: "1",
    });
    const { status, deliveries } = await answered();
    expect([status, (deliveries as unknown[]).length]).toEqual([200, 1]);
  });
});

describe("[P-12.7] what was pulled and is not settled goes back", () => {
  const ELSEWHERE = "198.51.100.1";
  const pulled = async ({ httpUrl }: TestBroker, token: string, from = "203.0.113.7") => {
    const answer = await fetch(`${httpUrl}/v1/queues/jobs/pull`, {
      method: "POST",
      headers: {
        Authorization: `Bearer ${token}`,
        "Content-Type": "application/json",
        "X-Forwarded-For": from,
      },
      body: JSON.stringify({ max: 2, waitMs: 20_000 }),
    });
    return ((await answer.json()) as { deliveries: { tag: number; attempt: number }[] }).deliveries;
  };
  const publish = async ({ httpUrl }: TestBroker, count: number) => {
    const body = JSON.stringify(Array.from({ length: count }, () => ({ topic: "jobs/a" })));
    const headers = {
      Authorization: `Bearer ${await tokenFor("root")}`,
      "Content-Type": "application/json",
    };
    const answer = await fetch(`${httpUrl}/v1/publish`, { method: "POST", headers, body });
    expect(answer.status).toBe(200);
  };
  const counts = ({ warren }: TestBroker) => warren.broker.engine.queues.describe("jobs").counts;

  for (const [what, [happens]] of Object.entries(CUTS)) {
    test(`[P-14.4, P-14.5] when ${what}; what others hold stays`, async () => {
      const { broker, admin } = await started();
      await using _ = broker;
      await admin("PUT", "/roles/worker", { grants: WORK });
      const made = await admin("POST", "/keys", { principal: "worker", roles: ["worker"] });
      await publish(broker, 3);
      expect(await pulled(broker, made.key)).toHaveLength(2);
      const other = await tokenFor("other", { grants: WORK });
      expect(await pulled(broker, other, ELSEWHERE)).toHaveLength(1);
      expect(counts(broker)).toMatchObject({ ready: 0, inFlight: 3 });
      await happens(admin, { token: made.key, key: made.id });
      // The ack timeout is half a minute, longer than this waits.
      await eventually(
        () => counts(broker).ready === 2,
        () => `what he held, beside ${JSON.stringify(counts(broker))}`,
      );
      expect(counts(broker).inFlight).toBe(1);
      const again = await pulled(broker, other, ELSEWHERE);
      expect(again.map(({ attempt }) => attempt)).toEqual([1, 1]);
    });
  }

  test("[P-14.4] not when its token has run out, nor when it is settled already", async () => {
    const { broker, admin } = await started();
    await using _ = broker;
    await publish(broker, 2);
    const exp = Math.ceil(Date.now() / 1000) + 2;
    const token = await tokenFor("worker", { grants: WORK, exp });
    const [first, second] = await pulled(broker, token);
    const settle = async (by: string, body: object) => {
      const answer = await fetch(`${broker.httpUrl}/v1/queues/jobs/settle`, {
        method: "POST",
        headers: { Authorization: `Bearer ${by}`, "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      return ((await answer.json()) as { results: { type: string }[] }).results;
    };
    expect(await settle(token, { ack: [first!.tag] })).toMatchObject([{ type: "ok" }]);
    await eventually(
      () => Date.now() > exp * 1000,
      () => "the end of the token",
    );
    // Whoever holds something is looked at when anybody loses something.
    const waiting = await pulling(broker, await tokenFor("other", { grants: WORK }), 2);
    await admin("POST", "/revocations", { principal: "other" });
    expect((await waiting()).code).toBe("token_revoked");
    expect(counts(broker)).toMatchObject({ ready: 0, inFlight: 1 });
    const next = await tokenFor("worker", { grants: WORK });
    expect(await settle(next, { ack: [second!.tag] })).toMatchObject([{ type: "ok" }]);
  });
});

describe("a body that comes to its end after the credentials", () => {
  const LATE: readonly (readonly [string, string])[] = [
    ["/v1/topics/jobs/late", "x"],
    ["/v1/publish", '{"topic":"jobs/late"}'],
    ["/v1/batch", '[{"topic":"jobs/late"}]'],
    ["/admin/v1/revocations", '{"principal":"x"}'],
  ];
  for (const [path, body] of LATE) {
    test(`[P-14.4, P-12.3] does nothing: ${path}`, async () => {
      const { broker, admin } = await started();
      await using _ = broker;
      const grants = [...WORK, { allow: ["admin"], on: ["revocations"] }];
      const token = await tokenFor("worker", { grants });
      const before = await admin("GET", "/revocations");
      using peer = await HostilePeer.dial(broker.httpUrl);
      const lines = [
        `POST ${path} HTTP/1.1`,
        `Host: ${peer.host}`,
        `Authorization: Bearer ${token}`,
        ...["Content-Type: application/json", `Content-Length: ${body.length}`],
      ];
      peer.write(`${lines.join("\r\n")}\r\n\r\n${body.slice(0, -1)}`);
      // Behind this answer its head has been read.
      await admin("GET", "/info");
      await admin("PUT", "/bans/b", { principal: "worker" });
      peer.write(body.slice(-1));
      await eventually(
        () => peer.text.includes("\r\n\r\n"),
        () => "an answer",
      );
      expect(peer.text).toMatch(/^HTTP\/1\.1 403 /);
      expect(broker.warren.broker.engine.queues.describe("jobs").counts.ready).toBe(0);
      expect(await admin("GET", "/revocations")).toEqual(before);
    });
  }
});
