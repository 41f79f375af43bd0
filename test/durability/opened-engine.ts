/** The SQLite engine in a directory of a test's choice, on the system's time or another. */
import type { QueueDefinition } from "../../schemas/queue.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { EngineHealth } from "../../src/engine/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import type { Message } from "../../src/message.ts";
import { Payload } from "../../src/payload.ts";
import { eventually } from "../harness/eventually.ts";
import { seededRandom } from "../harness/seeded-random.ts";

export interface AppendOptions {
  /** Length of the payload. */
  readonly bytes?: number;
  readonly dueAt?: number;
}

/** An engine and what it says of its health. */
export class OpenedEngine implements AsyncDisposable {
  readonly healths: EngineHealth[] = [];
  readonly engine: SqliteEngine;
  readonly #clock: Clock;

  private constructor(path: string, clock: Clock) {
    this.#clock = clock;
    const random = seededRandom(1);
    const limits = { ...DEFAULT_LIMITS, queueWindowMessages: 64 };
    const parts = { clock, random, limits };
    this.engine = new SqliteEngine({ ...parts, dataDir: path, durability: "fsync" });
  }

  static async at(path: string, { clock = systemClock } = {}): Promise<OpenedEngine> {
    const opened = new OpenedEngine(path, clock);
    await opened.engine.open({
      queueChanged: () => {},
      healthChanged: (health) => opened.healths.push(health),
    });
    return opened;
  }

  async define(name: string, definition: QueueDefinition = {}): Promise<void> {
    await this.engine.queues.define(name, completeSettings(definition), []);
  }

  message(id: string, bytes = 100): Message {
    const payload = Payload.fromValue("x".repeat(bytes));
    return { id, topic: "t", time: this.#clock.now(), payload };
  }

  append(queue: string, id: string, options: AppendOptions = {}): Promise<void> {
    const { bytes, ...times } = options;
    const message = this.message(id, bytes);
    return new Promise((resolve, failed) => {
      const stored = () => resolve();
      this.engine.append({ message, queues: [queue], dedupe: false, ...times, stored, failed });
    });
  }

  async appendAll(queue: string, ids: readonly string[], options?: AppendOptions): Promise<void> {
    await Promise.all(ids.map((id) => this.append(queue, id, options)));
  }

  /** Ids of everything that waits in the queue, in its order. */
  async waiting(queue: string): Promise<string[]> {
    const { messages } = await this.engine.queues.peek(queue, { limit: 10_000 });
    return messages.map(({ message }) => message.id);
  }

  /** Resolves when it says so. */
  becomes(state: EngineHealth["state"]): Promise<void> {
    return eventually(
      () => this.engine.health.state === state,
      () => `the store to be ${state}, not ${JSON.stringify(this.engine.health)}`,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.engine.close();
  }
}

/** Ids that sort as they count. */
export const idsOf = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => `m${String(from + i).padStart(5, "0")}`);
