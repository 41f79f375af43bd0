/**
 * Credentials that operators have taken back [P-14.4]. One entry for each token, principal, client, or several
 * of them together: asking costs at most seven look-ups, however many entries there are.
 */
import type { Revocation, RevocationBody } from "../../schemas/revocations.ts";
import type { Principal } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { type PageQuery, pageByName } from "../collections/page.ts";
import { SortedNames } from "../collections/sorted-names.ts";
import { WarrenError } from "../errors.ts";

type Target = { readonly [K in "jti" | "principal" | "client"]?: string | undefined };

/** What a revocation may name, each a bit of its kind. */
const JTI = 1;
const PRINCIPAL = 2;
const CLIENT = 4;
const KINDS = [1, 2, 3, 4, 5, 6, 7];
const ID_LENGTH = 22;

export class Revocations {
  readonly #clock: Clock;
  readonly #byId = new Map<string, Revocation>();
  readonly #ids = new SortedNames();
  /** How many there are of each kind. */
  readonly #ofKind = new Uint32Array(KINDS.length + 1);
  readonly #byTarget = new Map<string, Revocation>();
  /** Called when somebody's credentials may be good no longer, or again. */
  changed: () => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** A record has come, changed or gone. */
  recordChanged(id: string, value: Revocation | undefined): void {
    const before = this.#byId.get(id);
    if (before !== undefined) {
      this.#byId.delete(id);
      if (value === undefined) this.#ids.delete(id);
      this.#byTarget.delete(keyOf(before));
      this.#ofKind[kindOf(before)]!--;
    }
    if (value !== undefined) {
      this.#byId.set(id, value);
      this.#ids.add(id);
      this.#byTarget.set(keyOf(value), value);
      this.#ofKind[kindOf(value)]!++;
    }
    this.changed();
  }

  get(id: string): Revocation | undefined {
    const found = this.#byId.get(id);
    return found !== undefined && this.#inForce(found) ? found : undefined;
  }

  /** At most `limit` of those in force with ids behind `after`, in their order, and whether there are more. */
  page({ principal, ...query }: PageQuery & { readonly principal?: string | undefined }): Promise<{
    page: Revocation[];
    more: boolean;
  }> {
    const get = (id: string) => {
      const found = this.get(id);
      return principal === undefined || found?.principal === principal ? found : undefined;
    };
    return pageByName(this.#ids, query, get, this.#clock);
  }

  /** Ids of those whose time is over, at most so many. */
  expired(atMost: number): string[] {
    const ids: string[] = [];
    for (const one of this.#byId.values()) {
      if (ids.length === atMost) break;
      if (!this.#inForce(one)) ids.push(one.id);
    }
    return ids;
  }

  /**
   * What takes these credentials back, the soonest for live connections; undefined when nothing does.
   * Somebody without credentials has none to be taken.
   */
  find(principal: Principal): Revocation | undefined {
    if (this.#byId.size === 0) return undefined;
    let soonest: Revocation | undefined;
    for (const kind of KINDS) {
      if (this.#ofKind[kind] === 0) continue;
      const target = targetIn(principal, kind);
      const found = target === undefined ? undefined : this.#byTarget.get(target);
      if (found === undefined || !this.#inForce(found) || !covers(found, principal)) continue;
      if (soonest === undefined || endOf(found) < endOf(soonest)) soonest = found;
    }
    return soonest;
  }

  /** Throws `token_revoked`. */
  assertNotRevoked(principal: Principal): void {
    const found = this.find(principal);
    if (found !== undefined) throw revoked(found);
  }

  #inForce({ expiresAt }: Revocation): boolean {
    return expiresAt === undefined || expiresAt > this.#clock.now();
  }
}

/** Whether it takes these credentials back, be it over or not. */
export function takesBack(revocation: Revocation, principal: Principal): boolean {
  const target = targetIn(principal, kindOf(revocation));
  return target === keyOf(revocation) && covers(revocation, principal);
}

/** When live connections with such credentials end. */
export function endOf({ createdAt, reauthMs = 0 }: Revocation): number {
  return createdAt + reauthMs;
}

export function revoked({ reason }: Pick<Revocation, "reason">): WarrenError {
  return new WarrenError("token_revoked", undefined, reason === undefined ? undefined : { reason });
}

/** The body with what it leaves open; throws `invalid_frame` when it names nothing. */
export function revocationOf(body: RevocationBody, createdAt: number, by: string): Revocation {
  if (kindOf(body) === 0) {
    const why = "A revocation names a jti, a principal or a client.";
    throw new WarrenError("invalid_frame", why, { pointer: "" });
  }
  if (body.expiresAt !== undefined && body.expiresAt <= createdAt) {
    const why = "The revocation would be over already.";
    throw new WarrenError("invalid_frame", why, { pointer: "/expiresAt" });
  }
  const until = body.issuedBefore ?? (body.jti === undefined ? createdAt : undefined);
  const id = new Bun.CryptoHasher("sha256").update(keyOf(body)).digest("base64url");
  return {
    id: id.slice(0, ID_LENGTH),
    ...body,
    ...(until !== undefined && { issuedBefore: until }),
    createdAt,
    by,
  };
}

/** Whether it is meant for credentials of that age; what does not say when it was issued counts as old. */
function covers({ issuedBefore }: Revocation, { credential }: Principal): boolean {
  const issuedAt = credential?.issuedAt;
  return issuedBefore === undefined || issuedAt === undefined || issuedAt < issuedBefore;
}

/** The target of this kind that means these credentials; undefined where they lack something that it names. */
function targetIn({ name, client, credential }: Principal, kind: number): string | undefined {
  if (credential === undefined) return undefined;
  const { jti } = credential;
  if ((kind & JTI && jti === undefined) || (kind & CLIENT && client === undefined))
    return undefined;
  return keyOf({
    jti: kind & JTI ? jti : undefined,
    principal: kind & PRINCIPAL ? name : undefined,
    client: kind & CLIENT ? client : undefined,
  });
}

function kindOf({ jti, principal, client }: Target): number {
  return (jti ? JTI : 0) | (principal ? PRINCIPAL : 0) | (client ? CLIENT : 0);
}

/** No name holds a control character, so none can be taken for another. */
function keyOf({ jti = "", principal = "", client = "" }: Target): string {
  return `${jti}\0${principal}\0${client}`;
}
