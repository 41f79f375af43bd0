/**
 * Who is shut out [P-14.5]: by operators, whose bans are durable records, and by rules against abuse, whose
 * bans are kept in memory only, so that no attacker can make the broker write to its disk. Asking costs
 * the same however many there are.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { Ban, type BanBody } from "../../schemas/bans.ts";
import type { Clock } from "../clock.ts";
import { type PageQuery, pageByName } from "../collections/page.ts";
import { SortedNames } from "../collections/sorted-names.ts";
import { WarrenError } from "../errors.ts";
import {
  type Address,
  type AddressRange,
  AddressRanges,
  canonicalRange,
  parseAddress,
  parseRange,
} from "./addresses.ts";

export interface Suspect {
  readonly address: string;
  readonly principal?: { readonly name: string; readonly client?: string } | undefined;
}

/** Whom a ban means. */
export type Target = Pick<BanBody, "principal" | "client" | "address">;

interface Entry {
  readonly ban: Ban;
  readonly range: AddressRange | undefined;
}

const wellFormed = TypeCompiler.Compile(Ban);

export class Bans {
  readonly #clock: Clock;
  readonly #maxAutomatic: number;
  readonly #kept = new Map<string, Entry>();
  /** The oldest first; a new one for the same target is the same. */
  readonly #automatic = new Map<string, Entry>();
  readonly #ids = new SortedNames();
  /** Each entry stands in one of these: by what tells the fewest apart. */
  readonly #byClient = new Map<string, Set<Entry>>();
  readonly #byPrincipal = new Map<string, Set<Entry>>();
  readonly #byRange = new AddressRanges<Entry>();
  readonly #listeners: (() => void)[] = [];
  /** Bans made by rules, since the start. */
  automatic = 0;

  constructor(clock: Clock, maxAutomatic: number) {
    this.#clock = clock;
    this.#maxAutomatic = maxAutomatic;
  }

  /** Calls `listener` when there is somebody more to shut out. */
  onAdded(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #added(): void {
    for (const listener of this.#listeners) listener();
  }

  get size(): number {
    return this.#kept.size + this.#automatic.size;
  }

  /** A record has come, changed or gone. What is no ban is no one's. */
  recordChanged(id: string, value: unknown): void {
    const before = this.#kept.get(id);
    if (before !== undefined) this.#drop(this.#kept, id, before);
    if (value === undefined || !wellFormed.Check(value)) return;
    this.#put(this.#kept, id, value);
    this.#added();
  }

  /** Shuts somebody out for a while. */
  banForAWhile(target: Target, reason: string, durationMs: number): Ban {
    // No name holds a control character, so none can be taken for another.
    const whom = [target.address, target.principal, target.client].join("\0");
    const id = `auto:${Bun.hash(whom).toString(36)}`;
    const before = this.#automatic.get(id);
    if (before !== undefined) this.#drop(this.#automatic, id, before);
    const now = this.#clock.now();
    const ban: Ban = {
      id,
      ...target,
      expiresAt: now + durationMs,
      reason,
      createdAt: now,
      automatic: true,
    };
    this.#put(this.#automatic, id, ban);
    for (const [oldest, entry] of this.#automatic) {
      if (this.#automatic.size <= this.#maxAutomatic && inForce(entry, now - 1)) break;
      this.#drop(this.#automatic, oldest, entry);
    }
    this.automatic++;
    this.#added();
    return ban;
  }

  /** Ends a ban that a rule made; false when there is none of this id. */
  forgive(id: string): boolean {
    const entry = this.#automatic.get(id);
    if (entry === undefined) return false;
    this.#drop(this.#automatic, id, entry);
    return true;
  }

  get(id: string): Ban | undefined {
    const entry = this.#kept.get(id) ?? this.#automatic.get(id);
    return entry !== undefined && inForce(entry, this.#clock.now()) ? entry.ban : undefined;
  }

  /** At most `limit` of those in force with ids behind `after`, in their order, and whether there are more. */
  page(query: PageQuery): Promise<{ page: Ban[]; more: boolean }> {
    return pageByName(this.#ids, query, (id) => this.get(id), this.#clock);
  }

  /** How many are in force. */
  count(): number {
    const now = this.#clock.now();
    let count = 0;
    for (const entry of this.#kept.values()) if (inForce(entry, now)) count++;
    for (const entry of this.#automatic.values()) if (inForce(entry, now)) count++;
    return count;
  }

  /** Ids of records whose time is over, at most so many. */
  expired(atMost: number): string[] {
    const now = this.#clock.now();
    const ids: string[] = [];
    for (const [id, entry] of this.#kept) {
      if (ids.length === atMost) break;
      if (!inForce(entry, now)) ids.push(id);
    }
    return ids;
  }

  /** The ban that shuts this one out; without a principal, only what its address alone is banned for. */
  find({ address, principal }: Suspect): Ban | undefined {
    if (this.size === 0) return undefined;
    const now = this.#clock.now();
    const { name, client } = principal ?? {};
    // Reading the address costs more than all the rest, and most bans name nobody's.
    let read: Address | undefined;
    const from = () => (read ??= parseAddress(address));
    const fits = (entry: Entry) =>
      inForce(entry, now) && means(entry, entry.range && from(), name, client);
    const named = [this.#byClient.get(client ?? ""), this.#byPrincipal.get(name ?? "")];
    for (const entries of named) {
      for (const entry of entries ?? []) if (fits(entry)) return entry.ban;
    }
    const place = this.#byRange.empty ? undefined : from();
    return place && this.#byRange.find(place, fits)?.ban;
  }

  /** Throws `banned`. */
  assertNotBanned(suspect: Suspect): void {
    const ban = this.find(suspect);
    if (ban !== undefined) throw banned(ban);
  }

  #put(into: Map<string, Entry>, id: string, ban: Ban): void {
    const range = ban.address === undefined ? undefined : parseRange(ban.address);
    const entry: Entry = { ban, range };
    into.set(id, entry);
    this.#ids.add(id);
    if (ban.client !== undefined) collect(this.#byClient, ban.client, entry);
    else if (ban.principal !== undefined) collect(this.#byPrincipal, ban.principal, entry);
    else if (range !== undefined) this.#byRange.add(range, entry);
  }

  #drop(from: Map<string, Entry>, id: string, entry: Entry): void {
    from.delete(id);
    if (!this.#kept.has(id) && !this.#automatic.has(id)) this.#ids.delete(id);
    const { client, principal } = entry.ban;
    if (client !== undefined) discard(this.#byClient, client, entry);
    else if (principal !== undefined) discard(this.#byPrincipal, principal, entry);
    else if (entry.range !== undefined) this.#byRange.remove(entry.range, entry);
  }
}

/** The body with its range in one spelling; throws `invalid_frame` when it names nobody. */
export function checkedBan(body: BanBody, now: number): BanBody {
  const { principal, client, address, expiresAt } = body;
  // Seconds, say, where milliseconds belong: it would shut nobody out, and nobody would notice.
  if (expiresAt !== undefined && expiresAt <= now) {
    const why = "The ban would be over already.";
    throw new WarrenError("invalid_frame", why, { pointer: "/expiresAt" });
  }
  if (address !== undefined) {
    const range = parseRange(address);
    if (range !== undefined) return { ...body, address: canonicalRange(range) };
    const why = `"${address}" is neither an address nor a range, such as 203.0.113.0/24.`;
    throw new WarrenError("invalid_frame", why, { pointer: "/address" });
  }
  if (principal !== undefined || client !== undefined) return body;
  const why = "A ban names a principal, a client or an address.";
  throw new WarrenError("invalid_frame", why, { pointer: "" });
}

/** Whether the ban means this one, be it over or not. */
export function shutsOut(ban: Ban, { address, principal }: Suspect): boolean {
  const range = ban.address === undefined ? undefined : parseRange(ban.address);
  return means({ ban, range }, parseAddress(address), principal?.name, principal?.client);
}

export function banned({ reason, expiresAt }: Ban): WarrenError {
  return new WarrenError("banned", undefined, {
    ...(reason !== undefined && { reason }),
    ...(expiresAt !== undefined && { expiresAt }),
  });
}

function inForce({ ban }: Entry, now: number): boolean {
  return ban.expiresAt === undefined || ban.expiresAt > now;
}

/** Everything that the ban names must fit. */
function means(
  { ban, range }: Entry,
  from: Address | undefined,
  name: string | undefined,
  client: string | undefined,
): boolean {
  if (ban.principal !== undefined && ban.principal !== name) return false;
  if (ban.client !== undefined && ban.client !== client) return false;
  if (range === undefined) return ban.address === undefined;
  if (from?.bits !== range.bits) return false;
  const rest = BigInt(range.bits - range.prefix);
  return (from.value >> rest) << rest === range.value;
}

function collect(index: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  index.set(key, (index.get(key) ?? new Set()).add(entry));
}

function discard(index: Map<string, Set<Entry>>, key: string, entry: Entry): void {
  const entries = index.get(key);
  entries?.delete(entry);
  if (entries?.size === 0) index.delete(key);
}
