/**
 * Reconnect storms: thousands of clients, each with a token of its own (ES256), lose their connections and come
 * back together. How long until all are in, what those who are in notice, and what it takes.
 *
 *     bun bench/storm.ts [--clients 5000] [storm…]
 */
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import { Crowd } from "./crowd/crowd.ts";
import { type Echoes, machineMs, type Returns } from "./crowd/messages.ts";
import { sleep } from "./load/timing.ts";
import { abandonServers, ServerProcess, type Settings, withDataDir } from "./servers.ts";

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
}

const STORMS: readonly Storm[] = [
  { name: "the line breaks", cut: true },
  { name: "orderly restart", cut: false, end: "stop" },
  { name: "kill -9", cut: false, end: "kill" },
  { name: "kill -9, 3,000 connects a minute at most", cut: false, end: "kill", settings: RATED },
  { name: "the line breaks, 3,000 connects a minute at most", cut: true, settings: RATED },
];

const COLUMNS = [
  ...["storm", "broker back", "first in", "half", "last", "attempts", "answers", "server CPU"],
  ...["RSS before", "peak", "event loop late by", "echo: p50", "p99", "most"],
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
const mb = (bytes: number) => (bytes / 1024 / 1024).toFixed(0);

interface House {
  readonly dir: string;
  readonly keys: Keys;
  readonly crowds: readonly Crowd[];
  readonly others: Crowd;
  readonly clients: number;
  /** Every server so far, on one port. */
  readonly servers: ServerProcess[];
}

async function start({ dir, keys, servers }: House, more: Settings = {}): Promise<ServerProcess> {
  const settings = { ...keys.settings, ...more };
  const server = await ServerProcess.start("warren", dir, settings, undefined, servers[0]?.port);
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
    await echoing(others, server.port, keys.operator);
    await sleep(1000);
    const cpu = server.cpuUs();
    const from = machineMs();
    return { from, readyMs: 0, returns: await back(), cpuUs: server.cpuUs() - cpu, server };
  }
  const coming = back();
  await (end === "stop" ? server.stop() : server.kill());
  const from = machineMs();
  const next = await start(house, settings);
  const readyMs = machineMs() - from;
  await echoing(others, next.port, keys.operator);
  const returns = await coming;
  return { from, readyMs, returns, cpuUs: next.cpuUs(), server: next };
}

/** How late the server's own timers were, at worst: of the last 15 seconds. */
async function lagOf({ port }: ServerProcess, token: string): Promise<number> {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`, { headers });
  const [, seconds] =
    /^\w*event_loop_lag_seconds(?:{[^}]*})? (\S+)/m.exec(await answer.text()) ?? [];
  return Number(seconds) * 1000;
}

async function measure(house: House, storm: Storm): Promise<void> {
  const first = await start(house, storm.end === undefined ? storm.settings : {});
  await gather(house, first.port);
  const before = first.residentBytes().now;
  const { from, readyMs, returns, cpuUs, server } = await blow(house, storm, first);
  const at = returns.flatMap(({ backAtMs }) => backAtMs).sort((a, b) => a - b);
  const { peak } = server.residentBytes();
  const toMs = at.at(-1)!;
  const echoes = await house.others.tell<Echoes>({ kind: "echoes", fromMs: from, toMs });
  const lagMs = await lagOf(server, house.keys.operator);
  const refusals: Record<string, number> = {};
  for (const one of returns) {
    for (const [name, times] of Object.entries(one.refusals)) {
      refusals[name] = (refusals[name] ?? 0) + times;
    }
  }
  const answers = Object.entries(refusals).map(([name, times]) => `${name} × ${times}`);
  const cells = [
    storm.name,
    ms(readyMs),
    ...[at[0]!, at[at.length >> 1]!, toMs].map((time) => ms(time - from)),
    returns.reduce((sum, { attempts }) => sum + attempts, 0),
    answers.join(", ") || "–",
    ms(cpuUs / 1000),
    ...[before, peak].map(mb),
    ms(lagMs),
    ...[echoes.p50Us, echoes.p99Us, echoes.mostUs].map((us) => ms(us / 1000)),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

function withHouse(storm: Storm, clients: number): Promise<void> {
  return withDataDir(async (dir) => {
    const crowds = Array.from({ length: CROWDS }, () => new Crowd());
    const others = new Crowd();
    const keys = await keysFor(clients, dir);
    const house: House = { dir, keys, crowds, others, clients, servers: [] };
    try {
      await measure(house, storm);
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
  options: { clients: { type: "string", default: "5000" } },
});
console.log(`| ${COLUMNS.join(" | ")} |\n|${"---|".repeat(COLUMNS.length)}`);
const chosen = STORMS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
for (const storm of chosen) await withHouse(storm, Number(values.clients));
