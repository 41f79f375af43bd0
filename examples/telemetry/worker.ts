/**
 * A service in a process of its own: takes readings from the queue, hands their worth to the office (its
 * parent process), and only when that has them acks. What it cannot read it rejects. Started with
 * `--dies-after N` it kills itself, hard, between the two: what it held goes to somebody else.
 */
import { parseArgs } from "node:util";
import { Connection, type Frame } from "./connection.ts";
import { isWhole, type Reading } from "./readings.ts";

export interface Result {
  readonly messageId: string;
  readonly hour: number;
  readonly temperature: number;
}

/** What a worker says to the office; the answer is any message at all. */
export interface WorkDone {
  readonly results: readonly Result[];
}

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    queue: { type: "string" },
    "dies-after": { type: "string" },
  },
});
const diesAfter = Number(values["dies-after"] ?? Number.POSITIVE_INFINITY);
let handled = 0;

const connection = await Connection.open(values.url ?? "");
let work = Promise.resolve();
connection.onFrames = (frames) => {
  const deliveries = frames.filter((frame) => frame.type === "delivery");
  // One after the other: the office answers in order, and an ack must not overtake its results.
  work = work.then(() => handle(deliveries));
};
connection.onClose = () => process.exit(0);
await connection.ask({ type: "consume", queue: values.queue, credit: 64 });

async function handle(deliveries: readonly Frame[]): Promise<void> {
  const whole = deliveries.filter((delivery) => isWhole(delivery.payload as Reading));
  const broken = deliveries.filter((delivery) => !isWhole(delivery.payload as Reading));
  if (broken.length > 0) {
    await settle({ type: "reject", reason: "temperature is not a number" }, broken);
  }
  if (whole.length === 0) return;
  await handOver({ results: whole.map(resultOf) });
  handled += whole.length;
  if (handled > diesAfter) process.kill(process.pid, "SIGKILL");
  await settle({ type: "ack" }, whole);
}

function resultOf(delivery: Frame): Result {
  const reading = delivery.payload as Reading;
  return {
    messageId: delivery.messageId as string,
    hour: Number(reading.at.slice(11, 13)),
    temperature: reading.temperature as number,
  };
}

/** Resolves when the office has it. */
function handOver(work: WorkDone): Promise<void> {
  return new Promise((resolve) => {
    process.once("message", () => resolve());
    process.send?.(work);
  });
}

function settle(frame: Omit<Frame, "id">, deliveries: readonly Frame[]): Promise<Frame> {
  return connection.ask({ ...frame, tags: deliveries.map((delivery) => delivery.tag) });
}
