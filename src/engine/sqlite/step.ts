/**
 * How much one step of looking reads: searching, counting and moving go step by step, and every commit that
 * comes meanwhile waits for one (docs/decisions/0018-dead-letters-and-circling.md).
 */
import { readsPayload } from "../selection.ts";
import type { Move } from "./exchange.ts";

/** Rows that one step looks at. */
export const STEP_ROWS = 128;
/** Rows that one step moves, or counts, by their headers alone: it takes less time than looking at so many. */
export const STEP_HEADERS = 256;
/** Bytes of records that it looks at, unless the first alone is longer. */
const STEP_BYTES = 1024 * 1024;

/** Whether a move needs no more of a message than its header: it neither reads payloads nor changes anything. */
export function isByHeader({ select, edit }: Pick<Move, "select" | "edit">): boolean {
  return edit === null && !readsPayload(select);
}

/** Whether records of so many bytes in all are one step, or part of one that has some already. */
export function fitStep(bytes: number): boolean {
  return bytes <= STEP_BYTES;
}

/** How many of the next rows, whose records have these lengths, are one step: at least one, if there is one. */
export function rowsOfStep(lengths: readonly number[], bytesBefore = 0): number {
  let bytes = bytesBefore;
  for (let i = 0; i < lengths.length; i++) {
    bytes += lengths[i]!;
    if (bytes > STEP_BYTES && i + bytesBefore > 0) return i;
  }
  return lengths.length;
}
