/**
 * All sessions of this broker: what they share, who is silent for too long, and the orderly end of all.
 */
import type { ServerFrameOf } from "../../schemas/frames.ts";
import type { Principal } from "../broker/access.ts";
import type { Broker } from "../broker/broker.ts";
import type { Timer } from "../clock.ts";
import type { WarrenError } from "../errors.ts";
import { clientLimits, type Limits } from "../limits.ts";
import type { Logger } from "../log.ts";
import type { Admission } from "../security/admission.ts";
import type { Authenticator } from "../security/authenticator.ts";
import type { Validity } from "../security/validity.ts";
import { Deadlines } from "./deadlines.ts";
import { Departures } from "./departures.ts";
import { Eviction } from "./eviction.ts";
import { FairTurns } from "./fair-turns.ts";
import { OutboxTurn } from "./outbox.ts";
import { Recall } from "./recall.ts";
import { RightsReview } from "./review.ts";
import type { Session } from "./session.ts";
import { sweep } from "./sweep.ts";
import { Throttle } from "./throttle.ts";

/**
 * The sweep goes through all sessions twice in a heartbeat, in slices: looking at all of them at once
 * would stall the broker when there are many.
 */
const TICKS_PER_HEARTBEAT = 16;
const TICKS_PER_ROUND = 8;

/** When clients of a stopping broker are to come back: spread, so that they do not all come at once. */
const RECONNECT_AFTER_MS = { from: 1000, to: 5000 } as const;

export interface SessionsDeps {
  readonly broker: Broker;
  readonly authenticator: Authenticator;
  readonly admission: Admission;
  readonly validity: Validity;
  readonly log: Logger;
  /** Bytes from which on a message is compressed, where the client can; infinity for never [P-14.13]. */
  readonly compressFrom: number;
  readonly version: string;
  /** The name of this node. */
  readonly node: string;
}

export class Sessions {
  readonly broker: Broker;
  readonly authenticator: Authenticator;
  readonly admission: Admission;
  readonly limits: Limits;
  readonly outboxes: OutboxTurn;
  readonly deadlines: Deadlines;
  readonly turns: FairTurns;
  readonly review: RightsReview;
  readonly eviction: Eviction;
  readonly recall: Recall;
  readonly departures: Departures;
  /** Connections opened since the start. */
  opened = 0;
  /** Counts up, 16 times in a heartbeat; cheaper than a clock where it is read for every message. */
  tick = 0;
  readonly #log: Logger;
  readonly #server: ServerFrameOf<"welcome">["server"];
  readonly #clientLimits: ServerFrameOf<"welcome">["limits"];
  /** In no order; each knows its place. */
  readonly #all: Session[] = [];
  #cursor = 0;
  #timer: Timer | undefined;
  #draining = false;
  #drained: (() => void) | undefined;

  constructor(deps: SessionsDeps) {
    const { broker, authenticator, admission, log, version, node } = deps;
    this.broker = broker;
    this.authenticator = authenticator;
    this.admission = admission;
    this.limits = broker.limits;
    this.#log = log;
    this.#server = { name: "warren", version, node };
    this.#clientLimits = { ...clientLimits(broker.limits) };
    this.outboxes = new OutboxTurn(() => broker.fanout.requestTurn(), deps.compressFrom);
    this.deadlines = new Deadlines(broker.clock);
    this.departures = new Departures(broker.clock);
    this.turns = new FairTurns(broker.clock, broker.limits.heldInputBytes);
    this.review = new RightsReview(this, broker);
    broker.bindingsChanged = () => this.review.start();
    const { validity } = deps;
    this.recall = new Recall({ sessions: this, validity, authenticator, clock: broker.clock });
    this.eviction = new Eviction(this, admission.bans, broker.clock);
    broker.fanout.beforeRoutes(() => this.outboxes.flush());
  }

  get size(): number {
    return this.#all.length;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** The session at this place; one that goes gives its place to the last. */
  at(place: number): Session | undefined {
    return this.#all[place];
  }

  [Symbol.iterator](): Iterator<Session> {
    return this.#all.values();
  }

  add(session: Session): void {
    session.slot = this.#all.length;
    session.heardAt = this.tick;
    this.#all.push(session);
    this.opened++;
    if (this.#timer === undefined) this.#sweepLater();
  }

  remove(session: Session): void {
    const last = this.#all.pop();
    if (last !== undefined && last !== session) {
      this.#all[session.slot] = last;
      last.slot = session.slot;
    }
    session.slot = -1;
    if (this.#all.length > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#drained?.();
  }

  /** The first frame of a session [P-1.5]. */
  welcome(session: string, { name, expiresAt }: Principal): ServerFrameOf<"welcome"> {
    return {
      type: "welcome",
      session,
      principal: name,
      ...(expiresAt !== undefined && { expiresAt }),
      heartbeatMs: this.limits.heartbeatMs,
      limits: this.#clientLimits,
      server: this.#server,
      time: this.broker.clock.now(),
    };
  }

  /** A session has a principal that it had not. Throws `rate_limited` [P-14.11]. */
  assertRoomFor({ address, principal: before }: Session, principal: Principal): void {
    if (before?.name === principal.name) return;
    this.admission.assertRoomForPrincipal({ address, principal });
  }

  /** What bounds the rates of a session, for who it is now; nothing for most, and that costs nothing. */
  throttleFor(session: Session): Throttle | undefined {
    const { admission, deadlines } = this;
    const { address, principal, throttle: present } = session;
    if (present === undefined && !admission.rates.watches({ address, principal })) return undefined;
    const throttle = present ?? new Throttle(admission, deadlines, session.intake, address);
    throttle.identify(principal);
    return throttle;
  }

  /** A fault of our own; the peer learns nothing but that. */
  logFault(session: Session, error: WarrenError): void {
    this.#log.error("a fault while serving a session", {
      session: session.id,
      error: error.cause ?? error,
    });
  }

  /**
   * Tells every peer that the broker stops, answers what is pending and closes [P-9.3]. Resolves when
   * all are gone; after `limits.drainMs` the rest is cut off. New connections are for the listener to
   * refuse.
   */
  drain(): Promise<void> {
    this.#draining = true;
    this.departures.finish();
    this.broker.presence.close();
    if (this.#all.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cut = this.broker.clock.after(this.limits.drainMs, () => {
        for (const session of [...this.#all]) session.socket.terminate();
      });
      this.#drained = () => {
        cut.cancel();
        resolve();
      };
      const { from, to } = RECONNECT_AFTER_MS;
      for (const session of [...this.#all]) {
        session.drain(from + Math.floor(this.broker.random() * (to - from)));
      }
    });
  }

  #sweepLater(): void {
    this.#timer = this.broker.clock.after(this.limits.heartbeatMs / TICKS_PER_HEARTBEAT, () => {
      this.tick++;
      this.deadlines.look();
      this.recall.tick();
      this.#sweepLater();
      this.#sweep();
    });
  }

  #sweep(): void {
    const share = Math.ceil(this.#all.length / TICKS_PER_ROUND);
    for (let i = 0; i < share && this.#all.length > 0; i++) {
      // Backwards: one that is ended gives its place to the last, which was looked at already.
      if (this.#cursor <= 0 || this.#cursor > this.#all.length) this.#cursor = this.#all.length;
      this.#cursor--;
      sweep(this.#all[this.#cursor]!, this.tick, TICKS_PER_HEARTBEAT);
    }
  }
}
