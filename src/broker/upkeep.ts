/**
 * Lets go of what topics keep and no longer should: what is too old, values that have expired, and what channels
 * that were changed keep no more. Readers are not shown it in any case; this gives back its room. A bounded part
 * at a time, with what else there is to do in between.
 */
import type { Clock, Timer } from "../clock.ts";
import type { Engine } from "../engine/engine.ts";
import type { KeptTopic, KeptTrim } from "../engine/topics.ts";
import type { Router } from "./router.ts";

const ROUND_MS = 60_000;
const TOPICS_AT_ONCE = 256;
/** Of a topic with nothing left nothing is known after so long: whoever comes back then cannot recover. */
export const FORGOTTEN_AFTER_MS = 86_400_000;

/** Whose topics they are. */
interface Keeper {
  readonly clock: Clock;
  readonly engine: Pick<Engine, "topics">;
  readonly router: Pick<Router, "channels">;
}

export class TopicUpkeep {
  readonly #keeper: Keeper;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(keeper: Keeper) {
    this.#keeper = keeper;
  }

  start(): void {
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #later(): void {
    if (this.#stopped) return;
    this.#timer = this.#keeper.clock.after(ROUND_MS, () => {
      // While storage cannot be written there is nothing to be done; the next round begins anew.
      this.#round().then(
        () => this.#later(),
        () => this.#later(),
      );
    });
  }

  async #round(): Promise<void> {
    const { topics } = this.#keeper.engine;
    if (topics.totals.topics === 0) return;
    let after: string | undefined;
    do {
      const page = await topics.list(after, TOPICS_AT_ONCE);
      const trims = page.topics.flatMap((topic) => this.#trimOf(topic) ?? []);
      if (trims.length > 0) await topics.trim(trims);
      after = page.next;
    } while (after !== undefined && !this.#stopped);
  }

  /** Undefined where nothing can be beyond its bounds. */
  #trimOf({ topic, messages, bytes, isRetained, changedAt }: KeptTopic): KeptTrim | undefined {
    const { router, clock } = this.#keeper;
    const channel = router.channels?.find(topic);
    const history = channel?.history;
    const retained = channel?.retained === true;
    const forgetBefore = clock.now() - FORGOTTEN_AFTER_MS;
    const isBeyond =
      messages > (history?.maxMessages ?? 0) ||
      (messages > 0 && history?.maxAgeMs !== undefined) ||
      bytes > (history?.maxBytes ?? Number.POSITIVE_INFINITY);
    // Whether a value has expired only the engine can see.
    if (!isBeyond && !isRetained && (messages > 0 || changedAt >= forgetBefore)) return undefined;
    return { topic, ...(history && { history }), retained, forgetBefore };
  }
}
