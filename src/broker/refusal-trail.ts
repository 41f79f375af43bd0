/**
 * Refusals for lack of rights or credentials, by a ban or for a rate, on their way to the audit trail [P-14.8].
 * A client that tries the same thing again and again is one entry at once, and one more with the count of the
 * rest when ten seconds are over: an audit trail that a stranger can flood is none.
 */
import type { Clock, Timer } from "../clock.ts";
import type { AuditEntry, AuditTrail } from "../engine/audit.ts";
import type { WarrenError } from "../errors.ts";
import { redact } from "../log.ts";

/** How long equal refusals are counted together. */
export const REFUSALS_TOGETHER_MS = 10_000;
/** Different refusals that are counted at a time; further ones are counted by their code alone. */
const KINDS_AT_MOST = 1000;
/** The same of one principal or address: by himself nobody pushes what others did out of the trail. */
const KINDS_OF_ONE = 20;
/** Longest names that go into an entry; what clients send may be anything. */
const TEXT_AT_MOST = 256;

/** What was refused, where an error says no action of its own: to come in at all, the credential, or so much. */
const ACTIONS: Readonly<Record<string, string>> = {
  forbidden: "connect",
  banned: "connect",
  unauthenticated: "authenticate",
  token_expired: "authenticate",
  token_revoked: "authenticate",
  rate_limited: "rate",
};

/** Whose doing was refused; `id` is that of a session. */
export interface Refused {
  readonly principal?: { readonly name: string } | undefined;
  readonly id?: string | undefined;
  readonly address?: string | undefined;
}

interface Kind {
  readonly entry: AuditEntry;
  /** Since the last entry that was written. */
  more: number;
}

export class RefusalTrail {
  readonly #audit: AuditTrail;
  readonly #clock: Clock;
  readonly #kinds = new Map<string, Kind>();
  /** How many of them are whose. */
  readonly #ofOne = new Map<string, number>();
  #timer: Timer | undefined;
  /** All refusals since the start. */
  count = 0;

  constructor(audit: AuditTrail, clock: Clock) {
    this.#audit = audit;
    this.#clock = clock;
  }

  /**
   * Takes note of an error if it is a refusal. Its detail says what was refused: `action` and `on`, or whose rate
   * (`scope`); without them it was the credential, or the connection as such.
   */
  note({ code, detail }: WarrenError, { principal, id, address }: Refused): void {
    const asWhole = ACTIONS[code];
    if (asWhole === undefined) return;
    this.count++;
    const action = typeof detail?.action === "string" ? detail.action : asWhole;
    const what = code === "rate_limited" ? detail?.scope : detail?.on;
    const on = typeof what === "string" ? clip(what) : undefined;
    const name = principal === undefined ? undefined : clip(principal.name);
    const who = name ?? address ?? "";
    const mine = this.#ofOne.get(who) ?? 0;
    const isFull = this.#kinds.size >= KINDS_AT_MOST;
    const key = `${action}\n${code}\n${name ?? ""}\n${on ?? ""}`;
    const rest = isFull ? code : mine >= KINDS_OF_ONE ? `${code}\n${who}` : key;
    const known = this.#kinds.get(key) ?? this.#kinds.get(rest);
    if (known !== undefined) {
      known.more++;
      return;
    }
    const entry: AuditEntry = {
      time: this.#clock.now(),
      action: `access.${action}`,
      outcome: "refused",
      code,
      ...(!isFull && {
        ...(name !== undefined && { principal: name }),
        ...(address !== undefined && address !== "" && { address }),
      }),
      ...(rest === key && {
        ...(id !== undefined && { session: id }),
        ...(on !== undefined && { on: redact(on) }),
      }),
    };
    this.#kinds.set(rest, { entry, more: 0 });
    this.#ofOne.set(who, mine + 1);
    this.#audit.write({ ...entry, count: 1 });
    this.#timer ??= this.#clock.after(REFUSALS_TOGETHER_MS, () => this.flush());
  }

  /** Writes what was counted. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const time = this.#clock.now();
    for (const { entry, more } of this.#kinds.values()) {
      if (more > 0) this.#audit.write({ ...entry, time, count: more });
    }
    this.#kinds.clear();
    this.#ofOne.clear();
  }
}

function clip(text: string): string {
  return text.length > TEXT_AT_MOST ? `${text.slice(0, TEXT_AT_MOST)}…` : text;
}
