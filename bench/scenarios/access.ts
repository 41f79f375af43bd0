/** What rights and payload schemas cost at the socket: the same load with them and without, in turn. */
import { SignJWT } from "jose";
import { runJob } from "../generator.ts";
import type { AccessJob, SubscribingJob } from "../load/jobs.ts";
import {
  type Bench,
  type Case,
  type Figures,
  figures,
  jobBase,
  type Metric,
  type Scenario,
} from "../scenario.ts";
import type { Settings } from "../servers.ts";

const SECRET = "a secret for nothing but this benchmark";
const PAYLOAD_BYTES = 128;
const TOPICS = 512;
const CONNECTIONS = 20;
const WINDOW = 1000;
const FILTERS_A_GRANT = 250;

const METRICS: Metric[] = [
  { name: "openRate", title: "without", unit: "/s" },
  { name: "rate", title: "with", unit: "/s" },
  { name: "openCpuUs", title: "server CPU without", unit: "µs" },
  { name: "cpuUs", title: "server CPU with", unit: "µs" },
  { name: "cost", title: "CPU with / without", unit: "×" },
];

const SCHEMA = {
  type: "object",
  properties: {
    seq: { type: "integer", minimum: 0 },
    sent: { type: "integer" },
    kind: { enum: ["sample", "alarm"] },
    pad: { type: "string", maxLength: 1000 },
  },
  required: ["seq", "sent"],
  additionalProperties: false,
};

const number = (n: number) => String(n).padStart(4, "0");

/** Every fourth is for a line at every site, the others for one at one site, with a variable. */
function roleOf(rules: number): object {
  const filters = Array.from({ length: rules }, (_, n) =>
    n % 4 === 0 ? `site/+/line/${number(n)}/#` : `site/${number(n)}/line/+/{client}`,
  );
  const parts = Math.ceil(rules / FILTERS_A_GRANT);
  const grants = Array.from({ length: parts }, (_, part) => ({
    allow: ["publish", "subscribe"],
    on: filters.slice(part * FILTERS_A_GRANT, (part + 1) * FILTERS_A_GRANT),
  }));
  return { grants };
}

interface Access {
  readonly settings: Settings;
  readonly credential: string | undefined;
}

/** `rules` are those of the role; undefined is a broker that lets everyone do everything. */
async function accessWith(rules: number | undefined, schema: boolean): Promise<Access> {
  const channels = { site: { filter: "site/#", schema: SCHEMA } };
  const channel: Settings = schema ? { WARREN_CHANNELS: JSON.stringify(channels) } : {};
  if (rules === undefined) return { settings: channel, credential: undefined };
  const token = new SignJWT({
    client: "c7",
    roles: ["fleet"],
    grants: [{ allow: rules === 0 ? ["publish", "subscribe"] : ["subscribe"], on: ["site/#"] }],
  });
  return {
    settings: {
      ...channel,
      WARREN_JWT_SECRET: SECRET,
      WARREN_ROLES: JSON.stringify({ fleet: roleOf(rules) }),
    },
    credential: await token
      .setSubject("device")
      .setProtectedHeader({ alg: "HS256" })
      .sign(Buffer.from(SECRET)),
  };
}

/** Topics that different rules of the role allow, all of the same length. */
function topicsOf(rules: number): string[] {
  const of = Math.max(rules, 4);
  return Array.from({ length: TOPICS }, (_, at) => {
    const n = (at * 13) % of;
    return n % 4 === 0
      ? `site/${number(at)}/line/${number(n)}/c7`
      : `site/${number(n)}/line/${number(at)}/c7`;
  });
}

type Run = (bench: Bench, access: Access, topics: readonly string[]) => Promise<Figures>;

const publishing: Run = async (bench, { settings, credential }, topics) => {
  const server = await bench.start(settings);
  const job: AccessJob = {
    kind: "access",
    ...jobBase(bench, server),
    ...{ credential, topics, filter: "site/#" },
    ...{ connections: CONNECTIONS, window: WINDOW, payloadBytes: PAYLOAD_BYTES },
  };
  const result = figures(await runJob(job));
  await server.stop();
  return result;
};

const subscribing: Run = async (bench, { settings, credential }, topics) => {
  const server = await bench.start(settings);
  const job: SubscribingJob = {
    kind: "subscribing",
    ...jobBase(bench, server),
    ...{ credential, filters: topics, connections: CONNECTIONS, window: 32 },
  };
  const result = figures(await runJob(job));
  await server.stop();
  return result;
};

function accessCase(run: Run, name: string, title: string, rules?: number, schema = false): Case {
  return {
    name,
    title,
    metrics: METRICS,
    goals: [],
    sides: ["warren"],
    measure: async (bench) => {
      const topics = topicsOf(rules ?? 0);
      const open = await run(bench, await accessWith(undefined, false), topics);
      const held = await run(bench, await accessWith(rules, schema), topics);
      return {
        ...held,
        openRate: open.rate!,
        openCpuUs: open.cpuUs!,
        cost: held.cpuUs! / open.cpuUs!,
      };
    },
  };
}

export const access: Scenario = {
  name: "access",
  title: `Access: ${TOPICS} topics in turn, ${PAYLOAD_BYTES} B, one subscriber; without: an open broker`,
  cases: [
    accessCase(publishing, "publish-0", "publish, a token with one grant of its own", 0),
    accessCase(publishing, "publish-10", "publish, 10 rules", 10),
    accessCase(publishing, "publish-1000", "publish, 1,000 rules", 1000),
    accessCase(publishing, "publish-schema", "publish, open, payload schema", undefined, true),
    accessCase(
      publishing,
      "publish-1000-schema",
      "publish, 1,000 rules, payload schema",
      1000,
      true,
    ),
    accessCase(subscribing, "subscribe-10", "subscribe and leave, 10 rules", 10),
    accessCase(subscribing, "subscribe-1000", "subscribe and leave, 1,000 rules", 1000),
  ],
};
