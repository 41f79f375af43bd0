/**
 * What one connection or request may still send: everyone who pays for it (itself, its principal, its
 * address, all together) must have some left. Asking allocates nothing.
 */
import type { WarrenError } from "../errors.ts";
import type { Account } from "./accounts.ts";
import type { Quota } from "./quota.ts";

export type Scope = "connection" | "principal" | "address" | "overall" | "grant";

export interface Payer {
  readonly scope: Scope;
  readonly quota: Quota;
  readonly account: Account;
}

/** What all meters share: the time, and how a refusal reads and is counted. */
interface Ledger {
  /** In milliseconds, as the quotas have it. */
  now(): number;
  limitedError(scope: Scope, what: string, retryAfterMs: number): WarrenError;
}

export class Meter {
  readonly #ledger: Ledger;
  messages: readonly Payer[] = [];
  bytes: readonly Payer[] = [];

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Nobody pays for anything. */
  get idle(): boolean {
    return this.messages.length === 0 && this.bytes.length === 0;
  }

  /** Takes one message; throws `rate_limited`, and takes nothing, when one who pays has none left. */
  message(): void {
    const payers = this.messages;
    if (payers.length === 0) return;
    const now = this.#ledger.now();
    for (let i = 0; i < payers.length; i++) {
      const { quota, account, scope } = payers[i]!;
      const wait = quota.waitMs(account.messages, now);
      if (wait > 0) throw this.#ledger.limitedError(scope, "messages", wait);
    }
    for (let i = 0; i < payers.length; i++) {
      const { quota, account } = payers[i]!;
      account.messages = quota.charged(account.messages, now, 1);
    }
  }

  /** Takes what was read already, be it too much; returns for how many milliseconds it was. */
  read(bytes: number): number {
    const now = this.#ledger.now();
    let longest = 0;
    for (let i = 0; i < this.bytes.length; i++) {
      const { quota, account } = this.bytes[i]!;
      account.bytes = quota.charged(account.bytes, now, bytes);
      longest = Math.max(longest, quota.waitMs(account.bytes, now));
    }
    return longest;
  }

  /** Throws `rate_limited` while what was read before was too much. */
  assertMayRead(): void {
    const now = this.#ledger.now();
    for (const { quota, account, scope } of this.bytes) {
      const wait = quota.waitMs(account.bytes, now);
      if (wait > 0) throw this.#ledger.limitedError(scope, "bytes", wait);
    }
  }
}
