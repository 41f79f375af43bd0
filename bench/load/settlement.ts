/** Publishers that wait for confirms and consumers that ack, with one ledger of what went where. */
import { type Connection, type Fail, parseFrames } from "./connection.ts";
import { firstFrameAt, readDigits, recordStamps, UniformFrames } from "./counting.ts";
import { LatencyRecorder } from "./latency.ts";
import type { MessageSink } from "./reader.ts";
import {
  DELAY_MS,
  type Outcome,
  PublishBlock,
  type PublishShape,
  SEQUENCE_BASE,
  SettleFrame,
  stampUs,
} from "./wire.ts";

export const QUEUE = "bench";
export const DEAD_LETTERS = `${QUEUE}.dead`;
export const QUEUE_TOPIC = "bench/work";
/** Numbers of one publisher; they stay unique over all of them. */
const NUMBERS = 100_000_000;
/** Past the most that any publisher has in flight, and a power of two. */
const IN_FLIGHT_SLOTS = 1024;
const ID = Buffer.from('"id":');
const TAG = Buffer.from('"tag":');
const COLON = 58;
/** `{"type":"d…`: where a frame's type begins, and the letter that only deliveries have there. */
const TYPE_AT = 9;
const LETTER_D = 100;

export class Ledger {
  published = 0;
  confirmed = 0;
  delivered = 0;
  readonly confirms = new LatencyRecorder();
  readonly endToEnd = new LatencyRecorder();
  readonly oks = new UniformFrames();
  /** Where the digits of the id begin in an ok; learned with its length. */
  okIdAt = 0;
  /** Every `seq` that was delivered, in verify mode only. */
  readonly seen: Set<number> | undefined;
  /** Called after every message with confirms or deliveries. */
  progressed: () => void = () => {};

  constructor(
    readonly fail: Fail,
    verify: boolean,
  ) {
    this.seen = verify ? new Set() : undefined;
  }

  /** What should be in the queue now. */
  waiting(): number {
    return this.published - this.delivered;
  }
}

export interface PublisherOptions extends Omit<PublishShape, "topic" | "confirmed" | "delayed"> {
  readonly window: number;
  /** When the message of a number is due, on the generator's clock: it is then what `sent` says. */
  readonly dueUs?: (number: number) => number;
}

export class Publisher implements MessageSink {
  inFlight = 0;
  readonly #ledger: Ledger;
  readonly #connection: Connection;
  readonly #block: PublishBlock;
  readonly #window: number;
  readonly #dueUs: PublisherOptions["dueUs"];
  readonly #firstNumber: number;
  #number = 0;
  readonly #sentAt = new Float64Array(IN_FLIGHT_SLOTS).fill(-1);

  constructor(ledger: Ledger, connection: Connection, index: number, options: PublisherOptions) {
    const { window, dueUs } = options;
    this.#ledger = ledger;
    this.#connection = connection;
    this.#window = window;
    this.#dueUs = dueUs;
    this.#firstNumber = index * NUMBERS;
    const delayed = dueUs !== undefined;
    const shape = { ...options, topic: QUEUE_TOPIC, confirmed: true, delayed };
    this.#block = new PublishBlock(shape, window);
    connection.listen(this);
  }

  /** Publishes as many as the window allows, at most `count`; returns how many. */
  publish(count: number): number {
    const step = Math.min(count, this.#window - this.inFlight);
    if (step <= 0) return 0;
    const now = stampUs();
    for (let index = 0; index < step; index++) {
      const slot = this.#number % IN_FLIGHT_SLOTS;
      if (this.#sentAt[slot] !== -1) {
        this.#ledger.fail(new Error("a confirm is missing that far newer publishes have"));
      }
      this.#sentAt[slot] = now;
      if (this.#dueUs === undefined) {
        this.#block.set(index, this.#firstNumber + this.#number++, now);
      } else {
        this.#schedule(index, this.#dueUs(this.#number), now);
      }
    }
    this.#connection.send(this.#block.first(step));
    this.inFlight += step;
    this.#ledger.published += step;
    return step;
  }

  #schedule(index: number, dueUs: number, now: number): void {
    const delayMs = Math.round((dueUs - now) / 1000);
    if (delayMs < DELAY_MS.least || delayMs > DELAY_MS.most) {
      this.#ledger.fail(new Error(`a delay of ${delayMs} ms: this machine schedules too slowly`));
    }
    this.#block.set(index, this.#firstNumber + this.#number++, dueUs);
    this.#block.delay(index, delayMs);
  }

  skim(): boolean {
    return false;
  }

  message(bytes: Buffer): void {
    const ledger = this.#ledger;
    const frames = ledger.oks.count(bytes.length);
    if (frames === 0 || ledger.seen !== undefined) this.#parse(bytes, frames);
    else this.#scan(bytes, frames);
    ledger.progressed();
  }

  #scan(bytes: Buffer, frames: number): void {
    const ledger = this.#ledger;
    const now = stampUs();
    let at = firstFrameAt(bytes) + ledger.okIdAt;
    for (let index = 0; index < frames; index++) {
      if (bytes[at - 1] !== COLON) {
        this.#parse(bytes, 0);
        return;
      }
      this.#confirm(readDigits(bytes, at), now);
      at += ledger.oks.length + 1;
    }
  }

  #parse(bytes: Buffer, byLength: number): void {
    const now = stampUs();
    const frames = parseFrames(bytes);
    for (const frame of frames) {
      if (frame.type === "ok") this.#confirm(Number(frame.id), now);
      else this.#connection.slow(frame);
    }
    if (byLength !== 0 && byLength !== frames.length) {
      this.#ledger.fail(new Error(`counted ${byLength} oks by length, ${frames.length} parsed`));
    }
    this.#ledger.oks.learn(bytes.length, frames.length);
    this.#ledger.okIdAt = bytes.indexOf(ID) + ID.length - firstFrameAt(bytes);
  }

  #confirm(id: number, nowUs: number): void {
    const slot = (id - SEQUENCE_BASE - this.#firstNumber) % IN_FLIGHT_SLOTS;
    const sentAt = this.#sentAt[slot] ?? -1;
    if (sentAt === -1) this.#ledger.fail(new Error(`confirm of ${id}, which is not in flight`));
    this.#sentAt[slot] = -1;
    this.inFlight--;
    this.#ledger.confirmed++;
    this.#ledger.confirms.add(nowUs - sentAt);
  }
}

export class Consumer implements MessageSink {
  readonly #ledger: Ledger;
  readonly #connection: Connection;
  readonly #timed: boolean;
  readonly #ack: SettleFrame;

  /** With `timed` the age of every delivery is recorded, too. */
  constructor(ledger: Ledger, connection: Connection, timed: boolean, outcome: Outcome = "ack") {
    this.#ack = new SettleFrame(outcome);
    this.#ledger = ledger;
    this.#connection = connection;
    this.#timed = timed;
    connection.listen(this);
  }

  skim(): boolean {
    return false;
  }

  message(bytes: Buffer): void {
    const deliveries = bytes[firstFrameAt(bytes) + TYPE_AT] === LETTER_D;
    if (deliveries && this.#ledger.seen === undefined) this.#scan(bytes);
    else this.#parse(bytes);
    if (this.#ack.count === 0) return;
    this.#ledger.delivered += this.#ack.count;
    this.#connection.send(this.#ack.finish());
    this.#ack.clear();
    this.#ledger.progressed();
  }

  #scan(bytes: Buffer): void {
    let at = bytes.indexOf(TAG);
    while (at >= 0) {
      const from = at + TAG.length;
      let to = from;
      while (bytes[to]! >= 48 && bytes[to]! <= 57) to++;
      this.#ack.add(bytes, from, to);
      at = bytes.indexOf(TAG, to);
    }
    if (this.#timed) recordStamps(bytes, this.#ledger.endToEnd);
  }

  #parse(bytes: Buffer): void {
    const { seen, fail } = this.#ledger;
    for (const frame of parseFrames(bytes)) {
      if (frame.type !== "delivery") {
        this.#connection.slow(frame);
        continue;
      }
      const digits = Buffer.from(String(frame.tag));
      this.#ack.add(digits, 0, digits.length);
      const seq = frame.payload!.seq;
      if (seen?.has(seq)) fail(new Error(`message ${seq} was delivered twice`));
      seen?.add(seq);
    }
    if (this.#timed) recordStamps(bytes, this.#ledger.endToEnd);
  }
}
