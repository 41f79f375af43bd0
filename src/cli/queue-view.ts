/** Queues and their messages as the command line shows them. */
import type { QueueCounters, QueueCounts, QueueRates, QueueSettings } from "../../schemas/queue.ts";
import type { DeathRecord } from "../message.ts";
import { brief, clockTime, type Terminal } from "./terminal.ts";

/** What the operator's plane says of a queue. */
export interface Queue extends QueueSettings {
  readonly name: string;
  readonly bindings: readonly string[];
  readonly counts: QueueCounts;
  readonly createdAt: number;
  readonly deadLetterOf?: string;
  readonly counters: QueueCounters;
  readonly rates: QueueRates;
  readonly oldestTime?: number;
  readonly oldestAgeMs?: number;
}

export interface QueueMessage {
  readonly topic: string;
  readonly messageId: string;
  readonly payload: unknown;
  readonly time: number;
  readonly state: string;
  readonly attempts: number;
  readonly held?: boolean;
  readonly deaths?: readonly DeathRecord[];
}

export function printQueue(terminal: Terminal, queue: Queue): void {
  if (terminal.json) {
    terminal.object(queue);
    return;
  }
  const { name, counts, bindings, createdAt, deadLetterOf, counters, rates, ...more } = queue;
  const { oldestTime, oldestAgeMs, ...settings } = more;
  const { ready, delayed, inFlight, bytes, dead, consumers, retained } = counts;
  const rows: [string, string][] = [
    ["messages", `${ready} ready, ${delayed} delayed, ${inFlight} in flight, ${bytes} bytes`],
    ["dead, retained", `${dead} dead, ${retained} retained`],
    ["so far", nonZero(counters)],
    ["per second", `${perSecond(rates.over10s)} in 10 s; ${perSecond(rates.over60s)} in 60 s`],
    ["consumers", String(consumers)],
    ["bindings", bindings.length === 0 ? "none: nothing comes in" : bindings.join("  ")],
    ...Object.entries(settings).map(([key, value]): [string, string] => [key, brief(value)]),
  ];
  if (deadLetterOf !== undefined) rows.splice(5, 1, ["dead letters of", deadLetterOf]);
  if (oldestTime !== undefined) {
    const age = `${new Date(oldestTime).toISOString()}, ${(oldestAgeMs ?? 0) / 1000} s ago`;
    rows.push(["oldest", age]);
  }
  const width = Math.max(...rows.map(([key]) => key.length));
  terminal.line(terminal.bold(name));
  for (const [key, value] of rows) terminal.line(`  ${key.padEnd(width)}  ${value}`);
}

function nonZero(counters: QueueCounters): string {
  const done = Object.entries(counters).filter(([, count]) => count > 0);
  if (done.length === 0) return "nothing";
  return done.map(([name, count]) => `${count} ${name}`).join(", ");
}

function perSecond({ published, delivered, acked }: QueueRates["over10s"]): string {
  return `${published} published, ${delivered} delivered, ${acked} acked`;
}

export function printMessages(terminal: Terminal, messages: readonly QueueMessage[]): void {
  for (const message of messages) {
    if (terminal.json) {
      terminal.object(message);
      continue;
    }
    const { time, messageId, topic, payload, state, attempts, held, deaths } = message;
    const tries = attempts > 0 ? `, ${counted(attempts, "attempt")}` : "";
    terminal.line(
      `${terminal.dim(`${clockTime(time)} ${brief(messageId)}`)} ${terminal.bold(topic)} ` +
        `${brief(payload)} ${terminal.dim(`(${state}${tries}${held === true ? ", held" : ""})`)}`,
    );
    for (const death of deaths ?? []) {
      const detail = death.detail === undefined ? "" : `: ${brief(death.detail)}`;
      const after = `after ${counted(death.attempts, "attempt")} in ${death.queue}`;
      terminal.line(`    ${terminal.red(death.reason)} ${after}${detail}`);
    }
  }
}

/** `1 message`, `2 messages`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
