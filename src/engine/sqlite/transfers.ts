/**
 * The event loop's side of a transfer: while the writer moves a page, nothing of it is handed out; then
 * both queues learn what has changed.
 */
import { WarrenError } from "../../errors.ts";
import { assertNotDraining } from "../rules.ts";
import type { MessageEdit, TransferPage, TransferRequest } from "../transfer.ts";
import type { ControlAnswer, Move, Moved, MoveTarget, PackedEdit } from "./exchange.ts";
import type { QueueHost } from "./host.ts";
import { QUEUE_LANES } from "./lanes.ts";
import { locate } from "./peek.ts";
import type { SqliteQueue } from "./queue.ts";
import { isByHeader, STEP_HEADERS, STEP_ROWS } from "./step.ts";

/** Bytes that one page moves. */
const BYTES_AT_MOST = 4 * 1024 * 1024;

export async function transfer(
  host: QueueHost,
  source: SqliteQueue,
  target: SqliteQueue | undefined,
  request: TransferRequest,
): Promise<TransferPage> {
  const refusal = host.storageRefusal();
  if (refusal !== undefined) throw refusal;
  if (target !== undefined && request.dryRun !== true) assertNotDraining(target);
  const [id, ...others] = request.select.ids ?? [];
  if (id === undefined || others.length > 0 || request.record !== undefined) {
    return movePage(host, source, target, request);
  }
  // One that is asked for by its id is found while the queue goes on with its work.
  const table = request.state === "acked" ? "acked" : "messages";
  const found = await locate(host, table, id, positionOf(source, request));
  if (found === undefined) return { moved: 0, held: 0, failed: 0 };
  const { lane, sequence } = found;
  const { next, ...page } = await movePage(host, source, target, request, { lane, sequence });
  if (next === undefined || page.moved >= request.limit) {
    return next === undefined ? page : { ...page, next };
  }
  // There may be others of this id, of other topics.
  const more = await locate(host, table, id, { lane, after: sequence });
  return more === undefined ? page : { ...page, next };
}

/** With `only` nothing but the row of that place is looked at. */
function movePage(
  host: QueueHost,
  source: SqliteQueue,
  target: SqliteQueue | undefined,
  request: TransferRequest,
  only?: { readonly lane: number; readonly sequence: number },
): Promise<TransferPage> {
  const { dryRun = false } = request;
  const reads = request.state === "waiting" && !dryRun;
  const whole = moveOf(source, target, request);
  const move = only ? { ...whole, lane: only.lane, after: only.sequence - 1, scan: 1 } : whole;
  const takesRoom = target !== undefined && !dryRun;
  const giveBack = takesRoom ? target.reserve(move.limit, move.bytes) : () => {};
  if (reads) source.backlog.freeze();
  return new Promise((resolve, reject) => {
    host.storage.writer.control({ move });
    let moved: Moved | undefined;
    host.storage.add({
      answered: (answer: ControlAnswer) => {
        if (answer.kind === "moved") moved = answer;
      },
      committed: () => {
        giveBack();
        if (moved === undefined) throw new Error("a move without an answer");
        if (reads) source.departed(moved);
        if (!dryRun) target?.arrived(moved);
        const { moved: count, held, failed, next } = moved;
        const page = { moved: count, held, failed, ...(next === null ? {} : { next }) };
        if (request.record !== undefined) {
          const { collection, key, value } = request.record;
          host.records.written({ collection, key, value: { ...value, page } });
        }
        if (moved.isFull && count === 0) reject(queueFull(target));
        else resolve(page);
      },
      aborted: (error) => {
        giveBack();
        if (reads) source.backlog.thaw(() => false);
        reject(error);
      },
    });
  });
}

function moveOf(
  source: SqliteQueue,
  target: SqliteQueue | undefined,
  request: TransferRequest,
): Move {
  const { state, select, dryRun = false, record = null } = request;
  const edit = request.edit === undefined ? null : packedEdit(request.edit);
  const scan = isByHeader({ select, edit }) ? STEP_HEADERS : STEP_ROWS;
  const position = positionOf(source, request);
  const keep = [...source.inFlight()].map(({ lane, sequence }) => `${lane}.${sequence}`);
  const room = target?.room();
  if (room !== undefined && !dryRun && room.messages < 1) {
    throw queueFull(target);
  }
  const limit = Math.min(request.limit, scan, dryRun ? Infinity : (room?.messages ?? Infinity));
  const packed: MoveTarget | null =
    target === undefined || room === undefined
      ? null
      : {
          queue: target.number,
          defaultPriority: target.settings.defaultPriority,
          firstSequence: target.lastSequence + 1,
          maxBytes: target.settings.maxBytes ?? Number.MAX_SAFE_INTEGER,
          isIndexed: target.isIndexed,
          roomBytes: dryRun ? Number.MAX_SAFE_INTEGER : room.bytes,
        };
  // Held messages are held back from their home only as long as nobody names them.
  const holds = state === "waiting" && target !== undefined && select.ids === undefined;
  return {
    state,
    queue: source.number,
    ...position,
    scan,
    limit,
    bytes: BYTES_AT_MOST,
    keep,
    select,
    heldQueue: target?.name ?? "",
    heldFrom: holds ? target.settings.maxRedrives : null,
    target: packed,
    edit,
    dryRun,
    record,
  };
}

function queueFull(target: SqliteQueue | undefined): WarrenError {
  return new WarrenError("queue_full", undefined, { queue: target?.name });
}

/** Where the page begins, and up to which sequence this and all later ones go. */
function positionOf(
  source: SqliteQueue,
  { after, state }: TransferRequest,
): Pick<Move, "lane" | "after" | "through"> {
  const first = source.number * QUEUE_LANES;
  if (after === undefined) {
    const through = state === "acked" ? null : source.lastSequence;
    return { lane: first, after: 0, through };
  }
  const match = /^(\d{1,14})\.(\d)\.(\d{1,14})$/.exec(after);
  if (match === null) {
    throw new WarrenError("invalid_frame", "after is not a place that a page gave.", {
      pointer: "/after",
    });
  }
  const [, through, rank, sequence] = match;
  return { lane: first + Number(rank), after: Number(sequence), through: Number(through) };
}

function packedEdit({ payload, ...rest }: MessageEdit): PackedEdit {
  if (payload === undefined) return rest;
  const base64 = Buffer.from(payload.storedBytes()).toString("base64");
  return { ...rest, payload: { format: payload.format, base64 } };
}
