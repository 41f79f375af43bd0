/**
 * The order of requests to the writer thread, in memory that both sides see. The writer sleeps on it
 * rather than in its event loop: to be woken so costs it a third, and a serial publisher waits for
 * nothing else but the disk (docs/decisions/0011). A batch in a buffer that the writer knows is told here in
 * full; for anything else the ring only says that the next message of the event loop is meant.
 */

/** Requests that may be on their way; more wait with the sender. */
export const RING_PLACES = 256;
const FIELDS = 4;
const HEAD_BYTES = 8;
const MESSAGE = -1;

export type RingEntry =
  | { readonly kind: "message" }
  | {
      readonly kind: "batch";
      /** Which of the buffers that the writer was shown. */
      readonly buffer: number;
      readonly bytes: number;
      readonly now: number;
      readonly era: number;
    };

export function newRing(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEAD_BYTES + RING_PLACES * FIELDS * 8);
}

export class RingSender {
  readonly #head: Int32Array;
  readonly #fields: Float64Array;

  constructor(ring: SharedArrayBuffer) {
    this.#head = new Int32Array(ring, 0, 1);
    this.#fields = new Float64Array(ring, HEAD_BYTES);
  }

  message(): void {
    this.#put(MESSAGE, 0, 0, 0);
  }

  batch(buffer: number, bytes: number, now: number, era: number): void {
    this.#put(buffer, bytes, now, era);
  }

  /** The caller sees to it that no more than `RING_PLACES` are unanswered. */
  #put(buffer: number, bytes: number, now: number, era: number): void {
    const head = Atomics.load(this.#head, 0);
    const place = (head >>> 0) % RING_PLACES;
    this.#fields.set([buffer, bytes, now, era], place * FIELDS);
    Atomics.store(this.#head, 0, head + 1);
    Atomics.notify(this.#head, 0);
  }
}

export class RingReceiver {
  readonly #head: Int32Array;
  readonly #fields: Float64Array;
  #taken = 0;

  constructor(ring: SharedArrayBuffer) {
    this.#head = new Int32Array(ring, 0, 1);
    this.#fields = new Float64Array(ring, HEAD_BYTES);
  }

  /** The next entry, waited for; it stays until `done`. */
  next(): RingEntry {
    for (;;) {
      const head = Atomics.load(this.#head, 0);
      if (head !== this.#taken) break;
      Atomics.wait(this.#head, 0, head);
    }
    const at = ((this.#taken >>> 0) % RING_PLACES) * FIELDS;
    const buffer = this.#fields[at]!;
    if (buffer === MESSAGE) return { kind: "message" };
    const [bytes, now, era] = this.#fields.subarray(at + 1, at + FIELDS) as unknown as [
      number,
      number,
      number,
    ];
    return { kind: "batch", buffer, bytes, now, era };
  }

  done(): void {
    this.#taken = (this.#taken + 1) | 0;
  }
}
