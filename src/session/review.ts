/**
 * After rights have changed: what sessions hold and no longer may ends [P-4.6, P-5.2]. There may be many
 * sessions, so a bounded part of them is looked at in each turn of the event loop; what they do meanwhile
 * is judged by the new rights anyway.
 */
import type { Broker } from "../broker/broker.ts";
import { type Ending, Endings } from "./endings.ts";
import type { LiveSubscriptions } from "./live.ts";
import type { Session } from "./session.ts";
import type { Work } from "./work.ts";

/** Subscriptions and consumers that are looked at in one turn; each takes about a microsecond. */
const CHECKS_A_TURN = 2000;

/** All sessions, in an order in which one that goes gives its place to the last. */
export interface SessionList {
  readonly size: number;
  at(place: number): Session | undefined;
}

export class RightsReview {
  /** What was ended lately, and why. */
  readonly endings = new Endings();
  readonly #sessions: SessionList;
  readonly #broker: Broker;
  /** The places below it are still to be looked at; undefined while there is nothing to do. */
  #below: number | undefined;
  #again = false;

  constructor(sessions: SessionList, broker: Broker) {
    this.#sessions = sessions;
    this.#broker = broker;
  }

  /** Whether some session has not been looked at since the last change. */
  get running(): boolean {
    return this.#below !== undefined;
  }

  /** Rights have changed, or what queues are bound to. */
  start(): void {
    if (this.#below !== undefined) {
      this.#again = true;
      return;
    }
    this.#below = this.#sessions.size;
    this.#broker.clock.endOfTurn(this.#turn);
  }

  /** Ends what the session holds and no longer may; returns how much there was to look at. */
  of(session: Session, live: LiveSubscriptions | undefined, work: Work | undefined): number {
    const rights = session.principal?.rights;
    if (rights === undefined) return 0;
    const checks = (live?.size ?? 0) + (work?.size ?? 0);
    const reason = "forbidden";
    for (const filter of live?.retain((one) => rights.maySubscribe(one)) ?? []) {
      this.#ended(session, "subscribe", filter);
      session.tell({ type: "notice", code: "unsubscribed", filter, reason });
    }
    for (const queue of work?.retain((one) => this.#broker.mayConsume(rights, one)) ?? []) {
      this.#ended(session, "consume", queue);
      session.tell({ type: "notice", code: "consumer_ended", queue, reason });
    }
    return checks;
  }

  #ended({ id, principal }: Session, action: Ending["action"], on: string): void {
    if (principal === undefined) return;
    const { name, rights } = principal;
    const why = this.#broker.explain(rights, action, on);
    this.endings.add({
      time: this.#broker.clock.now(),
      principal: name,
      session: id,
      action,
      on,
      why,
    });
  }

  readonly #turn = (): void => {
    let place = Math.min(this.#below ?? 0, this.#sessions.size);
    let checks = 0;
    // Backwards: what takes the place of one that goes was looked at already.
    while (place > 0 && checks < CHECKS_A_TURN) {
      place--;
      checks += 1 + (this.#sessions.at(place)?.review() ?? 0);
    }
    this.#below = place;
    if (place > 0) this.#broker.clock.endOfTurn(this.#turn);
    else {
      this.#below = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.start();
    }
  };
}
