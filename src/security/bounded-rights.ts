/** Rights under a bound, as the issuer of a token sets it [P-14.1]: each may only take away from the other. */
import {
  type Deniable,
  type Explanation,
  newVersion,
  PublishTerms,
  type Rights,
} from "../broker/access.ts";

export class BoundedRights implements Rights {
  readonly #own: Rights;
  readonly #bound: Rights;
  #version = 0;
  /** Of which two it is the version. */
  #ownVersion = 0;
  #boundVersion = 0;

  constructor(own: Rights, bound: Rights) {
    this.#own = own;
    this.#bound = bound;
  }

  get allowsAll(): boolean {
    return this.#own.allowsAll && this.#bound.allowsAll;
  }

  get version(): number {
    const { version: own } = this.#own;
    const { version: bound } = this.#bound;
    if (own !== this.#ownVersion || bound !== this.#boundVersion) {
      this.#ownVersion = own;
      this.#boundVersion = bound;
      this.#version = newVersion();
    }
    return this.#version;
  }

  mayPublish(topic: string): boolean {
    return this.#own.mayPublish(topic) && this.#bound.mayPublish(topic);
  }

  publishTerms(topic: string): PublishTerms | undefined {
    const own = this.#own.publishTerms(topic);
    if (own === undefined) return undefined;
    const bound = this.#bound.publishTerms(topic);
    if (bound === undefined || own.unconditional) return bound;
    return bound.unconditional ? own : bothTerms(own, bound);
  }

  maySubscribe(filter: string): boolean {
    return this.#own.maySubscribe(filter) && this.#bound.maySubscribe(filter);
  }

  mayConsume(queue: string): boolean {
    return this.#own.mayConsume(queue) && this.#bound.mayConsume(queue);
  }

  mayReceive(filter: string): boolean {
    return this.#own.mayReceive(filter) && this.#bound.mayReceive(filter);
  }

  may(action: Deniable, on: string): boolean {
    return this.#own.may(action, on) && this.#bound.may(action, on);
  }

  isDenied(action: Deniable, on: string): boolean {
    return this.#own.isDenied(action, on) || this.#bound.isDenied(action, on);
  }

  explain(action: Deniable, on: string): Explanation {
    const own = this.#own.explain(action, on);
    if (!own.allowed) return own;
    const bound = this.#bound.explain(action, on);
    if (bound.allowed) return own;
    return { ...bound, reason: `Past what the issuer's tokens may claim: ${bound.reason}` };
  }

  snapshot(): Rights {
    return new BoundedRights(this.#own.snapshot(), this.#bound.snapshot());
  }
}

/** The same object for the same two, as it is for terms that were written down together. */
const known = new WeakMap<PublishTerms, WeakMap<PublishTerms, PublishTerms>>();

function bothTerms(one: PublishTerms, other: PublishTerms): PublishTerms {
  const ofOne = known.get(one) ?? new WeakMap<PublishTerms, PublishTerms>();
  known.set(one, ofOne);
  const both = ofOne.get(other) ?? new PublishTerms(everyPair(one, other));
  ofOne.set(other, both);
  return both;
}

type Alternative = PublishTerms["alternatives"][number];

function everyPair(one: PublishTerms, other: PublishTerms): Alternative[] {
  return one.alternatives.flatMap((a) => other.alternatives.map((b) => stricter(a, b)));
}

/** Conditions that hold when those of both do: a rate or size is the smaller, a refusal stays one. */
function stricter(a: Alternative, b: Alternative): Alternative {
  const least = (x: number | undefined, y: number | undefined) =>
    x === undefined || y === undefined ? (x ?? y) : Math.min(x, y);
  const maxPayloadBytes = least(a.maxPayloadBytes, b.maxPayloadBytes);
  const maxRatePerSecond = least(a.maxRatePerSecond, b.maxRatePerSecond);
  const rates = [...(a.rates ?? []), ...(b.rates ?? [])];
  return {
    ...a,
    ...b,
    ...(a.retain === false && { retain: false }),
    ...(a.queues === false && { queues: false }),
    ...(maxPayloadBytes !== undefined && { maxPayloadBytes }),
    ...(maxRatePerSecond !== undefined && { maxRatePerSecond }),
    ...(rates.length > 0 && { rates }),
  };
}
