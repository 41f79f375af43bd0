/**
 * Requests that two parsers may read differently, with a second one hidden in them [P-12.1]: each is refused
 * and its connection closed, or is one request and what is hidden is its body. Through all three listeners:
 * without TLS, with Bun's, and through the gate for client certificates.
 */
import { afterAll, expect, test } from "bun:test";
import { Authority, OPENSSL } from "../harness/certificates.ts";
import { eventually } from "../harness/eventually.ts";
import { startBroker, type TestBroker } from "../harness/start-broker.ts";
import { WireClient } from "../harness/wire-client.ts";
import { HostilePeer } from "./hostile-peer.ts";

const authority = OPENSSL === null ? undefined : new Authority();
afterAll(() => authority?.[Symbol.dispose]());
const server = authority?.make("server", "/CN=broker", "DNS:localhost;IP:127.0.0.1");

const HIDDEN = "POST /v1/topics/hidden HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\n\r\nx";
const POST = "POST /v1/topics/open HTTP/1.1\r\nHost: HOST\r\n";
const CHUNKED = `${POST}Transfer-Encoding: chunked\r\n\r\n`;
const END = `0\r\n\r\n${HIDDEN}`;
/** `LENGTH` is that of what is hidden. */
const SIZED = "Content-Length: LENGTH\r\n";

const UPGRADE =
  "GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/** Refused as a whole, and closed. */
const REFUSED: Readonly<Record<string, string>> = {
  "a length, then chunks": `${POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${END}`,
  "chunks, then a length": `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${END}`,
  "a length of nothing, and chunks": `${POST}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n${END}`,
  "an encoding that is none, and a length": `${POST}${SIZED}Transfer-Encoding: identity\r\n\r\n${HIDDEN}`,
  "an encoding of no known name": `${POST}Transfer-Encoding: xchunked\r\n\r\n${END}`,
  "chunks that are not last": `${POST}Transfer-Encoding: chunked, identity\r\n\r\n${END}`,
  "packed chunks": `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n${END}`,
  "two encodings": `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n${END}`,
  "chunks behind a vertical tab": `${POST}Transfer-Encoding: \u000bchunked\r\n\r\n${END}`,
  "a space before the colon of chunks": `${POST}Transfer-Encoding : chunked\r\n${SIZED}\r\n${HIDDEN}`,
  "a space before the colon of a length": `${POST}Content-Length : LENGTH\r\n\r\n${HIDDEN}`,
  "two lengths that differ": `${POST}Content-Length: 0\r\n${SIZED}\r\n${HIDDEN}`,
  "two lengths in one line": `${POST}Content-Length: 0, LENGTH\r\n\r\n${HIDDEN}`,
  "one length twice in one line": `${POST}Content-Length: LENGTH, LENGTH\r\n\r\n${HIDDEN}`,
  "a length with a sign": `${POST}Content-Length: +LENGTH\r\n\r\n${HIDDEN}`,
  "a hexadecimal length": `${POST}Content-Length: 0x10\r\n\r\n${HIDDEN}`,
  "a length with a space in it": `${POST}Content-Length: 1 0\r\n\r\n${HIDDEN}`,
  "an empty length": `${POST}Content-Length: \r\n\r\n${HIDDEN}`,
  "a length on a folded line": `${POST}X: y\r\n Content-Length: LENGTH\r\n\r\n${HIDDEN}`,
  "a folded length": `${POST}Content-Length:\r\n LENGTH\r\n\r\n${HIDDEN}`,
  "folded chunks": `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n${END}`,
  "a folded first header": `POST /v1/topics/open HTTP/1.1\r\n Host: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  "lines that end with LF alone": `POST /v1/topics/open HTTP/1.1\nHost: HOST\n\n${HIDDEN}`,
  "a line that ends with LF alone": `${POST}X: y\n${SIZED}\r\n${HIDDEN}`,
  "a head that ends with LF alone": `${POST}${SIZED}\n${HIDDEN}`,
  "a line that ends with CR alone": `${POST}X: y\r${SIZED}\r\n${HIDDEN}`,
  "a null character in a header": `${POST}X: \u0000\r\n${SIZED}\r\n${HIDDEN}`,
  "a header without a colon": `${POST}Content-Length\r\n\r\n${HIDDEN}`,
  "a header without a name": `${POST}: LENGTH\r\n\r\n${HIDDEN}`,
  "an extension of a chunk with LF in it": `${CHUNKED}1;a\nx\r\n${END}`,
  "an extension of a chunk without end": `${CHUNKED}1;${"a".repeat(100_000)}\r\nx\r\n${END}`,
  "a chunk of all the bytes there are": `${CHUNKED}ffffffffffffffff\r\n${HIDDEN}`,
  "a chunk whose size is past 64 bits": `${CHUNKED}10000000000000001\r\nx\r\n${END}`,
  "a chunk below nothing": `${CHUNKED}-1\r\nx\r\n${END}`,
  "a chunk of 0x1": `${CHUNKED}0x1\r\nx\r\n${END}`,
  "a chunk with a space behind its size": `${CHUNKED}1 \r\nx\r\n${END}`,
  "a chunk without a size": `${CHUNKED}\r\nx\r\n${END}`,
  "chunks with LF alone": `${CHUNKED}1\nx\n0\n\n${HIDDEN}`,
  "a chunk longer than it says": `${CHUNKED}1\r\nxZZ0\r\n\r\n${HIDDEN}`,
  "chunks in HTTP/1.0": `POST /v1/topics/open HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n${END}`,
  "a version that is not there": `POST /v1/topics/open HTTP/1.2\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  "a space in the address": `POST /v1/topics/open /x HTTP/1.1\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  "lines before the first": `\r\n\r\n${POST}${SIZED}\r\n${HIDDEN}`,
};

/** One request: what is hidden is its body, or what follows is none. */
const ONE: Readonly<Record<string, readonly [number, string]>> = {
  "one length twice": [200, `${POST}${SIZED}${SIZED}\r\n${HIDDEN}`],
  "an extension of a chunk": [200, `${CHUNKED}1;a=b\r\nx\r\n0\r\n\r\n`],
  "trailers that say a length": [
    200,
    `${CHUNKED}1\r\nx\r\n0\r\nContent-Length: LENGTH\r\n\r\n${HIDDEN}`,
  ],
  "a folded trailer": [200, `${CHUNKED}1\r\nx\r\n0\r\n X: y\r\n\r\n${HIDDEN}`],
  "a body where there is none": [
    200,
    `GET /version HTTP/1.1\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  ],
  "chunks where there are none": [
    200,
    `GET /version HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\n${HIDDEN}\r\n0\r\n\r\n`,
  ],
  "an address in the place of a path": [
    200,
    `POST http://HOST/v1/topics/open HTTP/1.1\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  ],
  "an address of elsewhere": [
    200,
    `POST http://evil.example/v1/topics/open HTTP/1.1\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  ],
  "dot segments": [
    200,
    `POST /v1/x/../topics/./open HTTP/1.1\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  ],
  "a null character in the path": [
    400,
    `POST /v1/topics/open%00 HTTP/1.1\r\nHost: HOST\r\n${SIZED}\r\n${HIDDEN}`,
  ],
  "two Hosts": [400, `${POST}Host: evil.example\r\n${SIZED}\r\n${HIDDEN}`],
  "a body announced": [200, `${POST}Expect: 100-continue\r\n${SIZED}\r\n${HIDDEN}`],
  "an upgrade that is refused": [
    426,
    `${UPGRADE}Sec-WebSocket-Version: 99\r\n${SIZED}\r\n${HIDDEN}`,
  ],
};

/** No answer: the body has not come yet. It is not a body of one byte and another request. */
const WAITS = { "a chunk whose size is past 32 bits": `${CHUNKED}100000001\r\nx\r\n${END}` };

function bytesFor(text: string, host: string): Buffer {
  const { length } = HIDDEN.replace("HOST", host);
  const filled = text.replaceAll("HOST", host).replaceAll("LENGTH", `${length}`);
  return Buffer.from(filled.replace("HEX", length.toString(16)), "latin1");
}

/** Of answers that end something; 100 does not. */
const statusesOf = (text: string) =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1])).filter((s) => s > 100);

async function attack(broker: TestBroker, tls?: { readonly ca: string }): Promise<void> {
  using live = await WireClient.connect(broker.wsUrl, tls === undefined ? {} : { tls });
  await live.ok({ type: "subscribe", filter: "#" });
  const topicsSeen = async () => {
    // What is handled behind what was answered would be by now.
    for (let i = 0; i < 3; i++) await fetch(`${broker.httpUrl}/healthz`, { tls } as never);
    return (await live.everythingUntilNow()).map(({ topic }) => topic);
  };
  const sent = async (text: string) => {
    const peer = await HostilePeer.dial(broker.httpUrl, tls);
    peer.write(bytesFor(text, peer.host));
    return peer;
  };
  for (const [what, text] of Object.entries(REFUSED)) {
    using peer = await sent(text);
    await peer.over();
    const [status, ...more] = statusesOf(peer.text);
    expect([what, status, more, await topicsSeen()]).toEqual([what, expect.any(Number), [], []]);
    expect(status === 400 || status === 413 || status === 505).toBe(true);
  }
  for (const [what, [status, text]] of Object.entries(ONE)) {
    using peer = await sent(text);
    await eventually(
      () => statusesOf(peer.text).length > 0,
      () => `an answer to ${what}`,
    );
    const seen = await topicsSeen();
    const [first, ...more] = statusesOf(peer.text);
    expect([what, first]).toEqual([what, status]);
    // The rest of it is no request: it ends the connection.
    expect([what, more.filter((one) => one !== 400)]).toEqual([what, []]);
    expect([what, seen.filter((topic) => topic !== "open")]).toEqual([what, []]);
    expect(seen.length).toBeLessThanOrEqual(1);
  }
  for (const text of Object.values(WAITS)) {
    using peer = await sent(text);
    expect([await topicsSeen(), statusesOf(peer.text)]).toEqual([[], []]);
  }
  expect(broker.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
}

test("[P-12.1] no request hides in another, without TLS", async () => {
  await using broker = await startBroker();
  await attack(broker);
});

for (const clientCertificate of ["none", "request"] as const) {
  const where = clientCertificate === "none" ? "over TLS" : "through the gate";
  test.skipIf(server === undefined)(
    `[P-12.1, P-14.3] no request hides in another, ${where}`,
    async () => {
      const { certFile, keyFile } = server!;
      const gate = clientCertificate !== "none" && { clientCertificate, caFile: authority!.caFile };
      await using broker = await startBroker({ access: { tls: { certFile, keyFile, ...gate } } });
      await attack(broker, { ca: authority!.ca });
    },
  );
}

test("[P-12.1, P-9.2] peers that close their half are closed, whatever they left undone", async () => {
  await using broker = await startBroker();
  using live = await WireClient.connect(broker.wsUrl);
  const begun = [
    "",
    "GET /heal",
    "GET /healthz HTTP/1.1\r\nHost: HOST\r\n",
    `${POST}Content-Length: 100\r\n\r\nx`,
    `${CHUNKED}ff\r\nx`,
    `${UPGRADE}Sec-WebSocket-Version: 13\r\n\r\n`,
  ];
  const peers = await Promise.all(begun.map(() => HostilePeer.dial(broker.httpUrl)));
  for (const [i, peer] of peers.entries()) {
    peer.write(bytesFor(begun[i] ?? "", peer.host));
    peer.socket.end();
  }
  for (const peer of peers) await peer.over();
  await eventually(
    () => broker.warren.sessions.size === 1,
    () => `one session, not ${broker.warren.sessions.size}`,
  );
  await live.ok({ type: "ping" });
});
