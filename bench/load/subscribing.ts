/** Subscribing and leaving again, filter after filter: what a subscribe costs with its check. */
import { type Connection, openMany, parseFrames } from "./connection.ts";
import type { JobResult, SubscribingJob } from "./jobs.ts";
import { type JobContext, measure } from "./timing.ts";
import { textFrame } from "./wire.ts";

export async function subscribing(job: SubscribingJob, context: JobContext): Promise<JobResult> {
  const peers = await openMany(job.connections, job.port, context.fail, job.credential);
  const frames = job.filters.map((filter) =>
    textFrame(
      JSON.stringify([
        { type: "subscribe", filter, id: 1 },
        { type: "unsubscribe", filter },
      ]),
    ),
  );
  let sent = 0;
  let answered = 0;
  let open = true;
  const subscribe = (connection: Connection, count: number) => {
    for (let i = 0; i < count; i++) connection.send(frames[(sent++ * 7) % frames.length]!);
  };
  for (const connection of peers) {
    connection.listen({
      skim: () => false,
      message: (bytes) => {
        const answers = parseFrames(bytes);
        const refused = answers.find(({ type }) => type !== "ok");
        if (refused !== undefined) context.fail(new Error(`refused: ${JSON.stringify(refused)}`));
        answered += answers.length;
        if (open) subscribe(connection, answers.length);
      },
    });
    subscribe(connection, job.window);
  }
  const measured = await measure(job, () => answered, []);
  open = false;
  for (const connection of peers) connection.close();
  return { ...measured, late: false };
}
