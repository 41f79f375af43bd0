/**
 * Several publishes that are stored and seen together or not at all [P-5.14]: one operation of the engine,
 * then all of them live, in their order, then the answers.
 */
import type { AppendItem, AppendReceipt, BatchRequest } from "../engine/engine.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { Broker } from "./broker.ts";
import { assertRetainable, isStored, type Publication } from "./publication.ts";
import type { TopicEntry } from "./router.ts";

/**
 * The right to publish each has been checked. When it fails each is refused with the same error, whose
 * `detail.index` names the one at fault, where it is the fault of one.
 */
export function publishBatch(broker: Broker, publications: readonly Publication[]): void {
  const entries: TopicEntry[] = [];
  const judged: Publication[] = [];
  let index = 0;
  try {
    for (const publication of publications) {
      const { message, entry } = publication;
      entries.push(usable(publication, broker.router.lookup(message.topic, entry)));
      index++;
    }
    // Last, since a channel's rate counts what it lets through.
    for (index = 0; index < entries.length; index++) {
      const one = broker.judge(publications[index]!, entries[index]!);
      if (one instanceof WarrenError) throw one;
      judged.push(one);
    }
  } catch (thrown) {
    const error = withIndex(toWarrenError(thrown), index);
    broker.counters.refused += publications.length;
    for (const publication of publications) publication.refused(error);
    return;
  }
  const store = new BatchStore(broker, judged, entries);
  // Later publishes to topics that no queue keeps are seen after these.
  for (const entry of entries) entry.pendingStores++;
  if (store.items.length > 0) broker.engine.appendBatch(store);
  else store.stored([]);
}

/** The error as that of one of several. */
export function withIndex(error: WarrenError, index: number): WarrenError {
  return new WarrenError(error.code, error.message, { ...error.detail, index });
}

function usable(publication: Publication, entry: TopicEntry): TopicEntry {
  if (entry.reserved) {
    const { topic } = entry;
    throw new WarrenError("forbidden", "Topics that begin with $ belong to the broker.", { topic });
  }
  assertRetainable({ retain: publication.retain }, entry);
  return entry;
}

class BatchStore implements BatchRequest {
  /** All of them, so that each has its place in the order of its topic; none where nothing has to be waited for. */
  readonly items: BatchRequest["items"];
  readonly #broker: Broker;
  readonly #publications: readonly Publication[];
  readonly #entries: readonly TopicEntry[];
  /** Which of them are stored. */
  readonly #kept: readonly boolean[];

  constructor(
    broker: Broker,
    publications: readonly Publication[],
    entries: readonly TopicEntry[],
  ) {
    this.#broker = broker;
    this.#publications = publications;
    this.#entries = entries;
    this.#kept = publications.map((one, index) => isStored(one, entries[index]!));
    const isAtOnce = entries.every(
      ({ pendingStores }, index) => !this.#kept[index] && pendingStores === 0,
    );
    this.items = isAtOnce ? [] : publications.map((one, index) => this.#item(one, index));
  }

  stored(receipts: readonly AppendReceipt[]): void {
    for (const [index, publication] of this.#publications.entries()) {
      const receipt = this.#kept[index] ? receipts[index] : undefined;
      const told = receipt ?? this.#broker.notKept(publication);
      this.#broker.stored(publication, this.#entries[index]!, told);
    }
  }

  failed(error: WarrenError, index?: number): void {
    const told = index === undefined ? error : withIndex(error, index);
    for (const [at, publication] of this.#publications.entries()) {
      this.#broker.failed(publication, this.#entries[at]!, told);
    }
  }

  #item({ message, dueAt, dedupe, invalid, retain }: Publication, index: number): AppendItem {
    if (!this.#kept[index]) return { message, queues: [], dedupe: false };
    const { queues, history, keeping } = this.#entries[index]!;
    return {
      message,
      queues,
      dedupe,
      ...(keeping !== undefined && { channel: keeping }),
      ...(dueAt !== undefined && { dueAt }),
      ...(retain !== undefined && { retain }),
      ...(invalid !== undefined ? { invalid } : history !== undefined && { history }),
    };
  }
}
