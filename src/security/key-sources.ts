/**
 * Where the keys of an issuer come from [P-14.1], each kind with the algorithms that it can verify: what
 * a token says about its algorithm never makes a public key into a shared secret.
 */
import { createPublicKey, createSecretKey, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { JWK } from "jose";
import type { IssuerSettings } from "../../schemas/identity.ts";
import type { Clock } from "../clock.ts";
import { type KeyHint, KeySet, materialOf, usableKeys } from "./jwks.ts";
import { fetchJson, type Outbound } from "./outbound.ts";
import { assertStrong } from "./signatures.ts";

/** RFC 7518, 3.2: a shared secret has at least as many bits as the hash, or it can be guessed offline. */
export const SECRET_BYTES_MIN = 32;
const SECRET_BYTES: Readonly<Record<string, number>> = {
  HS256: SECRET_BYTES_MIN,
  HS384: 48,
  HS512: 64,
};
export const PUBLIC_KEY_ALGORITHMS: readonly string[] = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA"],
];
const FILE_BYTES_MAX = 256 * 1024;
/** Keys that one token is tried with. */
const CANDIDATES_MAX = 4;

export interface KeySource {
  readonly algorithms: readonly string[];
  /** Keys that may have signed it, `alg` being one of `algorithms`. Rejects with `busy`. */
  keysFor(hint: KeyHint): Promise<readonly KeyObject[]>;
  /** Another number than before: the keys were read anew. Undefined: that is due, so ask `keysFor`. */
  readonly revision: number | undefined;
  /** What was read from elsewhere is read anew for the next token. */
  refresh(): void;
  /** Whether a key of `keysFor` still is one of these; undefined where that cannot change. */
  voucherOf?(key: KeyObject): (() => boolean) | undefined;
  /** What was read from elsewhere is read anew if that is due. Does not reject. */
  recheck?(): Promise<void>;
}

/** The algorithms that a secret is long enough for. */
export function secretAlgorithms(secret: string): readonly string[] {
  const bytes = Buffer.byteLength(secret);
  return Object.keys(SECRET_BYTES).filter((alg) => bytes >= (SECRET_BYTES[alg] ?? 0));
}

/** Shared secrets, the one in use first. Throws when one is too short to be safe. */
export function secretKeys(secrets: readonly string[]): KeySource {
  const shared = secrets.map((text) => ({
    key: createSecretKey(secretBytes(text)),
    fit: secretAlgorithms(text),
  }));
  return {
    // Those of each: what the one before signed with a longer hash is good as long as it is.
    algorithms: [...new Set(shared.flatMap(({ fit }) => fit))],
    revision: 0,
    keysFor: async ({ alg }) => shared.flatMap(({ key, fit }) => (fit.includes(alg) ? [key] : [])),
    refresh: () => undefined,
  };
}

export function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(secret);
  if (bytes.length < SECRET_BYTES_MIN) {
    throw new Error(
      `The JWT secret has ${bytes.length} bytes; it must have at least ${SECRET_BYTES_MIN}, ` +
        "such as `openssl rand -base64 32` makes.",
    );
  }
  return bytes;
}

/** Public keys, wherever the set has them from. */
export function publicKeys(set: KeySet): KeySource {
  const imported = new WeakMap<JWK, KeyObject | undefined>();
  /** One for each key, however many connections it has vouched for. */
  const vouchers = new WeakMap<KeyObject, () => boolean>();
  const keyOf = (jwk: JWK): KeyObject | undefined => {
    if (imported.has(jwk)) return imported.get(jwk);
    const key = importKey(jwk);
    imported.set(jwk, key);
    const material = materialOf(jwk);
    if (key !== undefined) vouchers.set(key, () => set.holds(material));
    return key;
  };
  return {
    algorithms: PUBLIC_KEY_ALGORITHMS,
    get revision() {
      return set.revision;
    },
    async keysFor(hint) {
      const found = (await set.candidates(hint)).slice(0, CANDIDATES_MAX);
      return found.flatMap((jwk) => keyOf(jwk) ?? []);
    },
    refresh: () => set.expire(),
    voucherOf: (key) => vouchers.get(key),
    recheck: () => set.recheck(),
  };
}

/** Undefined for a key that is none: it does not hinder the others of its set. */
function importKey(jwk: JWK): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: { ...jwk }, format: "jwk" });
    assertStrong(key);
    return key;
  } catch {
    return undefined;
  }
}

/** The source that the settings of an issuer name. Throws when a secret is too short. */
export function keySourceOf(
  settings: IssuerSettings,
  clock: Clock,
  failed: (reason: string) => void,
): KeySource {
  const { secret, previousSecret } = settings;
  if (secret !== undefined) {
    return secretKeys(previousSecret === undefined ? [secret] : [secret, previousSecret]);
  }
  return publicKeys(new KeySet({ load: loaderOf(settings), clock, failed }));
}

function loaderOf(settings: IssuerSettings): () => Promise<unknown> {
  const { issuer, publicKeyFile, jwksFile, jwksUrl } = settings;
  const outbound: Outbound = { allowPrivate: settings.allowPrivate ?? false };
  if (publicKeyFile !== undefined) {
    return async () => pemKeySet(await readFile(publicKeyFile, "utf8"));
  }
  if (jwksFile !== undefined) return async () => parseKeySet(await readFile(jwksFile, "utf8"));
  if (jwksUrl !== undefined) return () => fetchJson(jwksUrl, outbound);
  return () => discover(issuer, outbound);
}

/** Where OpenID Connect Discovery 1.0 has the document of an issuer. */
export function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
}

async function discover(issuer: string, outbound: Outbound): Promise<unknown> {
  const url = discoveryUrl(issuer);
  const found = (await fetchJson(url, outbound)) as { issuer?: unknown; jwks_uri?: unknown } | null;
  // Else one issuer could speak for another.
  if (found?.issuer !== issuer) throw new Error(`${url} does not name itself as the issuer.`);
  if (typeof found.jwks_uri !== "string") throw new Error(`${url} names no jwks_uri.`);
  return fetchJson(found.jwks_uri, outbound);
}

/** Why a key file cannot be used; undefined when it can. */
export function keyFileFault({ publicKeyFile, jwksFile }: IssuerSettings): string | undefined {
  const path = publicKeyFile ?? jwksFile;
  if (path === undefined) return undefined;
  try {
    const text = readFileSync(path, "utf8");
    usableKeys(publicKeyFile === undefined ? parseKeySet(text) : pemKeySet(text));
    return undefined;
  } catch (error) {
    return `cannot use ${path}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function parseKeySet(text: string): unknown {
  if (text.length > FILE_BYTES_MAX) throw new Error(`It has over ${FILE_BYTES_MAX} bytes.`);
  try {
    return JSON.parse(text);
  } catch {
    // A parser may quote what it tripped over, and that may be a secret.
    throw new Error("It is not JSON.");
  }
}

function pemKeySet(text: string): { keys: JWK[] } {
  if (text.length > FILE_BYTES_MAX) throw new Error(`It has over ${FILE_BYTES_MAX} bytes.`);
  if (text.includes("PRIVATE KEY")) {
    throw new Error("It holds a private key, which stays with the issuer; give the public key.");
  }
  return { keys: [createPublicKey(text).export({ format: "jwk" }) as JWK] };
}
