/** A durable queue in use that hands out by key, or by priority. */
import {
  type Case,
  CONFIRM_P50,
  CONFIRM_P99,
  CPU,
  type Goal,
  RATE,
  type Scenario,
} from "../scenario.ts";
import { QUEUE_PEERS, QUEUE_WINDOW, runQueue } from "./durable.ts";

const KEYS = 1000;
const PEERS = { publishers: QUEUE_PEERS, consumers: QUEUE_PEERS };
const GOALS: Goal[] = [{ metric: "rate", of: "ratio", bound: "at least", value: 0.8 }];

function orderedCase(
  name: string,
  title: string,
  shape: { readonly keys?: number; readonly priorities?: boolean },
  settings: object,
): Case {
  return {
    name,
    title,
    metrics: [RATE, CPU, CONFIRM_P50, CONFIRM_P99],
    goals: GOALS,
    measure: (bench) => runQueue(bench, { ...PEERS, ...shape }, { window: QUEUE_WINDOW }, settings),
  };
}

export const ordered: Scenario = {
  name: "ordered",
  title: "As durable/load-4, in order by key, and by priority",
  cases: [
    orderedCase("keyed", "1,000 keys in turn", { keys: KEYS }, { ordering: "key" }),
    // The bare side knows by the named default that there will be others.
    orderedCase("priority", "ten priorities in turn", { priorities: true }, { defaultPriority: 4 }),
  ],
};
