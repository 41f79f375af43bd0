/**
 * What topics keep, when there are very many of them and when very many come back for it.
 *
 *     bun bench/topics.ts fill [topics]      a flood of distinct topics up to the bound, and past it
 *     bun bench/topics.ts upkeep [topics]    what a round of upkeep costs
 *     bun bench/topics.ts recover [clients]  all recover the same 2.4 MB at once
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { SignJWT } from "jose";
import { ChannelBook } from "../src/broker/channels.ts";
import { Router } from "../src/broker/router.ts";
import { TopicUpkeep } from "../src/broker/upkeep.ts";
import { systemClock, systemRandom } from "../src/clock.ts";
import { SqliteEngine } from "../src/engine/sqlite/engine.ts";
import { DEFAULT_LIMITS } from "../src/limits.ts";
import { Payload } from "../src/payload.ts";
import { Crowd } from "./crowd/crowd.ts";
import { type Echoes, machineMs } from "./crowd/messages.ts";
import { sleep } from "./load/timing.ts";
import { abandonServers, ServerProcess, withDataDir } from "./servers.ts";

const SECRET = "a secret for nothing but this benchmark";
const OTHERS = { connections: 10, perSecond: 500 } as const;
const PUBLISHERS = 4;
const FRAMES_AT_ONCE = 50;
/** Of each publisher, below `limits.pendingPublishes`; and how many it publishes a second. */
const UNANSWERED = 1000;
const PER_SECOND = 5000;
const STEP_MS = 10;
const PAYLOAD = "x".repeat(128);
const DAY_MS = 86_400_000;
const RECORDS = { messages: 1200, bytes: 2000 } as const;

const ms = (us: number) => (us / 1000).toFixed(1);
const mb = (bytes: number) => (bytes / 1024 / 1024).toFixed(0);
const row = (cells: readonly (string | number)[]) => console.log(`| ${cells.join(" | ")} |`);
const head = (cells: readonly string[]) => {
  row(cells);
  console.log(`|${"---|".repeat(cells.length)}`);
};

interface House {
  readonly server: ServerProcess;
  readonly others: Crowd;
  readonly token: string;
  readonly dataFile: string;
}

async function withBroker(channels: object, use: (house: House) => Promise<void>): Promise<void> {
  await withDataDir(async (dir) => {
    const server = await ServerProcess.start("warren", dir, {
      WARREN_JWT_SECRET: SECRET,
      WARREN_CHANNELS: JSON.stringify(channels),
    });
    const others = new Crowd();
    try {
      const allow = ["publish", "subscribe", "history"];
      const token = await new SignJWT({ grants: [{ allow, on: ["#"] }] })
        .setSubject("somebody")
        .setProtectedHeader({ alg: "HS256" })
        .sign(Buffer.from(SECRET));
      await others.tell({ kind: "echo", port: server.port, credential: token, ...OTHERS });
      await sleep(1000);
      await use({ server, others, token, dataFile: join(dir, "data", "warren.db") });
    } finally {
      await others.end();
      await server.stop();
    }
  });
}

async function connected({ server, token }: House): Promise<WebSocket> {
  const headers = { Authorization: `Bearer ${token}` };
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, { headers });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.onmessage = () => resolve();
  socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
  await promise;
  return socket;
}

/** Publishes one message to each of these topics and resolves to how often each code came. */
function publishAll(
  socket: WebSocket,
  topicOf: (n: number) => string,
  from: number,
  to: number,
): Promise<Map<string, number>> {
  const codes = new Map<string, number>();
  let sent = from;
  let answered = from;
  const begun = machineMs();
  const { promise, resolve, reject } = Promise.withResolvers<Map<string, number>>();
  const fill = () => {
    const due = Math.min(to, from + ((machineMs() - begun) / 1000) * PER_SECOND);
    while (sent < due && sent - answered + FRAMES_AT_ONCE <= UNANSWERED) {
      const frames: string[] = [];
      for (const end = Math.min(to, sent + FRAMES_AT_ONCE); sent < end; sent++) {
        const topic = topicOf(sent);
        frames.push(`{"type":"publish","id":1,"topic":"${topic}","payload":"${PAYLOAD}"}`);
      }
      socket.send(`[${frames.join(",")}]`);
    }
  };
  socket.onmessage = ({ data }) => {
    const parsed = JSON.parse(String(data));
    for (const { type, code = type } of Array.isArray(parsed) ? parsed : [parsed]) {
      if (type !== "ok" && type !== "error") continue;
      codes.set(code, (codes.get(code) ?? 0) + 1);
      answered++;
    }
    if (answered === to) resolve(codes);
  };
  socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
  const timer = setInterval(fill, STEP_MS);
  return promise.finally(() => clearInterval(timer));
}

async function load(
  { server, others, dataFile }: House,
  name: string,
  count: number,
  work: () => Promise<readonly Map<string, number>[]>,
): Promise<void> {
  const fromMs = machineMs();
  const cpuUs = server.cpuUs();
  const codes = new Map<string, number>();
  for (const part of await work()) {
    for (const [code, times] of part) codes.set(code, (codes.get(code) ?? 0) + times);
  }
  const toMs = machineMs();
  const echoes = await others.tell<Echoes>({ kind: "echoes", fromMs, toMs });
  const { now, peak } = server.residentBytes();
  row([
    name,
    [...codes].map(([code, times]) => `${code} ${times}`).join(", ") || "–",
    count === 0 ? "–" : Math.round((count / (toMs - fromMs)) * 1000),
    ((server.cpuUs() - cpuUs) / 1000 / (toMs - fromMs)).toFixed(2),
    ...[now, peak].map(mb),
    ...[echoes.p50Us, echoes.p99Us, echoes.mostUs].map(ms),
    mb(statSync(dataFile).size),
  ]);
}

async function fill(topics: number): Promise<void> {
  const history = { maxMessages: 10, maxAgeMs: DAY_MS };
  const channels = { kept: { filter: "k/#", history, maxTopics: topics } };
  await withBroker(channels, async (house) => {
    const sockets: WebSocket[] = [];
    while (sockets.length < PUBLISHERS) sockets.push(await connected(house));
    head([
      ...["load", "answers", "a second", "server CPU", "RSS", "most"],
      ...["echo p50", "p99", "most", "file"],
    ]);
    await load(house, "nothing", 0, async () => {
      await sleep(3000);
      return [];
    });
    const each = (count: number, base: number) => () =>
      Promise.all(
        sockets.map((socket, n) =>
          publishAll(socket, (at) => `k/${base + n * count + at}`, 0, count),
        ),
      );
    const share = topics / PUBLISHERS;
    await load(house, "new topics", topics, each(share, 0));
    const more = Math.min(share, 25_000);
    await load(house, "past the bound", more * PUBLISHERS, each(more, topics));
    await load(house, "known ones, at the bound", more * PUBLISHERS, each(more, 0));
    for (const socket of sockets) socket.close();
  });
}

/** A round by itself: the clock of the upkeep is turned on by hand. */
async function upkeep(topics: number): Promise<void> {
  await withDataDir(async (dataDir) => {
    const limits = { ...DEFAULT_LIMITS, keptTopics: 2 * topics, pendingOperations: topics };
    const [clock, random] = [systemClock, systemRandom];
    const engine = new SqliteEngine({ dataDir, durability: "fsync", clock, random, limits });
    await engine.open({ queueChanged: () => undefined, healthChanged: () => undefined });
    const history = { maxMessages: 10 };
    const channel = { name: "kept", maxTopics: 2 * topics };
    const startedAt = machineMs();
    for (let from = 0; from < topics; from += 20_000) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const most = Math.min(20_000, topics - from);
      let stored = 0;
      for (let n = from; n < from + most; n++) {
        const payload = Payload.fromValue(PAYLOAD);
        engine.append({
          message: { id: `${n}`, topic: `k/${n}`, time: clock.now(), payload },
          ...{ queues: [], history, retain: "set", channel, dedupe: false },
          stored: () => ++stored === most && resolve(),
          failed: reject,
        });
      }
      await promise;
    }
    console.log(`${topics} topics filled in ${((machineMs() - startedAt) / 1000).toFixed(1)} s`);
    const router = new Router(limits);
    router.channels = new ChannelBook({
      kept: { filter: "k/#", history, retained: true, maxTopics: 2 * topics },
    });
    let begin: () => void = () => undefined;
    let over = Promise.withResolvers<void>();
    const byHand = {
      ...clock,
      now: () => clock.now(),
      after(_: number, action: () => void) {
        begin = action;
        over.resolve();
        return { cancel: () => undefined };
      },
    };
    const rounds = new TopicUpkeep({ clock: byHand, limits, engine, router });
    rounds.start();
    head(["round", "takes ms", "CPU ms"]);
    for (const name of ["the first", "the second", "the third"]) {
      over = Promise.withResolvers<void>();
      const [fromMs, before] = [machineMs(), process.cpuUsage()];
      begin();
      await over.promise;
      const { user, system } = process.cpuUsage(before);
      row([name, (machineMs() - fromMs).toFixed(1), ms(user + system)]);
    }
    rounds.stop();
    await engine.close();
  });
}

async function recover(clients: number): Promise<void> {
  const channels = { kept: { filter: "k/#", history: { maxMessages: RECORDS.messages } } };
  await withBroker(channels, async (house) => {
    const publisher = await connected(house);
    const payload = "x".repeat(RECORDS.bytes);
    const answered = Promise.withResolvers<{ epoch: string }>();
    publisher.onmessage = ({ data }) => {
      const parsed = JSON.parse(String(data));
      for (const frame of Array.isArray(parsed) ? parsed : [parsed]) {
        if (frame.id === RECORDS.messages) answered.resolve(frame);
      }
    };
    for (let id = 1; id <= RECORDS.messages; id++) {
      publisher.send(JSON.stringify({ type: "publish", id, topic: "k/1", payload }));
    }
    const { epoch } = await answered.promise;
    const sockets: WebSocket[] = [];
    while (sockets.length < clients) sockets.push(await connected(house));
    head([
      ...["load", "answers", "a second", "server CPU", "RSS", "most"],
      ...["echo p50", "p99", "most", "file"],
    ]);
    await load(house, `${clients} connected`, 0, async () => {
      await sleep(2000);
      return [];
    });
    const frame = { type: "subscribe", id: 1, filter: "k/1", recover: { epoch, offset: 0 } };
    await load(house, "all recover", clients * RECORDS.messages, () =>
      Promise.all(sockets.map((socket) => recovered(socket, JSON.stringify(frame)))),
    );
    for (const socket of sockets) socket.close();
  });
}

/** Resolves when all of the history has come. */
function recovered(socket: WebSocket, frame: string): Promise<Map<string, number>> {
  const { promise, resolve, reject } = Promise.withResolvers<Map<string, number>>();
  let bytes = 0;
  const last = `"offset":${RECORDS.messages}`;
  socket.onmessage = ({ data }) => {
    const text = String(data);
    bytes += text.length;
    const isLast =
      bytes > RECORDS.messages * RECORDS.bytes && text.includes(last, text.length - 4000);
    if (isLast) resolve(new Map([["recovered", 1]]));
  };
  socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
  socket.send(frame);
  return promise;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void abandonServers().then(() => process.exit(130)));
}
const [part, size] = process.argv.slice(2);
if (part === "fill") await fill(Number(size ?? 1_000_000));
else if (part === "upkeep") await upkeep(Number(size ?? 1_000_000));
else if (part === "recover") await recover(Number(size ?? 1000));
else console.error("Name a part: fill, upkeep or recover.");
process.exit(0);
