/** Looking at a session now and then: is its peer there, does it read [P-9.2, P-4.7]? */
import { CLOSE } from "../../schemas/errors.ts";
import type { Intake } from "./intake.ts";
import type { LiveSubscriptions } from "./live.ts";
import type { Session } from "./session.ts";
import type { Work } from "./work.ts";

/** What a session holds, as far as it has begun to use it. */
export interface Holdings {
  readonly live: LiveSubscriptions | undefined;
  readonly work: Work | undefined;
  readonly intake: Intake | undefined;
  /** Since when it is leaving, or its live subscriptions are suspended, in ticks. */
  readonly behindSince: number;
}

/** A peer that is silent or behind for too long is ended, one that is silent for a while is pinged. */
export function sweep(session: Session, tick: number, ticksPerHeartbeat: number): void {
  const { live, intake, behindSince } = session.holdings;
  const behind = tick - behindSince;
  if (session.state === "leaving") {
    if (behind > 2 * ticksPerHeartbeat) session.socket.terminate();
    return;
  }
  // While we do not read, silence says nothing.
  if (intake?.paused) session.heardAt = tick;
  const silence = tick - session.heardAt;
  if (silence > 2 * ticksPerHeartbeat) session.socket.terminate();
  else if (live?.suspended && behind > 4 * ticksPerHeartbeat) {
    session.leave(CLOSE.slowConsumer, "reads too slowly");
  } else if (silence * 2 >= ticksPerHeartbeat) session.socket.ping();
}
