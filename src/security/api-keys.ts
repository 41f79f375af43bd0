/**
 * The API keys that are good [P-13.2], [P-14.2]: those of the settings, and those that operators make while
 * the broker runs. Finding one costs the same however many there are. A key of the settings is the word
 * of whoever deploys the broker: a stored one of the same id is kept, but does not count.
 */
import type { KeySettings } from "../../schemas/access.ts";
import { type Pacer, type PageQuery, pageByName } from "../collections/page.ts";
import { SortedNames } from "../collections/sorted-names.ts";
import { WarrenError } from "../errors.ts";
import { hashKey, keyId, sameHash } from "./keys.ts";

/** A key as it is stored: what the settings would say of it, and its life so far. Times in ms since 1970. */
export interface StoredKey extends KeySettings {
  readonly createdAt: number;
  /** The principal that made it. */
  readonly createdBy: string;
  readonly rotatedAt?: number;
  /** Secrets from before, the newest last, each good until its time. */
  readonly older?: readonly OlderSecret[];
  /** As it was last written; `KeyUse` knows better. */
  readonly lastUsedAt?: number;
}

export interface OlderSecret {
  readonly hash: string;
  readonly expiresAt: number;
}

export type AnyKey = KeySettings & Partial<StoredKey>;

/** A key that was shown, with the secret that it was shown with. */
export interface ShownKey {
  readonly key: AnyKey;
  readonly hash: string;
  /** When this secret ends; absent means never. */
  readonly expiresAt?: number | undefined;
  /** When this secret was made, where that is known. */
  readonly issuedAt?: number | undefined;
}

/** Older secrets of one key that are good at a time; the oldest goes first. */
const OLDER_AT_MOST = 4;

export class ApiKeys {
  readonly #settings: ReadonlyMap<string, KeySettings>;
  readonly #stored = new Map<string, StoredKey>();
  readonly #ids = new SortedNames();
  readonly #changing = new Set<string>();
  /** Called when some secret is not good any more, or only for a while. */
  withdrawn: () => void = () => undefined;

  constructor(settings: readonly KeySettings[] = []) {
    this.#settings = new Map(settings.map((key) => [key.id, key]));
    for (const { id } of settings) this.#ids.add(id);
  }

  isOfSettings(id: string): boolean {
    return this.#settings.has(id);
  }

  get(id: string): AnyKey | undefined {
    return this.#settings.get(id) ?? this.#stored.get(id);
  }

  stored(id: string): StoredKey | undefined {
    return this.#stored.get(id);
  }

  /** A record has come, changed or gone. */
  recordChanged(id: string, value: StoredKey | undefined): void {
    const before = this.#stored.get(id);
    if (value === undefined) this.#stored.delete(id);
    else this.#stored.set(id, value);
    if (this.get(id) === undefined) this.#ids.delete(id);
    else this.#ids.add(id);
    if (before !== undefined && !sameHash(before.hash, value?.hash)) this.withdrawn();
  }

  /** The key with this secret; an unknown id takes as long as a wrong secret. It may have expired. */
  find(text: string): ShownKey | undefined {
    const id = keyId(text);
    if (id === undefined) return undefined;
    const key = this.get(id);
    const hash = hashKey(text);
    if (sameHash(hash, key?.hash)) {
      const issuedAt = key?.rotatedAt ?? key?.createdAt;
      return key && { key, hash, expiresAt: key.expiresAt, issuedAt };
    }
    const older = key?.older?.find((one) => sameHash(hash, one.hash));
    if (key === undefined || older === undefined) return undefined;
    const expiresAt = Math.min(older.expiresAt, key.expiresAt ?? older.expiresAt);
    return { key, hash, expiresAt, issuedAt: key.createdAt };
  }

  /** Until when the secret with this hash is good; undefined when it is not any more. */
  goodUntil({ id, hash }: { readonly id: string; readonly hash: string }): number | undefined {
    const key = this.get(id);
    if (sameHash(hash, key?.hash)) return Number.POSITIVE_INFINITY;
    return key?.older?.find((one) => sameHash(hash, one.hash))?.expiresAt;
  }

  /** At most `limit` keys with ids behind `after`, in their order, and whether there are more. */
  async page(
    { principal, ...query }: PageQuery & { readonly principal?: string | undefined },
    clock: Pacer,
  ): Promise<{ keys: AnyKey[]; more: boolean }> {
    const get = (id: string) => {
      const key = this.get(id);
      return principal === undefined || key?.principal === principal ? key : undefined;
    };
    const { page, more } = await pageByName(this.#ids, query, get, clock);
    return { keys: page, more };
  }

  /** One change of a key at a time: each begins from what the one before has made. Throws `conflict`. */
  async changing<T>(id: string, make: () => Promise<T>): Promise<T> {
    if (this.#changing.has(id)) {
      throw new WarrenError("conflict", `The key ${id} is being changed at this moment.`, { id });
    }
    this.#changing.add(id);
    try {
      return await make();
    } finally {
      this.#changing.delete(id);
    }
  }

  isChanging(id: string): boolean {
    return this.#changing.has(id);
  }
}

/** The key with another secret; without an overlap every older secret ends at once. */
export function rotated(key: StoredKey, hash: string, now: number, graceMs: number): StoredKey {
  const { older: before = [], ...rest } = key;
  const until = { hash: key.hash, expiresAt: now + graceMs };
  const older = [...before.filter(({ expiresAt }) => expiresAt > now), until].slice(-OLDER_AT_MOST);
  return { ...rest, hash, rotatedAt: now, ...(graceMs > 0 && { older }) };
}
