/**
 * Who changed what over the operator's plane: written to the audit trail and to the log, whatever became of
 * it, and asked for again [P-14.8].
 */
import type { Operation } from "../../schemas/http.ts";
import type { AuditEntry, AuditQuery } from "../engine/audit.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import { redact } from "../log.ts";
import type { Call, Handlers, Services } from "./services.ts";
import type { Wait } from "./waits.ts";

/** What a change is called, and what it is made to. */
export interface Change {
  readonly action: string;
  readonly on?: string;
}

/** Failures that a handler has told of. */
const failuresTold = new WeakSet<object>();

type Told = Pick<AuditEntry, "count" | "detail">;

/**
 * Makes a change and tells of it: `done`, with what `more` says of the result; `refused`, where it would be
 * refused again; `failed`, where it may succeed later. Gives and throws what `make` does.
 */
export async function audited<T>(
  call: Pick<Call, "principal" | "address">,
  services: Services,
  change: Change,
  make: () => Promise<T>,
  more: (result: T) => Told = () => ({}),
): Promise<T> {
  try {
    const result = await make();
    tell(call, services, change, { outcome: "done", ...more(result) });
    return result;
  } catch (thrown) {
    const { code, retry, detail } = toWarrenError(thrown);
    const outcome = retry ? "failed" : "refused";
    tell(call, services, change, { outcome, code, ...(code === "forbidden" && tooMuch(detail)) });
    if (thrown instanceof Error) failuresTold.add(thrown);
    throw thrown;
  }
}

/** What a change was refused for [P-14.14]: rules are no secrets. */
function tooMuch({ action, on, rule, pointer }: WarrenError["detail"] & object = {}): Told {
  const told = { action, on, rule, pointer };
  const known = Object.entries(told).filter(([, value]) => value !== undefined);
  return known.length === 0 ? {} : { detail: Object.fromEntries(known) };
}

/**
 * The change that a request is, by the name of its operation, before anything of it is known to be right:
 * `putQueue` is `queue.put`. Undefined for what changes nothing, or is not the operator's.
 */
export function changeOf(
  name: string,
  { access, method }: Operation,
  params: Readonly<Record<string, string>>,
): Change | undefined {
  if (access !== "admin" || method === "GET") return undefined;
  const [, verb = "", noun = ""] = /^([a-z]+)(\w+)$/.exec(name) ?? [];
  const [on] = Object.values(params);
  const action = `${noun.charAt(0).toLowerCase()}${noun.slice(1)}.${verb}`;
  return { action, ...(on === undefined ? {} : { on: on.slice(0, ON_AT_MOST) }) };
}

/** Tells of a change that was refused before a handler could tell: for its body, its query or what it names. */
export function auditUntold(
  thrown: unknown,
  change: Change,
  call: Pick<Call, "principal" | "address">,
  services: Services,
): void {
  if (thrown instanceof Error && failuresTold.has(thrown)) return;
  const { code, retry } = toWarrenError(thrown);
  tell(call, services, change, { outcome: retry ? "failed" : "refused", code });
}

function tell(
  { principal, address }: Pick<Call, "principal" | "address">,
  { engine, clock, log }: Services,
  change: Change,
  end: Told & Pick<AuditEntry, "outcome" | "code">,
): void {
  const { action, on } = change;
  const entry = {
    action,
    // Names are what somebody gave for them: a key where its id belongs, say [P-1.3].
    ...(on !== undefined && { on: redact(on) }),
    principal: principal.name,
    ...(address === "" ? {} : { address }),
    ...end,
  };
  engine.audit.write({ time: clock.now(), ...entry });
  log.info("audit", entry);
}

/** Longest name out of a request's path that goes into an entry. */
const ON_AT_MOST = 256;
/** Entries of an export that are read at a time. */
const EXPORT_PAGE = 1000;

export const auditHandlers: Handlers<"listAudit"> = {
  async listAudit({ query, server, request, principal, address }, { engine, waits, standing }) {
    const { format, ...page } = query;
    if (format === undefined) return engine.audit.query(page);
    const asked = { ...page, limit: EXPORT_PAGE };
    // The first page before anything is answered: a question that is refused gets its status.
    const first = await engine.audit.query(asked);
    server.timeout(request, 0);
    const lost = () => standing.lost({ principal, address }) ?? lackOf(principal);
    const wait = waits.begin(request.signal, principal.expiresAt, lost);
    const ask = (next: AuditQuery) => engine.audit.query(next);
    return new Response(new ReadableStream(new Export(first, asked, ask, wait)), {
      headers: { "Content-Type": "application/x-ndjson", "Cache-Control": "no-store" },
    });
  },
};

function lackOf({ rights }: Call["principal"]): WarrenError | undefined {
  return rights.may("admin", "audit") ? undefined : new WarrenError("forbidden");
}

type Page = Awaited<ReturnType<Services["engine"]["audit"]["query"]>>;

/**
 * Every entry from the first page on, one a line, read as fast as the client takes them, which may be slowly: it is cut
 * off when whoever asked for it is not to be shown more [P-14.4].
 */
class Export {
  #page: Page | undefined;
  #asked: AuditQuery;
  readonly #query: (next: AuditQuery) => Promise<Page>;
  readonly #wait: Wait;

  constructor(
    first: Page,
    asked: AuditQuery,
    query: (next: AuditQuery) => Promise<Page>,
    wait: Wait,
  ) {
    this.#page = first;
    this.#asked = asked;
    this.#query = query;
    this.#wait = wait;
  }

  start(controller: ReadableStreamDefaultController<string>): void {
    const { signal } = this.#wait;
    signal.addEventListener("abort", () => this.#end(() => controller.error(signal.reason)));
  }

  async pull(controller: ReadableStreamDefaultController<string>): Promise<void> {
    try {
      this.#page ??= await this.#query(this.#asked);
      this.#wait.assert();
    } catch (error) {
      this.#end(() => controller.error(error));
      return;
    }
    const { entries, next } = this.#page;
    this.#page = undefined;
    const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join("");
    if (text !== "") controller.enqueue(text);
    if (next === undefined) this.#end(() => controller.close());
    else this.#asked = { ...this.#asked, after: next };
  }

  cancel(): void {
    this.#end(() => undefined);
  }

  #end(how: () => void): void {
    this.#wait.end();
    how();
  }
}
