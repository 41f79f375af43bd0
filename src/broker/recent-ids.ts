/**
 * The latest message ids of messages that no queue keeps, so that a repeated publish is recognised
 * [P-3.5]. In memory and bounded: what falls out, by age or by number, would be delivered again.
 *
 * Two generations instead of one map in order of age: deleting from the front of a large map means
 * walking over everything that was deleted before.
 */
export class RecentIds {
  readonly #capacity: number;
  readonly #windowMs: number;
  /** When each id was first seen. */
  #young = new Map<string, number>();
  #old = new Map<string, number>();
  #youngSince = 0;

  constructor(capacity: number, windowMs: number) {
    this.#capacity = capacity;
    this.#windowMs = windowMs;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Whether the id is new on this topic within the window; then it is remembered from `now` on. */
  add(topic: string, messageId: string, now: number): boolean {
    // No topic holds a control character, so the two parts cannot run into each other.
    const key = `${topic}\n${messageId}`;
    const seenAt = this.#young.get(key) ?? this.#old.get(key);
    if (seenAt !== undefined && now - seenAt < this.#windowMs) return false;
    if (this.#young.size * 2 >= this.#capacity || now - this.#youngSince >= this.#windowMs) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSince = now;
    }
    this.#young.set(key, now);
    return true;
  }
}
