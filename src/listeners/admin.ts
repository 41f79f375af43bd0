/**
 * The operator's plane: queues, what is in them, and what runs here [P-13.3], [P-13.4]. Every change is
 * written to the audit trail with who made it [P-13.5].
 */
import type { QueueSettings } from "../../schemas/queue.ts";
import type { PeekOptions, QueueReport } from "../engine/engine.ts";
import { completeSettings, deadLetterName, isDeadLetterName } from "../engine/rules.ts";
import { WarrenError } from "../errors.ts";
import { assertFilter, type TopicBounds } from "../topic.ts";
import { audited } from "./audit.ts";
import { acceptsMsgpack } from "./body.ts";
import { assertBindable, assertReadable } from "./bounds.ts";
import { storedView } from "./message-view.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";
import { selectionOf } from "./tasks.ts";
import { assertWebhook, shownSettings } from "./webhook.ts";

type AdminOperation =
  | "info"
  | "stats"
  | "listQueues"
  | "putQueue"
  | "getQueue"
  | "deleteQueue"
  | "pauseQueue"
  | "drainQueue"
  | "resumeQueue"
  | "purgeQueue"
  | "peekQueue"
  | "findMessage";

export const adminHandlers: Handlers<AdminOperation> = {
  info(_call, { engine, config, version, node, startedAt }) {
    const { durable, shared } = engine.capabilities;
    const durability = durable ? config.durability : "none";
    return {
      name: "warren",
      version,
      bun: Bun.version,
      node,
      startedAt,
      engine: { name: engine.name, durable, shared, durability },
      storage: engine.health,
      limits: config.limits,
    };
  },

  stats(_call, { clock, figures }) {
    return { time: clock.now(), gauges: figures.gauges(), counters: figures.counters() };
  },

  listQueues({ query }, { engine }) {
    const { limit, after } = query;
    const found = engine.queues.list({ after, atMost: limit + 1 });
    const queues = found.slice(0, limit);
    const last = queues.at(-1);
    return {
      queues: queues.map(queueView),
      ...(last !== undefined && found.length > limit ? { next: last.name } : {}),
    };
  },

  async putQueue(call, services) {
    const name = param(call, "name");
    const { bindings, ...definition } = call.body;
    const { engine, broker, config } = services;
    const isNew = existingQueue(services, name) === undefined;
    const action = isNew ? "queue.define" : "queue.change";
    const define = async () => {
      const existing = existingQueue(services, name);
      const settings = completeSettings(definition, existing?.settings);
      assertWebhook(settings);
      const filters = bindings ?? existing?.bindings ?? [];
      assertBindings(filters, config.limits);
      assertBindable(existing?.bindings ?? [], filters, call);
      // Whoever says where messages are pushed to can read them there.
      if (definition.webhook) assertReadable(name, call, broker);
      return engine.queues.define(name, settings, filters);
    };
    // Names only: a value may be a secret.
    const detail = () => ({ detail: { fields: Object.keys(call.body) } });
    const inTurn = () => services.turns.queues.take(define);
    return queueView(await audited(call, services, { action, on: name }, inTurn, detail));
  },

  getQueue: (call, { engine }) => queueView(engine.queues.describe(param(call, "name"))),

  async deleteQueue(call, services) {
    const name = param(call, "name");
    const { force } = call.query;
    const remove = async () => {
      const held = heldInAll(services, name);
      if (held > 0 && !force) {
        throw new WarrenError(
          "conflict",
          `The queue and its dead-letter queue hold ${held} messages; ?force=true removes them too.`,
          { queue: name, messages: held },
        );
      }
      await services.engine.queues.remove(name, { ifEmpty: !force });
      services.tasks.queueGone(name);
      return held;
    };
    const change = { action: "queue.delete", on: name };
    const inTurn = () => services.turns.queues.take(remove);
    await audited(call, services, change, inTurn, (count) => ({ count }));
    return undefined;
  },

  pauseQueue: (call, services) => switched(call, services, "pause", { paused: true }),
  drainQueue: (call, services) => switched(call, services, "drain", { draining: true }),
  resumeQueue: (call, services) =>
    switched(call, services, "resume", { paused: false, draining: false }),

  async purgeQueue(call, services) {
    const on = param(call, "name");
    const purge = () => services.engine.queues.purge(on);
    const change = { action: "queue.purge", on };
    return {
      purged: await audited(call, services, change, purge, (count) => ({ count })),
    };
  },

  async peekQueue(call, services) {
    const name = param(call, "name");
    const { limit, after, state, from, to } = call.query;
    assertReadable(name, call, services.broker);
    const options: PeekOptions = {
      limit,
      ...(after === undefined ? {} : { after }),
      ...(state === undefined ? {} : { state }),
      ...selectionOf(call.query, services),
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
    };
    const { messages, next } = await services.engine.queues.peek(name, options);
    const packed = acceptsMsgpack(call.request);
    return {
      messages: messages.map((stored) => storedView(stored, packed)),
      ...(next === undefined ? {} : { next }),
    };
  },

  async findMessage(call, { engine, broker }) {
    const name = param(call, "name");
    const messageId = param(call, "messageId");
    assertReadable(name, call, broker);
    const stored = await engine.queues.find(name, messageId);
    if (stored === undefined) {
      throw new WarrenError("not_found", `The queue ${name} does not hold this message.`, {
        queue: name,
        messageId,
      });
    }
    return storedView(stored, acceptsMsgpack(call.request));
  },
};

/** A queue as `PUT` takes it, with what is known of it beside. */
export function queueView(report: QueueReport): object {
  const { name, bindings, settings, createdAt, deadLetterOf, ...figures } = report;
  return {
    name,
    bindings,
    ...shownSettings(settings),
    createdAt,
    ...(deadLetterOf === undefined ? {} : { deadLetterOf }),
    ...figures,
  };
}

/** Throws `invalid_filter` with the JSON Pointer of the first binding that is none. */
export function assertBindings(bindings: readonly string[], bounds: TopicBounds): void {
  bindings.forEach((filter, at) => {
    try {
      assertFilter(filter, bounds);
    } catch (error) {
      if (!(error instanceof WarrenError)) throw error;
      const detail = { ...error.detail, pointer: `/bindings/${at}` };
      throw new WarrenError(error.code, error.message, detail);
    }
  });
}

async function switched(
  call: Call,
  services: Services,
  verb: "pause" | "drain" | "resume",
  change: Partial<Pick<QueueSettings, "paused" | "draining">>,
): Promise<object> {
  const name = param(call, "name");
  const { queues } = services.engine;
  const set = async () => {
    const { settings, bindings, deadLetterOf } = queues.describe(name);
    if (deadLetterOf !== undefined) {
      throw new WarrenError("not_supported", "A dead-letter queue is not paused or drained.", {
        queue: name,
      });
    }
    return queues.define(name, { ...settings, ...change }, bindings);
  };
  const inTurn = () => services.turns.queues.take(set);
  return queueView(await audited(call, services, { action: `queue.${verb}`, on: name }, inTurn));
}

function existingQueue({ engine }: Services, name: string): QueueReport | undefined {
  try {
    return engine.queues.describe(name);
  } catch (error) {
    if (error instanceof WarrenError && error.code === "unknown_queue") return undefined;
    throw error;
  }
}

/** Throws `unknown_queue`. */
function heldInAll({ engine }: Services, name: string): number {
  const names = isDeadLetterName(name) ? [name] : [name, deadLetterName(name)];
  return names
    .map((one) => engine.queues.describe(one).counts)
    .reduce((sum, { ready, delayed, inFlight }) => sum + ready + delayed + inFlight, 0);
}
