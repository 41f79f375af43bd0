/**
 * A process to be killed: opens the store in the folder it is given and publishes to a few topics that keep
 * a history and a retained value, some of it to a queue too. A line for each message that was confirmed.
 */
import { systemClock } from "../../src/clock.ts";
import { completeSettings } from "../../src/engine/rules.ts";
import { SqliteEngine } from "../../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Payload } from "../../src/payload.ts";
import { Dice } from "../fuzz/dice.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { BOUNDS, type Confirmed, QUEUE, TOPICS } from "./kept-words.ts";

/** Publishes on their way at once. */
const WINDOW = 40;

const [, , dataDir = "", life = "0", seed = "1"] = process.argv;
const dice = new Dice(seededRandom(Number(seed)));
const parts = { clock: systemClock, random: dice.random, limits: DEFAULT_LIMITS };
const engine = new SqliteEngine({ ...parts, dataDir, durability: "fsync" });
await engine.open({ queueChanged: () => {}, healthChanged: () => {} });
await engine.queues.define(QUEUE, completeSettings({}), []);
let made = 0;

function publish(): void {
  const isQueued = dice.chance(0.3);
  const isRetained = dice.chance(0.5);
  const id = `${life}-${++made}${isQueued ? "-queued" : ""}`;
  const topic = dice.pick(TOPICS);
  const payload = Payload.fromValue("x".repeat(dice.upTo(2000)));
  engine.append({
    message: { id, topic, time: systemClock.now(), payload },
    queues: isQueued ? [QUEUE] : [],
    dedupe: dice.chance(0.5),
    history: BOUNDS,
    ...(isRetained && { retain: "set" }),
    stored({ position }) {
      const confirmed: Confirmed = { id, topic, isRetained, position };
      process.stdout.write(`${JSON.stringify(confirmed)}\n`);
      publish();
    },
    failed(error) {
      throw error;
    },
  });
}

for (let i = 0; i < WINDOW; i++) publish();
