/** What has broken other people's token checks, tried on ours, against an issuer of each kind [P-14.1]. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WarrenError } from "../../src/errors.ts";
import { createIssuers, type Issuers } from "../../src/security/issuers.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { startTestWarren, type TestWarren } from "../harness/warren.ts";
import { WireClient } from "../harness/wire-client.ts";

const NOW_S = 1_800_000_000;
const clock = new ManualClock(NOW_S * 1000);
const SECRET = "correct horse battery staple, and then some more";
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsaPem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString();
const RSA = "https://rsa.example";
const EC = "https://ec.example";
const SHARED = "https://shared.example";
let issuers: Issuers;
let directory = "";
let broker: TestWarren;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "warren-tokens-"));
  const publicKeyFile = join(directory, "rsa.pem");
  const jwksFile = join(directory, "keys.json");
  const jwk = { ...ec.publicKey.export({ format: "jwk" }), kid: "one" };
  await writeFile(publicKeyFile, rsaPem);
  await writeFile(jwksFile, JSON.stringify({ keys: [jwk] }));
  const settings = [
    { issuer: RSA, publicKeyFile, audience: "warren" },
    { issuer: EC, jwksFile },
    { issuer: SHARED, secret: SECRET },
  ];
  issuers = createIssuers({ clock, issuers: settings })!;
  broker = await startTestWarren({ issuers: settings }, { clock });
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** What a broker says to it over HTTP and WebSocket; the two ways that take any text. */
async function answersTo(token: string): Promise<unknown[]> {
  const query = `?access_token=${encodeURIComponent(token)}`;
  const { status, body } = await broker.json("GET", `/admin/v1/info${query}`);
  using late = await WireClient.open(`${broker.url.replace("http", "ws")}/ws`);
  const { type, code } = await late.request({ type: "auth", token });
  return [status, body.code, type, code];
}

const part = (value: unknown) =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const unsigned = (header: unknown, payload: unknown) => `${part(header)}.${part(payload)}`;
function hmac(header: object, payload: unknown, secret: string, hash = "sha256"): string {
  const text = unsigned(header, payload);
  return `${text}.${createHmac(hash, secret).update(text).digest("base64url")}`;
}
function asymmetric(header: object, payload: unknown, key: KeyObject): string {
  const text = unsigned(header, payload);
  const signature = signBytes("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" });
  return `${text}.${signature.toString("base64url")}`;
}

const forEc = { iss: EC, sub: "ada" };
const forRsa = { iss: RSA, sub: "ada", aud: "warren" };
const forShared = { iss: SHARED, sub: "ada" };
const es = (payload: unknown = forEc, header: object = {}, key = ec.privateKey) =>
  asymmetric({ alg: "ES256", kid: "one", ...header }, payload, key);
const rs = (payload: unknown = forRsa, header: object = {}) =>
  asymmetric({ alg: "RS256", ...header }, payload, rsa.privateKey);
const hs = (payload: unknown = forShared, header: object = {}) =>
  hmac({ alg: "HS256", ...header }, payload, SECRET);
const signatureOf = (bytes: Uint8Array) =>
  `${unsigned({ alg: "ES256", kid: "one" }, forEc)}.${Buffer.from(bytes).toString("base64url")}`;
const ORDER = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

describe("[P-14.1] the genuine ones are accepted", () => {
  test.each([
    ["RS256", () => rs()],
    ["ES256", () => es()],
    ["HS256", () => hs()],
    ["ES256 without a key id", () => es(forEc, { kid: undefined })],
    ["with headers that point to keys, which are not read", () => es(forEc, { jku: "http://x/" })],
    ["an access token by RFC 9068", () => rs(forRsa, { typ: "application/AT+JWT" })],
    [
      "duplicate claims: the last one counts, for the check and for the use",
      () => hs(`{"iss":"${EC}","sub":"eve","iss":"${SHARED}","sub":"ada"}`),
    ],
  ])("%s", async (_, token) => {
    expect((await issuers.verify(token())).claims.sub).toBe("ada");
    expect(await answersTo(token())).toEqual([403, "forbidden", "ok", undefined]);
  });
});

const NONE = ["none", "None", "NONE", "nOnE", "", " none", "none\u0000", null, 0, ["none"]];

describe("[P-14.1] attacks are refused", () => {
  const table: [string, () => string][] = [
    ...NONE.flatMap((alg): [string, () => string][] => [
      [`alg ${JSON.stringify(alg)}`, () => `${unsigned({ alg, kid: "one" }, forEc)}.`],
      [`alg ${JSON.stringify(alg)} with a signature`, () => es(forEc, { alg })],
    ]),
    ["HS256 with the public key as secret", () => hmac({ alg: "HS256" }, forRsa, rsaPem)],
    ["the same without its last line break", () => hmac({ alg: "HS256" }, forRsa, rsaPem.trim())],
    [
      "HS256 with the coordinates as secret",
      () => hmac({ alg: "HS256", kid: "one" }, forEc, ec.publicKey.export({ format: "jwk" }).x!),
    ],
    ["HS256 with an empty secret", () => hmac({ alg: "HS256" }, forShared, "")],
    [
      "HS512 under a secret too short for it",
      () => hmac({ alg: "HS512" }, forShared, SECRET, "sha512"),
    ],
    ["ES256 for the issuer with an RSA key", () => es({ ...forRsa })],
    ["RS256 for the issuer with an EC key", () => rs({ ...forRsa, iss: EC })],
    [
      "a token of one issuer signed by another's key",
      () => es({ ...forEc, iss: RSA, aud: "warren" }),
    ],
    ["a shared secret for somebody else's issuer", () => hs({ ...forShared, iss: EC })],
    ["an issuer nobody knows", () => hs({ ...forShared, iss: "https://evil.example" })],
    ["an issuer with a slash more", () => es({ ...forEc, iss: `${EC}/` })],
    ["an issuer in capitals", () => es({ ...forEc, iss: EC.toUpperCase() })],
    ["an issuer as a list", () => es({ ...forEc, iss: [EC] })],
    ["an issuer from the prototype", () => es({ ...forEc, iss: "__proto__" })],
    ["no issuer", () => es({ sub: "ada" })],
    ["kid up the path", () => es(forEc, { kid: "../../../dev/null" })],
    ["kid with a statement in it", () => es(forEc, { kid: "one' UNION SELECT 'x" })],
    ["kid as an object", () => es(forEc, { kid: { $ne: "" } })],
    ["kid from the prototype", () => es(forEc, { kid: "__proto__" })],
    ["kid too long", () => es(forEc, { kid: "k".repeat(300) })],
    [
      "its own key in jwk",
      () => es(forEc, { jwk: stranger.publicKey.export({ format: "jwk" }) }, stranger.privateKey),
    ],
    [
      "its own keys at jku",
      () => es(forEc, { jku: "https://evil.example/keys" }, stranger.privateKey),
    ],
    [
      "its own certificate at x5u",
      () => es(forEc, { x5u: "https://evil.example/cert" }, stranger.privateKey),
    ],
    ["its own certificate in x5c", () => es(forEc, { x5c: ["MIIB"] }, stranger.privateKey)],
    ["an unknown critical header", () => es(forEc, { crit: ["exp2"], exp2: 1 })],
    ["an empty list of critical headers", () => es(forEc, { crit: [] })],
    ["b64 false", () => es(forEc, { crit: ["b64"], b64: false })],
    ["b64 true, said to be critical", () => es(forEc, { crit: ["b64"], b64: true })],
    ["b64 without saying that it is critical", () => es(forEc, { b64: false })],
    ["bytes that are no UTF-8", () => notText()],
    ["nested", () => es(forEc, { cty: "JWT" })],
    ["a JWE", () => `${part({ alg: "dir", enc: "A256GCM" })}..aXY.Y2lwaGVy.dGFn`],
    ["a JWS in JSON", () => JSON.stringify({ payload: part(forEc), signatures: [] })],
    ["typ of a proof", () => es(forEc, { typ: "dpop+jwt" })],
    ["typ of a logout", () => es(forEc, { typ: "logout+jwt" })],
    ["typ that is no text", () => es(forEc, { typ: 1 })],
    ["r and s both 0", () => signatureOf(new Uint8Array(64))],
    ["r and s both the order of the curve", () => signatureOf(Buffer.from(ORDER + ORDER, "hex"))],
    ["r 1 and s 0", () => signatureOf(Buffer.from(`${"0".repeat(63)}1${"0".repeat(64)}`, "hex"))],
    ["r and s 0 in DER", () => signatureOf(Buffer.from("3006020100020100", "hex"))],
    ["an empty signature", () => signatureOf(new Uint8Array())],
    ["a signature with a byte more", () => `${es()}AA`],
    ["a line break at the end", () => `${es()}\n`],
    ["padding at the end", () => `${es()}==`],
    ["a dot at the end", () => `${es()}.`],
    ["spare bits in the last letter", () => spareBits(rs())],
    ["base64 with + and /", () => es().replace(/\.[^.]*$/, ".ab+/")],
    ["base64 that is none", () => es().replace(/\.[^.]*\./, ".!!!!.")],
    [
      "a header with more after it",
      () => es().replace(/^[^.]*/, part('{"alg":"ES256","kid":"one"} ')),
    ],
    ["no JSON", () => es("sub=ada")],
    ["oversized", () => es({ ...forEc, pad: "x".repeat(10_000) })],
    ["nested without end", () => es(`${"[".repeat(4000)}`)],
    ["not valid yet", () => es({ ...forEc, nbf: NOW_S + 60 })],
    ["issued in the future", () => es({ ...forEc, iat: NOW_S + 60 })],
    ["an end that is text", () => es({ ...forEc, exp: "9999999999" })],
    ["an end that is null", () => es({ ...forEc, exp: null })],
    ["an end that is no time", () => es({ ...forEc, exp: 1e300 })],
    ["an end beyond all numbers", () => es(`{"iss":"${EC}","sub":"ada","exp":1e999}`)],
    ["a beginning that is text", () => es({ ...forEc, nbf: "0" })],
    ["issued at a time that is text", () => es({ ...forEc, iat: "0" })],
    ["issued before there was time", () => es({ ...forEc, iat: -1 })],
    ["no subject", () => es({ iss: EC })],
    ["an empty subject", () => es({ iss: EC, sub: "" })],
    ["a subject that is a number", () => es({ iss: EC, sub: 7 })],
    ["a subject that steers terminals", () => es({ iss: EC, sub: "ada\u001b[2J" })],
    ["a subject that is too long", () => es({ iss: EC, sub: "a".repeat(257) })],
    ["claims that are a list", () => es([forEc])],
    ["another audience", () => rs({ ...forRsa, aud: "other" })],
    ["an audience that only begins so", () => rs({ ...forRsa, aud: "warren.evil.example" })],
    ["no audience", () => rs({ ...forRsa, aud: undefined })],
  ];
  test.each(table)("%s", async (_, token) => {
    const error = await issuers.verify(token()).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(WarrenError);
    expect((error as WarrenError).code).toBe("unauthenticated");
    expect((error as WarrenError).message).not.toContain(SECRET);
    const refused = expect.stringMatching(/^unauthenticated$|^invalid_frame$/);
    expect(await answersTo(token())).toEqual([401, "unauthenticated", "error", refused]);
  });

  test("expired, with a code of its own", async () => {
    const error = await issuers.verify(es({ ...forEc, exp: NOW_S - 60 })).catch((e: unknown) => e);
    expect((error as WarrenError).code).toBe("token_expired");
  });

  test.each([[[{ allow: "everything" }]], ["all"], [[{ allow: ["publish"], on: ["a/#/b"] }]]])(
    "rights that are none: %j",
    async (grants) => {
      const refused = [401, "unauthenticated", "error", "unauthenticated"];
      expect(await answersTo(es({ ...forEc, grants }))).toEqual(refused);
    },
  );

  test("each bit of a signature counts", async () => {
    const token = es();
    const at = token.lastIndexOf(".") + 1;
    const bytes = Buffer.from(token.slice(at), "base64url");
    for (let bit = 0; bit < bytes.length * 8; bit += 37) {
      const wrong = Buffer.from(bytes);
      wrong[bit >> 3]! ^= 1 << (bit & 7);
      const forged = token.slice(0, at) + wrong.toString("base64url");
      await expect(issuers.verify(forged)).rejects.toThrow(/signature/);
    }
  });
});

/** A claim that another reader might see as other text; its signature is good. */
function notText(): string {
  const payload = Buffer.concat([
    Buffer.from(`{"iss":"${EC}","sub":"ad`),
    Buffer.from([0xc3, 0x28]),
    Buffer.from('"}'),
  ]);
  const text = `${part({ alg: "ES256", kid: "one" })}.${payload.toString("base64url")}`;
  const key = { key: ec.privateKey, dsaEncoding: "ieee-p1363" } as const;
  return `${text}.${signBytes("sha256", Buffer.from(text), key).toString("base64url")}`;
}

/** The same bytes, spelled with another last letter: 256 bytes leave four bits of it unused. */
function spareBits(token: string): string {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + letters[letters.indexOf(token.at(-1)!) + 1];
}
