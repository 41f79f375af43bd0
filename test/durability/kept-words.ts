/** What the process that is killed and the one that looks have to agree on. */
import type { Position } from "../../src/engine/topics.ts";

export const QUEUE = "q";
export const TOPICS = ["t/0", "t/1", "t/2", "t/3", "t/4"];
/** What no run reaches. */
export const BOUNDS = { maxMessages: 1_000_000 };

export interface Confirmed {
  readonly id: string;
  readonly topic: string;
  readonly isRetained: boolean;
  readonly position: Position | undefined;
}
