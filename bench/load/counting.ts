/**
 * Counting frames cheaply. All frames of one kind in a job are of one length (numbers of fixed
 * width), so the length of a WebSocket message says how many it holds: one frame as it is, or an
 * array of n with brackets and commas. What does not fit is parsed; in verify mode everything is,
 * and both counts must agree.
 */
import type { Fail, ServerFrame } from "./connection.ts";
import { parseFrames } from "./connection.ts";
import type { LatencyRecorder } from "./latency.ts";
import type { MessageSink } from "./reader.ts";
import { SEQUENCE_BASE, stampUs } from "./wire.ts";

/** The length of one frame, learned from the first message that was parsed. */
export class UniformFrames {
  length = 0;

  /** How many frames a message of this length holds; 0 when that cannot be said. */
  count(messageLength: number): number {
    if (this.length === 0) return 0;
    if (messageLength === this.length) return 1;
    const frames = (messageLength - 1) / (this.length + 1);
    return Number.isInteger(frames) ? frames : 0;
  }

  learn(messageLength: number, frames: number): void {
    if (this.length > 0) return;
    const length = frames === 1 ? messageLength : (messageLength - 1) / frames - 1;
    if (Number.isInteger(length)) this.length = length;
  }
}

/** Where the first frame starts in a message: after the bracket of an array. */
export const firstFrameAt = (bytes: Uint8Array): number => (bytes[0] === 91 ? 1 : 0);

/** Reads decimal digits from `at` on; stops at the first byte that is none. */
export function readDigits(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let index = at; index < bytes.length; index++) {
    const digit = bytes[index]! - 48;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
  }
  return value;
}

const SENT = Buffer.from('"sent":');

/** Records the age of every `sent` stamp in a message; returns how many there were. */
export function recordStamps(bytes: Buffer, latencies: LatencyRecorder): number {
  const now = stampUs();
  let found = 0;
  let at = bytes.indexOf(SENT);
  while (at >= 0) {
    latencies.add(now - readDigits(bytes, at + SENT.length));
    found++;
    at = bytes.indexOf(SENT, at + SENT.length);
  }
  return found;
}

/** What all subscribers of one job share. */
export interface SubscriberShare {
  readonly frames: UniformFrames;
  readonly verify: boolean;
  /** Publishes carry ascending numbers, so order can be verified. */
  readonly ordered: boolean;
  readonly latencies: LatencyRecorder;
  readonly fail: Fail;
  received(subscriber: Subscriber, events: number): void;
}

/** A live subscriber: counts events, and times them when it is a probe. */
export class Subscriber implements MessageSink {
  count = 0;
  /** Messages whose events were counted by parsing. */
  parsed = 0;
  readonly #share: SubscriberShare;
  readonly #probe: boolean;
  #lastSeq = -1;

  constructor(share: SubscriberShare, probe: boolean) {
    this.#share = share;
    this.#probe = probe;
  }

  skim(length: number): boolean {
    if (this.#probe || this.#share.verify) return false;
    const events = this.#share.frames.count(length);
    if (events === 0) return false;
    this.#add(events);
    return true;
  }

  message(bytes: Buffer): void {
    const share = this.#share;
    let events = share.frames.count(bytes.length);
    if (events === 0 || share.verify) events = this.#parse(bytes, events);
    if (this.#probe && recordStamps(bytes, share.latencies) !== events) {
      share.fail(new Error("a message holds more or fewer stamps than events"));
    }
    this.#add(events);
  }

  #add(events: number): void {
    this.count += events;
    this.#share.received(this, events);
  }

  #parse(bytes: Buffer, byLength: number): number {
    const frames = parseFrames(bytes);
    for (const frame of frames) this.#check(frame);
    if (byLength !== 0 && byLength !== frames.length) {
      this.#share.fail(new Error(`counted ${byLength} events by length, ${frames.length} parsed`));
    }
    this.#share.frames.learn(bytes.length, frames.length);
    this.parsed++;
    return frames.length;
  }

  #check(frame: ServerFrame): void {
    if (frame.type !== "event") {
      this.#share.fail(new Error(`a subscriber got ${JSON.stringify(frame).slice(0, 300)}`));
      return;
    }
    const seq = frame.payload!.seq - SEQUENCE_BASE;
    if (this.#share.verify && this.#share.ordered && seq !== this.#lastSeq + 1) {
      this.#share.fail(new Error(`event ${seq} came after ${this.#lastSeq}`));
    }
    this.#lastSeq = seq;
  }
}
