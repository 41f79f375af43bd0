/**
 * What a consumer holds, by tag. Not a `Map`: messages come and go, so it makes itself a new table again and
 * again, and the old one, with all that it held then, points to the new. Once one of them has outlived a
 * collection, all that come after it do, and a part of all messages stays until the next full collection
 * (docs/decisions/0034).
 */
import type { Entry } from "./entry.ts";

/** Its size is a power of two, and at least twice what it holds. */
const SMALLEST = 16;

export class Held {
  /** Open addressing: an entry lies at its tag's place, or behind it with no gap in between. */
  #slots: (Entry | undefined)[] = emptySlots(SMALLEST);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(tag: number): Entry | undefined {
    return this.#slots[this.#find(tag)];
  }

  has(tag: number): boolean {
    return this.get(tag) !== undefined;
  }

  /** Its tag is not held yet, and stays as it is while it is held. */
  add(entry: Entry): void {
    if (2 * (this.#size + 1) > this.#slots.length) this.#grow();
    this.#slots[this.#find(entry.tag)] = entry;
    this.#size++;
  }

  delete(tag: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let gap = this.#find(tag);
    if (slots[gap] === undefined) return;
    this.#size--;
    for (let at = (gap + 1) & mask; ; at = (at + 1) & mask) {
      const entry = slots[at];
      if (entry === undefined) break;
      // It may fill the gap unless its own place lies behind that.
      const behindItsPlace = (at - placeOf(entry.tag, mask)) & mask;
      if (behindItsPlace < ((at - gap) & mask)) continue;
      slots[gap] = entry;
      gap = at;
    }
    slots[gap] = undefined;
  }

  /** All of them, the oldest delivery first. */
  values(): Entry[] {
    const entries = this.#slots.filter((entry) => entry !== undefined);
    return entries.sort((a, b) => a.tag - b.tag);
  }

  /** Where it lies, or else where it would. */
  #find(tag: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let at = placeOf(tag, mask); ; at = (at + 1) & mask) {
      const entry = slots[at];
      if (entry === undefined || entry.tag === tag) return at;
    }
  }

  #grow(): void {
    const entries = this.#slots;
    this.#slots = emptySlots(entries.length * 2);
    for (const entry of entries) {
      if (entry !== undefined) this.#slots[this.#find(entry.tag)] = entry;
    }
  }
}

/** Tags follow each other, but a consumer's may have any distance: multiplied they spread. */
function placeOf(tag: number, mask: number): number {
  const spread = Math.imul(tag, 0x9e3779b1);
  return (spread ^ (spread >>> 15)) & mask;
}

function emptySlots(count: number): (Entry | undefined)[] {
  return new Array<Entry | undefined>(count).fill(undefined);
}
