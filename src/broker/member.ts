/** One who is present on a topic [P-7.1]: what others see of it, and how it says something of itself. */
import type { PresenceMember } from "../../schemas/frames.ts";
import { WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Principal } from "./access.ts";
import { withinDepth } from "./publication.ts";

/** Whom nobody can tell from another one who has shown nothing. */
const ANONYMOUS = "anonymous";

/** Who may be present: a session. */
export interface Attendee {
  readonly id: string;
  readonly principal: Principal | undefined;
}

/** The members of one topic. */
export interface Place {
  readonly topic: string;
  /** In the order in which they came. */
  readonly members: Set<Member>;
  /** There are too many for each that comes or goes to be told [P-7.3]. */
  crowded: boolean;
  /** The count that watchers were told last, while it is crowded and nobody has listed another one since. */
  told: number | undefined;
}

export class Member {
  readonly place: Place;
  /** Milliseconds since 1970. */
  readonly since: number;
  #principal: string;
  #client: string | undefined;
  #session: string;
  /** The session that it came with, once it has come back with another one. */
  #firstSession: string | undefined;
  /** JSON text: a member may be one of very many, and most are never looked at. */
  info: string | undefined;

  constructor(place: Place, who: Attendee, info: string | undefined, since: number) {
    this.place = place;
    this.since = since;
    this.#principal = who.principal?.name ?? ANONYMOUS;
    this.#client = who.principal?.client;
    this.#session = who.id;
    this.info = info;
  }

  get isAnonymous(): boolean {
    return this.#principal === ANONYMOUS;
  }

  /** What somebody who comes back has in common with it. */
  get identity(): string {
    return identityOf(this.place.topic, this.#principal, this.#client);
  }

  /** About how many bytes it takes in a list. */
  get bytes(): number {
    const { info = "" } = this;
    return 128 + Buffer.byteLength(this.#principal) + Buffer.byteLength(info);
  }

  /** It is the same one, under another session. */
  cameBack({ id }: Attendee): void {
    this.#firstSession ??= this.#session;
    this.#session = id;
  }

  /** Takes what is known of its session now; tells whether others see the difference. */
  identify({ principal }: Attendee): boolean {
    const before = this.#principal;
    this.#principal = principal?.name ?? ANONYMOUS;
    this.#client = principal?.client;
    return this.#principal !== before;
  }

  get view(): PresenceMember {
    return {
      principal: this.#principal,
      session: this.#session,
      since: this.since,
      ...(this.#firstSession !== undefined && { firstSession: this.#firstSession }),
      ...(this.info !== undefined && { info: JSON.parse(this.info) as unknown }),
    };
  }
}

/** The identity of somebody who comes to the topic; undefined where he cannot be told from others. */
export function identityOn(topic: string, { principal }: Attendee): string | undefined {
  if (principal === undefined || principal.name === ANONYMOUS) return undefined;
  return identityOf(topic, principal.name, principal.client);
}

function identityOf(topic: string, principal: string, client: string | undefined): string {
  return JSON.stringify([topic, principal, client]);
}

/**
 * What somebody says of himself, as JSON text; what JSON has no word for becomes what it becomes in a payload
 * for a JSON peer [P-2.6]. Throws `invalid_frame`, `too_large`.
 */
export function infoText(info: unknown, limits: Limits): string {
  const { presenceInfoBytes: most, payloadDepth } = limits;
  if (!withinDepth(info, payloadDepth)) {
    const why = `The info is nested deeper than ${payloadDepth} levels.`;
    throw new WarrenError("invalid_frame", why, { pointer: "/info", limit: payloadDepth });
  }
  const text = JSON.stringify(info, sayable) ?? "null";
  if (Buffer.byteLength(text) <= most) return text;
  const why = `The info takes more than ${most} bytes as JSON text.`;
  throw new WarrenError("too_large", why, { pointer: "/info", limit: most });
}

function sayable(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  // Buffers have become something else by now.
  const given = this[key];
  if (given instanceof Uint8Array) return given.toBase64();
  return typeof value === "bigint" ? value.toString() : value;
}
