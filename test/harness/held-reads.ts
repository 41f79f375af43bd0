/** The memory engine, except that the test decides when what is kept of topics is read. */
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { eventually } from "./eventually.ts";

export class HeldReads extends MemoryEngine {
  readonly #held: (() => void)[] = [];
  holding = true;

  constructor(options: ConstructorParameters<typeof MemoryEngine>[0]) {
    super(options);
    const { topics } = this;
    const history = topics.history.bind(topics);
    const retained = topics.retained.bind(topics);
    topics.history = (request, answered) => this.#hold(() => history(request, answered));
    topics.retained = (request, answered) => this.#hold(() => retained(request, answered));
  }

  get held(): number {
    return this.#held.length;
  }

  /** Resolves when so many reads wait. */
  holds(count: number): Promise<void> {
    return eventually(
      () => this.#held.length === count,
      () => `${count} held reads; there are ${this.#held.length}`,
    );
  }

  /** Lets those that wait be read, the oldest first; others go on to wait. */
  release(count = this.#held.length): void {
    for (const read of this.#held.splice(0, count)) read();
  }

  #hold(read: () => void): void {
    if (this.holding) this.#held.push(read);
    else read();
  }
}
