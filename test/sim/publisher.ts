/** A publisher of a simulation. What it notes is what passed the broker's end, as it did. */
import type { Sent } from "../durability/history.ts";
import { payloadOf } from "../durability/publisher.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import { AGAIN_MS, Peer, type Surroundings } from "./peer.ts";

const PENDING_AT_MOST = 30;
/** Of the messages that wait for a time, so many are changed while they do. */
const CHANGED = 0.5;

/** What it sends, with the time if it names one. */
interface Scheduled extends Sent {
  readonly deliverAt?: number;
}

/** A change that was asked for and not answered. */
interface Change {
  readonly message: string;
  readonly change: number;
  readonly dueAt: number | null | undefined;
  readonly delayMs: number | undefined;
}

/** Counts up in one stream; with ids it sends again what was refused or not answered [P-3.5]. */
export class SimPublisher extends Peer {
  readonly #ids: boolean;
  /** Not answered yet, as far as the publisher knows: by the number of the first, several of a batch. */
  readonly #open = new Map<number, readonly Scheduled[]>();
  /** Changes of scheduled messages on their way, by the id of the request. */
  readonly #changes = new Map<string, Change>();
  /** Queues and stream of what it has scheduled: its topic. */
  readonly #topics = new Map<string, readonly [queues: string, stream: string]>();
  #number = 0;
  #left: number;

  constructor(
    world: Surroundings,
    name: string,
    options: { readonly encoding: Encoding; readonly ids: boolean; readonly count: number },
  ) {
    super(world, name, options.encoding);
    this.#ids = options.ids;
    this.#left = options.count;
  }

  get done(): boolean {
    const isOver = this.#left === 0 || this.world.healed;
    return isOver && this.#open.size === 0 && this.#changes.size === 0;
  }

  protected connected(): void {
    if (!this.#ids) this.#open.clear();
    this.#changes.clear();
    const again = [...this.#open.values()].map((group) => this.#request(group));
    if (again.length > 0) this.socket?.toBroker(again);
    this.#goOn();
  }

  wasRead(frame: Frame): void {
    const at = this.world.time.now();
    for (const { deliverAt, ...sent } of this.#open.get(frame.id) ?? []) {
      const delayMs = deliverAt === undefined ? sent.delayMs : Math.max(0, deliverAt - at);
      this.world.record({ ...sent, delayMs, at });
    }
    const asked = this.#changes.get(frame.id);
    if (asked === undefined) return;
    const { message, change, delayMs } = asked;
    const dueAt = delayMs === undefined ? (asked.dueAt ?? null) : at + delayMs;
    this.world.record({ kind: "changing", message, change, dueAt });
  }

  wasSent(frame: Frame): void {
    const group = this.#open.get(frame.id) ?? [];
    for (const [i, { message }] of group.entries()) {
      if (frame.type === "ok") {
        const { duplicate = false, displaced = 0 } = frame.results?.[i] ?? frame;
        this.world.record({ kind: "confirmed", message, duplicate, displaced });
      } else if (frame.type === "error") {
        this.world.record({ kind: "failed", message, code: frame.code });
      }
    }
    const asked = this.#changes.get(frame.id);
    if (asked === undefined) return;
    const { message, change } = asked;
    const { type, queues: copies, code } = frame;
    if (type === "ok") this.world.record({ kind: "changed", message, change, copies });
    else this.world.record({ kind: "unchanged", message, change, code });
  }

  wasEnded(): void {}

  receive(frame: Frame): void {
    const changed = this.#changes.get(frame.id);
    if (changed !== undefined) {
      this.#changes.delete(frame.id);
      if (frame.type === "ok" && changed.dueAt !== null)
        this.#changeLater(changed.message, changed.change);
    }
    const group = this.#open.get(frame.id);
    if (group === undefined) return;
    if (frame.type === "ok" || !this.#ids) {
      this.#open.delete(frame.id);
      const waiting = this.#ids ? group.filter(({ delayMs }) => delayMs > 0) : [];
      for (const { message } of waiting) this.#changeLater(message, 0);
    } else this.laterHere(AGAIN_MS, () => this.socket?.toBroker([this.#request(group)]));
  }

  #goOn(): void {
    this.laterHere(this.upTo(60), () => {
      const news: Scheduled[] = [];
      const size = this.world.healed ? 0 : 1 + this.upTo(4);
      while (news.length < size && this.#left > 0 && this.#open.size < PENDING_AT_MOST) {
        this.#left--;
        news.push(this.#next());
      }
      const batch = `${this.name}/${news[0]?.number}`;
      const groups = this.chance(0.25)
        ? [news.map((sent) => ({ ...sent, batch }))]
        : news.map((sent) => [sent]);
      for (const group of groups) if (group[0]) this.#open.set(group[0].number, group);
      if (news.length > 0) this.socket?.toBroker(groups.map((group) => this.#request(group)));
      if (this.#left > 0) this.#goOn();
    });
  }

  /** Puts off what it has scheduled, or takes it back, now and then and more than once. */
  #changeLater(message: string, before: number): void {
    if (!this.chance(CHANGED)) return;
    this.laterHere(this.upTo(600), () => {
      const change = before + 1;
      const [queues, stream] = this.#topics.get(message) ?? [];
      const id = `${message} ${change}`;
      const named = { id, topic: `load/${queues}/${stream}`, messageId: message };
      if (this.chance(0.3)) {
        this.#changes.set(id, { message, change, dueAt: null, delayMs: undefined });
        this.socket?.toBroker([{ type: "unschedule", ...named }]);
        return;
      }
      const ms = this.upTo(4000);
      const dueAt = this.chance(0.5) ? this.world.time.now() + ms : undefined;
      const when = dueAt === undefined ? { delayMs: ms } : { deliverAt: dueAt };
      const delayMs = dueAt === undefined ? ms : undefined;
      this.#changes.set(id, { message, change, dueAt, delayMs });
      const headers = { change: `${change}` };
      this.socket?.toBroker([{ type: "reschedule", ...named, ...when, headers }]);
    });
  }

  #next(): Scheduled {
    const number = ++this.#number;
    const sent = this.#draw(number);
    if (sent.delayMs === 0) return sent;
    this.#topics.set(sent.message, [sent.queues.join("-"), sent.stream]);
    const deliverAt = this.world.time.now() + sent.delayMs;
    return this.chance(0.5) ? { ...sent, deliverAt } : sent;
  }

  #draw(number: number): Sent {
    return {
      kind: "sent",
      message: `${this.name}/${number}`,
      stream: this.name,
      number,
      queues: queuesOf(number),
      // All publishers share them.
      ...(number % 6 === 3 && { key: `k${this.upTo(3)}` }),
      priority: this.chance(0.1) ? this.upTo(9) : 4,
      delayMs: this.chance(0.15) ? 1 + this.upTo(3000) : 0,
      ...(this.chance(0.1) && { ttlMs: 4000 + this.upTo(5000) }),
      at: 0,
    };
  }

  #request(group: readonly Scheduled[]): Frame {
    const [first] = group as [Scheduled];
    const publish = group.map((sent) => this.#body(sent));
    if (first.batch !== undefined) return { type: "batch", id: first.number, publish };
    return { type: "publish", id: first.number, ...publish[0] };
  }

  #body({ deliverAt, ...sent }: Scheduled) {
    const { stream, number, message, queues, key, priority, delayMs, ttlMs } = sent;
    return {
      topic: `load/${queues.join("-")}/${stream}`,
      payload: payloadOf(stream, number),
      ...(this.#ids && { messageId: message }),
      ...(key !== undefined && { key }),
      ...(priority !== 4 && { priority }),
      ...(deliverAt !== undefined && { deliverAt }),
      ...(deliverAt === undefined && delayMs > 0 && { delayMs }),
      ...(ttlMs !== undefined && { ttlMs }),
    };
  }
}

function queuesOf(number: number): readonly string[] {
  if (number % 6 === 3) return ["keyed"];
  if (number % 5 === 1) return ["recent"];
  return number % 4 === 0 ? ["jobs", "audit"] : ["jobs"];
}
