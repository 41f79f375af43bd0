/** Where a URL from the settings or from an issuer may lead [P-14.1]. */
import { afterAll, describe, expect, test } from "bun:test";
import {
  ANSWER_BYTES_MAX,
  fetchJson,
  isPrivateAddress,
  urlFault,
} from "../../src/security/outbound.ts";

const inside = { allowPrivate: true };
const outside = { allowPrivate: false };

const BOMB = Bun.gzipSync(new Uint8Array(100_000_000).fill(32));

let asked = 0;
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch(request) {
    asked++;
    const { pathname } = new URL(request.url);
    if (pathname === "/away") return Response.redirect("http://169.254.169.254/", 302);
    if (pathname === "/near") return Response.redirect("/ok", 302);
    if (pathname === "/large") return new Response(new Uint8Array(ANSWER_BYTES_MAX + 1));
    if (pathname === "/bomb") {
      return new Response(BOMB, { headers: { "Content-Encoding": "gzip" } });
    }
    if (pathname === "/text") return new Response("hunter2");
    if (pathname === "/ok") return Response.json({ host: request.headers.get("Host") });
    return new Response("", { status: 404 });
  },
});
afterAll(() => server.stop(true));
const at = (path: string, host = "127.0.0.1") => `http://${host}:${server.port}${path}`;

describe("[P-14.1] private addresses, in all their spellings", () => {
  test.each([
    ...["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.9.9.9", "169.254.169.254"],
    ...["172.16.0.1", "172.31.255.255", "192.168.1.1", "192.0.0.192", "198.18.0.1", "224.0.0.1"],
    ...["255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1"],
    ...["64:ff9b::a9fe:a9fe", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"],
    ...["2002:a9fe:a9fe::1", "2001::1", "fec0::1", "no address", "", "1.2.3", "0x7f.1"],
  ])("%s is private", (address) => {
    expect(isPrivateAddress(address)).toBe(true);
  });

  test.each(["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"])(
    "%s is not",
    (address) => {
      expect(isPrivateAddress(address)).toBe(false);
    },
  );
});

describe("[P-14.1] a URL is refused before anything is asked", () => {
  test.each([
    ["http://id.example/keys", /https/],
    ["file:///etc/passwd", /https/],
    ["ftp://id.example/", /https/],
    ["javascript:alert(1)", /https/],
    ["data:application/json,{}", /https/],
    ["https://user@id.example/", /name or a password/],
    ["https://:secret@id.example/", /name or a password/],
    ["https://id.example/#x", /fragment/],
    ["https://localhost/", /private/],
    ["https://localhost./", /private/],
    ["https://2130706433/", /private/],
    ["https://0x7f.1/", /private/],
    ["https://0177.0.0.1/", /private/],
    ["https://[::ffff:10.0.0.1]/", /private/],
    ["https://[::1]/", /private/],
    ["https://[::ffff:7f00:1]/", /private/],
    ["https://[64:ff9b::a00:1]/", /private/],
    ["https://127.1:8443/", /private/],
    ["https://0/", /private/],
    ["https://LOCALHOST:443/", /private/],
    ["https://%6cocalhost/", /private/],
    ["https:/\\10.0.0.1/", /private/],
    ["https://169.254.169.254.:443/latest", /link-local/],
    ["https://[fe80::1%25eth0]/", /not a URL/],
    ["https://id.example:99999/", /not a URL/],
    ["not a URL", /not a URL/],
  ])("%s", async (url, why) => {
    expect(urlFault(url, outside)).toMatch(why);
    await expect(fetchJson(url, outside)).rejects.toThrow(why);
  });

  test("and the log does not repeat what in it may be secret", async () => {
    const tries: [string, object][] = [
      ["https://ann:hunter2@id.example/keys", outside],
      ["https://localhost/keys?api_key=hunter2", outside],
      [at("/none?api_key=hunter2"), inside],
      [at("/text?api_key=hunter2"), inside],
      [at("/large?api_key=hunter2"), inside],
      ["hunter2", outside],
    ];
    for (const [url, how] of tries) {
      const why = await fetchJson(url, how as typeof inside).catch(({ message }) => message);
      expect(why).toBeString();
      expect(why).not.toContain("hunter2");
    }
  });

  test("a name that leads to this machine, found by looking it up", async () => {
    // Every system resolves names below localhost to itself, if at all; none may be asked.
    const before = asked;
    await expect(fetchJson(`https://sub.localhost:${server.port}/ok`, outside)).rejects.toThrow();
    expect(asked).toBe(before);
  });
});

describe("[P-14.1] what is fetched", () => {
  test("with allowPrivate also over http from this machine, by its name", async () => {
    expect(await fetchJson(at("/ok", "localhost"), inside)).toEqual({
      host: `localhost:${server.port}`,
    });
  });

  test("never from a link-local address, however it is spelt or found", async () => {
    for (const host of ["169.254.169.254", "0xa9fea9fe", "[fe80::1]", "[::ffff:169.254.1.1]"]) {
      expect(urlFault(`http://${host}/keys`, inside)).toMatch(
        /^it leads to a link-local address, which is never asked/,
      );
    }
    for (const address of ["169.254.169.254", "fe80::1%eth0", "fd00:ec2::254"]) {
      const found = { ...inside, resolve: async () => ["127.0.0.1", address] };
      const asking = fetchJson(at("/ok", "keys.test"), found);
      await expect(asking).rejects.toThrow(/keys.test leads to a link-local address/);
    }
  });

  test("the address that was judged is asked, whatever the name says when it is asked again", async () => {
    let looks = 0;
    const resolve = async () => (looks++ === 0 ? ["127.0.0.2", "127.0.0.1"] : ["8.8.8.8"]);
    const url = at("/ok", "keys.test");
    const pinned = { ...inside, resolve };
    // The first of its addresses has nobody listening.
    expect(await fetchJson(url, pinned)).toEqual({ host: `keys.test:${server.port}` });
    await expect(fetchJson(url, pinned)).rejects.toThrow(/https only/);
    const one = { ...outside, resolve: async () => ["8.8.8.8", "10.0.0.1"] };
    await expect(fetchJson("https://keys.test/", one)).rejects.toThrow(/private address 10.0.0.1/);
  });

  test("no redirect is followed, near or far", async () => {
    for (const path of ["/away", "/near"]) {
      await expect(fetchJson(at(path), inside)).rejects.toThrow(/answered 302; redirects are not/);
    }
  });

  test("no more than its bound is read, and it must be JSON with status 200", async () => {
    await expect(fetchJson(at("/large"), inside)).rejects.toThrow(/over 262144 bytes/);
    // A quarter of a megabyte that unpacks to a hundred.
    await expect(fetchJson(at("/bomb"), inside)).rejects.toThrow(/over 262144 bytes/);
    // What came instead may be a secret, and what is thrown goes to the log.
    await expect(fetchJson(at("/text"), inside)).rejects.toThrow(/\/text answered no JSON\.$/);
    await expect(fetchJson(at("/none"), inside)).rejects.toThrow(/answered 404/);
  });
});
