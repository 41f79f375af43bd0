/** Working on dead letters and acked messages over the operator's plane [P-13.9], [P-13.10]. */
import { assertFits, isForChannel, toEdit } from "../broker/edit.ts";
import type { TaskKind } from "../broker/tasks.ts";
import { isDeadLetterName, ownerOfDeadLetters } from "../engine/rules.ts";
import type { Selection } from "../engine/selection.ts";
import type { TransferRequest } from "../engine/transfer.ts";
import { WarrenError } from "../errors.ts";
import { assertFilter } from "../topic.ts";
import { audited } from "./audit.ts";
import { authorOf } from "./author.ts";
import { assertFillable, assertMayPublish, assertReadable } from "./bounds.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";

type TaskOperation =
  | "deleteMessage"
  | "resendMessage"
  | "redriveQueue"
  | "replayQueue"
  | "listTasks"
  | "getTask"
  | "cancelTask";

interface Filters {
  readonly topic?: string;
  readonly reason?: Selection["reason"];
  readonly search?: string;
  readonly header?: readonly string[];
}

export const taskHandlers: Handlers<TaskOperation> = {
  async deleteMessage(call, services) {
    const on = param(call, "name");
    const messageId = param(call, "messageId");
    const remove = () => moveOne(services, on, messageId, { to: null });
    const change = { action: "message.delete", on };
    await audited(call, services, change, remove, () => ({ count: 1, detail: { messageId } }));
    return undefined;
  },

  async resendMessage(call, services) {
    const on = param(call, "name");
    const messageId = param(call, "messageId");
    const { to } = call.body;
    const { broker, engine } = services;
    const resend = async () => {
      assertMovable(call, services, on, to);
      const { deadLetterOf } = engine.queues.describe(on);
      if (call.body.topic !== undefined) assertMayPublish(call.body.topic, call);
      const edit = toEdit(call.body, broker, authorOf(call));
      // It may lie behind many others: it is looked for only where it matters.
      const found = isForChannel(edit) ? await engine.queues.find(on, messageId) : undefined;
      if (found !== undefined) assertFits(found.message, edit, broker);
      await moveOne(services, on, messageId, { edit, ...(to === undefined ? {} : { to }) });
      return { messageId: edit.id ?? messageId, queue: to ?? deadLetterOf ?? on };
    };
    const detail = { messageId, fields: Object.keys(call.body) };
    const change = { action: "message.resend", on };
    return audited(call, services, change, resend, () => ({ count: 1, detail }));
  },

  redriveQueue(call, services) {
    const { diedAfter: from, diedBefore: to } = call.body;
    return createTask(call, services, "redrive", from, to);
  },

  replayQueue(call, services) {
    const { ackedAfter: from, ackedBefore: to } = call.body;
    return createTask(call, services, "replay", from, to);
  },

  listTasks({ query }, { tasks }) {
    const { limit, after } = query;
    const all = tasks.list();
    const start = after === undefined ? 0 : placeBehind(after, all);
    const page = all.slice(start, start + limit);
    const last = page.at(-1);
    return {
      tasks: page,
      ...(last !== undefined && all.length > start + limit ? { next: last.id } : {}),
    };
  },

  getTask(call, { tasks }) {
    const id = param(call, "id");
    const task = tasks.get(id);
    if (task === undefined) throw new WarrenError("not_found", "There is no such task.", { id });
    return task;
  },

  cancelTask(call, services) {
    const id = param(call, "id");
    const cancel = () => services.tasks.cancel(id);
    return audited(call, services, { action: "task.cancel", on: id }, cancel);
  },
};

/** Where those begin that are older than this one, which may have gone meanwhile as the oldest do. */
function placeBehind(after: string, newestFirst: readonly { readonly id: string }[]): number {
  const at = newestFirst.findIndex(({ id }) => id === after);
  if (at >= 0) return at + 1;
  const older = newestFirst.findIndex(({ id }) => id < after);
  return older < 0 ? newestFirst.length : older;
}

/** The filters that a request gives; `invalid_filter`. */
export function selectionOf(filters: Filters, { config }: Services): Selection {
  const { topic, reason, search, header } = filters;
  if (topic !== undefined) assertFilter(topic, config.limits);
  return {
    ...(topic === undefined ? {} : { topic }),
    ...(reason === undefined ? {} : { reason }),
    ...(search === undefined ? {} : { search }),
    ...(header === undefined ? {} : { headers: header.map(pairOf) }),
  };
}

/** `name=value`; the schema has made sure of the `=`. */
function pairOf(text: string): { name: string; value: string } {
  const split = text.indexOf("=");
  return { name: text.slice(0, split), value: text.slice(split + 1) };
}

function createTask(
  call: Call<"redriveQueue"> | Call<"replayQueue">,
  services: Services,
  kind: TaskKind,
  from: number | undefined,
  until: number | undefined,
): Promise<object> {
  const queue = param(call, "name");
  const { ids, limit, ratePerSecond, to, dryRun = false } = call.body;
  const order = {
    kind,
    queue,
    select: {
      ...selectionOf(call.body as Filters, services),
      ...(ids === undefined ? {} : { ids }),
      ...(from === undefined ? {} : { from }),
      ...(until === undefined ? {} : { to: until }),
    },
    ...(to === undefined ? {} : { to }),
    ...(limit === undefined ? {} : { limit }),
    ...(ratePerSecond === undefined ? {} : { ratePerSecond }),
    dryRun,
    principal: call.principal.name,
  };
  const create = async () => {
    assertMovable(call, services, queue, to);
    return services.tasks.create(order);
  };
  // It changes nothing, so there is nothing to tell.
  if (dryRun) return create();
  const change = { action: `queue.${kind}`, on: queue };
  return audited(call, services, change, create, ({ id }) => ({ detail: { task: id } }));
}

/** Throws `forbidden` where one could not have consumed them there and published them here [P-14.14]. */
function assertMovable(
  call: Pick<Call, "principal">,
  { broker }: Services,
  queue: string,
  to: string | undefined,
): void {
  assertReadable(queue, call, broker);
  assertFillable(to ?? (isDeadLetterName(queue) ? ownerOfDeadLetters(queue) : queue), call, broker);
}

/** Moves one message; `not_found`, or `conflict` while it is in flight. */
async function moveOne(
  { engine }: Services,
  queue: string,
  messageId: string,
  where: Pick<TransferRequest, "to" | "edit">,
): Promise<void> {
  const request = { state: "waiting", select: { ids: [messageId] }, limit: 1, ...where } as const;
  let after: string | undefined;
  do {
    const more = after === undefined ? {} : { after };
    const page = await engine.queues.transfer(queue, { ...request, ...more });
    if (page.moved > 0) return;
    if (page.failed > 0) throw new WarrenError("too_large", "The target could never hold it.");
    after = page.next;
  } while (after !== undefined);
  const found = await engine.queues.find(queue, messageId);
  const detail = { queue, messageId };
  if (found?.state !== "inflight") {
    throw new WarrenError("not_found", `The queue ${queue} does not hold this message.`, detail);
  }
  throw new WarrenError("conflict", "The message is in flight.", detail);
}
