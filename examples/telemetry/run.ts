/**
 * Many devices, one live monitor, two workers on a durable queue, one of which dies in the middle. At the
 * end the books must balance to the last message. Run it with `npm run example`.
 */
import { type Broker, deathsIn, defineQueue, depthOf, startBroker, until } from "./broker.ts";
import { Connection } from "./connection.ts";
import { Office } from "./office.ts";
import { readingsByStation } from "./readings.ts";
import { runStation } from "./station.ts";

const STATIONS = 50;
const QUEUE = "weather";
const DIES_AFTER = 1000;

interface Outcome {
  readonly published: number;
  readonly queued: number;
  readonly seen: number;
  readonly office: Office;
  readonly deaths: readonly string[];
  readonly left: number;
  readonly seconds: number;
}

async function main(): Promise<number> {
  const outcome = await withBroker(play);
  report(outcome);
  const faults = imbalances(outcome);
  for (const fault of faults) console.log(`  DOES NOT BALANCE: ${fault}`);
  if (faults.length === 0) console.log("  All books balance.\n");
  return faults.length === 0 ? 0 : 1;
}

async function withBroker<T>(use: (broker: Broker) => Promise<T>): Promise<T> {
  await using broker = await startBroker();
  return await use(broker);
}

async function play({ url }: Broker): Promise<Outcome> {
  const started = performance.now();
  await defineQueue(url, QUEUE, { bindings: ["stations/+/weather"], ackTimeoutMs: 30_000 });

  let seen = 0;
  const monitor = await Connection.open(url);
  monitor.onFrames = (frames) => {
    seen += frames.filter((frame) => frame.type === "event").length;
  };
  await monitor.ask({ type: "subscribe", filter: "stations/#" });

  const office = new Office();
  const mortal = office.hire(url, QUEUE, DIES_AFTER);
  const steady = office.hire(url, QUEUE);

  const hands = readingsByStation(STATIONS);
  const stations = await Promise.all(
    hands.map((readings, i) => runStation(url, `${i + 1}`.padStart(2, "0"), readings)),
  );
  const published = stations.reduce((sum, station) => sum + station.messages, 0);
  const queued = stations.reduce((sum, station) => sum + station.queued, 0);

  await mortal.exited;
  await until("the queue is empty", async () => (await leftIn(url)) === 0);
  await until("the monitor saw everything", () => seen >= published);
  const deaths = await deathsIn(url, QUEUE);
  const left = await leftIn(url);

  monitor.close();
  steady.kill();
  await steady.exited;
  return { published, queued, seen, office, deaths, left, seconds: since(started) };
}

async function leftIn(url: string): Promise<number> {
  const { ready, delayed, inFlight } = await depthOf(url, QUEUE);
  return ready + delayed + inFlight;
}

function imbalances({ published, queued, seen, office, deaths, left }: Outcome): string[] {
  const books: [string, number, number][] = [
    ["published = seen live", published, seen],
    ["published = stored in the queue", published, queued],
    ["stored = aggregated + dead", queued, office.counted + deaths.length],
    ["nothing is left in the queue", left, 0],
  ];
  const faults = books.filter(([, a, b]) => a !== b).map(([what, a, b]) => `${what}: ${a}, ${b}`);
  if (office.repeated === 0) faults.push("the dead worker's messages were not delivered again");
  if (deaths.some((reason) => reason !== "rejected")) faults.push(`deaths: ${deaths.join(" ")}`);
  return faults;
}

function report({ published, seen, office, deaths, seconds }: Outcome): void {
  const means = office.hours.map(({ readings, sum }) => sum / readings);
  const coldest = means.indexOf(Math.min(...means));
  const warmest = means.indexOf(Math.max(...means));
  const row = (label: string, value: string | number) =>
    console.log(`  ${label.padEnd(50)}${value}`);
  console.log("\nA year of Seattle's weather in one go\n");
  row(`published by ${STATIONS} stations, each confirmed on disk`, published);
  row("seen live by the monitor, on one wildcard", seen);
  row("aggregated by the workers", office.counted);
  row("delivered again after a worker was killed", office.repeated);
  row(`dead letters in ${QUEUE}.dead (broken sensors)`, deaths.length);
  row("coldest hour of the day", `${clock(coldest)}  ${means[coldest]?.toFixed(1)} °C`);
  row("warmest hour of the day", `${clock(warmest)}  ${means[warmest]?.toFixed(1)} °C`);
  row("took", `${seconds.toFixed(1)} s\n`);
}

function clock(hour: number): string {
  return `${hour}`.padStart(2, "0").concat(":00");
}

function since(started: number): number {
  return (performance.now() - started) / 1000;
}

process.exitCode = await main();
