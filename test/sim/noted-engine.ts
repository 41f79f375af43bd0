/** An engine that tells how its consumers ended: over HTTP there is no connection whose end can be seen. */
import type { Consumer, DeliverySink, Engine } from "../../src/engine/engine.ts";

/** In order: by the pull that has them, as when its client went away. Not so: their name was silent too long. */
export type Ended = (inOrder: boolean) => void;

export class NotedEngine implements Pick<Engine, "queues" | "consume"> {
  readonly #engine: Engine;
  /** Told of the end of the consumer that is made next. */
  ended: Ended = () => {};

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  get queues(): Engine["queues"] {
    return this.#engine.queues;
  }

  consume(queue: string, sink: DeliverySink): Consumer {
    const consumer = this.#engine.consume(queue, sink);
    const { ended } = this;
    return {
      queue,
      credit: (credit) => consumer.credit(credit),
      hold: (held) => consumer.hold(held),
      atRest: (done) => consumer.atRest(done),
      holds: (tag) => consumer.holds(tag),
      settle: (tags, outcome, settled) => consumer.settle(tags, outcome, settled),
      cancel: () => {
        ended(true);
        consumer.cancel();
      },
      disconnect: () => {
        ended(false);
        consumer.disconnect();
      },
    };
  }
}
