/** The event loop's side of the audit trail: entries ride in commits, and are read in stretches. */
import { WarrenError } from "../../errors.ts";
import {
  AUDIT_PENDING_AT_MOST,
  type AuditEntry,
  type AuditPage,
  type AuditQuery,
  type AuditTrail,
} from "../audit.ts";
import type { AuditRead, AuditRows } from "./exchange.ts";
import type { QueueHost } from "./host.ts";

/** Entries that are looked at in one go: the writer has commits to see to. */
const STRETCH = 1024;

export class SqliteAudit implements AuditTrail {
  readonly #host: QueueHost;
  #pending = 0;

  constructor(host: QueueHost) {
    this.#host = host;
  }

  write(entry: AuditEntry): void {
    const text = this.#host.storageRefusal() === undefined ? textOf(entry) : undefined;
    if (text === undefined || this.#pending >= AUDIT_PENDING_AT_MOST) {
      this.#host.counters.auditDropped++;
      return;
    }
    this.#pending++;
    const { storage, limits } = this.#host;
    storage.writer.control({ audit: text, limit: limits.auditEntries });
    storage.add({
      committed: () => {
        this.#pending--;
      },
      aborted: () => {
        this.#pending--;
        this.#host.counters.auditDropped++;
      },
    });
  }

  async query(query: AuditQuery): Promise<AuditPage> {
    const entries: AuditEntry[] = [];
    let before = query.after === undefined ? Number.MAX_SAFE_INTEGER : numberOf(query.after);
    let end = before;
    do {
      const read = { before: end, stretch: STRETCH, query };
      const rows = await this.#read(read);
      for (const { number, entry } of rows.found) {
        if (entries.length === query.limit) return { entries, next: `${before}` };
        entries.push(JSON.parse(entry) as AuditEntry);
        before = number;
      }
      end = rows.end;
    } while (end > 0);
    return { entries };
  }

  #read(read: AuditRead): Promise<AuditRows> {
    return new Promise((resolve, reject) => {
      this.#host.storage.ask({ kind: "audit", read }, (reply) => {
        if (reply.kind === "audit") resolve(reply.rows);
        else reject(new WarrenError("storage_unavailable"));
      });
    });
  }
}

function textOf(entry: AuditEntry): string | undefined {
  try {
    return JSON.stringify(entry);
  } catch {
    // Something in it that JSON does not carry.
    return undefined;
  }
}

function numberOf(after: string): number {
  if (/^\d{1,15}$/.test(after)) return Number(after);
  throw new WarrenError("invalid_frame", "This is not the next of a page.", { pointer: "/after" });
}
