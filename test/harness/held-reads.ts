/** The memory engine, except that the test decides when what is kept of topics is read. */
import { systemClock as clock, systemRandom as random } from "../../src/clock.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { eventually } from "./eventually.ts";
import { type BrokerOptions, startBroker, type TestBroker } from "./start-broker.ts";

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

export interface HeldBroker {
  readonly broker: TestBroker;
  readonly engine: HeldReads;
}

/** A broker on such an engine. */
export async function startWithHeldReads(
  options: Omit<BrokerOptions, "engine">,
): Promise<HeldBroker> {
  let engine!: HeldReads;
  const broker = await startBroker({
    ...options,
    engine: (limits) => {
      engine = new HeldReads({ clock, random, limits });
      return engine;
    },
  });
  return { broker, engine };
}
