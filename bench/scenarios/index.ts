/** Every scenario, in the order they run: later ones take rates from earlier ones. */
import type { Scenario } from "../scenario.ts";
import { access } from "./access.ts";
import { churn } from "./churn.ts";
import { delayed } from "./delayed.ts";
import { drain } from "./drain.ts";
import { durable, serial } from "./durable.ts";
import { echo } from "./echo.ts";
import { fanin } from "./fanin.ts";
import { fanout } from "./fanout.ts";
import { http } from "./http.ts";
import { memory } from "./memory.ts";
import { ordered } from "./ordered.ts";
import { redrive } from "./redrive.ts";
import { sustain } from "./sustain.ts";

export const SCENARIOS: readonly Scenario[] = [
  fanout,
  fanin,
  durable,
  serial,
  drain,
  sustain,
  ordered,
  delayed,
  redrive,
  http,
  echo,
  churn,
  access,
  memory,
];
