/**
 * HTTP consumers with a name [P-5.12]. They have no connection to be lost, so they say how long they may be
 * silent: whatever they ask for renews that time, and when it is over all they hold goes back.
 */
import type { Clock, Timer } from "../clock.ts";
import { WarrenError } from "../errors.ts";

/** How long one may be silent that has not said so. */
export const DEFAULT_LIVENESS_MS = 30_000;

/** One pull of a consumer. */
export interface Pull {
  /** Its client is waiting for an answer, so it is there. */
  readonly isWaiting: boolean;
  /** How many of its deliveries are unsettled. */
  readonly unsettled: number;
  /** All goes back and burns no attempt. */
  giveBack(): void;
  /** All goes back as from a lost connection [P-5.5]. */
  lose(): void;
}

export interface PullConsumerName {
  readonly principal: string;
  readonly queue: string;
  readonly name: string;
}

export class PullConsumer {
  readonly pulls = new Set<Pull>();
  readonly #clock: Clock;
  readonly #lapsed: () => void;
  #livenessMs = DEFAULT_LIVENESS_MS;
  #deadline = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock, lapsed: () => void) {
    this.#clock = clock;
    this.#lapsed = lapsed;
  }

  /** It was heard of. Times that were set before stay unless there is a new one. */
  renew(livenessMs = this.#livenessMs): void {
    const isShorter = livenessMs < this.#livenessMs;
    this.#livenessMs = livenessMs;
    this.#deadline = this.#clock.now() + livenessMs;
    // A timer that goes off too early looks again; one that is too late would not do.
    if (isShorter) this.stop();
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    this.#timer ??= this.#clock.after(this.#deadline - this.#clock.now(), () => {
      this.#timer = undefined;
      for (const pull of this.pulls) if (pull.isWaiting) this.renew();
      if (this.#deadline > this.#clock.now()) this.#arm();
      else this.#lapsed();
    });
  }
}

export class PullConsumers {
  readonly #clock: Clock;
  readonly #most: number;
  /** By principal, then by queue and name. */
  readonly #byPrincipal = new Map<string, Map<string, PullConsumer>>();

  /** At most so many names of one principal. */
  constructor(clock: Clock, most: number) {
    this.#clock = clock;
    this.#most = most;
  }

  /** The consumer of this name, made when there is none; throws `rate_limited` past the bound. */
  heard(who: PullConsumerName, livenessMs: number | undefined): PullConsumer {
    const known = this.#find(who);
    if (known !== undefined) {
      known.renew(livenessMs);
      return known;
    }
    const names = this.#byPrincipal.get(who.principal) ?? new Map<string, PullConsumer>();
    if (names.size >= this.#most) {
      throw new WarrenError("rate_limited", "There are as many consumers of you as there may be.", {
        limit: this.#most,
      });
    }
    const consumer = new PullConsumer(this.#clock, () => {
      for (const pull of [...consumer.pulls]) pull.lose();
      consumer.stop();
      this.#forget(who);
    });
    this.#byPrincipal.set(who.principal, names);
    names.set(keyOf(who), consumer);
    consumer.renew(livenessMs);
    return consumer;
  }

  /** Throws `not_found` for one that never pulled, was released or was silent for too long. */
  alive(who: PullConsumerName): void {
    const consumer = this.#find(who);
    if (consumer !== undefined) consumer.renew();
    else {
      throw new WarrenError("not_found", "There is no such consumer, or its time is over.", {
        consumer: who.name,
        queue: who.queue,
      });
    }
  }

  /** It leaves in order; returns how many deliveries went back. */
  release(who: PullConsumerName): number {
    const consumer = this.#find(who);
    if (consumer === undefined) return 0;
    let released = 0;
    for (const pull of [...consumer.pulls]) {
      released += pull.unsettled;
      pull.giveBack();
    }
    consumer.stop();
    this.#forget(who);
    return released;
  }

  stop(): void {
    for (const names of this.#byPrincipal.values()) {
      for (const consumer of names.values()) consumer.stop();
    }
  }

  #find(who: PullConsumerName): PullConsumer | undefined {
    return this.#byPrincipal.get(who.principal)?.get(keyOf(who));
  }

  #forget(who: PullConsumerName): void {
    const names = this.#byPrincipal.get(who.principal);
    names?.delete(keyOf(who));
    if (names?.size === 0) this.#byPrincipal.delete(who.principal);
  }
}

/** Queue names hold no line break, so no two pairs make the same key. */
function keyOf({ queue, name }: PullConsumerName): string {
  return `${queue}\n${name}`;
}
