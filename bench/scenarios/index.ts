/** Every scenario, in the order they run: later ones take rates from earlier ones. */
import type { Scenario } from "../scenario.ts";
import { drain } from "./drain.ts";
import { durable, serial } from "./durable.ts";
import { echo } from "./echo.ts";
import { fanin } from "./fanin.ts";
import { fanout } from "./fanout.ts";
import { memory } from "./memory.ts";

export const SCENARIOS: readonly Scenario[] = [fanout, fanin, durable, serial, drain, echo, memory];
