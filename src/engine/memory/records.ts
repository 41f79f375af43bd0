/** Records in memory: durable as long as the engine. */
import type { EngineListener } from "../engine.ts";
import { jsonOf, RecordBook } from "../record-book.ts";
import type { Collection, RecordChange, Records } from "../records.ts";
import type { Pulse } from "./pulse.ts";

export class MemoryRecords implements Records {
  readonly #pulse: Pulse;
  readonly #book: RecordBook;
  readonly #changed: NonNullable<EngineListener["recordChanged"]>;

  constructor(pulse: Pulse, changed: NonNullable<EngineListener["recordChanged"]>) {
    this.#pulse = pulse;
    this.#book = new RecordBook(pulse.limits.records);
    this.#changed = changed;
  }

  all(collection: Collection): ReadonlyMap<string, unknown> {
    return this.#book.all(collection);
  }

  async write(changes: readonly RecordChange[]): Promise<void> {
    if (this.#pulse.refusal !== undefined) throw this.#pulse.refusal;
    const giveBack = this.#book.reserve(changes);
    // What the caller does with its values afterwards must not change them here.
    const copies = changes.map((change) => {
      const json = jsonOf(change.value);
      return { ...change, value: json === null ? undefined : (JSON.parse(json) as unknown) };
    });
    await new Promise<void>((resolve) => this.#pulse.answer(resolve));
    giveBack();
    for (const change of copies) this.#book.apply(change);
    for (const { collection, key, value } of copies) this.#changed(collection, key, value);
  }
}
