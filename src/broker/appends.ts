/** Publishes on their way through the engine, and whom they tell of their end. */
import type { AppendReceipt, AppendRequest } from "../engine/engine.ts";
import type { HistoryBounds, KeepingChannel } from "../engine/topics.ts";
import type { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { Publication } from "./publication.ts";
import type { TopicEntry } from "./router.ts";

/** Who is told: the broker. */
interface Teller {
  stored(publication: Publication, entry: TopicEntry, receipt: AppendReceipt): void;
  failed(publication: Publication, entry: TopicEntry, error: WarrenError): void;
  passed(publication: Publication, entry: TopicEntry, error?: WarrenError): void;
}

/** One of which nothing is kept, behind others of its topic that are on their way through the engine. */
export class Passage implements AppendRequest {
  readonly message: Message;
  readonly queues: readonly string[] = [];
  /** The broker remembers its id. */
  readonly dedupe = false;
  readonly #teller: Teller;
  readonly #publication: Publication;
  readonly #entry: TopicEntry;

  constructor(teller: Teller, publication: Publication, entry: TopicEntry) {
    this.message = publication.message;
    this.#teller = teller;
    this.#publication = publication;
    this.#entry = entry;
  }

  stored(): void {
    this.#teller.passed(this.#publication, this.#entry);
  }

  failed(error: WarrenError): void {
    this.#teller.passed(this.#publication, this.#entry, error);
  }
}

/** One that is stored. */
export class Store implements AppendRequest {
  readonly message: Message;
  readonly queues: readonly string[];
  readonly dedupe: boolean;
  declare readonly dueAt?: number;
  declare readonly invalid?: string;
  declare readonly history?: HistoryBounds;
  declare readonly retain?: "set" | "clear";
  declare readonly channel?: KeepingChannel;
  readonly #teller: Teller;
  readonly #publication: Publication;
  readonly #entry: TopicEntry;

  constructor(teller: Teller, publication: Publication, entry: TopicEntry) {
    this.message = publication.message;
    this.queues = entry.queues;
    this.dedupe = publication.dedupe;
    if (publication.dueAt !== undefined) this.dueAt = publication.dueAt;
    if (publication.invalid !== undefined) this.invalid = publication.invalid;
    else if (entry.history !== undefined) this.history = entry.history;
    if (publication.retain !== undefined) this.retain = publication.retain;
    if (entry.keeping !== undefined) this.channel = entry.keeping;
    this.#teller = teller;
    this.#publication = publication;
    this.#entry = entry;
  }

  stored(receipt: AppendReceipt): void {
    this.#teller.stored(this.#publication, this.#entry, receipt);
  }

  failed(error: WarrenError): void {
    this.#teller.failed(this.#publication, this.#entry, error);
  }
}
