/**
 * What Prometheus reads at `/metrics`. Everything is a plain number that some part of the broker keeps
 * anyway; it is looked at when somebody asks and never counted twice on the way of a message.
 */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { QueueCounter, QueueCounters, QueueCounts } from "../schemas/queue.ts";
import type { Clock, Timer } from "./clock.ts";

/** Queues, and channels, that have lines of their own; labels without a bound would fill the reader's memory. */
const QUEUES_LISTED = 500;
const CHANNELS_LISTED = 500;

const LAG_SAMPLE_MS = 500;
const LAG_SAMPLES = 30;

export interface QueueGauges extends Readonly<QueueCounts> {
  readonly name: string;
  readonly counters: QueueCounters;
  readonly oldestAgeMs?: number;
}

export interface ChannelGauges {
  readonly name: string;
  /** Topics that keep something, and how many may. */
  readonly topics: number;
  readonly maxTopics: number;
  readonly historyBytes: number;
}

/** The plain numbers; each is called when `/metrics` is read. */
export interface MetricSources {
  readonly version: string;
  readonly engine: string;
  readonly durability: string;
  /** Present values by name, such as `sessions`. */
  gauges(): Readonly<Record<string, number>>;
  /** Values that only grow, since the start, such as `published`. */
  counters(): Readonly<Record<string, number>>;
  /** At most so many, the first by name. */
  queues(atMost: number): readonly QueueGauges[];
  /** Those that keep something, at most so many, the first by name. */
  channels(atMost: number): readonly ChannelGauges[];
}

export interface Metrics {
  readonly contentType: string;
  render(): Promise<string>;
}

/** Help texts; a name that is not here is not shown. */
const GAUGES: Readonly<Record<string, string>> = {
  event_loop_lag_seconds: "How late timers were, the worst of the last 15 seconds.",
  sessions: "Open connections.",
  subscriptions: "Live subscriptions of all connections.",
  routes: "Distinct ways to live subscribers.",
  presence_members: "Members of all topics with presence.",
  queues: "Queues, with their dead-letter queues.",
  topics_kept:
    "Topics of which something is kept: history, a retained value, or where its offsets are.",
  history_messages: "Messages in the histories of topics, as they are stored.",
  history_bytes: "Bytes of their records.",
  retained_messages:
    "Topics with a retained value, one that has expired and was not removed yet too.",
  bans: "Bans in force, whoever made them.",
  storage_ready: "1 while storage can be written, else 0.",
  webhook_requests: "Requests of webhooks that are not answered yet.",
  webhooks_failing: "Webhooks whose endpoint takes nothing at present.",
  draining: "1 while the broker is stopping, else 0.",
};

const COUNTERS: Readonly<Record<string, string>> = {
  published: "Messages accepted from publishers.",
  refused: "Publishes refused.",
  topics_refused: "Those of them for which a topic more would have kept something than may.",
  invalid: "Payloads that did not fit the schema of their channel.",
  events: "Events handed to routes, once for all subscribers of a route.",
  presence_frames: "Frames of presence handed to routes, once for all watchers on a route.",
  sessions_opened: "Connections opened.",
  rate_limited: "Connections, requests and frames refused for a rate or a cap.",
  turned_away: "Connections and requests refused because of a ban.",
  automatic_bans: "Bans made by rules against abuse.",
  stored: "Copies of messages stored in queues.",
  delivered: "Deliveries handed to consumers.",
  redelivered: "Deliveries that were not the first of their message.",
  acked: "Deliveries acked.",
  nacked: "Deliveries nacked.",
  rejected: "Deliveries rejected.",
  dead_lettered: "Messages dead-lettered.",
  expired: "Messages that outlived their ttl in a queue.",
  timed_out: "Deliveries not settled in time.",
  displaced: "Messages that gave way to others in a full queue.",
  redriven: "Messages brought to a queue by a redrive, a replay or a resend.",
  duplicates: "Publishes recognised as repetitions.",
  audit_dropped: "Entries of the audit trail that could not be stored.",
  commits: "Storage transactions.",
  commit_operations: "Operations in storage transactions.",
  commit_seconds: "Time spent in storage transactions.",
};

const QUEUE_GAUGES: readonly (readonly [
  name: string,
  help: string,
  read: (queue: QueueGauges) => number,
])[] = [
  ["ready", "Messages waiting to be handed out now.", (queue) => queue.ready],
  ["delayed", "Messages waiting for their time.", (queue) => queue.delayed],
  ["in_flight", "Deliveries not settled yet.", (queue) => queue.inFlight],
  ["dead", "Messages in its dead-letter queue.", (queue) => queue.dead],
  ["retained", "Acked messages that are kept.", (queue) => queue.retained],
  ["bytes", "Bytes of all messages, as stored.", (queue) => queue.bytes],
  ["consumers", "Consumers.", (queue) => queue.consumers],
  [
    "oldest_seconds",
    "Time that the oldest message has been in the queue.",
    (queue) => (queue.oldestAgeMs ?? 0) / 1000,
  ],
];

const CHANNEL_GAUGES: readonly (readonly [
  name: string,
  help: string,
  read: (channel: ChannelGauges) => number,
])[] = [
  ["topics_kept", "Topics of the channel of which something is kept.", ({ topics }) => topics],
  ["topics_most", "How many there may be.", ({ maxTopics }) => maxTopics],
  ["history_bytes", "Bytes of the records in their histories.", ({ historyBytes }) => historyBytes],
];

const QUEUE_COUNTERS: readonly (readonly [name: string, help: string, counter: QueueCounter])[] = [
  ["published", "Copies of messages stored.", "published"],
  ["delivered", "Deliveries handed out.", "delivered"],
  ["redelivered", "Deliveries that were not the first of their message.", "redelivered"],
  ["acked", "Deliveries acked.", "acked"],
  ["nacked", "Deliveries nacked.", "nacked"],
  ["rejected", "Deliveries rejected.", "rejected"],
  ["timed_out", "Deliveries not settled in time.", "timedOut"],
  ["expired", "Messages that outlived their ttl.", "expired"],
  ["dead_lettered", "Messages dead-lettered.", "deadLettered"],
  ["displaced", "Messages that gave way to others.", "displaced"],
  ["redriven", "Messages brought by a redrive, a replay or a resend.", "redriven"],
];

/** Watches how late timers are: what a long computation or an overload does to everyone. */
export class LagWatch {
  readonly #clock: Clock;
  readonly #samples: number[] = [];
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#next();
  }

  /** The worst of the last 15 seconds. */
  get seconds(): number {
    return Math.max(0, ...this.#samples) / 1000;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #next(): void {
    const due = this.#clock.now() + LAG_SAMPLE_MS;
    this.#timer = this.#clock.after(LAG_SAMPLE_MS, () => {
      this.#samples.push(Math.max(0, this.#clock.now() - due));
      if (this.#samples.length > LAG_SAMPLES) this.#samples.shift();
      this.#next();
    });
  }
}

/** One look at everything, so that all lines of an answer are of the same moment. */
interface Snapshot {
  gauges: Readonly<Record<string, number>>;
  counters: Readonly<Record<string, number>>;
  queues: readonly QueueGauges[];
  channels: readonly ChannelGauges[];
}

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  const snapshot: Snapshot = { gauges: {}, counters: {}, queues: [], channels: [] };
  addProcess(registry);
  const info = { version: sources.version, engine: sources.engine, durability: sources.durability };
  new Gauge({
    name: "warren_info",
    help: "1, with what runs here as labels.",
    labelNames: Object.keys(info),
    registers: [registry],
  }).set(info, 1);
  addGauges(registry, snapshot);
  addCounters(registry, snapshot);
  addQueues(registry, snapshot);
  addChannels(registry, snapshot);
  return {
    contentType: registry.contentType,
    render() {
      snapshot.gauges = sources.gauges();
      snapshot.counters = sources.counters();
      snapshot.queues = sources.queues(QUEUES_LISTED);
      snapshot.channels = sources.channels(CHANNELS_LISTED);
      return registry.metrics();
    },
  };
}

/** The process's own figures; those of V8's making mean nothing under another engine and go. */
function addProcess(registry: Registry): void {
  // Its watch of the event loop goes on when its figures are gone, a hundred times a second by default.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 2 ** 31 - 1 });
  for (const metric of registry.getMetricsAsArray()) {
    const kept = metric.name.startsWith("process_") && metric.name !== "process_heap_bytes";
    if (!kept) registry.removeSingleMetric(metric.name);
  }
}

function addGauges(registry: Registry, snapshot: Snapshot): void {
  for (const [name, help] of Object.entries(GAUGES)) {
    new Gauge({
      name: `warren_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(snapshot.gauges[name] ?? 0);
      },
    });
  }
}

function addCounters(registry: Registry, snapshot: Snapshot): void {
  for (const [name, help] of Object.entries(COUNTERS)) {
    new Counter({
      name: `warren_${name}_total`,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(snapshot.counters[name] ?? 0);
      },
    });
  }
}

function addQueues(registry: Registry, snapshot: Snapshot): void {
  for (const [name, help, read] of QUEUE_GAUGES) {
    new Gauge({
      name: `warren_queue_${name}`,
      help: `${help} The first ${QUEUES_LISTED} queues by name.`,
      labelNames: ["queue"],
      registers: [registry],
      collect() {
        this.reset();
        for (const queue of snapshot.queues) {
          this.set({ queue: queue.name }, read(queue));
        }
      },
    });
  }
  for (const [name, help, counter] of QUEUE_COUNTERS) {
    new Counter({
      name: `warren_queue_${name}_total`,
      help: `${help} The first ${QUEUES_LISTED} queues by name.`,
      labelNames: ["queue"],
      registers: [registry],
      collect() {
        this.reset();
        for (const queue of snapshot.queues) {
          this.inc({ queue: queue.name }, queue.counters[counter]);
        }
      },
    });
  }
}

function addChannels(registry: Registry, snapshot: Snapshot): void {
  for (const [name, help, read] of CHANNEL_GAUGES) {
    new Gauge({
      name: `warren_channel_${name}`,
      help: `${help} The first ${CHANNELS_LISTED} channels that keep something, by name.`,
      labelNames: ["channel"],
      registers: [registry],
      collect() {
        this.reset();
        for (const channel of snapshot.channels) this.set({ channel: channel.name }, read(channel));
      },
    });
  }
}
