/** What must be so when a simulation has come to its end. */
import type { Database } from "bun:sqlite";
import type { QueueReport } from "../../src/engine/engine.ts";
import type { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import type { HistoryEvent } from "../durability/history.ts";
import type { SimGuest } from "./guest.ts";
import type { Surroundings } from "./peer.ts";
import { TOPICS } from "./rules.ts";
import type { PresenceWitness } from "./witness.ts";

export function isEmpty({ counts }: QueueReport): boolean {
  const { ready, delayed, inFlight, bytes } = counts;
  // What is on its way out of the queue is in none of the counts, but takes room still.
  return ready + delayed + inFlight + bytes === 0;
}

/** What lies on disk although memory has nothing. */
export function leftOver(database: Database): { kind: "left"; text: string }[] {
  const of = (sql: string) =>
    (database.query<{ n: number | null }, []>(sql).get()?.n ?? 0) as number;
  const rows = of("SELECT count(*) AS n FROM messages");
  const counted = of("SELECT sum(abs(messages) + abs(bytes)) AS n FROM queues");
  if (rows === 0 && counted === 0) return [];
  return [{ kind: "left", text: `${rows} rows, ${counted} in the totals` }];
}

/** [P-5.15] What was acked is kept, once, and nothing else is. */
export async function retainedFaults(
  queue: string,
  engine: SqliteEngine | undefined,
  events: readonly HistoryEvent[],
  world: Surroundings,
): Promise<void> {
  let shown: readonly string[] | undefined;
  void engine?.queues
    .peek(queue, { state: "acked", limit: 10_000 })
    .then(({ messages }) => {
      const payloads = messages.map(({ message }) => JSON.parse(message.payload.json()));
      shown = payloads.map(({ stream, number }) => `${stream}/${number}`);
    })
    .catch(() => {
      shown = [];
    });
  await world.time.run(Number.POSITIVE_INFINITY, () => shown !== undefined);
  const fault = (text: string) => world.fault("retained", text);
  const kept = new Set(shown);
  const { asked, answered } = acksOf(queue, events);
  if (kept.size !== shown?.length) fault(`${shown?.length} kept of ${kept.size} messages`);
  const report = engine?.queues.list().find(({ name }) => name === queue);
  const retained = report?.counts.retained ?? -1;
  if (retained !== kept.size) fault(`${kept.size} kept, ${retained} counted`);
  for (const message of answered) if (!kept.has(message)) fault(`${message} is not kept`);
  for (const message of kept) if (!asked.has(message)) fault(`${message} was not acked`);
}

/** [P-7.1] Who wants to be on a topic is, and nobody else. */
export function presenceFaults(
  guests: readonly SimGuest[],
  witness: PresenceWitness,
  world: Surroundings,
): void {
  for (const topic of TOPICS) {
    const wanted = guests.filter(({ wishes }) => wishes.has(topic));
    const names = wanted.map(({ options }) => options.who.name).sort();
    const there = witness.names(topic);
    if (Bun.deepEquals(names, there)) continue;
    world.fault("presence", `${there.join()} are on ${topic} in the place of ${names.join()}`);
  }
}

/** Messages of the queue that somebody acked, and those whose ack was answered. */
function acksOf(queue: string, events: readonly HistoryEvent[]) {
  const byTag = new Map<number, string>();
  const asked = new Set<string>();
  const answered = new Set<string>();
  const acks = new Set<number>();
  for (const event of events) {
    if (event.kind === "delivered" && event.queue === queue) byTag.set(event.tag, event.message);
    if (event.kind !== "settling" && event.kind !== "settled") continue;
    const message = byTag.get(event.tag);
    if (message === undefined) continue;
    if (event.kind === "settling") {
      if (event.outcome !== "ack") continue;
      acks.add(event.tag);
      asked.add(message);
    } else if (acks.has(event.tag)) answered.add(message);
  }
  return { asked, answered };
}
