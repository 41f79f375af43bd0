/** The event loop's side of the small records: all of them in memory, changed when the disk has them. */
import type { EngineListener } from "../engine.ts";
import { jsonOf, RecordBook } from "../record-book.ts";
import { COLLECTIONS, type Collection, type RecordChange, type Records } from "../records.ts";
import type { RecordRow } from "./exchange.ts";
import type { QueueHost } from "./host.ts";

type Changed = NonNullable<EngineListener["recordChanged"]>;

export class SqliteRecords implements Records {
  readonly #host: QueueHost;
  readonly #changed: Changed;
  readonly #book: RecordBook;

  constructor(host: QueueHost, changed: Changed) {
    this.#host = host;
    this.#changed = changed;
    this.#book = new RecordBook(host.limits.records);
  }

  /** What the store found at its opening; of a later one, what differs is told. */
  recover(rows: readonly RecordRow[], tell: boolean): void {
    const found = new Map(rows.map((row) => [`${row.collection}\n${row.key}`, row]));
    const changes: RecordRow[] = [];
    for (const collection of COLLECTIONS) {
      for (const [key, value] of this.#book.all(collection)) {
        const row = found.get(`${collection}\n${key}`);
        if (row === undefined) changes.push({ collection, key, value: null });
        else if (row.value === jsonOf(value)) found.delete(`${collection}\n${key}`);
      }
    }
    changes.push(...found.values());
    for (const row of changes) this.#apply(row, tell);
  }

  all(collection: Collection): ReadonlyMap<string, unknown> {
    return this.#book.all(collection);
  }

  async write(changes: readonly RecordChange[]): Promise<void> {
    const refusal = this.#host.storageRefusal();
    if (refusal !== undefined) throw refusal;
    const ride = this.#ride(changes);
    await new Promise<void>((resolve, reject) => {
      this.#host.storage.add({
        committed: () => {
          ride.committed();
          resolve();
        },
        aborted: (error) => {
          ride.aborted();
          reject(error);
        },
      });
    });
  }

  /** Writes the changes as an operation; `conflict` is thrown before anything is written. */
  #ride(changes: readonly RecordChange[]): { committed(): void; aborted(): void } {
    const giveBack = this.#book.reserve(changes);
    const rows = changes.map(({ collection, key, value }) => ({
      collection,
      key,
      value: jsonOf(value),
    }));
    this.#host.storage.writer.control({ records: rows });
    return {
      committed: () => {
        giveBack();
        for (const row of rows) this.#apply(row, true);
      },
      aborted: giveBack,
    };
  }

  /** A change that was written in another way is durable. */
  written({ collection, key, value }: RecordChange): void {
    this.#apply({ collection, key, value: jsonOf(value) }, true);
  }

  #apply({ collection, key, value }: RecordRow, tell: boolean): void {
    const known = COLLECTIONS.find((name) => name === collection);
    // Of another version of the broker: it stays on disk.
    if (known === undefined) return;
    const change = {
      collection: known,
      key,
      value: value === null ? undefined : (JSON.parse(value) as unknown),
    };
    this.#book.apply(change);
    if (tell) this.#changed(known, key, change.value);
  }
}
