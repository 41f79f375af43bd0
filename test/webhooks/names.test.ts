/** Names of webhooks' endpoints: looked up within the time of a request, and once only. */
import { expect, test } from "bun:test";
import type { Resolve } from "../../src/pinned-fetch.ts";
import { Authority, OPENSSL } from "../harness/certificates.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { startEndpoint } from "./endpoint.ts";

const HERE = "127.0.0.1";
const LINK_LOCAL = "169.254.169.254";

/** A broker that looks names up as it is told, with a queue that is pushed to a URL. */
async function pushed(resolve: Resolve, url: string, timeoutMs = 10_000): Promise<TestBroker> {
  const broker = await startBroker({ deps: { resolve } });
  const settings = { maxDeliveries: 1, webhook: { url, timeoutMs } };
  await broker.queue("jobs", ["jobs/#"], settings);
  return broker;
}

const post = (broker: TestBroker) =>
  fetch(`${broker.httpUrl}/v1/topics/jobs/a`, { method: "POST", body: "1" });

async function died(broker: TestBroker): Promise<string | undefined> {
  const { queues } = broker.warren.broker.engine;
  await eventually(
    () => queues.describe("jobs.dead").counts.ready === 1,
    () => "the dead letter",
  );
  const answer = await fetch(`${broker.httpUrl}/admin/v1/queues/jobs.dead/messages`);
  const { messages } = (await answer.json()) as { messages: { deaths: { detail?: string }[] }[] };
  return messages[0]?.deaths[0]?.detail;
}

test("[P-5.16] a look-up that never ends is over when the time of the request is", async () => {
  const asked: string[] = [];
  const resolve = (name: string) => {
    asked.push(name);
    return new Promise<never>(() => {});
  };
  await using broker = await pushed(resolve, "http://slow.test/hook", 100);
  await post(broker);
  expect(await died(broker)).toBe("The endpoint did not answer within 100 ms.");
  expect(asked).toEqual(["slow.test"]);
});

test("[P-5.16] the address that was judged is the one that is asked, whatever the name says later", async () => {
  await using endpoint = startEndpoint();
  const { port } = new URL(endpoint.url);
  let looks = 0;
  const resolve = async () => (looks++ === 0 ? [HERE] : [LINK_LOCAL]);
  // No system knows this name: whoever looks it up again by himself finds nothing.
  await using broker = await pushed(resolve, `http://hook.test:${port}/hook`);
  await post(broker);
  await endpoint.came(1);
  expect(endpoint.received[0]?.headers.get("host")).toBe(`hook.test:${port}`);
  await post(broker);
  expect(await died(broker)).toContain("a link-local address");
  expect([looks, endpoint.received.length]).toEqual([2, 1]);
});

test("[P-5.16] one link-local address among several is enough to ask none", async () => {
  await using endpoint = startEndpoint();
  const { port } = new URL(endpoint.url);
  const resolve = async () => [HERE, LINK_LOCAL];
  await using broker = await pushed(resolve, `http://hook.test:${port}/hook`);
  await post(broker);
  expect(await died(broker)).toContain("a link-local address");
  expect(endpoint.received).toBeEmpty();
});

test("[P-5.16] an address at which nobody is leaves the others of the name", async () => {
  await using endpoint = startEndpoint();
  const { port } = new URL(endpoint.url);
  // The endpoint listens at 127.0.0.1 alone.
  await using broker = await pushed(async () => ["127.0.0.2", HERE], `http://hook.test:${port}/`);
  await post(broker);
  await endpoint.came(1);
});

test.skipIf(OPENSSL === null)(
  "[P-5.16] over https the certificate is held to the name, not to the address",
  async () => {
    using authority = new Authority();
    const { cert, key } = authority.make("hook", "/CN=hook", "DNS:hook.test");
    const came: string[] = [];
    const server = Bun.serve({
      ...{ port: 0, hostname: HERE, tls: { cert, key } },
      fetch(request) {
        came.push(new URL(request.url).host);
        return new Response();
      },
    });
    const broker = Bun.spawn(
      [process.execPath, "test/webhooks/pushes.ts", `${server.port}`, "hook.test", "other.test"],
      { env: { ...process.env, NODE_EXTRA_CA_CERTS: authority.caFile }, stdout: "pipe" },
    );
    const { port } = server;
    const said = JSON.parse(await new Response(broker.stdout).text());
    await server.stop(true);
    expect(said).toEqual({
      "hook.test": "acked",
      "other.test": "The endpoint could not be reached: ERR_TLS_CERT_ALTNAME_INVALID.",
    });
    expect(came).toEqual([`hook.test:${port}`]);
  },
);
