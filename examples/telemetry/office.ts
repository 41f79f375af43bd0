/**
 * Where the results end up. Deliveries come at least once, so a result may come twice: it is kept under
 * the id of its message, and counted once.
 */
import { join } from "node:path";
import type { Result, WorkDone } from "./worker.ts";

interface Hour {
  readings: number;
  sum: number;
}

export class Office {
  readonly hours: Hour[] = Array.from({ length: 24 }, () => ({ readings: 0, sum: 0 }));
  /** Results that came again because their worker died before it could ack. */
  repeated = 0;
  readonly #seen = new Set<string>();

  get counted(): number {
    return this.#seen.size;
  }

  take({ results }: WorkDone): void {
    for (const result of results) this.#count(result);
  }

  /** Starts a worker process that hands its results in here. */
  hire(url: string, queue: string, diesAfter?: number): Bun.Subprocess {
    const dies = diesAfter === undefined ? [] : ["--dies-after", `${diesAfter}`];
    return Bun.spawn(
      [
        process.execPath,
        join(import.meta.dir, "worker.ts"),
        "--url",
        url,
        "--queue",
        queue,
        ...dies,
      ],
      {
        stdout: "inherit",
        stderr: "inherit",
        ipc: (work: WorkDone, worker) => {
          this.take(work);
          worker.send("stored");
        },
      },
    );
  }

  #count({ messageId, hour, temperature }: Result): void {
    if (this.#seen.has(messageId)) {
      this.repeated++;
      return;
    }
    this.#seen.add(messageId);
    const place = this.hours[hour]!;
    place.readings++;
    place.sum += temperature;
  }
}
