/** The memory engine keeps the engine contract. */

import { describeHistory } from "../contracts/engine/history.ts";
import { describeKept } from "../contracts/engine/kept.ts";
import { describeEngine } from "../contracts/engine.contract.ts";
import { memory } from "./memory-kind.ts";

describeEngine(memory);
describeHistory(memory);
describeKept(memory);
