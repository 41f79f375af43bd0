/**
 * The time after the last consumer has left. Those who pull come and go with each request: what was read for
 * one is kept a moment for the next.
 */
import type { Clock, Timer } from "../../clock.ts";
import { LINGER_MS } from "../rules.ts";

export class Linger {
  readonly #clock: Clock;
  readonly #over: () => void;
  #timer: Timer | undefined;
  #until = 0;

  /** `over` is called when the time is over, whether somebody has come again or not. */
  constructor(clock: Clock, over: () => void) {
    this.#clock = clock;
    this.#over = over;
  }

  /** Whether it is kept in memory for a consumer that may come at once. */
  get isOn(): boolean {
    return this.#timer !== undefined;
  }

  begin(): void {
    this.#until = this.#clock.now() + LINGER_MS;
    this.#timer ??= this.#clock.after(LINGER_MS, () => this.#ring());
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #ring(): void {
    const leftMs = this.#until - this.#clock.now();
    this.#timer = leftMs > 0 ? this.#clock.after(leftMs, () => this.#ring()) : undefined;
    if (leftMs <= 0) this.#over();
  }
}
