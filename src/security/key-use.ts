/**
 * When each API key was last used [P-14.2]: known at once, and written down for all keys together, each at
 * most once a minute, so that use costs no write of its own.
 */
import type { Clock, Timer } from "../clock.ts";
import type { ApiKeys, StoredKey } from "./api-keys.ts";

export const WRITE_EVERY_MS = 60_000;
/** Keys of one write; the rest has its turn a minute later. */
const WRITTEN_AT_ONCE = 5000;

export interface KeyUseDeps {
  readonly keys: ApiKeys;
  readonly clock: Clock;
  /** Stores them, all or none. */
  readonly write: (keys: readonly StoredKey[]) => Promise<void>;
}

export class KeyUse {
  readonly #deps: KeyUseDeps;
  /** At most one for each key. */
  readonly #lastUsedAt = new Map<string, number>();
  readonly #unwritten = new Set<string>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(deps: KeyUseDeps) {
    this.#deps = deps;
  }

  /** Milliseconds since 1970; of a key of the settings, only since the start. */
  of(id: string): number | undefined {
    return this.#lastUsedAt.get(id) ?? this.#deps.keys.stored(id)?.lastUsedAt;
  }

  /** Somebody was let in with it. */
  used(id: string): void {
    const { keys, clock } = this.#deps;
    this.#lastUsedAt.set(id, clock.now());
    if (keys.isOfSettings(id)) return;
    this.#unwritten.add(id);
    this.#writeLater();
  }

  forget(id: string): void {
    this.#lastUsedAt.delete(id);
    this.#unwritten.delete(id);
  }

  /** The broker stops: what is not written yet is written now. */
  stop(): void {
    this.#timer?.cancel();
    this.#stopped = true;
    this.#write();
  }

  #writeLater(): void {
    if (this.#stopped) return;
    this.#timer ??= this.#deps.clock.after(WRITE_EVERY_MS, () => {
      this.#timer = undefined;
      this.#write();
    });
  }

  #write(): void {
    const { keys, write } = this.#deps;
    const changed: StoredKey[] = [];
    for (const id of this.#unwritten) {
      if (changed.length === WRITTEN_AT_ONCE) break;
      // A change of the key that is under way must not be overwritten with what it was before.
      if (keys.isChanging(id)) continue;
      this.#unwritten.delete(id);
      const key = keys.stored(id);
      const lastUsedAt = this.#lastUsedAt.get(id);
      if (key !== undefined && lastUsedAt !== undefined) changed.push({ ...key, lastUsedAt });
    }
    if (changed.length > 0) {
      // Kept in memory all the same, and written with the next use.
      write(changed).catch(() => undefined);
    }
    if (this.#unwritten.size > 0) this.#writeLater();
  }
}
