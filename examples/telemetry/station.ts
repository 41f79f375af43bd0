/** A device: its own connection, its own topic, and a few publishes unanswered at a time. */
import { Connection } from "./connection.ts";
import type { Reading } from "./readings.ts";

const UNANSWERED = 16;

export interface Confirmed {
  messages: number;
  /** Copies that queues took, as the broker said. */
  queued: number;
}

/** Publishes all readings; resolves when the broker confirmed every one to be on disk. */
export async function runStation(
  url: string,
  name: string,
  readings: readonly Reading[],
): Promise<Confirmed> {
  const connection = await Connection.open(url);
  const confirmed: Confirmed = { messages: 0, queued: 0 };
  const waiting = readings.values();
  const lane = async () => {
    for (const payload of waiting) {
      const ok = await connection.ask({
        type: "publish",
        topic: `stations/${name}/weather`,
        payload,
        // Sent again after a lost answer, the same id would be recognised and stored once.
        messageId: `${name}-${payload.at}`,
      });
      confirmed.messages++;
      confirmed.queued += ok.queues as number;
    }
  };
  await Promise.all(Array.from({ length: UNANSWERED }, lane));
  connection.close();
  return confirmed;
}
