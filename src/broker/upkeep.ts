/**
 * Lets go of what topics keep and no longer should: what is too old, values that have expired, and what channels
 * that were changed keep no more. Readers are not shown it in any case; this gives back its room. What a round
 * costs is what there is to let go of; only after channels were changed are all topics gone through. A bounded
 * part at a time, with what else there is to do in between.
 */
import type { Clock, Timer } from "../clock.ts";
import type { Engine } from "../engine/engine.ts";
import type { KeptTopic, KeptTrim } from "../engine/topics.ts";
import type { Limits } from "../limits.ts";
import type { Router } from "./router.ts";

const ROUND_MS = 60_000;
const TOPICS_AT_ONCE = 256;
/** Of a topic with nothing left nothing is known after so long: whoever comes back then cannot recover. */
export const FORGOTTEN_AFTER_MS = 86_400_000;
/** Where more places than this share are taken, topics with nothing left are forgotten sooner. */
const CROWDED = 7 / 8;

/** Whose topics they are. */
interface Keeper {
  readonly clock: Clock;
  readonly limits: Pick<Limits, "keptTopics">;
  readonly engine: Pick<Engine, "topics">;
  readonly router: Pick<Router, "channels" | "channelChanges">;
}

export class TopicUpkeep {
  readonly #keeper: Keeper;
  #timer: Timer | undefined;
  #stopped = false;
  /** With which channels all topics were gone through last. */
  #channelChanges = -1;

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
    const { router, engine } = this.#keeper;
    const changes = router.channelChanges;
    if (changes !== this.#channelChanges) {
      if (engine.topics.totals.topics > 0) await this.#goThroughAll();
      if (!this.#stopped) this.#channelChanges = changes;
    }
    await this.#trimDue();
    await this.#forgetIdle();
  }

  /** Channels say something else than before of any topic. */
  async #goThroughAll(): Promise<void> {
    const { topics } = this.#keeper.engine;
    let after: string | undefined;
    do {
      const page = await topics.list(after, TOPICS_AT_ONCE);
      const changed = page.topics.filter((topic) => this.#mayDiffer(topic));
      if (changed.length > 0) await topics.trim(changed.map((topic) => this.#trimOf(topic)));
      after = page.next;
    } while (after !== undefined && !this.#stopped);
  }

  async #trimDue(): Promise<void> {
    const { engine, clock } = this.#keeper;
    const { topics } = engine;
    const by = clock.now();
    let due: readonly KeptTopic[];
    for (let left = topics.totals.topics; left > 0 && !this.#stopped; left -= due.length) {
      due = await topics.due(by, TOPICS_AT_ONCE);
      if (due.length === 0) return;
      await topics.trim(due.map((topic) => this.#trimOf(topic)));
    }
  }

  /** Those with nothing left for a day; and where places are short others, until an eighth of them is free. */
  async #forgetIdle(): Promise<void> {
    const { engine, limits, router, clock } = this.#keeper;
    const { topics } = engine;
    for (const [name, { topics: taken }] of [...topics.channels]) {
      await this.#forgetSome(name, clock.now() - FORGOTTEN_AFTER_MS, taken);
      const places = router.channels?.maxTopicsOf(name) ?? Number.POSITIVE_INFINITY;
      const crowd = (topics.channels.get(name)?.topics ?? 0) - places * CROWDED;
      const overall = topics.totals.topics - limits.keptTopics * CROWDED;
      await this.#forgetSome(name, Number.MAX_SAFE_INTEGER, Math.ceil(Math.max(crowd, overall)));
    }
  }

  async #forgetSome(channel: string, forgetBefore: number, atMost: number): Promise<void> {
    const { topics } = this.#keeper.engine;
    for (let left = atMost; left > 0 && !this.#stopped; ) {
      const idle = await topics.idle(channel, forgetBefore, Math.min(left, TOPICS_AT_ONCE));
      if (idle.length === 0) return;
      await topics.trim(idle.map((topic) => ({ ...this.#trimOf(topic), forgetBefore })));
      left -= idle.length;
    }
  }

  #mayDiffer(topic: KeptTopic): boolean {
    const { channel, history, retained } = this.#trimOf(topic);
    return (
      topic.channel !== channel ||
      topic.messages > (history?.maxMessages ?? 0) ||
      topic.bytes > (history?.maxBytes ?? Number.POSITIVE_INFINITY) ||
      (topic.messages > 0 && history?.maxAgeMs !== undefined) ||
      (topic.isRetained && !retained)
    );
  }

  #trimOf({ topic }: KeptTopic): KeptTrim {
    const { router, clock } = this.#keeper;
    const channel = router.channels?.find(topic);
    const history = channel?.history;
    return {
      topic,
      channel: channel?.keeping?.name ?? "",
      ...(history && { history }),
      retained: channel?.retained === true,
      forgetBefore: clock.now() - FORGOTTEN_AFTER_MS,
    };
  }
}
