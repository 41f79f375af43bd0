/**
 * Under which conditions somebody may publish on a topic [P-14.6]. Each grant that covers the topic
 * stands for itself: a publish is allowed when one of them allows all that it is, and of those that do
 * the one with the highest rate counts. A grant without conditions allows everything.
 */
import type { Qualifiers } from "../../schemas/access.ts";
import { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";

/** What is known of a publish that conditions may speak of. */
export interface PublishFacts {
  readonly payloadBytes: number;
  readonly retain: boolean;
  /** Whether a queue is bound to the topic. */
  readonly queues: boolean;
}

/** One grant's rate. The same object for everyone whose rights have that grant. */
export interface GrantRate {
  /** Names the grant by what it says, so that it is the same one when rights are compiled anew. */
  readonly grant: string;
  readonly perSecond: number;
}

/** The conditions of one grant, or of one under an issuer's bound. */
export interface Alternative extends Qualifiers {
  /** Whoever publishes under it pays for each of these [P-14.6]. */
  readonly rates?: readonly GrantRate[];
}

export class PublishTerms {
  /** The conditions of each grant; one of them must hold. The same object for everyone of a role. */
  readonly alternatives: readonly Alternative[];
  /** Nothing has to be looked at. */
  readonly unconditional: boolean;

  constructor(alternatives: readonly Alternative[]) {
    this.alternatives = alternatives;
    this.unconditional = alternatives.some((one) => Object.keys(one).length === 0);
  }

  /** The alternative under which the publish is allowed, that with the highest rate; undefined for none. */
  allowing(facts: PublishFacts): Alternative | undefined {
    let best: Alternative | undefined;
    for (let i = 0; i < this.alternatives.length; i++) {
      const one = this.alternatives[i]!;
      if (obstacle(one, facts) !== undefined) continue;
      if (best === undefined || rateOf(one) > rateOf(best)) best = one;
    }
    return best;
  }

  /** The refusal of a publish that no alternative allows; says what stands in its way. */
  refusal(topic: string, facts: PublishFacts): WarrenError {
    const names = new Set(this.alternatives.map((one) => obstacle(one, facts)));
    const limit = Math.max(...this.alternatives.map((one) => one.maxPayloadBytes ?? 0));
    const why: Record<string, string> = {
      retain: "not with retain",
      queues: "not where queues are bound",
      maxPayloadBytes: `not more than ${limit} bytes of payload`,
    };
    const qualifiers = [...names].filter((name) => name !== undefined);
    const text = qualifiers.map((name) => why[name]).join(", and ");
    return new WarrenError("forbidden", `There is a right to publish here, but ${text}.`, {
      action: "publish",
      on: topic,
      qualifiers,
      ...(names.has("maxPayloadBytes") && { limit }),
    });
  }
}

const NO_CONDITIONS: Alternative = {};

/** Of a grant without conditions. */
export const UNCONDITIONAL = new PublishTerms([NO_CONDITIONS]);

/**
 * The conditions under which this message may be published on a topic with or without queues; throws
 * `forbidden` naming what stands in its way. Its size is that of its payload as it would be stored.
 */
export function assertTerms(
  terms: PublishTerms,
  message: Message,
  queues: readonly string[],
  retain: boolean,
): Alternative {
  if (terms.unconditional) return NO_CONDITIONS;
  const payloadBytes = message.payload.storedBytes().length;
  const facts = { payloadBytes, retain, queues: queues.length > 0 };
  const under = terms.allowing(facts);
  if (under === undefined) throw terms.refusal(message.topic, facts);
  return under;
}

/** The condition that does not hold. */
function obstacle(one: Qualifiers, facts: PublishFacts): keyof Qualifiers | undefined {
  if (one.retain === false && facts.retain) return "retain";
  if (one.queues === false && facts.queues) return "queues";
  if (one.maxPayloadBytes !== undefined && facts.payloadBytes > one.maxPayloadBytes) {
    return "maxPayloadBytes";
  }
  return undefined;
}

function rateOf(one: Qualifiers): number {
  return one.maxRatePerSecond ?? Number.POSITIVE_INFINITY;
}
