/** Publishers and workers of a simulation. What they note is what passed the broker's end, as it did. */
import type { Random } from "../../src/clock.ts";
import type { HistoryEvent, Sent, Settling } from "../durability/history.ts";
import { isIntact, type LoadPayload, payloadOf } from "../durability/publisher.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import type { SimPeer, SimSocket } from "./socket.ts";
import type { SimTime } from "./time.ts";

/** What peers need of the world around them. */
export interface Surroundings {
  readonly time: SimTime;
  readonly random: Random;
  /** Faults are over: what is left is finished, and nothing new begun. */
  readonly healed: boolean;
  record(event: HistoryEvent): void;
  /** A new connection; undefined while there is no broker. */
  connect(peer: SimPeer): SimSocket | undefined;
}

const AGAIN_MS = 300;
const PENDING_AT_MOST = 30;

abstract class Peer implements SimPeer {
  readonly name: string;
  readonly encoding: Encoding;
  protected readonly world: Surroundings;
  protected socket: SimSocket | undefined;
  /** Counts its connections. */
  protected life = 0;

  constructor(world: Surroundings, name: string, encoding: Encoding) {
    this.world = world;
    this.name = name;
    this.encoding = encoding;
  }

  /** Connects, now or as soon as there is a broker. */
  start(): void {
    this.life++;
    this.socket = this.world.connect(this);
    if (this.socket === undefined) this.later(AGAIN_MS, () => this.start());
    else this.connected();
  }

  cut(): void {
    this.socket?.cut();
  }

  closed(): void {
    this.socket = undefined;
    this.later(this.world.random() * AGAIN_MS, () => this.start());
  }

  protected later(ms: number, action: () => void): void {
    this.world.time.after(ms, action);
  }

  /** Later, if this connection is still there. */
  protected laterHere(ms: number, action: () => void): void {
    const { life } = this;
    this.later(ms, () => {
      if (this.life === life && this.socket !== undefined) action();
    });
  }

  protected chance(probability: number): boolean {
    return this.world.random() < probability;
  }

  protected upTo(most: number): number {
    return Math.floor(this.world.random() * (most + 1));
  }

  protected abstract connected(): void;
  abstract wasRead(frame: Frame): void;
  abstract wasSent(frame: Frame): void;
  abstract wasEnded(): void;
  abstract receive(frame: Frame): void;
}

/** Counts up in one stream; with ids it sends again what was refused or not answered [P-3.5]. */
export class SimPublisher extends Peer {
  readonly #ids: boolean;
  /** Not answered yet, as far as the publisher knows: by the number of the first, several of a batch. */
  readonly #open = new Map<number, readonly Sent[]>();
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
    return this.#open.size === 0 && (this.#left === 0 || this.world.healed);
  }

  protected connected(): void {
    if (!this.#ids) this.#open.clear();
    const again = [...this.#open.values()].map((group) => this.#request(group));
    if (again.length > 0) this.socket?.toBroker(again);
    this.#goOn();
  }

  wasRead(frame: Frame): void {
    const at = this.world.time.now();
    for (const sent of this.#open.get(frame.id) ?? []) this.world.record({ ...sent, at });
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
  }

  wasEnded(): void {}

  receive(frame: Frame): void {
    const group = this.#open.get(frame.id);
    if (group === undefined) return;
    if (frame.type === "ok" || !this.#ids) this.#open.delete(frame.id);
    else this.laterHere(AGAIN_MS, () => this.socket?.toBroker([this.#request(group)]));
  }

  #goOn(): void {
    this.laterHere(this.upTo(60), () => {
      const news: Sent[] = [];
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

  #next(): Sent {
    const number = ++this.#number;
    return {
      kind: "sent",
      message: `${this.name}/${number}`,
      stream: this.name,
      number,
      queues: number % 5 === 1 ? ["recent"] : number % 4 === 0 ? ["jobs", "audit"] : ["jobs"],
      priority: this.chance(0.1) ? this.upTo(9) : 4,
      delayMs: this.chance(0.15) ? 1 + this.upTo(3000) : 0,
      ...(this.chance(0.1) && { ttlMs: 4000 + this.upTo(5000) }),
      at: 0,
    };
  }

  #request(group: readonly Sent[]): Frame {
    const [first] = group as [Sent];
    const publish = group.map((sent) => this.#body(sent));
    if (first.batch !== undefined) return { type: "batch", id: first.number, publish };
    return { type: "publish", id: first.number, ...publish[0] };
  }

  #body({ stream, number, message, queues, priority, delayMs, ttlMs }: Sent) {
    return {
      topic: `load/${queues.join("-")}/${stream}`,
      payload: payloadOf(stream, number),
      ...(this.#ids && { messageId: message }),
      ...(priority !== 4 && { priority }),
      ...(delayMs > 0 && { delayMs }),
      ...(ttlMs !== undefined && { ttlMs }),
    };
  }
}

interface Choice {
  readonly outcome: Settling;
  readonly delayMs?: number;
}

/** Consumes queues, and deals with deliveries as people's programs do: now, late, not at all. */
export class SimWorker extends Peer {
  readonly #queues: readonly string[];
  readonly #credit: number;
  /** By request: the consumer and tags of a settling, or the queue of a `consume`. */
  readonly #asked = new Map<number, { readonly tags?: number[]; readonly queue?: string }>();
  /** The consumer of each queue, as the broker has it; each `consume` makes a new one. */
  #consumers = new Map<string, string>();
  readonly #holders = new Map<number, string>();
  #lastId = 0;

  constructor(
    world: Surroundings,
    name: string,
    options: {
      readonly encoding: Encoding;
      readonly queues: readonly string[];
      readonly credit: number;
    },
  ) {
    super(world, name, options.encoding);
    this.#queues = options.queues;
    this.#credit = options.credit;
  }

  /** Whether no answer is awaited. */
  get done(): boolean {
    return this.#asked.size === 0;
  }

  protected connected(): void {
    this.#asked.clear();
    this.#consumers = new Map();
    for (const queue of this.#queues) this.#consume(queue);
  }

  #consume(queue: string): void {
    this.#ask({ queue }, { type: "consume", queue, credit: this.#credit });
  }

  #ask(asked: { readonly tags?: number[]; readonly queue?: string }, frame: Frame): void {
    const id = ++this.#lastId;
    this.#asked.set(id, asked);
    this.socket?.toBroker([{ ...frame, id }]);
  }

  wasRead(frame: Frame): void {
    if (frame.tags === undefined) return;
    const at = this.world.time.now();
    for (const tag of frame.tags as number[]) {
      const consumer = this.#holders.get(tag);
      if (consumer === undefined) continue;
      const { delayMs = 0, type: outcome } = frame;
      this.world.record({ kind: "settling", consumer, tag, outcome, delayMs, at });
    }
  }

  wasSent(frame: Frame): void {
    if (frame.type === "delivery") this.#wasHanded(frame);
    else if (frame.type === "ok" || frame.type === "error") this.#wasAnswered(frame);
    else if (frame.type === "notice" && frame.code === "consumer_ended") {
      this.#consumers.delete(frame.queue);
    }
  }

  #wasHanded({ queue, tag, attempt, payload, deaths }: Frame): void {
    const consumer = this.#consumers.get(queue) ?? `${this.name}:nobody`;
    const { stream, number } = payload as LoadPayload;
    const death = deaths?.[0];
    this.#holders.set(tag, consumer);
    this.world.record({
      kind: "delivered",
      consumer,
      queue,
      message: `${stream}/${number}`,
      tag,
      attempt,
      at: this.world.time.now(),
      intact: isIntact(payload as LoadPayload),
      ...(death && { death: { reason: death.reason, attempts: death.attempts } }),
    });
  }

  #wasAnswered(frame: Frame): void {
    const asked = this.#asked.get(frame.id);
    if (asked?.queue !== undefined && frame.type === "ok") {
      const consumer = `${this.name}-${this.life}-${frame.id}:${asked.queue}`;
      this.#consumers.set(asked.queue, consumer);
      this.world.record({ kind: "joined", consumer, credit: this.#credit });
    }
    const at = this.world.time.now();
    for (const tag of asked?.tags ?? []) {
      const consumer = this.#holders.get(tag) ?? "";
      if (frame.type === "ok") this.world.record({ kind: "settled", consumer, tag, at });
      else this.world.record({ kind: "refused", consumer, tag, code: frame.code });
    }
  }

  wasEnded(): void {
    const at = this.world.time.now();
    for (const consumer of this.#consumers.values()) {
      this.world.record({ kind: "left", consumer, at });
    }
    this.#consumers.clear();
  }

  receive(frame: Frame): void {
    if (frame.type === "delivery") this.#work(frame);
    else if (frame.type === "notice" && frame.code === "consumer_ended") {
      this.laterHere(this.upTo(50), () => this.#consume(frame.queue));
    } else {
      const asked = this.#asked.get(frame.id);
      this.#asked.delete(frame.id);
      if (frame.type !== "error" || asked === undefined) return;
      const { queue, tags } = asked;
      // It may be ours still, or not: the broker says.
      if (tags !== undefined && frame.code === "storage_unavailable") {
        this.laterHere(AGAIN_MS, () => this.#settle(tags, { outcome: "ack" }));
      }
      if (queue !== undefined) this.laterHere(AGAIN_MS, () => this.#consume(queue));
    }
  }

  #work({ queue, tag }: Frame): void {
    const choice = this.#choose(queue);
    if (choice === undefined) return;
    this.laterHere(this.chance(0.6) ? 0 : this.upTo(400), () => this.#settle([tag], choice));
  }

  #settle(tags: number[], { outcome, delayMs }: Choice): void {
    const delay = delayMs === undefined ? {} : { delayMs };
    this.#ask({ tags }, { type: outcome, tags, ...delay });
  }

  /** What becomes of a delivery; undefined: it is forgotten. */
  #choose(queue: string): Choice | undefined {
    if (this.world.healed || queue.endsWith(".dead")) return { outcome: "ack" };
    const chance = this.world.random();
    if (chance < 0.75) return { outcome: "ack" };
    if (chance < 0.85) return { outcome: "nack", delayMs: this.upTo(800) };
    if (chance < 0.9) return { outcome: "nack" };
    if (chance < 0.94) return { outcome: "reject" };
    return undefined;
  }
}
