/**
 * Records that end by themselves: bans and revocations. Those that are over are removed with one that is written, so
 * that they cost no write of their own.
 */
import type { Collection, RecordChange, Records } from "../engine/records.ts";

/** Records that go with one change. */
const CLEARED_AT_ONCE = 1000;

export class ExpiringRecords {
  readonly #records: Records;
  readonly #collection: Collection;
  readonly #expired: (atMost: number) => readonly string[];
  /** Keys that are being written: until that is done they seem to be what they were before, and may seem over. */
  readonly #underWay: string[] = [];

  /** `expired` gives keys of records whose time is over, at most so many. */
  constructor(
    records: Records,
    collection: Collection,
    expired: (atMost: number) => readonly string[],
  ) {
    this.#records = records;
    this.#collection = collection;
    this.#expired = expired;
  }

  has(key: string): boolean {
    return this.#records.all(this.#collection).has(key);
  }

  /** Resolves when it is durable. Rejects as `Records.write` does. */
  async put(key: string, value: unknown): Promise<void> {
    this.#underWay.push(key);
    try {
      const over = this.#expired(CLEARED_AT_ONCE).filter((one) => !this.#underWay.includes(one));
      const cleared = over.map((one) => this.#change(one, undefined));
      await this.#records.write([...cleared, this.#change(key, value)]);
    } finally {
      this.#underWay.splice(this.#underWay.indexOf(key), 1);
    }
  }

  /** Resolves when that is durable. Rejects as `Records.write` does. */
  remove(key: string): Promise<void> {
    return this.#records.write([this.#change(key, undefined)]);
  }

  #change(key: string, value: unknown): RecordChange {
    return { collection: this.#collection, key, value };
  }
}
