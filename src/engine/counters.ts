/** The counters of an engine at its start. */
import type { EngineCounters } from "./engine.ts";

export function newCounters(): EngineCounters {
  return {
    stored: 0,
    delivered: 0,
    redelivered: 0,
    acked: 0,
    nacked: 0,
    deadLettered: 0,
    expired: 0,
    timedOut: 0,
    duplicates: 0,
    auditDropped: 0,
    commits: 0,
    commitOperations: 0,
    commitMs: 0,
  };
}
