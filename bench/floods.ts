/**
 * Hostile peers beside honest ones: what each kind of flood does to the memory of the broker and to the echoes
 * of ten others.
 *
 *     bun bench/floods.ts [flood…]
 */
import { SignJWT } from "jose";
import { ATTACKS, type Attack, Hostile } from "./crowd/attackers.ts";
import { Crowd } from "./crowd/crowd.ts";
import { type Echoes, machineMs } from "./crowd/messages.ts";
import { sleep } from "./load/timing.ts";
import { abandonServers, ServerProcess, withDataDir } from "./servers.ts";

const SECRET = "a secret for nothing but this benchmark";
const OTHERS = { connections: 10, perSecond: 500 } as const;
const QUIET_MS = 2000;
const FLOOD_MS = 6000;
const STEP_MS = 10;
const COLUMNS = [
  ...["flood", "closed by the broker", "server CPU", "RSS before", "most"],
  ...["echo before: p50", "p99", "echo meanwhile: p50", "p99", "most"],
];

const ms = (us: number) => (us / 1000).toFixed(1);
const mb = (bytes: number) => (bytes / 1024 / 1024).toFixed(0);

async function measure(attack: Attack, dir: string): Promise<void> {
  const others = new Crowd();
  const server = await ServerProcess.start("warren", dir, { WARREN_JWT_SECRET: SECRET });
  const hostile = new Hostile();
  try {
    const token = await new SignJWT({ grants: [{ allow: ["publish", "subscribe"], on: ["#"] }] })
      .setSubject("somebody")
      .setProtectedHeader({ alg: "HS256" })
      .sign(Buffer.from(SECRET));
    const { port } = server;
    await others.tell({ kind: "echo", port, credential: token, ...OTHERS });
    await sleep(1000);
    const [quietMs, before] = [machineMs(), server.residentBytes().now];
    await sleep(QUIET_MS);
    const cpuUs = server.cpuUs();
    const fromMs = machineMs();
    const step = attack.start({ port, token }, hostile);
    while (machineMs() < fromMs + FLOOD_MS) {
      step();
      await sleep(STEP_MS);
    }
    const toMs = machineMs();
    const cpu = (server.cpuUs() - cpuUs) / 1000 / (toMs - fromMs);
    const quiet = await others.tell<Echoes>({ kind: "echoes", fromMs: quietMs, toMs: fromMs });
    const flood = await others.tell<Echoes>({ kind: "echoes", fromMs, toMs });
    const cells = [
      ...[attack.name, hostile.closed, cpu.toFixed(2)],
      ...[before, server.residentBytes().peak].map(mb),
      ...[quiet.p50Us, quiet.p99Us, flood.p50Us, flood.p99Us, flood.mostUs].map(ms),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  } finally {
    hostile.end();
    await others.end();
    await server.stop();
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void abandonServers().then(() => process.exit(130)));
}
const wanted = process.argv.slice(2);
console.log(`| ${COLUMNS.join(" | ")} |\n|${"---|".repeat(COLUMNS.length)}`);
for (const attack of ATTACKS) {
  if (wanted.length > 0 && !wanted.some((word) => attack.name.includes(word))) continue;
  await withDataDir((dir) => measure(attack, dir));
}
process.exit(0);
