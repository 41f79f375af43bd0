/** What became of the items of a batch that is durable: which did something, which did nothing, which were left out. */
import type { WarrenError } from "../../errors.ts";
import { Admission } from "./admission.ts";
import type { BatchResult } from "./exchange.ts";
import type { Pending } from "./storage.ts";

/** Tells each item, in their order. */
export function tellAll(
  items: readonly Pending[],
  { void: without, answers, refused }: BatchResult,
): void {
  let conditional = 0;
  let seen = 0;
  let answered = 0;
  let questions = 0;
  let refusals = 0;
  let refusal: WarrenError | undefined;
  let failing = 0;
  for (const item of items) {
    if (item.answered !== undefined) item.answered(answers[answered++]!);
    const isWithout = item.conditional === true && without[seen] === conditional++;
    if (isWithout) seen++;
    if (failing > 0 && refusal !== undefined) {
      failing--;
      item.aborted(refusal);
      continue;
    }
    if (item instanceof Admission) {
      const found = refused?.[refusals];
      if (found?.question === questions++) {
        refusals++;
        refusal = item.refused(found);
        failing = item.guarded;
        continue;
      }
    }
    item.committed(isWithout);
  }
}
