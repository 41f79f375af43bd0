/** The audit trail in memory. */
import { WarrenError } from "../../errors.ts";
import type { AuditEntry, AuditPage, AuditQuery, AuditTrail } from "../audit.ts";
import type { Pulse } from "./pulse.ts";

interface Numbered {
  readonly number: number;
  readonly entry: AuditEntry;
}

export class MemoryAudit implements AuditTrail {
  readonly #pulse: Pulse;
  /** Oldest first. */
  readonly #entries: Numbered[] = [];
  #written = 0;

  constructor(pulse: Pulse) {
    this.#pulse = pulse;
  }

  write(entry: AuditEntry): void {
    if (this.#pulse.refusal !== undefined) {
      this.#pulse.counters.auditDropped++;
      return;
    }
    try {
      this.#entries.push({ number: ++this.#written, entry: copyOf(entry) });
      if (this.#entries.length > this.#pulse.limits.auditEntries) this.#entries.shift();
    } catch {
      // Something in it that cannot be kept.
      this.#pulse.counters.auditDropped++;
    }
  }

  async query(query: AuditQuery): Promise<AuditPage> {
    const before = query.after === undefined ? Number.POSITIVE_INFINITY : numberOf(query.after);
    const found = this.#entries
      .filter(({ number, entry }) => number < before && fits(entry, query))
      .reverse();
    const page = found.slice(0, query.limit);
    const last = page.at(-1);
    const entries = page.map(({ entry }) => entry);
    return last !== undefined && found.length > page.length
      ? { entries, next: `${last.number}` }
      : { entries };
  }
}

function copyOf(entry: AuditEntry): AuditEntry {
  return JSON.parse(JSON.stringify(entry)) as AuditEntry;
}

function numberOf(after: string): number {
  if (/^\d{1,15}$/.test(after)) return Number(after);
  throw new WarrenError("invalid_frame", "This is not the next of a page.", { pointer: "/after" });
}

function fits(entry: AuditEntry, query: AuditQuery): boolean {
  const { action, principal, on, outcome, from, to } = query;
  return (
    (action === undefined || entry.action === action) &&
    (principal === undefined || entry.principal === principal) &&
    (on === undefined || entry.on === on) &&
    (outcome === undefined || entry.outcome === outcome) &&
    (from === undefined || entry.time >= from) &&
    (to === undefined || entry.time <= to)
  );
}
