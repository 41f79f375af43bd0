/** The records in memory, and the bound on how many there are: what every engine keeps of them. */
import { WarrenError } from "../errors.ts";
import { COLLECTIONS, type Collection, type RecordChange } from "./records.ts";

export class RecordBook {
  readonly #limit: number;
  readonly #records = new Map<Collection, Map<string, unknown>>();
  /** Records that writes under way may add. */
  readonly #coming = new Map<Collection, number>();

  constructor(limit: number) {
    this.#limit = limit;
    for (const collection of COLLECTIONS) this.#records.set(collection, new Map());
  }

  all(collection: Collection): ReadonlyMap<string, unknown> {
    return this.#of(collection);
  }

  /**
   * Makes room for the changes until the function that it returns is called, which gives the room
   * back. Throws `conflict` where there is none.
   */
  reserve(changes: readonly RecordChange[]): () => void {
    const growth = this.#growth(changes);
    for (const [collection, by] of growth) {
      const size = this.#of(collection).size + (this.#coming.get(collection) ?? 0);
      if (by > 0 && size + by > this.#limit) {
        throw new WarrenError("conflict", `There are ${size} ${collection} already.`, {
          collection,
          limit: this.#limit,
        });
      }
    }
    const move = (sign: 1 | -1) => {
      for (const [collection, by] of growth) {
        // Room that a removal makes is there when the removal is durable.
        const coming = (this.#coming.get(collection) ?? 0) + sign * Math.max(by, 0);
        this.#coming.set(collection, coming);
      }
    };
    move(1);
    return () => move(-1);
  }

  apply({ collection, key, value }: RecordChange): void {
    if (value === undefined) this.#of(collection).delete(key);
    else this.#of(collection).set(key, value);
  }

  /** By how much each collection grows. */
  #growth(changes: readonly RecordChange[]): Map<Collection, number> {
    const growth = new Map<Collection, number>();
    const last = new Map(changes.map((change) => [`${change.collection}\n${change.key}`, change]));
    for (const { collection, key, value } of last.values()) {
      const before = this.#of(collection).has(key) ? 1 : 0;
      const after = value === undefined ? 0 : 1;
      growth.set(collection, (growth.get(collection) ?? 0) + after - before);
    }
    return growth;
  }

  #of(collection: Collection): Map<string, unknown> {
    const records = this.#records.get(collection);
    if (records === undefined) throw new Error(`no collection ${collection}`);
    return records;
  }
}

/** A value as the store keeps it; null for a removal. */
export function jsonOf(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}
