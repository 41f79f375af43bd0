/** The event loop's side of what topics keep besides the queues. */
import { WarrenError } from "../../errors.ts";
import type { Answered, KeptPage, Topics } from "../topics.ts";
import type { QueueHost } from "./host.ts";

export class SqliteTopics implements Topics {
  readonly totals = { topics: 0, historyMessages: 0, historyBytes: 0, retainedMessages: 0 };
  readonly #host: QueueHost;

  constructor(host: QueueHost) {
    this.#host = host;
  }

  history(_request: unknown, answered: Answered<never>): void {
    this.#host.later(() => answered(new WarrenError("not_supported")));
  }

  retained(_request: unknown, answered: Answered<never>): void {
    this.#host.later(() => answered(new WarrenError("not_supported")));
  }

  async list(): Promise<KeptPage> {
    throw new WarrenError("not_supported");
  }

  async trim(): Promise<void> {
    throw new WarrenError("not_supported");
  }
}
