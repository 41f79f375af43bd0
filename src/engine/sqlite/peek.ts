/** Looking into a queue without a side effect: pages of rows as they lie on disk, in order of delivery. */
import { WarrenError } from "../../errors.ts";
import type { MessageState, PeekOptions, PeekPage, StoredMessage } from "../engine.ts";
import { deathsIn, type Selection } from "../selection.ts";
import type { Row } from "./batch.ts";
import { Entry } from "./entry.ts";
import type { QueueHost } from "./host.ts";
import { PRIORITIES, QUEUE_LANES } from "./lanes.ts";
import type { SqliteQueue } from "./queue.ts";
import { STEP_ROWS } from "./step.ts";
import type { Rows } from "./storage.ts";

/** Rows that one peek looks at; past them it answers with what it found and a `next`. */
const ROWS_AT_MOST = 5120;

interface Position {
  readonly lane: number;
  readonly after: number;
}

/** One page of messages; `invalid_frame` for an `after` that no page gave. */
export async function peek(
  host: QueueHost,
  queue: SqliteQueue,
  options: PeekOptions,
): Promise<PeekPage> {
  const messages: StoredMessage[] = [];
  const { state, limit: _limit, after: _after, ...select } = options;
  let position = decode(queue, options.after);
  for (let seen = 0; seen < ROWS_AT_MOST; seen += STEP_ROWS) {
    const { rows, complete, reached } = await readPage(host, queue, position, state, select);
    const held = placesInFlight(queue);
    for (const row of rows) {
      if (messages.length === options.limit) return { messages, next: encode(queue, position) };
      position = { lane: row.lane, after: row.sequence };
      const stored = state === "acked" ? asAcked(queue, row) : asStored(host, queue, row, held);
      const wanted = state === undefined || state === stored.state;
      if (wanted) messages.push(stored);
    }
    if (complete) return { messages };
    position = reached ?? position;
  }
  return { messages, next: encode(queue, position) };
}

/** The message of this id; undefined when the queue does not hold it. */
export async function find(
  host: QueueHost,
  queue: SqliteQueue,
  messageId: string,
): Promise<StoredMessage | undefined> {
  const first = decode(queue, undefined);
  const row = await locate(host, "messages", messageId, first);
  if (row !== undefined) return asStored(host, queue, row, placesInFlight(queue));
  const acked = await locate(host, "acked", messageId, first);
  return acked && asAcked(queue, acked);
}

/** The first row of a message with this id after the place; undefined when its queue has none there. */
export async function locate(
  host: QueueHost,
  table: "messages" | "acked",
  id: string,
  { lane, after }: Position,
): Promise<Row | undefined> {
  const last = lane - (lane % QUEUE_LANES) + PRIORITIES - 1;
  let position: Position = { lane, after };
  for (;;) {
    const read = { kind: "named", table, id, ...position, lastLane: last } as const;
    const { rows, complete, reached } = await host.storage.read(read);
    if (rows[0] !== undefined || complete) return rows[0];
    position = reached ?? position;
  }
}

function readPage(
  host: QueueHost,
  queue: SqliteQueue,
  position: Position,
  state: MessageState | undefined,
  select: Selection,
): Promise<Rows> {
  const selected = Object.keys(select).length === 0 ? {} : { select };
  if (state === "acked") {
    return host.storage.read({ kind: "acked", ...position, ...selected, limit: STEP_ROWS });
  }
  return host.storage.read({
    kind: "all",
    ...position,
    lastLane: queue.number * QUEUE_LANES + PRIORITIES - 1,
    ...selected,
    limit: STEP_ROWS,
  });
}

/** Made once for a page: there may be many consumers, and each may hold a thousand. */
function placesInFlight(queue: SqliteQueue): ReadonlySet<string> {
  const places = new Set<string>();
  for (const { lane, sequence } of queue.inFlight()) places.add(`${lane}.${sequence}`);
  return places;
}

function asStored(
  host: QueueHost,
  queue: SqliteQueue,
  row: Row,
  held: ReadonlySet<string>,
): StoredMessage {
  const { message, attempts, deaths, expiresAt } = Entry.fromRow(queue, row);
  return {
    message,
    state: stateOf(host, row, held),
    attempts,
    expiresAt,
    ...(row.dueAt === undefined ? {} : { dueAt: row.dueAt }),
    ...(deaths === undefined ? {} : { deaths }),
    ...(isHeld(queue, deaths) ? { held: true as const } : {}),
  };
}

function isHeld(queue: SqliteQueue, deaths: StoredMessage["deaths"]): boolean {
  const { deadLetterOf, settings } = queue;
  return deadLetterOf !== undefined && deathsIn(deadLetterOf, deaths) >= settings.maxRedrives;
}

function asAcked(queue: SqliteQueue, row: Row): StoredMessage {
  const { message, attempts, deaths } = Entry.fromRow(queue, row);
  const ackedAt = row.dueAt ?? 0;
  const expiresAt = ackedAt + queue.settings.retainAckedMs;
  const stored = { message, state: "acked", attempts, ackedAt, expiresAt } as const;
  return deaths === undefined ? stored : { ...stored, deaths };
}

function stateOf(host: QueueHost, row: Row, held: ReadonlySet<string>): MessageState {
  if (row.dueAt !== undefined && row.dueAt > host.clock.now()) return "delayed";
  return held.has(`${row.lane}.${row.sequence}`) ? "inflight" : "ready";
}

function encode(queue: SqliteQueue, { lane, after }: Position): string {
  return `${lane - queue.number * QUEUE_LANES}.${after}`;
}

function decode(queue: SqliteQueue, after: string | undefined): Position {
  const first = queue.number * QUEUE_LANES;
  if (after === undefined) return { lane: first, after: 0 };
  const match = /^(\d)\.(\d{1,14})$/.exec(after);
  if (match === null) {
    throw new WarrenError("invalid_frame", "after is not a place that a page gave.", {
      pointer: "/after",
    });
  }
  return { lane: first + Number(match[1]), after: Number(match[2]) };
}
