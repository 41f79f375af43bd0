/** A crowd of clients as its owner sees it: a process that is given orders. */
import { join } from "node:path";
import type { Answer, Order } from "./messages.ts";

const SCRIPT = join(import.meta.dir, "main.ts");

export class Crowd {
  readonly #child: Bun.Subprocess;
  #waiting: { resolve(done: unknown): void; reject(error: Error): void } | undefined;

  constructor() {
    this.#child = Bun.spawn([process.execPath, SCRIPT], {
      stdin: "ignore",
      stdout: "inherit",
      stderr: "inherit",
      ipc: (answer: Answer) => {
        const waiting = this.#waiting;
        this.#waiting = undefined;
        if ("failed" in answer) {
          if (waiting === undefined) console.error(answer.failed);
          waiting?.reject(new Error(answer.failed));
        } else waiting?.resolve(answer.done);
      },
    });
    void this.#child.exited.then((code) => {
      this.#waiting?.reject(new Error(`a crowd ended with ${code}`));
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** One order at a time. */
  tell<T>(order: Order): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting = { resolve: (done) => resolve(done as T), reject };
      this.#child.send(order);
    });
  }

  async end(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}
