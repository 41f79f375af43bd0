/** TLS at the broker itself: wss and https, renewing the certificate, settings that are not safe [P-14.3]. */
import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import type { TlsSettings } from "../../schemas/identity.ts";
import { CERTIFICATE_LOOK_MS, CertificateWatch, tlsFaults } from "../../src/security/tls.ts";
import { Authority, type MadeCertificate, OPENSSL } from "../harness/certificates.ts";
import { eventually } from "../harness/eventually.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { serve } from "../harness/served.ts";
import { startBroker } from "../harness/start-broker.ts";
import { EVERYTHING, TOKENS_ONLY, tokenFor } from "../harness/tokens.ts";
import { ENCODINGS, WireClient } from "../harness/wire-client.ts";

const NAMES = "DNS:localhost;IP:127.0.0.1";
const made = OPENSSL === null ? undefined : madeCertificates();
afterAll(() => made?.authority[Symbol.dispose]());

function madeCertificates() {
  const authority = new Authority();
  const first = authority.make("first", "/CN=first", NAMES);
  const second = authority.make("second", "/CN=second", NAMES);
  return { authority, first, second, ca: authority.ca };
}

const pair = ({ certFile, keyFile }: MadeCertificate) => ({ certFile, keyFile });

/** Files of a broker, which a test may replace. */
function filesOf(name: string, { certFile, keyFile }: MadeCertificate) {
  const { directory } = made!.authority;
  const files = {
    certFile: join(directory, `${name}-live.pem`),
    keyFile: join(directory, `${name}-live.key`),
  };
  copyFileSync(certFile, files.certFile);
  copyFileSync(keyFile, files.keyFile);
  return files;
}

const halfOf = (pem: string) => pem.slice(0, pem.length / 2);

/** The common name of the certificate that a new connection is shown, and its TLS version. */
function shown(url: string, versions: object = {}): Promise<string> {
  const { port, hostname } = new URL(url);
  return new Promise((resolve, reject) => {
    const options = { port: Number(port), host: hostname, ca: made!.ca, ...versions };
    const socket = connect(options, () => {
      resolve(`${socket.getPeerCertificate().subject.CN} ${socket.getProtocol()}`);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

describe.skipIf(made === undefined)("[P-14.3] the broker's certificate", () => {
  const tls = { ca: made?.ca ?? "" };
  const at = (token: string) => ({ tls, headers: { Authorization: `Bearer ${token}` } });

  test.each(ENCODINGS)(
    "[P-14.3] wss and https speak as ws and http do, in %s",
    async (encoding) => {
      await using broker = await startBroker({
        access: { ...TOKENS_ONLY, tls: pair(made!.first) },
      });
      expect(broker.wsUrl).toStartWith("wss://127.0.0.1:");
      const token = await tokenFor("ada");
      using client = await WireClient.connect(broker.wsUrl, { encoding, token, tls });
      await client.ok({ type: "subscribe", filter: "a/#" });
      await client.ok({ type: "publish", topic: "a/b", payload: { n: 1 } });
      expect((await client.expect("event")).payload).toEqual({ n: 1 });
      const answer = await fetch(`${broker.httpUrl}/admin/v1/queues`, at(token) as never);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("Strict-Transport-Security")).toBe("max-age=31536000");
    },
  );

  test("every answer says to come by TLS, refusals and those at /ws too", async () => {
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, tls: pair(made!.first) } });
    const upgrade = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
    const handshake = { ...upgrade, "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };
    for (const [path, status, headers] of [
      ["/healthz", 200, {}],
      ["/nowhere", 404, {}],
      ["/admin/v1/info", 401, {}],
      ["/ws", 426, {}],
      ["/ws", 401, { ...handshake, Authorization: "Bearer wrong" }],
      ["/healthz", 400, { Host: "a.example,b.example" }],
    ] as const) {
      const answer = await fetch(`${broker.httpUrl}${path}`, { headers, tls } as never);
      const said = answer.headers.get("Strict-Transport-Security");
      expect([path, answer.status, said]).toEqual([path, status, "max-age=31536000"]);
    }
  });

  test("plain http gets no answer there, and old TLS no handshake", async () => {
    await using broker = await startBroker({ access: { tls: pair(made!.first) } });
    await expect(fetch(broker.httpUrl.replace("https", "http"))).rejects.toThrow();
    expect(await shown(broker.httpUrl)).toBe("first TLSv1.3");
    expect(await shown(broker.httpUrl, { maxVersion: "TLSv1.2" })).toBe("first TLSv1.2");
    const old = { minVersion: "TLSv1.1", maxVersion: "TLSv1.1" };
    await expect(shown(broker.httpUrl, old)).rejects.toThrow();
    const strict = { ...pair(made!.first), minVersion: "TLSv1.3" };
    await using newer = await startBroker({ access: { tls: strict } });
    await expect(shown(newer.httpUrl, { maxVersion: "TLSv1.2" })).rejects.toThrow();
  });

  test("is renewed while connections stay, and both sides of it hear each other", async () => {
    const files = filesOf("renewed", made!.first);
    await using broker = await startBroker({ access: { ...TOKENS_ONLY, tls: files } });
    const token = await tokenFor("ada", { grants: EVERYTHING });
    using before = await WireClient.connect(broker.wsUrl, { token, tls });
    await before.ok({ type: "subscribe", filter: "a" });
    filesOf("renewed", made!.second);
    broker.warren.reload();
    expect(await shown(broker.httpUrl)).toStartWith("second");
    using after = await WireClient.connect(broker.wsUrl, { token, tls });
    await after.ok({ type: "subscribe", filter: "a" });
    await after.ok({ type: "publish", topic: "a", payload: "from after" });
    await before.ok({ type: "publish", topic: "a", payload: "from before" });
    for (const client of [before, after]) {
      expect((await client.expect("event")).payload).toBe("from after");
      expect((await client.expect("event")).payload).toBe("from before");
    }
    before.send({ type: "ping", id: "still" });
    expect((await before.expect(({ id }) => id === "still")).type).toBe("ok");
    await broker.stop();
    expect((await before.closed()).code).toBe(1012);
    expect((await after.closed()).code).toBe(1012);
  });

  test("SIGHUP to `warren serve` has them read anew, and what is open stays open", async () => {
    const files = filesOf("served", made!.first);
    const dataDir = await mkdtemp(join(tmpdir(), "warren-test-"));
    try {
      const env = {
        WARREN_TLS_CERT_FILE: files.certFile,
        WARREN_TLS_KEY_FILE: files.keyFile,
        WARREN_JWT_SECRET: TOKENS_ONLY.jwt.secret,
      };
      await using broker = await serve(dataDir, [], env);
      const wsUrl = `${broker.url.replace("http", "ws")}/ws`;
      using before = await WireClient.connect(wsUrl, { token: await tokenFor("ada"), tls });
      filesOf("served", made!.second);
      broker.child.kill("SIGHUP");
      await broker.logged("the certificate was renewed");
      expect(await shown(broker.url)).toStartWith("second");
      await before.ok({ type: "ping" });
    } finally {
      await rm(dataDir, { recursive: true, force: true });
    }
  });

  test("that cannot be used is not taken; the one before stays, and the log says why", async () => {
    const files = filesOf("bad", made!.first);
    await using broker = await startBroker({ access: { tls: files } });
    copyFileSync(made!.second.keyFile, files.keyFile);
    broker.warren.reload();
    expect(await shown(broker.httpUrl)).toStartWith("first");
    expect(broker.log.join("")).toContain("is not that of the certificate");
    expect(broker.log.join("")).not.toContain("PRIVATE KEY");
  });

  const NEW_FILES: [string, (files: ReturnType<typeof filesOf>) => void][] = [
    ["a certificate that is not there", ({ certFile }) => unlinkSync(certFile)],
    ["an empty certificate", ({ certFile }) => writeFileSync(certFile, "")],
    ["half a certificate", ({ certFile }) => writeFileSync(certFile, halfOf(made!.second.cert))],
    ["half a key", ({ keyFile }) => writeFileSync(keyFile, halfOf(made!.first.key))],
    ["a key that others can read", ({ keyFile }) => chmodSync(keyFile, 0o644)],
    ["no PEM at all", ({ certFile }) => writeFileSync(certFile, Buffer.alloc(4096, 0xff))],
  ];
  test.each(NEW_FILES)(
    "and connections stay through %s, then comes the good one",
    async (_, spoil) => {
      const files = filesOf("spoilt", made!.first);
      await using broker = await startBroker({ access: { ...TOKENS_ONLY, tls: files } });
      const token = await tokenFor("ada");
      using client = await WireClient.connect(broker.wsUrl, { token, tls });
      spoil(files);
      for (let n = 0; n < 3; n++) broker.warren.reload();
      await client.ok({ type: "ping" });
      expect(await shown(broker.httpUrl)).toStartWith("first");
      expect(broker.log.join("")).toContain("certificate");
      rmSync(files.keyFile, { force: true });
      filesOf("spoilt", made!.second);
      broker.warren.reload();
      expect(await shown(broker.httpUrl)).toStartWith("second");
      await client.ok({ type: "ping" });
    },
  );

  test("is looked at again and again, and a change is seen", async () => {
    const files = filesOf("watched", made!.first);
    const clock = new ManualClock();
    let changes = 0;
    const settings = { ...files, clientCertificate: "none", minVersion: "TLSv1.2" } as const;
    const watch = new CertificateWatch(settings, clock, () => changes++);
    await watch.start();
    const look = async () => {
      const looks = watch.looks;
      clock.advance(CERTIFICATE_LOOK_MS);
      await eventually(
        () => watch.looks > looks,
        () => "a look at the files",
      );
    };
    await look();
    expect(changes).toBe(0);
    filesOf("watched", made!.second);
    await look();
    expect(changes).toBe(1);
    await look();
    expect(changes).toBe(1);
    watch.stop();
  });
});

describe.skipIf(made === undefined)("[P-14.3] settings that are not safe stop the start", () => {
  const fresh = () => filesOf("faulty", made!.first);
  const open = () => {
    const files = fresh();
    chmodSync(files.keyFile, 0o644);
    return files;
  };
  const table: [string, () => object, RegExp][] = [
    ["a certificate without its key", () => ({ certFile: "x" }), /keyFile: is missing/],
    ["a key without its certificate", () => ({ keyFile: "x" }), /certFile: is missing/],
    ["files that are not there", () => ({ certFile: "/none", keyFile: "/none" }), /ENOENT/],
    [
      "another's key",
      () => ({ ...fresh(), keyFile: made!.second.keyFile }),
      /not that of the cert/,
    ],
    ["a key that others can read", open, /chmod 600/],
    ["no certificate", () => ({ ...fresh(), certFile: fresh().keyFile }), /no certificate in PEM/],
    ["no key", () => ({ ...fresh(), keyFile: made!.authority.caFile }), /chmod 600|no private key/],
    ["client certificates without TLS", () => ({ clientCertificate: "require" }), /needs TLS/],
    [
      "client certificates of anybody",
      () => ({ ...fresh(), clientCertificate: "require" }),
      /autho/,
    ],
    ["an authority for nothing", () => ({ ...fresh(), caFile: "x" }), /of no use/],
    ["names of nobody", () => ({ ...fresh(), clientPrincipal: { from: "cn" } }), /of no use/],
  ];
  test.each(table)("%s", (_, settings, problem) => {
    const all = { clientCertificate: "none", minVersion: "TLSv1.2", ...settings() };
    const faults = tlsFaults(all as TlsSettings, Date.now());
    expect(faults.map(({ setting, message }) => `${setting}: ${message}`).join("\n")).toMatch(
      problem,
    );
  });

  test("an expired certificate, and one that is good", () => {
    const all = { clientCertificate: "none", minVersion: "TLSv1.2", ...fresh() } as const;
    expect(tlsFaults(all, Date.now() + 3 * 86_400_000)[0]?.message).toMatch(/expired on .*; renew/);
    expect(tlsFaults(all, Date.now())).toEqual([]);
    writeFileSync(join(made!.authority.directory, "faulty-live.pem"), "nonsense");
    expect(tlsFaults(all, Date.now())[0]?.message).toMatch(/no certificate in PEM/);
  });
});
