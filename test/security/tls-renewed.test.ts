/** Connections under a certificate that was renewed since: they are served, and bounded, like the others [P-14.3]. */
import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { EngineListener } from "../../src/engine/engine.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { HostilePeer, upgradeRequest } from "../attack/hostile-peer.ts";
import { Authority, type MadeCertificate, OPENSSL } from "../harness/certificates.ts";
import { startBroker } from "../harness/start-broker.ts";
import type { Frame } from "../harness/wire-client.ts";
import { WireClient } from "../harness/wire-client.ts";

const NAMES = "DNS:localhost;IP:127.0.0.1";
const made = OPENSSL === null ? undefined : madeCertificates();
afterAll(() => made?.authority[Symbol.dispose]());

function madeCertificates() {
  const authority = new Authority();
  const first = authority.make("first", "/CN=first", NAMES);
  const second = authority.make("second", "/CN=second", NAMES);
  const files = {
    certFile: join(authority.directory, "live.pem"),
    keyFile: join(authority.directory, "live.key"),
  };
  const use = ({ certFile, keyFile }: MadeCertificate) => {
    copyFileSync(certFile, files.certFile);
    copyFileSync(keyFile, files.keyFile);
  };
  return { authority, first, second, files, use };
}

/** The common name of the certificate that a new connection is shown. */
function nameShown(url: string, ca: string): Promise<unknown> {
  const { port, hostname } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect({ port: Number(port), host: hostname, ca }, () => {
      resolve(socket.getPeerCertificate().subject.CN);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

const LIMITS = { frameBytes: 16 * 1024, outboundBytes: 128 * 1024, commitBytes: 1024 * 1024 };
const PAYLOAD = "x".repeat(14 * 1024);
/** More than the buffers of any system between two sockets hold. */
const MOST = 8000;

describe.skipIf(made === undefined)("[P-14.3] behind a renewed certificate", () => {
  const { authority, first, second, files, use } = made ?? ({} as NonNullable<typeof made>);

  test("[P-14.3, P-4.7] who reads too slowly under the one before is told what it missed", async () => {
    use(first);
    await using broker = await startBroker({ access: { tls: files }, limits: LIMITS });
    const tls = { ca: authority.ca };
    using slow = await HostilePeer.dial(broker.wsUrl, tls);
    slow.write(upgradeRequest(slow.host));
    await slow.until(({ type }) => type === "welcome");
    slow.send({ type: "subscribe", id: 1, filter: "t" });
    await slow.until(({ id }) => id === 1);
    const [session] = [...broker.warren.sessions];
    use(second);
    broker.warren.reload();
    using quick = await WireClient.connect(broker.wsUrl, { tls });
    await quick.ok({ type: "subscribe", filter: "t" });
    slow.socket.pause();
    let published = 0;
    const publish = async () => {
      await quick.ok({ type: "publish", topic: "t", payload: PAYLOAD });
      await quick.expect("event");
      published++;
    };
    while (session?.live.suspended === false && published < MOST) await publish();
    expect(session?.live.suspended).toBe(true);
    for (let n = 0; n < 3; n++) await publish();
    slow.socket.resume();
    const { missed } = await slow.until(({ code }) => code === "lagged");
    const events = slow.frames.filter(({ type }: Frame) => type === "event");
    expect(events.length + missed).toBe(published);
  });

  test("[P-14.3, P-3.2] one that is still the same parts nobody from those who come later", async () => {
    use(first);
    await using broker = await startBroker({ access: { tls: files } });
    const tls = { ca: authority.ca };
    using before = await WireClient.connect(broker.wsUrl, { tls });
    await before.ok({ type: "subscribe", filter: "t" });
    // As for a change of keys: everything is read anew.
    broker.warren.reload();
    using after = await WireClient.connect(broker.wsUrl, { tls });
    await after.ok({ type: "subscribe", filter: "t" });
    await after.ok({ type: "publish", topic: "t", payload: 1, echo: false });
    await after.ok({ type: "publish", topic: "t", payload: 2 });
    expect((await before.expect("event")).payload).toBe(1);
    expect((await after.expect("event")).payload).toBe(2);
  });

  test.each(["none", "request"] as const)(
    "[P-14.3] one that comes while the broker starts is seen, with client certificates: %s",
    async (clientCertificate) => {
      use(first);
      /** Opening takes long enough for somebody to renew the files meanwhile. */
      class SlowEngine extends MemoryEngine {
        override async open(listener: EngineListener): Promise<void> {
          use(second);
          await super.open(listener);
        }
      }
      const ca = clientCertificate === "none" ? {} : { caFile: authority.caFile };
      await using broker = await startBroker({
        access: { tls: { ...files, ...ca, clientCertificate } },
        engine: (limits) => new SlowEngine({ clock: systemClock, random: systemRandom, limits }),
      });
      expect(await nameShown(broker.httpUrl, authority.ca)).toBe("second");
      expect(broker.log.filter((line) => line.includes("was renewed"))).toHaveLength(1);
    },
  );

  test("[P-14.3, P-3.2] what is published without echo reaches those under the one before", async () => {
    use(first);
    await using broker = await startBroker({ access: { tls: files } });
    const tls = { ca: authority.ca };
    using before = await WireClient.connect(broker.wsUrl, { tls });
    await before.ok({ type: "subscribe", filter: "t" });
    use(second);
    broker.warren.reload();
    using after = await WireClient.connect(broker.wsUrl, { tls });
    await after.ok({ type: "subscribe", filter: "t" });
    await after.ok({ type: "publish", topic: "t", payload: 1, echo: false });
    await after.ok({ type: "publish", topic: "t", payload: 2 });
    expect((await before.expect("event")).payload).toBe(1);
    await before.ok({ type: "publish", topic: "t", payload: 3, echo: false });
    expect((await after.expect("event")).payload).toBe(2);
    expect((await after.expect("event")).payload).toBe(3);
  });
});
