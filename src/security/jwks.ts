/**
 * The public keys of one issuer [P-14.1], fetched when they are needed and kept for a while: asked for
 * anew when they are old or a token names one that is not among them, but never more often than a
 * bound allows, and used on for a bounded time when they cannot be had.
 */
import type { JWK } from "jose";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";

/** Keys are asked for again when they are older than this. */
export const KEYS_MAX_AGE_MS = 600_000;
/** Two attempts are at least so far apart, whatever tokens name. */
export const KEYS_ATTEMPT_MS = 10_000;
/** Keys that cannot be renewed are used no longer than this. */
export const KEYS_STALE_MS = 3_600_000;
/** A token may seem made so long before the keys were read, and its key be newer than they are. */
const CLOCKS_DIFFER_MS = 60_000;
const KEYS_MAX = 100;
const KEY_ID_LENGTH = 256;
/** RSA keys below 2048 bits can be broken; their modulus in base64url is shorter than this. */
const RSA_MODULUS_LENGTH = 342;

/** What a token says about its key, and when it was made (milliseconds since 1970); nothing of it has been verified. */
export interface KeyHint {
  readonly alg: string;
  readonly kid?: string | undefined;
  readonly issuedAt?: number | undefined;
}

export interface KeySetOptions {
  /** The JSON of a key set. Rejects with a sentence for the operator. */
  readonly load: () => Promise<unknown>;
  readonly clock: Clock;
  readonly failed: (reason: string) => void;
}

export class KeySet {
  readonly #options: KeySetOptions;
  #keys: readonly JWK[] | undefined;
  #material: ReadonlySet<string> = new Set();
  #loadedAt = 0;
  /** How often it was said that they are others by now, and how often that was when they were last asked for. */
  #expirations = 0;
  #heeded = 0;
  #triedAt = Number.NEGATIVE_INFINITY;
  #loading: Promise<void> | undefined;
  /** Counts the times that keys were read. */
  #revision = 0;

  constructor(options: KeySetOptions) {
    this.#options = options;
  }

  /** The keys that may have signed it. Rejects with `busy` when they cannot be had, or its own not yet. */
  async candidates(hint: KeyHint): Promise<readonly JWK[]> {
    const before = this.#revision;
    await this.#freshen();
    const found = this.#matching(hint);
    if (found.length > 0) return found;
    await this.#renew();
    const renewed = this.#matching(hint);
    if (renewed.length === 0 && this.#revision === before) this.#assertNotNewer(hint);
    return renewed;
  }

  /** Whether this key is in the set as it is known now. */
  holds(material: string): boolean {
    return this.#material.has(material);
  }

  /** Another number than before: the keys were read anew. Undefined: that is due. */
  get revision(): number | undefined {
    return this.#isDue() ? undefined : this.#revision;
  }

  /** Asks for the keys anew if that is due. Keys that cannot be had are taken to be as they were. */
  async recheck(): Promise<void> {
    if (this.#keys !== undefined) await this.#freshen().catch(() => undefined);
  }

  /** The next token asks for the keys anew. */
  expire(): void {
    this.#expirations++;
    this.#triedAt = Number.NEGATIVE_INFINITY;
  }

  /**
   * A token that names a key which is not here may be made with one that is newer than what is here, and that
   * may not be asked for again so soon: to be told that it is worth nothing would be wrong, and for ever.
   */
  #assertNotNewer({ kid, issuedAt }: KeyHint): void {
    if (kid === undefined || issuedAt === undefined) return;
    const now = this.#now();
    if (issuedAt + CLOCKS_DIFFER_MS < this.#loadedAt) return;
    throw new WarrenError(
      "busy",
      "The token's key may be newer than the issuer's keys known here.",
      {
        retryAfterMs: Math.max(1, this.#triedAt + KEYS_ATTEMPT_MS - now),
      },
    );
  }

  async #freshen(): Promise<void> {
    if (this.#isDue()) await this.#renew();
    // It may have been said while they were on their way.
    if (this.#isExpired) await this.#renew();
    if (this.#keys !== undefined && this.#age() <= KEYS_STALE_MS) return;
    throw new WarrenError("busy", "The keys of the token's issuer cannot be had at the moment.");
  }

  #isDue(): boolean {
    return this.#keys === undefined || this.#isExpired || this.#age() > KEYS_MAX_AGE_MS;
  }

  get #isExpired(): boolean {
    return this.#expirations !== this.#heeded;
  }

  #age(): number {
    return this.#now() - this.#loadedAt;
  }

  /** A clock that was set back neither keeps withdrawn keys for longer nor new ones away. */
  #now(): number {
    const now = this.#options.clock.now();
    this.#loadedAt = Math.min(this.#loadedAt, now);
    this.#triedAt = Math.min(this.#triedAt, now);
    return now;
  }

  #renew(): Promise<void> {
    const now = this.#now();
    if (this.#loading === undefined && now - this.#triedAt >= KEYS_ATTEMPT_MS) {
      this.#triedAt = now;
      this.#loading = this.#load().finally(() => {
        this.#loading = undefined;
      });
    }
    return this.#loading ?? Promise.resolve();
  }

  async #load(): Promise<void> {
    const { load, clock, failed } = this.#options;
    const expirations = this.#expirations;
    try {
      this.#keys = usableKeys(await load());
      this.#material = new Set(this.#keys.map(materialOf));
      this.#loadedAt = clock.now();
      this.#revision++;
      this.#heeded = expirations;
    } catch (error) {
      failed(error instanceof Error ? error.message : String(error));
    }
  }

  #matching({ alg, kid }: KeyHint): readonly JWK[] {
    return (this.#keys ?? []).filter(
      (key) =>
        fitsAlgorithm(key, alg) && (kid === undefined || key.kid === undefined || key.kid === kid),
    );
  }
}

/** What makes a key the key that it is, whatever it is called. */
export function materialOf({ kty, crv, x, y, n, e }: JWK): string {
  return [kty, crv, x, y, n, e].join(" ");
}

/**
 * The keys of a set that can verify tokens; others in it are passed over. Throws when it is no key set,
 * or holds what nobody may publish: a shared secret or a private key.
 */
export function usableKeys(value: unknown): readonly JWK[] {
  const list = (value as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(list)) throw new Error("This is no key set: it has no list of keys.");
  if (list.length > KEYS_MAX) throw new Error(`The key set holds over ${KEYS_MAX} keys.`);
  const keys = list.filter((key): key is JWK => typeof key === "object" && key !== null);
  if (keys.some((key) => key.kty === "oct" || key.d !== undefined || key.k !== undefined)) {
    throw new Error("The key set holds a secret or private key: whoever reads it can make tokens.");
  }
  const usable = keys.filter(
    ({ kid, kty, n, use, key_ops: operations }) =>
      (kty !== "RSA" || (typeof n === "string" && n.length >= RSA_MODULUS_LENGTH)) &&
      (kid === undefined || (typeof kid === "string" && kid.length <= KEY_ID_LENGTH)) &&
      (use === undefined || use === "sig") &&
      (operations === undefined || (Array.isArray(operations) && operations.includes("verify"))),
  );
  if (usable.length === 0) throw new Error("The key set holds no key that verifies signatures.");
  return usable;
}

const CURVES: Readonly<Record<string, string>> = {
  ES256: "P-256",
  ES384: "P-384",
  ES512: "P-521",
  EdDSA: "Ed25519",
};

/** Whether a key is of the kind, and on the curve, that the algorithm needs. */
export function fitsAlgorithm(key: JWK, alg: string): boolean {
  if (key.alg !== undefined && key.alg !== alg && !(key.alg === "Ed25519" && alg === "EdDSA")) {
    return false;
  }
  if (alg.startsWith("RS") || alg.startsWith("PS")) return key.kty === "RSA";
  if (alg.startsWith("ES")) return key.kty === "EC" && key.crv === CURVES[alg];
  return alg === "EdDSA" && key.kty === "OKP" && key.crv === CURVES[alg];
}
