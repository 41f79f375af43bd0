/**
 * Reconnect storms: thousands of clients, each with a token of its own (ES256), lose their connections and come
 * back together. How long until all are in, what those who are in notice, and what it takes. In turn with it, as
 * a control, the same against the bare server, which looks at no token and keeps nothing: what the machine and
 * the runtime do to the others by themselves.
 *
 *     bun bench/storm.ts [--clients 5000] [--rounds 3] [storm…]
 */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import { Crowd } from "./crowd/crowd.ts";
import { type Echoes, machineMs, type Returns } from "./crowd/messages.ts";
import { sleep } from "./load/timing.ts";
import { abandonServers, ServerProcess, type Settings, type Side, withDataDir } from "./servers.ts";

const ISSUER = "https://issuer.test";
const SECRET = "a secret for nothing but this benchmark";
const CROWDS = 2;
const FILTERS = ["fleet/{n}/commands"];
const GRANTS = [{ allow: ["subscribe"], on: ["fleet/#"] }];
const OTHERS = { connections: 10, perSecond: 500 } as const;
const RATED: Settings = { WARREN_RATES_OVERALL_CONNECTIONS_PER_MINUTE: "3000" };

interface Storm {
  readonly name: string;
  readonly settings?: Settings;
  /** Clients cut their own connections. */
  readonly cut: boolean;
  /** What becomes of the server; the line between it and its clients breaks when absent. */
  readonly end?: "stop" | "kill";
  /** The bare server tells nobody when to come again, and bounds nothing. */
  readonly control: boolean;
}

const STORMS: readonly Storm[] = [
  { name: "the line breaks", cut: true, control: true },
  { name: "orderly restart", cut: false, end: "stop", control: false },
  { name: "kill -9", cut: false, end: "kill", control: true },
  {
    ...{ name: "kill -9, 3,000 connects a minute at most", cut: false, end: "kill" },
    ...{ settings: RATED, control: false },
  },
];

const COLUMNS = [
  ...["storm", "server", "round", "back after", "first in", "half", "last", "attempts", "answers"],
  ...["server CPU", "RSS before", "peak", "loop late by", "echo before: p99"],
  ...["meanwhile: p50", "p99", "most"],
];

interface Keys {
  readonly settings: Settings;
  readonly tokens: readonly string[];
  readonly operator: string;
}

async function keysFor(clients: number, dir: string): Promise<Keys> {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKeyFile = join(dir, "issuer.pem");
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  const token = (n: number) =>
    new SignJWT({ client: `device-${n}`, grants: GRANTS })
      .setIssuer(ISSUER)
      .setSubject(`device-${n}`)
      .setExpirationTime("1h")
      .setProtectedHeader({ alg: "ES256" })
      .sign(privateKey);
  const operator = new SignJWT({
    grants: [{ allow: ["publish", "subscribe", "admin"], on: ["#"] }],
  })
    .setSubject("operator")
    .setProtectedHeader({ alg: "HS256" })
    .sign(Buffer.from(SECRET));
  return {
    settings: {
      WARREN_JWT_SECRET: SECRET,
      WARREN_ISSUERS: JSON.stringify([{ issuer: ISSUER, publicKeyFile, algorithms: ["ES256"] }]),
    },
    tokens: await Promise.all(Array.from({ length: clients }, (_, n) => token(n))),
    operator: await operator,
  };
}

/** Those who are in already, or as soon as they get in; null for a broker that lets nobody in. */
async function echoing(others: Crowd, port: number, credential: string): Promise<void> {
  for (;;) {
    try {
      return await others.tell({ kind: "echo", port, credential, ...OTHERS });
    } catch {
      await sleep(50);
    }
  }
}

const ms = (value: number) => value.toFixed(value < 10 ? 1 : 0);

interface House {
  readonly side: Side;
  readonly dir: string;
  readonly keys: Keys;
  readonly crowds: readonly Crowd[];
  readonly others: Crowd;
  readonly clients: number;
  /** Every server so far, on one port. */
  readonly servers: ServerProcess[];
}

async function start(house: House, more: Settings = {}): Promise<ServerProcess> {
  const { side, dir, keys, servers } = house;
  const settings = { ...keys.settings, ...more };
  const server = await ServerProcess.start(side, dir, settings, undefined, servers[0]?.port);
  servers.push(server);
  return server;
}

async function gather({ crowds, keys, clients }: House, port: number): Promise<void> {
  const count = clients / crowds.length;
  const order = { kind: "join", port, count, credentials: keys.tokens, filters: FILTERS } as const;
  await Promise.all(crowds.map((crowd, at) => crowd.tell({ ...order, from: at * count })));
  await sleep(1000);
}

/** Ends what is to end, and waits until all are back; `from` is when they could come. */
async function blow(house: House, { cut, end, settings }: Storm, server: ServerProcess) {
  const { crowds, others, keys } = house;
  const back = () =>
    Promise.all(crowds.map((crowd) => crowd.tell<Returns>({ kind: "come back", cut })));
  if (end === undefined) {
    const calmFrom = machineMs();
    await echoing(others, server.port, keys.operator);
    await sleep(1500);
    const cpu = server.cpuUs();
    const from = machineMs();
    const returns = await back();
    return { calmFrom, from, readyMs: 0, returns, cpuUs: server.cpuUs() - cpu, server };
  }
  const coming = back();
  await (end === "stop" ? server.stop() : server.kill());
  const from = machineMs();
  const next = await start(house, settings);
  const readyMs = machineMs() - from;
  await echoing(others, next.port, keys.operator);
  const returns = await coming;
  return { calmFrom: from, from, readyMs, returns, cpuUs: next.cpuUs(), server: next };
}

/** How late the server's own timers were, at worst: of the last 15 seconds. */
async function lagOf({ port }: ServerProcess, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`, { headers });
  const [, seconds] =
    /^\w*event_loop_lag_seconds(?:{[^}]*})? (\S+)/m.exec(await answer.text()) ?? [];
  return Number(seconds) * 1000;
}

/** What one round has shown; in milliseconds and MB, the same order as the columns. */
interface Shown {
  readonly figures: readonly (number | undefined)[];
  readonly answers: Readonly<Record<string, number>>;
}

async function measure(house: House, storm: Storm): Promise<Shown> {
  const { side, keys, others } = house;
  const first = await start(house);
  await gather(house, first.port);
  const before = first.residentBytes().now;
  const { calmFrom, from, readyMs, returns, cpuUs, server } = await blow(house, storm, first);
  const at = returns.flatMap(({ backAtMs }) => backAtMs).sort((a, b) => a - b);
  const { peak } = server.residentBytes();
  const toMs = at.at(-1)!;
  const echoes = (fromMs: number, untilMs: number) =>
    others.tell<Echoes>({ kind: "echoes", fromMs, toMs: untilMs });
  const calm = calmFrom < from ? await echoes(calmFrom, from) : undefined;
  const { p50Us, p99Us, mostUs } = await echoes(from, toMs);
  const answers: Record<string, number> = {};
  for (const { refusals } of returns) {
    for (const [name, times] of Object.entries(refusals)) {
      answers[name] = (answers[name] ?? 0) + times;
    }
  }
  const lagMs = side === "bare" ? undefined : await lagOf(server, keys.operator);
  const figures = [
    readyMs,
    ...[at[0]!, at[at.length >> 1]!, toMs].map((time) => time - from),
    returns.reduce((sum, { attempts }) => sum + attempts, 0),
    cpuUs / 1000,
    ...[before, peak].map((bytes) => bytes / 1024 / 1024),
    lagMs,
    ...[calm?.p99Us, p50Us, p99Us, mostUs].map((us) => us && us / 1000),
  ];
  return { figures, answers };
}

function print(storm: string, side: Side, round: string, { figures, answers }: Shown): void {
  const cells = figures.map((value) => (value === undefined ? "–" : ms(value)));
  const named = Object.entries(answers).map(([name, times]) => `${name} × ${times}`);
  cells.splice(5, 0, named.join(", ") || "–");
  console.log(`| ${[storm, side, round, ...cells].join(" | ")} |`);
}

/** Of each figure by itself. */
function medianOf(rounds: readonly Shown[]): Shown {
  const figures = rounds[0]!.figures.map((_, column) => {
    const values = rounds.flatMap(({ figures }) => figures[column] ?? []).sort((a, b) => a - b);
    return values[values.length >> 1];
  });
  return { figures, answers: {} };
}

function oneRound(storm: Storm, side: Side, clients: number): Promise<Shown> {
  return withDataDir(async (dir) => {
    const crowds = Array.from({ length: CROWDS }, () => new Crowd());
    const others = new Crowd();
    const keys = await keysFor(clients, dir);
    const house: House = { side, dir, keys, crowds, others, clients, servers: [] };
    try {
      return await measure(house, storm);
    } finally {
      await Promise.all([...crowds, others].map((crowd) => crowd.end()));
      for (const server of house.servers) await server.stop();
    }
  });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void abandonServers().then(() => process.exit(130)));
}
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: "string", default: "5000" },
    rounds: { type: "string", default: "3" },
  },
});
console.log(`| ${COLUMNS.join(" | ")} |\n|${"---|".repeat(COLUMNS.length)}`);
const chosen = STORMS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
for (const storm of chosen) {
  const sides: readonly Side[] = storm.control ? ["warren", "bare"] : ["warren"];
  const shown = new Map(sides.map((side) => [side, [] as Shown[]]));
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const [side, rounds] of shown) {
      rounds.push(await oneRound(storm, side, Number(values.clients)));
      print(storm.name, side, String(round), rounds.at(-1)!);
    }
  }
  for (const [side, rounds] of shown) print(storm.name, side, "median", medianOf(rounds));
}
