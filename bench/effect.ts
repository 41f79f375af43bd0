/**
 * How soon an operator's change takes effect on live connections: thousands of clients, a change that ends
 * something for all of them, and the time until the last one was told; meanwhile others echo.
 *
 *     bun bench/effect.ts [--clients 10000] [--profile] [change…]
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import { Crowd } from "./crowd/crowd.ts";
import { type Echoes, type Join, machineMs, type Seen, type Watch } from "./crowd/messages.ts";
import { sleep } from "./load/timing.ts";
import { abandonServers, ServerProcess, withDataDir } from "./servers.ts";

const SECRET = "a secret for nothing but this benchmark";
const CROWDS = 2;
const FILTERS = ["fleet/all", "fleet/{n}/commands"];
const OTHERS_PER_SECOND = 500;
const OTHERS = 10;
const KICKED = 100;
const REST_MS = 1000;

interface Change {
  readonly name: string;
  readonly watch: Watch["what"];
  before?(server: ServerProcess): Promise<unknown>;
  make(server: ServerProcess): Promise<unknown>;
}

const ADMIN = "/admin/v1";
const FLEET = { allow: ["subscribe"], on: ["fleet/#"] };
/** A thousand rules that have nothing to do with what is subscribed to. */
const OTHER_RULES = Array.from({ length: 4 }, (_, grant) => ({
  allow: ["subscribe"],
  on: Array.from({ length: 250 }, (_, rule) => `site/+/line/${grant * 250 + rule}/#`),
}));
const putRole = (server: ServerProcess, grants: readonly object[]) =>
  server.request("PUT", `${ADMIN}/roles/fleet`, { grants });

const revoke = (name: string, body: object): Change => ({
  name,
  watch: "end",
  make: (server) => server.request("POST", `${ADMIN}/revocations`, body),
});

const CHANGES: readonly Change[] = [
  {
    name: "role",
    watch: "unsubscribed",
    make: (server) => putRole(server, []),
  },
  {
    name: "role of 1,000 rules",
    watch: "unsubscribed",
    before: (server) => putRole(server, [FLEET, ...OTHER_RULES]),
    make: (server) => putRole(server, OTHER_RULES),
  },
  revoke("jti", { jti: "jti-of-jti" }),
  revoke("principal", { principal: "principal-of-principal" }),
  revoke("client", { client: "client-of-client" }),
  revoke("issued-before", {
    principal: "principal-of-issued-before",
    issuedBefore: Date.now() + 3_600_000,
  }),
  {
    name: "ban",
    watch: "end",
    make: (server) =>
      server.request("PUT", `${ADMIN}/bans/fleet`, { principal: "principal-of-ban" }),
  },
];

function tokenFor(name: string, claims: Record<string, unknown>): Promise<string> {
  return new SignJWT({ jti: `jti-of-${name}`, client: `client-of-${name}`, ...claims })
    .setSubject(`principal-of-${name}`)
    .setIssuedAt()
    .setExpirationTime("1h")
    .setProtectedHeader({ alg: "HS256" })
    .sign(Buffer.from(SECRET));
}

/** All times in milliseconds, from the call on. */
const COLUMNS = [
  ...["change", "answered", "first told", "half", "last", "last after the answer", "server CPU"],
  ...["echo before: p50", "p99", "most", "echo meanwhile: p50", "p99", "most", "close codes"],
];
const ms = (value: number) => value.toFixed(value < 10 ? 1 : 0);

interface House {
  readonly server: ServerProcess;
  readonly crowds: readonly Crowd[];
  readonly others: Crowd;
  readonly clients: number;
}

async function gather({ server, crowds, clients }: House, name: string): Promise<void> {
  await putRole(server, [FLEET]);
  const credentials = [await tokenFor(name, { roles: ["fleet"] })];
  const count = clients / crowds.length;
  const order = { kind: "join", port: server.port, count, credentials, filters: FILTERS } as const;
  await Promise.all(
    crowds.map((crowd, at) => crowd.tell({ ...order, from: at * count } satisfies Join)),
  );
}

const at = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

async function measure(house: House, { name, watch, before, make }: Change): Promise<void> {
  const { server, crowds, others } = house;
  await gather(house, name);
  await before?.(server);
  await sleep(REST_MS);
  const cpu = server.cpuUs();
  const called = machineMs();
  const seen = Promise.all(crowds.map((crowd) => crowd.tell<Seen>({ kind: "watch", what: watch })));
  await make(server);
  const answered = machineMs();
  const met = (await seen).flatMap(({ atMs }) => atMs).sort((a, b) => a - b);
  const codes = [...new Set((await seen).flatMap((one) => Object.keys(one.codes)))].join(",");
  const cpuMs = (server.cpuUs() - cpu) / 1000;
  const echoes = (fromMs: number, toMs: number) =>
    others.tell<Echoes>({ kind: "echoes", fromMs, toMs });
  const last = at(met, 1);
  const earlier = await echoes(called - REST_MS, called);
  const meanwhile = await echoes(called, Math.max(last, called + 100));
  const cells = [
    name,
    ms(answered - called),
    ...[0, 0.5, 1].map((share) => ms(at(met, share) - called)),
    ms(Math.max(0, last - answered)),
    ms(cpuMs),
    ...[earlier, meanwhile].flatMap(({ p50Us, p99Us, mostUs }) =>
      [p50Us, p99Us, mostUs].map((us) => ms(us / 1000)),
    ),
    codes,
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

/** Connections that are ended one after the other, among all the others. */
async function kick(house: House): Promise<void> {
  const { server, others, clients } = house;
  await gather(house, "bystander");
  const credentials = [await tokenFor("kick", { roles: ["fleet"] })];
  const port = server.port;
  const order = { kind: "join", port, count: KICKED, credentials, filters: FILTERS } as const;
  await others.tell({ ...order, from: clients } satisfies Join);
  const path = `${ADMIN}/connections`;
  const { connections } = (await server.request(
    "GET",
    `${path}?principal=principal-of-kick&limit=${KICKED}`,
  )) as { connections: { session: string }[] };
  const seen = others.tell<Seen>({ kind: "watch", what: "end" });
  const called: number[] = [];
  const answered: number[] = [];
  for (const { session } of connections) {
    called.push(machineMs());
    await server.request("DELETE", `${path}/${session}`);
    answered.push(machineMs());
  }
  const met = (await seen).atMs;
  const took = met.map((time, i) => time - called[i]!).sort((a, b) => a - b);
  const call = answered.map((time, i) => time - called[i]!).sort((a, b) => a - b);
  console.log(
    `kick, ${connections.length} one after the other among ${clients}: ` +
      `call p50 ${ms(at(call, 0.5))}, most ${ms(at(call, 1))} ms; ` +
      `to the client's end p50 ${ms(at(took, 0.5))}, most ${ms(at(took, 1))} ms`,
  );
}

async function main(names: readonly string[], clients: number, profileDir?: string): Promise<void> {
  await withDataDir(async (dir) => {
    const settings = { WARREN_JWT_SECRET: SECRET };
    const server = await ServerProcess.start("warren", dir, settings, profileDir);
    const crowds = Array.from({ length: CROWDS }, () => new Crowd());
    const others = new Crowd();
    const house = { server, crowds, others, clients };
    try {
      server.token = await tokenFor("operator", {
        grants: [{ allow: ["publish", "subscribe", "admin"], on: ["#"] }],
      });
      await others.tell({
        kind: "echo",
        port: server.port,
        connections: OTHERS,
        perSecond: OTHERS_PER_SECOND,
        credential: server.token,
      });
      console.log(`| ${COLUMNS.join(" | ")} |`);
      console.log(`|${"---|".repeat(COLUMNS.length)}`);
      const chosen = CHANGES.filter(({ name }) => names.length === 0 || names.includes(name));
      for (const change of chosen) await measure(house, change);
      if (names.length === 0 || names.includes("kick")) await kick(house);
    } finally {
      await Promise.all([...crowds, others].map((crowd) => crowd.end()));
      await server.stop();
    }
  });
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void abandonServers().then(() => process.exit(130)));
}
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { clients: { type: "string", default: "10000" }, profile: { type: "boolean" } },
});
let profileDir: string | undefined;
if (values.profile) {
  profileDir = join(import.meta.dir, "profiles", `effect-${Date.now()}`);
  mkdirSync(profileDir, { recursive: true });
}
await main(positionals, Number(values.clients), profileDir);
