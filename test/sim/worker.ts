/** A worker of a simulation, on a WebSocket. What it notes is what passed the broker's end, as it did. */
import type { Encoding, Frame } from "../harness/wire-client.ts";
import { type Choice, choiceFor, deliveredTo, type Handed } from "./choice.ts";
import { AGAIN_MS, Peer, type Surroundings } from "./peer.ts";

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

  #wasHanded(frame: Frame): void {
    const { queue, tag } = frame;
    const consumer = this.#consumers.get(queue) ?? `${this.name}:nobody`;
    this.#holders.set(tag, consumer);
    this.world.record(deliveredTo(consumer, queue, frame as Handed, this.world.time.now()));
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

  wasEnded(inOrder: boolean): void {
    const at = this.world.time.now();
    for (const consumer of this.#consumers.values()) {
      this.world.record({ kind: "left", consumer, at, inOrder });
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
    const choice = choiceFor(queue, this.world);
    if (choice === undefined) return;
    this.laterHere(this.chance(0.6) ? 0 : this.upTo(400), () => this.#settle([tag], choice));
  }

  #settle(tags: number[], { outcome, delayMs }: Choice): void {
    const delay = delayMs === undefined ? {} : { delayMs };
    this.#ask({ tags }, { type: outcome, tags, ...delay });
  }
}
