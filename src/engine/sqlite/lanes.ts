/**
 * The arithmetic of message ids: a lane is one queue at one priority, and within a lane the sequence
 * counts up. As rowids, lane << 44 | sequence, they lie in the order in which the queue hands out.
 */

/** 2^44 messages: at 100,000 a second a queue lasts more than five years before it would wrap. */
export const SEQUENCE_BITS = 44;

/** Lanes of one queue: ten priorities, rounded up to a power of two. */
export const QUEUE_LANES = 16;
export const PRIORITIES = 10;

/** Queue numbers fit beside lane and sequence in 63 bits. */
export const QUEUE_NUMBERS = 2 ** (63 - SEQUENCE_BITS - 4) - 1;

export function laneOf(queueNumber: number, priority: number): number {
  return queueNumber * QUEUE_LANES + (PRIORITIES - 1 - priority);
}

export function queueNumberOf(lane: number): number {
  return Math.floor(lane / QUEUE_LANES);
}

/** 0 for the highest priority. */
export function rankOf(lane: number): number {
  return lane % QUEUE_LANES;
}

export function priorityOfLane(lane: number): number {
  return PRIORITIES - 1 - rankOf(lane);
}

/** The rowid as decimal text: it does not fit into a number. */
export function idText(lane: number, sequence: number): string {
  return ((BigInt(lane) << BigInt(SEQUENCE_BITS)) | BigInt(sequence)).toString();
}

/** The rowid of a place, as an SQL expression. */
export const ID = (lane: string, sequence: string) =>
  `((${lane} << ${SEQUENCE_BITS}) | ${sequence})`;

export const SEQUENCE_MASK = 2 ** SEQUENCE_BITS - 1;

/** What the messages of one key in one queue are found by. As JSON, so that any key is well-formed. */
export function orderingOf(queueNumber: number, key: string): string {
  return `${queueNumber}:${JSON.stringify(key)}`;
}
