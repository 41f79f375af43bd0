/** The SQLite engine in a directory of a test's choice, on the system's time. */
import { systemClock } from "../../src/clock.ts";
import type { EngineHealth } from "../../src/engine/engine.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Payload } from "../../src/payload.ts";
import { eventually } from "../harness/eventually.ts";
import { seededRandom } from "../harness/seeded-random.ts";

/** An engine on the system's time, and what it says of its health. */
export class OpenedEngine implements AsyncDisposable {
  readonly healths: EngineHealth[] = [];
  readonly engine: SqliteEngine;

  private constructor(path: string) {
    const random = seededRandom(1);
    const limits = { ...DEFAULT_LIMITS, queueWindowMessages: 64 };
    const parts = { clock: systemClock, random, limits };
    this.engine = new SqliteEngine({ ...parts, dataDir: path, durability: "fsync" });
  }

  static async at(path: string): Promise<OpenedEngine> {
    const opened = new OpenedEngine(path);
    await opened.engine.open({
      queueChanged: () => {},
      healthChanged: (health) => opened.healths.push(health),
    });
    return opened;
  }

  async define(name: string): Promise<void> {
    await this.engine.queues.define(name, completeSettings({}), []);
  }

  append(queue: string, id: string, bytes = 100): Promise<void> {
    const payload = Payload.fromValue("x".repeat(bytes));
    const message = { id, topic: "t", time: systemClock.now(), payload };
    return new Promise((resolve, failed) => {
      const stored = () => resolve();
      this.engine.append({ message, queues: [queue], dedupe: false, stored, failed });
    });
  }

  async appendAll(queue: string, ids: readonly string[], bytes?: number): Promise<void> {
    await Promise.all(ids.map((id) => this.append(queue, id, bytes)));
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
