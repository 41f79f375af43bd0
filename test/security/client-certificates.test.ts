/** Clients that show certificates: who they are, and who is not let in [P-14.3]. */
import { afterAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { PrincipalField } from "../../schemas/identity.ts";
import { certificateName, certificateNames } from "../../src/security/certificate-names.ts";
import { Authority, type MadeCertificate, OPENSSL } from "../harness/certificates.ts";
import { startBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const made = OPENSSL === null ? undefined : madeCertificates();
afterAll(() => {
  made?.authority[Symbol.dispose]();
  made?.other[Symbol.dispose]();
});

function madeCertificates() {
  const authority = new Authority();
  const other = new Authority();
  const names = "DNS:d1.example;URI:urn:device:1;email:d1@example.org";
  return {
    authority,
    other,
    server: authority.make("server", "/CN=broker", "DNS:localhost;IP:127.0.0.1"),
    device: authority.make("device", "/O=Plant/CN=device-1", names),
    tricky: authority.make("tricky", "/CN=a, DNS:boss", "URI:urn:x"),
    twins: authority.make("twins", "/CN=one/CN=two", "DNS:a.example;DNS:b.example"),
    stranger: other.make("stranger", "/CN=device-1", names),
  };
}

const derOf = ({ cert }: MadeCertificate) => new X509Certificate(cert).raw;
const GRANTS = [{ allow: ["publish", "subscribe"], on: ["of/{principal}/#"] }];

function tlsOf(mode: "request" | "require", from?: PrincipalField, more: object = {}) {
  const { server, authority } = made!;
  return {
    certFile: server.certFile,
    keyFile: server.keyFile,
    caFile: authority.caFile,
    clientCertificate: mode,
    ...(from && { clientPrincipal: { from, grants: GRANTS, ...more } }),
  };
}
const withCertificate = ({ cert, key }: MadeCertificate) => ({ ca: made!.authority.ca, cert, key });
const without = () => ({ ca: made!.authority.ca });

describe.skipIf(made === undefined)("[P-14.3] a client's certificate says who it is", () => {
  test.each<[PrincipalField, string]>([
    ["cn", "device-1"],
    ["subject", "CN=device-1,O=Plant"],
    ["san:dns", "d1.example"],
    ["san:uri", "urn:device:1"],
    ["san:email", "d1@example.org"],
  ])("by %s, over WebSocket in both encodings and over HTTP", async (from, name) => {
    const roles = { operator: { grants: EVERYTHING } };
    const access = { roles, tls: tlsOf("require", from, { prefix: "x509:", roles: ["operator"] }) };
    await using broker = await startBroker({ access });
    const tls = withCertificate(made!.device);
    for (const encoding of ENCODINGS) {
      using client = await WireClient.connect(broker.wsUrl, { encoding, tls });
      expect(client.welcome.principal).toBe(`x509:${name}`);
      expect(client.welcome.expiresAt).toBe(Date.parse(new X509Certificate(tls.cert).validTo));
      const topic = `of/x509:${name}/a`;
      await client.ok({ type: "subscribe", filter: topic });
      await client.ok({ type: "publish", topic, payload: "x".repeat(100_000) });
      expect((await client.expect("event")).payload).toHaveLength(100_000);
    }
    const answer = await fetch(`${broker.httpUrl}/admin/v1/queues`, { tls } as never);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("Strict-Transport-Security")).toBe("max-age=31536000");
  });

  test("required: without one, or with a stranger's, there is no connection", async () => {
    await using broker = await startBroker({ access: { tls: tlsOf("require", "cn") } });
    for (const tls of [without(), withCertificate(made!.stranger)]) {
      await expect(WireClient.connect(broker.wsUrl, { tls })).rejects.toThrow();
      await expect(fetch(`${broker.httpUrl}/healthz`, { tls } as never)).rejects.toThrow();
    }
  });

  test("requested: without one a token is needed, with a stranger's there is no connection", async () => {
    const access = { ...TOKENS_ONLY, tls: tlsOf("request", "cn") };
    await using broker = await startBroker({ access });
    const connect = (tls: object, token?: string) =>
      WireClient.connect(broker.wsUrl, { tls: tls as never, ...(token && { token }) });
    const token = await tokenFor("ada");
    using byToken = await connect(without(), token);
    expect(byToken.welcome.principal).toBe("ada");
    using byCertificate = await connect(withCertificate(made!.device));
    expect(byCertificate.welcome.principal).toBe("device-1");
    using byBoth = await connect(withCertificate(made!.device), token);
    expect(byBoth.welcome.principal).toBe("ada");
    await expect(connect(withCertificate(made!.stranger), token)).rejects.toThrow();
    await expect(connect(withCertificate(made!.device), "no token")).rejects.toThrow();
    const answer = await fetch(`${broker.httpUrl}/admin/v1/queues`, { tls: without() } as never);
    expect(answer.status).toBe(401);
  });

  test("without a rule it is the way in, and no credential", async () => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, tls: tlsOf("require") } });
    const tls = withCertificate(made!.device);
    using client = await WireClient.open(broker.wsUrl, { tls });
    client.send({ type: "auth", id: 1, token: await tokenFor("ada") });
    expect((await client.expect("welcome")).principal).toBe("ada");
    expect((await fetch(`${broker.httpUrl}/metrics`, { tls } as never)).status).toBe(401);
  });

  test("[P-14.4] one that is lost is taken back, and one that was issued later is good", async () => {
    const access = { ...TOKENS_ONLY, tls: tlsOf("request", "cn") };
    await using broker = await startBroker({ access });
    const tls = withCertificate(made!.device);
    const issued = Date.parse(new X509Certificate(tls.cert).validFrom);
    const headers = { Authorization: `Bearer ${await tokenFor("operator")}` };
    const revoke = async (issuedBefore: number) => {
      const body = JSON.stringify({ principal: "device-1", issuedBefore });
      const request = { method: "POST", headers, body, tls: without() };
      const answer = await fetch(`${broker.httpUrl}/admin/v1/revocations`, request as never);
      expect(answer.status).toBe(200);
    };
    using before = await WireClient.connect(broker.wsUrl, { tls });
    await revoke(issued);
    await before.ok({ type: "ping" });
    using client = await WireClient.connect(broker.wsUrl, { tls });
    await revoke(issued + 1);
    for (const one of [before, client]) expect((await one.closed()).code).toBe(4401);
    const answer = await fetch(`${broker.httpUrl}/admin/v1/queues`, { tls } as never);
    expect((await answer.json()) as object).toMatchObject({ code: "token_revoked" });
  });

  test("pages of the same origin are known as such behind the gate", async () => {
    const access = { ...TOKENS_ONLY, tls: tlsOf("require") };
    await using broker = await startBroker({ access });
    const tls = withCertificate(made!.device);
    const status = async (Origin: string) =>
      (await fetch(`${broker.httpUrl}/healthz`, { tls, headers: { Origin } } as never)).status;
    expect(await status(broker.httpUrl)).toBe(200);
    expect(await status(broker.httpUrl.replace("https", "http"))).toBe(403);
  });

  test("[P-14.12] a browser shows it for any page, so a page that * lets in does not come by it", async () => {
    const page = "https://app.example";
    const roles = { operator: { grants: EVERYTHING } };
    const tls = tlsOf("request", "cn", { roles: ["operator"] });
    const access = { roles, tls, allowedOrigins: ["*", page] };
    await using broker = await startBroker({ access });
    const shown = withCertificate(made!.device);
    const publish = async (Origin?: string) => {
      const headers = { "Content-Type": "text/plain", ...(Origin && { Origin }) };
      const request = { method: "POST", body: "x", headers, tls: shown };
      const { status } = await fetch(`${broker.httpUrl}/v1/topics/of/it`, request as never);
      return status;
    };
    for (const origin of [undefined, page, broker.httpUrl]) expect(await publish(origin)).toBe(200);
    for (const origin of ["https://evil.example", "null"]) expect(await publish(origin)).toBe(401);
    using known = await WireClient.connect(broker.wsUrl, { tls: shown, headers: { Origin: page } });
    expect(known.welcome.principal).toBe("device-1");
    const headers = { Origin: "https://evil.example" };
    using strange = await WireClient.open(broker.wsUrl, { tls: shown, headers });
    expect(await strange.request({ type: "subscribe", filter: "#" })).toMatchObject({
      code: "unauthenticated",
    });
  });

  test.skipIf(!existsSync("/proc/net/tcp"))(
    "[P-14.3] who goes around the gate is nobody, whatever it says",
    async () => {
      const before = listening();
      await using broker = await startBroker({ access: { tls: tlsOf("require", "cn") } });
      const gate = Number(new URL(broker.httpUrl).port);
      const inner = listening().filter((port) => !before.includes(port) && port !== gate);
      expect(inner.length).toBeGreaterThan(0);
      for (const port of inner) {
        const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
        expect(answer?.status ?? 403).toBe(403);
      }
    },
  );

  test("a renewed certificate of the broker is shown, and connections stay", async () => {
    await using broker = await startBroker({ access: { tls: tlsOf("require", "cn") } });
    const tls = withCertificate(made!.device);
    using before = await WireClient.connect(broker.wsUrl, { tls });
    broker.warren.reload();
    using after = await WireClient.connect(broker.wsUrl, { tls });
    await before.ok({ type: "subscribe", filter: "of/device-1/a" });
    await after.ok({ type: "publish", topic: "of/device-1/a", payload: 1 });
    expect((await before.expect("event")).payload).toBe(1);
    await expect(
      WireClient.connect(broker.wsUrl, { tls: withCertificate(made!.stranger) }),
    ).rejects.toThrow();
    await broker.stop();
    expect((await before.closed()).code).toBe(1012);
  });
});

/** Ports of this machine on which somebody listens. */
function listening(): number[] {
  const LISTEN = "0A";
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === LISTEN)
    .map(([, local]) => Number.parseInt(local!.split(":")[1]!, 16));
}

describe.skipIf(made === undefined)("[P-14.3] names are read from the certificate's bytes", () => {
  test("a comma in one name makes no other name", () => {
    const der = derOf(made!.tricky);
    expect(certificateNames(der, "cn")).toEqual(["a, DNS:boss"]);
    expect(certificateNames(der, "san:uri")).toEqual(["urn:x"]);
    expect(certificateName(der, "san:dns")).toBeUndefined();
  });

  test("a whole subject is written as RFC 4514 has it, and no two alike", () => {
    const subjects = [
      ["/CN=a, DNS:boss", "CN=a\\, DNS:boss"],
      ["/O=x\\/y/CN=#1 ", "CN=\\#1\\ ,O=x/y"],
      ['/C=FR/ST=Rhône/O=A\\+B;C/CN=<"q"\\\\>', 'CN=\\<\\"q\\"\\\\\\>,O=A\\+B\\;C,ST=Rhône,C=FR'],
      [
        "/DC=org/DC=example/UID=u1/emailAddress=e@x.org",
        "emailAddress=e@x.org,UID=u1,DC=example,DC=org",
      ],
      ["/CN=one/CN=two", "CN=two,CN=one"],
      ["/CN=one,CN\\=two", "CN=one\\,CN=two"],
      ["/title=Dr/CN=d", "CN=d,2.5.4.12=#0c024472"],
      ["/OU=u+CN=d", "CN=d+OU=u"],
    ] as const;
    subjects.forEach(([subject, text], at) => {
      const der = derOf(made!.authority.make(`subject-${at}`, subject));
      expect(certificateName(der, "subject")).toBe(text);
    });
  });

  test("of several names none is chosen", () => {
    expect(certificateNames(derOf(made!.twins), "san:dns")).toEqual(["a.example", "b.example"]);
    for (const field of ["cn", "san:dns", "san:email"] as const) {
      expect(certificateName(derOf(made!.twins), field)).toBeUndefined();
    }
  });

  test("bytes that are cut or changed throw or give a name, and never hang", () => {
    const der = derOf(made!.device);
    for (let length = 0; length < der.length; length += 3) {
      expect(certificateName(der.subarray(0, length), "cn")).toBeUndefined();
    }
    for (let at = 0; at < der.length; at++) {
      const wrong = Buffer.from(der);
      wrong[at]! ^= 0x41;
      expect(() => certificateName(wrong, "san:dns")).not.toThrow();
    }
  });
});

const NODE = Bun.which("node");
if (NODE === null) process.stdout.write("SKIPPED-MISSING-PROGRAM: node\n");

describe.skipIf(made === undefined || NODE === null)("[P-14.3] ws on Node", () => {
  test("comes in over wss with its certificate", async () => {
    await using broker = await startBroker({ access: { tls: tlsOf("require", "san:uri") } });
    const options = JSON.stringify(withCertificate(made!.device));
    const script = `import { WebSocket } from "ws";
      const socket = new WebSocket("${broker.wsUrl}", ["warren.v1.json"], ${options});
      socket.on("message", (data) => { console.log(String(data)); socket.close(); });
      socket.on("error", (error) => { console.log(error.message); process.exit(1); });`;
    const child = Bun.spawn([NODE!, "--input-type=module", "-e", script], {
      cwd: join(import.meta.dir, "../.."),
    });
    const text = await new Response(child.stdout).text();
    expect(await child.exited).toBe(0);
    expect(text).toContain('"principal":"urn:device:1"');
  });
});
