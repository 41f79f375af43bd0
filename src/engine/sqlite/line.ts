/** Consumers that can take a delivery, in turn: whoever got one goes to the end. */
import { Deque } from "../../collections/deque.ts";
import type { SqliteConsumer } from "./consumer.ts";

export class Line {
  readonly #line = new Deque<SqliteConsumer>();

  /** At the end, unless it stands in line already or cannot take anything. */
  join(consumer: SqliteConsumer): void {
    if (consumer.inLine || !consumer.available) return;
    consumer.inLine = true;
    this.#line.push(consumer);
  }

  /** Whose turn it is, without ending the turn. */
  peek(): SqliteConsumer | undefined {
    for (;;) {
      const consumer = this.#line.peek();
      if (consumer === undefined || consumer.available) return consumer;
      consumer.inLine = false;
      this.#line.shift();
    }
  }

  /** The turn of the first is over. */
  next(): void {
    const consumer = this.#line.shift();
    if (consumer !== undefined) consumer.inLine = false;
  }
}
