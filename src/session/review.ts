/**
 * After rights have changed: what sessions hold and no longer may ends [P-4.6, P-5.2]. There may be many
 * sessions, so a bounded part of them is looked at in each turn of the event loop; what they do meanwhile
 * is judged by the new rights anyway.
 */
import type { Broker } from "../broker/broker.ts";
import { type Ending, Endings } from "./endings.ts";
import type { LiveSubscriptions } from "./live.ts";
import { Rounds, type SessionList } from "./rounds.ts";
import type { Session } from "./session.ts";
import type { Work } from "./work.ts";

export class RightsReview {
  /** What was ended lately, and why. */
  readonly endings = new Endings();
  readonly #broker: Broker;
  readonly #rounds: Rounds;

  constructor(sessions: SessionList, broker: Broker) {
    this.#broker = broker;
    this.#rounds = new Rounds(sessions, broker.clock, (session) => 1 + session.review());
  }

  /** Whether some session has not been looked at since the last change. */
  get running(): boolean {
    return this.#rounds.running;
  }

  /** Rights have changed, or what queues are bound to. */
  start(): void {
    this.#rounds.start();
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
    for (const { filter, reason: why } of live?.reviewPresence() ?? []) {
      if (why === "forbidden") this.#ended(session, "presence", filter);
      session.tell({ type: "notice", code: "presence_ended", filter, reason: why });
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
    const why = this.#broker.explainer(rights, action, on);
    this.endings.add({
      time: this.#broker.clock.now(),
      principal: name,
      session: id,
      action,
      on,
      why,
    });
  }
}
