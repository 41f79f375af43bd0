/**
 * Tokens that were verified before [P-14.1], so that those who come back together after a restart or a broken
 * line cost no signature each. It can only say yes sooner, never no: whatever is not beyond doubt is verified anew.
 *
 * What is remembered of a token is the SHA-256 of its text. It counts while the very keys that were there then are
 * there, none of them is due to be asked for, and the token's own times hold without any tolerance. Revocations,
 * bans and rights are not remembered but asked each time.
 */
import type { Clock } from "../clock.ts";
import type { Span } from "./claims.ts";

/** All remembered tokens' texts together, as a measure of their claims. */
const TEXT_BYTES_MAX = 16 * 1024 * 1024;

interface Remembered<T> {
  readonly what: T;
  readonly span: Span;
  readonly bytes: number;
  /** Whether the keys are those that it was verified with. */
  readonly holds: () => boolean;
}

export class VerifiedTokens<T> {
  readonly #clock: Clock;
  readonly #most: number;
  /** The one unused longest first. */
  readonly #byHash = new Map<string, Remembered<T>>();
  #bytes = 0;

  /** At most so many are remembered. */
  constructor(clock: Clock, most: number) {
    this.#clock = clock;
    this.#most = most;
  }

  get size(): number {
    return this.#byHash.size;
  }

  /** What it was verified as, while that is beyond doubt. */
  find(text: string): T | undefined {
    if (this.#byHash.size === 0) return undefined;
    const hash = hashOf(text);
    const found = this.#byHash.get(hash);
    if (found === undefined) return undefined;
    this.#forget(hash, found);
    const { from, until } = found.span;
    const now = this.#clock.now();
    if (now < from || now >= until || !found.holds()) return undefined;
    this.#remember(hash, found);
    return found.what;
  }

  keep(text: string, what: T, span: Span, holds: () => boolean): void {
    const hash = hashOf(text);
    const before = this.#byHash.get(hash);
    if (before !== undefined) this.#forget(hash, before);
    this.#remember(hash, { what, span, bytes: text.length, holds });
    for (const [oldest, one] of this.#byHash) {
      if (this.#byHash.size <= this.#most && this.#bytes <= TEXT_BYTES_MAX) break;
      this.#forget(oldest, one);
    }
  }

  #remember(hash: string, one: Remembered<T>): void {
    this.#byHash.set(hash, one);
    this.#bytes += one.bytes;
  }

  #forget(hash: string, one: Remembered<T>): void {
    this.#byHash.delete(hash);
    this.#bytes -= one.bytes;
  }
}

function hashOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("base64");
}
