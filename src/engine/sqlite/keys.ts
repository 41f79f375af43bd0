/**
 * The keys of a queue with `ordering: "key"` of which something is in memory [P-5.10]: at most one
 * message of each waits in the window, and only while none is out. The others stay on disk, where the
 * next is looked for when its key is free; so nothing is kept for what waits, however much that is.
 */
import type { Entry } from "./entry.ts";
import type { Window } from "./window.ts";

interface KeyState {
  /** Its message in the window. */
  waiting: Entry | undefined;
  /** In the hands of consumers, or with the commit of what becomes of them still to come. */
  readonly out: Entry[];
  /** Its first is being looked for on disk; while the last one is about to go, what comes after that. */
  looking: boolean;
  /** While something is out: older ones may wait on disk. */
  again: boolean;
}

/** Keys that are looked for at a time. */
const LOOKED_FOR_AT_ONCE = 512;

export class Keys {
  readonly #window: Window;
  readonly #turnsKept: number;
  readonly #states = new Map<string, KeyState>();
  /** To be looked for. */
  readonly #wanted = new Set<string>();
  /** When each key had its last turn, the latest last. */
  readonly #turns: Map<string, number>;

  /** Turns go on where those `before` were. */
  constructor(window: Window, turnsKept: number, before?: Keys) {
    this.#window = window;
    this.#turnsKept = turnsKept;
    this.#turns = new Map(before === undefined ? [] : before.#turns);
  }

  /** Whether so many are to be looked for that others had better be found page by page. */
  get isBusy(): boolean {
    return this.#wanted.size >= this.#turnsKept;
  }

  has(key: string): boolean {
    return this.#states.has(key);
  }

  /** Whether a message that waits, and is not on its way from disk, may stand in the window. */
  admit(entry: Entry): boolean {
    const { key } = entry.message;
    if (key === undefined) return true;
    const state = this.#state(key);
    if (state.out.some(({ sequence }) => sequence > entry.sequence)) state.again = true;
    // The look sees it too: what is written is read.
    if (state.looking || state.out.length > 0) return false;
    if (state.again) {
      this.look(key);
      return false;
    }
    if (state.waiting !== undefined) {
      if (state.waiting.sequence <= entry.sequence) return false;
      this.#window.drop(state.waiting);
    }
    state.waiting = entry;
    entry.place = Math.max(entry.sequence, this.#turns.get(key) ?? 0);
    return true;
  }

  /** It is not in the window any more, and not out either: its row will be found again. */
  left(entry: Entry): void {
    const { key } = entry.message;
    const state = key === undefined ? undefined : this.#states.get(key);
    if (state === undefined || state.waiting !== entry) return;
    state.waiting = undefined;
    this.#tidy(key!, state);
  }

  /** One of this key waits on disk again, maybe before what is here or out. */
  cameDue(entry: Entry): void {
    const { key } = entry.message;
    if (key === undefined) return;
    const state = this.#state(key);
    const { waiting } = state;
    if (waiting !== undefined && waiting.sequence > entry.sequence) {
      state.waiting = undefined;
      this.#window.drop(waiting);
    }
    if (state.out.length > 0) state.again = true;
    this.look(key);
  }

  /** It is out, and others of its key may be before it. */
  wasOut(entry: Entry): void {
    const { key } = entry.message;
    if (key === undefined) return;
    this.goes(entry);
  }

  /** It is handed out, and its key has had a turn. */
  handed(entry: Entry, turn: number): void {
    this.goes(entry);
    const { key } = entry.message;
    if (key === undefined) return;
    this.#turns.delete(key);
    this.#turns.set(key, turn);
    if (this.#turns.size <= this.#turnsKept) return;
    for (const oldest of this.#turns.keys()) {
      this.#turns.delete(oldest);
      return;
    }
  }

  /** It is out from now on, until `back` or `gone`. */
  goes(entry: Entry): void {
    const { key } = entry.message;
    if (key === undefined) return;
    const state = this.#state(key);
    if (state.out.includes(entry)) return;
    state.out.push(entry);
    if (state.waiting === entry) state.waiting = undefined;
    else if (state.waiting === undefined) state.again = true;
  }

  /** It is not out any more: it waits again. */
  back(entry: Entry): void {
    const { key } = entry.message;
    const state = key === undefined ? undefined : this.#states.get(key);
    const at = state?.out.indexOf(entry) ?? -1;
    if (state === undefined || at < 0) return;
    state.out.splice(at, 1);
    this.#tidy(key!, state);
  }

  /** It waits where a page will find it; what is older and waits elsewhere is looked for. */
  unread(entry: Entry): void {
    const { key } = entry.message;
    if (key !== undefined && this.#states.get(key)?.again === true) this.look(key);
  }

  /** It left the line for good or for a while: the next of its key is looked for, if it is `wanted`. */
  gone(entry: Entry, wanted: boolean): void {
    const { key } = entry.message;
    if (key === undefined) return;
    this.back(entry);
    if (wanted) {
      this.look(key);
      return;
    }
    const state = this.#states.get(key);
    if (state === undefined) return;
    state.again = false;
    this.#tidy(key, state);
  }

  /** Something of the key lies on disk that may be its first. */
  look(key: string): void {
    const state = this.#state(key);
    if (state.looking || state.out.length > 0 || state.waiting !== undefined) return;
    state.looking = true;
    state.again = false;
    this.#wanted.add(key);
  }

  /**
   * What becomes of it is written, and it will go. The look is answered after that commit: either the key is
   * free by then, or the message is back.
   */
  leaves(entry: Entry): void {
    const { key } = entry.message;
    const state = key === undefined ? undefined : this.#states.get(key);
    if (state === undefined || state.looking || state.out.length > 1) return;
    state.looking = true;
    this.#wanted.add(key!);
  }

  /** The keys to be looked for now; answer with `found` or `missed` for each. */
  takeWanted(): string[] {
    const keys: string[] = [];
    for (const key of this.#wanted) {
      if (keys.length === LOOKED_FOR_AT_ONCE) break;
      this.#wanted.delete(key);
      keys.push(key);
    }
    return keys;
  }

  /** The look was in vain. */
  missed(key: string): void {
    if (this.#states.get(key)?.looking === true) this.#wanted.add(key);
  }

  /** The look is over; true when what was found may be used. */
  found(key: string): boolean {
    const state = this.#states.get(key);
    if (state?.looking !== true) return false;
    state.looking = false;
    // Whatever was to be looked for is known now, as long as nothing is out.
    if (state.out.length === 0) state.again = false;
    this.#tidy(key, state);
    return true;
  }

  /** Whether the row of this place is in the window, in somebody's hands or about to go. */
  holds(key: string, sequence: number): boolean {
    const state = this.#states.get(key);
    if (state === undefined) return false;
    if (state.waiting?.sequence === sequence) return true;
    return state.out.some((entry) => entry.sequence === sequence);
  }

  /** Nobody is there any more: what waits is on disk, and turns begin anew. */
  unload(): void {
    this.#wanted.clear();
    this.#turns.clear();
    for (const [key, state] of this.#states) {
      state.waiting = undefined;
      state.looking = false;
      state.again = false;
      this.#tidy(key, state);
    }
  }

  #state(key: string): KeyState {
    let state = this.#states.get(key);
    if (state === undefined) {
      state = { waiting: undefined, out: [], looking: false, again: false };
      this.#states.set(key, state);
    }
    return state;
  }

  #tidy(key: string, { waiting, out, looking, again }: KeyState): void {
    const isEmpty = waiting === undefined && out.length === 0;
    if (isEmpty && !looking && !again) this.#states.delete(key);
  }
}
