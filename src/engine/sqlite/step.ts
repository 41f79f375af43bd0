/**
 * How much one step of looking reads: searching, counting and moving go step by step, and every commit that
 * comes meanwhile waits for one (docs/decisions/0018-dead-letters-and-circling.md).
 */

/** Rows that one step looks at. */
export const STEP_ROWS = 128;
/** Bytes of records that it looks at, unless the first alone is longer. */
const STEP_BYTES = 1024 * 1024;

/** How many of the next rows, whose records have these lengths, are one step: at least one, if there is one. */
export function rowsOfStep(lengths: readonly number[], bytesBefore = 0): number {
  let bytes = bytesBefore;
  for (let i = 0; i < lengths.length; i++) {
    bytes += lengths[i]!;
    if (bytes > STEP_BYTES && i + bytesBefore > 0) return i;
  }
  return lengths.length;
}
