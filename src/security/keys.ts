/**
 * API keys [P-13.2]: `wk_<id>_<secret>`. The broker keeps a hash of the whole key; a secret of 256 random
 * bits needs no slow hash, so a key costs next to nothing to check.
 */
import { timingSafeEqual } from "node:crypto";

const PREFIX = "wk_";
// The id holds no `_`, so the first one after it begins the secret, which may hold more.
const KEY = /^wk_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{16,256})$/;
const HASH_BYTES = 32;
const NO_HASH = Buffer.alloc(HASH_BYTES);

/** Whether a credential claims to be an API key; a JWT never begins like one. */
export function looksLikeKey(credential: string): boolean {
  return credential.startsWith(PREFIX);
}

/** The id in a well-formed key, else undefined. */
export function keyId(key: string): string | undefined {
  return KEY.exec(key)?.[1];
}

/** What the broker keeps of a key: SHA-256 in lower-case hexadecimal. */
export function hashKey(key: string): string {
  return new Bun.CryptoHasher("sha256").update(key).digest("hex");
}

/** A new key, to be shown once, with what is kept of it. */
export interface NewKey {
  readonly key: string;
  readonly id: string;
  readonly hash: string;
}

/** Makes a key; without an `id` a random one. Throws on an id that a key cannot hold. */
export function makeKey(id: string = randomText(9).replace(/[_-]/g, "0")): NewKey {
  const key = `${PREFIX}${id}_${randomText(HASH_BYTES)}`;
  if (keyId(key) !== id) {
    throw new Error(`The key id "${id}" must be 1 to 64 letters, digits and hyphens.`);
  }
  return { key, id, hash: hashKey(key) };
}

function randomText(bytes: number): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("base64url");
}

/** Whether two hashes are the same, in the same time whichever they are; an absent one is none's. */
export function sameHash(one: string, other: string | undefined): boolean {
  const kept = other === undefined ? NO_HASH : Buffer.from(other, "hex");
  const given = Buffer.from(one, "hex");
  return given.length === kept.length && timingSafeEqual(given, kept) && other !== undefined;
}
