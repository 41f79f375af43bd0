/** What was ended for lack of rights lately [P-14.7], so that an operator can be told why. */
import type { Explanation } from "../broker/access.ts";

/** The oldest are forgotten. */
export const ENDINGS_KEPT = 1000;

export interface Ending {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly principal: string;
  readonly session: string;
  readonly action: "subscribe" | "presence" | "consume";
  readonly on: string;
  /** Why it was not allowed any more, at that time. */
  readonly why: Explanation;
}

/** Many may end at once, and few are asked about: why is worded then. */
type Kept = Omit<Ending, "why"> & { readonly why: () => Explanation };

export class Endings {
  /** A ring, once it is full. */
  readonly #kept: Kept[] = [];
  #next = 0;

  add(ending: Kept): void {
    this.#kept[this.#next] = ending;
    this.#next = (this.#next + 1) % ENDINGS_KEPT;
  }

  /** Of this principal, and of this filter or queue where one is named; the newest first. */
  of(principal: string, on: string | undefined, atMost: number): Ending[] {
    const ordered = [...this.#kept.slice(this.#next), ...this.#kept.slice(0, this.#next)];
    return ordered
      .reverse()
      .filter((one) => one.principal === principal && (on === undefined || one.on === on))
      .slice(0, atMost)
      .map((one) => ({ ...one, why: one.why() }));
  }
}
