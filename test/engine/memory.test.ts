/** The memory engine keeps the engine contract. */

import { describeEngine } from "../contracts/engine.contract.ts";
import { memory } from "./memory-kind.ts";

describeEngine(memory);
