/**
 * A hundred thousand scheduled messages: more than an engine holds in memory, due in waves, some of them
 * changed or taken back meanwhile, and the engine started anew in the middle.
 */
import { expect, test } from "bun:test";
import type { ScheduleChange } from "../../src/engine/schedule.ts";
import { Payload } from "../../src/payload.ts";
import { type Peer, Subject } from "../contracts/engine/subject.ts";
import { eventually } from "../harness/eventually.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { sqlite } from "./sqlite-kind.ts";

const MESSAGES = 100_000;
const WAVES = 20;
const WAVE_MS = 60_000;
const CHANGED = 1000;
const BOUND_MS = 240_000;
const TOPIC = "t";

class Waves {
  readonly #subject: Subject;
  readonly #start: number;
  readonly #random = seededRandom(7);
  /** When each is due, as far as it is not taken back. */
  readonly #dueAt = new Map<string, number>();
  readonly #payload = Payload.fromValue("x".repeat(200));
  readonly came = new Map<string, number>();
  readonly faults: string[] = [];
  #acks = 0;

  constructor(subject: Subject) {
    this.#subject = subject;
    this.#start = subject.clock.now();
  }

  timeOf(wave: number): number {
    return this.#start + (wave + 1) * WAVE_MS;
  }

  /** How many are due by now. */
  get due(): number {
    const now = this.#subject.clock.now();
    return [...this.#dueAt.values()].reduce((sum, dueAt) => sum + (dueAt <= now ? 1 : 0), 0);
  }

  /** All of them, in no order of time. */
  async publish(): Promise<void> {
    let stored = 0;
    for (let n = 0; n < MESSAGES; n++) {
      const id = `m${n}`;
      const wave = Math.floor(this.#random() * WAVES);
      // Half of a wave is due at one moment, the rest within a second after it.
      const dueAt = this.timeOf(wave) + (n % 2 === 0 ? 0 : Math.floor(this.#random() * 1000));
      this.#dueAt.set(id, dueAt);
      const message = this.#subject.message({ id, topic: TOPIC, payload: this.#payload });
      this.#subject.engine.append({
        message,
        queues: ["q"],
        dueAt,
        dedupe: false,
        stored: () => void stored++,
        failed: ({ code }) => this.faults.push(`${id}: ${code}`),
      });
      if (n % 2000 === 1999) await eventually(() => stored > n, this.#stillToCome);
    }
  }

  /** Changes those of this number and every so many after it. */
  async change(first: number, to: (dueAt: number) => number | null): Promise<void> {
    const apart = MESSAGES / CHANGED;
    const all = Array.from({ length: CHANGED }, (_, i) => `m${first + i * apart}`);
    const changes = all
      .filter((id) => (this.#dueAt.get(id) ?? 0) > this.#subject.clock.now())
      .map(async (id) => {
        const dueAt = to(this.#dueAt.get(id)!);
        const change: ScheduleChange | null = dueAt === null ? null : { dueAt };
        expect(await this.#subject.reschedule(id, change, TOPIC)).toBe(1);
        if (dueAt === null) this.#dueAt.delete(id);
        else this.#dueAt.set(id, dueAt);
      });
    await Promise.all(changes);
    expect(changes.length).toBeGreaterThan(CHANGED / 4);
  }

  /** Takes and acks what comes, and notes what came early, twice or after it was taken back. */
  consume(): Peer {
    const peer = this.#subject.consume("q", 500);
    peer.onDeliver = ({ tag, message: { id } }) => {
      const earlyMs = (this.#dueAt.get(id) ?? Number.POSITIVE_INFINITY) - this.#subject.clock.now();
      if (earlyMs > 0) this.faults.push(`${id} came ${earlyMs} ms early`);
      if (this.came.has(id)) this.faults.push(`${id} came twice`);
      this.came.set(id, tag);
      peer.consumer.settle([tag], { kind: "ack" }, (error) => {
        this.#acks++;
        if (error !== undefined) this.faults.push(`${id}: ${error.code}`);
      });
    };
    return peer;
  }

  /** Until everything has come that is due by now, and nothing else. */
  async settled(): Promise<void> {
    const { due } = this;
    await eventually(() => this.#acks >= due || this.faults.length > 0, this.#stillToCome);
    expect(this.faults.slice(0, 5)).toEqual([]);
    expect(this.came.size).toBe(due);
  }

  readonly #stillToCome = () => `${this.due} messages, came ${this.came.size}`;
}

test(
  `[P-5.13] ${MESSAGES} scheduled messages: each comes once and none early, over changes and a restart`,
  async () => {
    await using subject = await Subject.open(sqlite, { limits: { delayedWindow: 8192 } });
    const { clock } = subject;
    await subject.define("q", { ackTimeoutMs: 3_600_000 });
    const waves = new Waves(subject);
    await waves.publish();
    expect(subject.states("q")).toEqual([0, MESSAGES, 0]);
    waves.consume();
    for (let wave = 0; wave < WAVES + 2; wave++) {
      clock.advance(waves.timeOf(wave) - clock.now() - 1);
      await waves.settled();
      for (const ms of [1, 400, 600]) {
        clock.advance(ms);
        await waves.settled();
      }
      if (wave === 3) await waves.change(0, () => null);
      if (wave === 5) await waves.change(1, (dueAt) => dueAt + WAVE_MS);
      if (wave === 7) await waves.change(2, () => clock.now() + 10);
      if (wave === 9) {
        await subject.reopen();
        waves.consume();
      }
    }
    expect(waves.came.size).toBe(waves.due);
    expect(waves.came.size).toBeGreaterThan(MESSAGES - CHANGED - 1);
    expect(subject.states("q")).toEqual([0, 0, 0]);
  },
  BOUND_MS,
);
