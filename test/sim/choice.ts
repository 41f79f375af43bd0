/** What workers of a simulation have in common: how they see a delivery, and what they do with it. */
import type { Delivered, Settling } from "../durability/history.ts";
import { isIntact, type LoadPayload } from "../durability/publisher.ts";
import type { Surroundings } from "./peer.ts";

export interface Choice {
  readonly outcome: Settling;
  readonly delayMs?: number;
}

/** A delivery, whatever way it came. */
export interface Handed {
  readonly tag: number;
  readonly attempt: number;
  readonly payload: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly deaths?: readonly { readonly reason: string; readonly attempts: number }[];
}

/** As it goes into the history. */
export function deliveredTo(
  consumer: string,
  queue: string,
  { tag, attempt, payload, headers, deaths = [] }: Handed,
  at: number,
): Delivered {
  const { stream, number } = payload as LoadPayload;
  const [death] = deaths;
  return {
    kind: "delivered",
    consumer,
    queue,
    message: `${stream}/${number}`,
    tag,
    attempt,
    at,
    intact: isIntact(payload as LoadPayload),
    deaths: deaths.length,
    change: Number(headers?.change ?? 0),
    ...(death && { death: { reason: death.reason, attempts: death.attempts } }),
  };
}

/** What becomes of a delivery; undefined: it is forgotten. */
export function choiceFor(
  queue: string,
  { healed, random }: Pick<Surroundings, "healed" | "random">,
): Choice | undefined {
  if (healed) return { outcome: "ack" };
  const upTo = (most: number) => Math.floor(random() * (most + 1));
  const chance = random();
  if (queue.endsWith(".dead")) {
    // So that some are there to be redriven.
    if (chance < 0.4) return { outcome: "ack" };
    return chance < 0.8 ? { outcome: "nack", delayMs: upTo(3000) } : undefined;
  }
  if (chance < 0.75) return { outcome: "ack" };
  if (chance < 0.85) return { outcome: "nack", delayMs: upTo(800) };
  if (chance < 0.9) return { outcome: "nack" };
  if (chance < 0.94) return { outcome: "reject" };
  return undefined;
}
