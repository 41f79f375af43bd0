/**
 * What is remembered of everyone whose rates are limited: one account for each name or address. Those with
 * connections stay; of the others as many as the bound allows, the one unused longest goes first.
 */

/** Each number but `connections` and `lastTurn` is a bucket of `Quota`: the time at which it is full again. */
export class Account {
  readonly key: string;
  /** Open connections. */
  connections = 0;
  messages = 0;
  bytes = 0;
  connects = 0;
  /** When the last one who was refused a connection was told to come again. */
  lastTurn = 0;
  failedLogins = 0;
  /** Ends of connections, to find those that come and go all the time. */
  ends = 0;
  /** Times that it went on and on past a rate. */
  offences = 0;

  constructor(key: string) {
    this.key = key;
  }
}

export class Accounts {
  readonly #held = new Map<string, Account>();
  readonly #idle = new Map<string, Account>();
  readonly #maxIdle: number;

  constructor(maxIdle: number) {
    this.#maxIdle = maxIdle;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#held.size + this.#idle.size;
  }

  of(key: string): Account {
    const held = this.#held.get(key);
    if (held !== undefined) return held;
    const account = this.#idle.get(key) ?? new Account(key);
    this.#remember(account);
    return account;
  }

  /** One more connection; the account stays until `release`. */
  hold(key: string): Account {
    const account = this.#held.get(key) ?? this.#idle.get(key) ?? new Account(key);
    this.#idle.delete(key);
    this.#held.set(key, account);
    account.connections++;
    return account;
  }

  release(account: Account): void {
    if (--account.connections > 0) return;
    this.#held.delete(account.key);
    this.#remember(account);
  }

  #remember(account: Account): void {
    this.#idle.delete(account.key);
    this.#idle.set(account.key, account);
    if (this.#idle.size <= this.#maxIdle) return;
    for (const oldest of this.#idle.keys()) {
      this.#idle.delete(oldest);
      break;
    }
  }
}
