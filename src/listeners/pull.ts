/** Queues over HTTP: take deliveries, wait for them, settle them in a later request [P-12.7], [P-12.8]. */
import type { SettleBody } from "../../schemas/http.ts";
import type { Outcome } from "../engine/engine.ts";
import { WarrenError } from "../errors.ts";
import { acceptsMsgpack, jsonResponse } from "./body.ts";
import type { Pulled } from "./leases.ts";
import { deliveryText, packedDelivery } from "./message-view.ts";
import { errorResult } from "./problem.ts";
import type { PullConsumerName } from "./pull-consumers.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";
import type { Wait } from "./waits.ts";

/** How long past its wait a request may take before the server gives it up. */
const SLACK_SECONDS = 10;

export const pullHandlers: Handlers<"pull" | "settle" | "alive" | "release"> = {
  async pull(call, services) {
    const { max = 1, waitMs = 0, consumer: name, livenessMs } = call.body;
    const queue = queueOf(call, services);
    if (livenessMs !== undefined && name === undefined) {
      throw new WarrenError("invalid_frame", "livenessMs is for a consumer with a name.", {
        pointer: "/livenessMs",
      });
    }
    assertAtMost(max, services.config.limits.credit, "/max");
    if (services.phase() === "draining") throw new WarrenError("draining");
    call.server.timeout(call.request, Math.ceil(waitMs / 1000) + SLACK_SECONDS);
    const wait = waitOf(call, services, queue);
    const { signal } = wait;
    const principal = call.principal.name;
    const consumer = name === undefined ? {} : { consumer: { name, livenessMs } };
    const request = { principal, queue, max, waitMs, signal, ...consumer };
    const pulled = await services.leases.pull(request).finally(wait.end);
    if (call.request.signal.aborted) pulled.giveBack();
    else {
      try {
        wait.assert();
      } catch (error) {
        pulled.giveBack();
        throw error;
      }
    }
    keepOnlyWhileServed(pulled, call, services, queue);
    const { deliveries } = pulled;
    if (!acceptsMsgpack(call.request)) {
      return jsonResponse(`{"deliveries":[${deliveries.map(deliveryText).join()}]}`);
    }
    return { deliveries: deliveries.map(packedDelivery) };
  },

  alive(call, services) {
    const who = consumerOf(call, services);
    services.leases.consumers.alive(who);
    return { consumer: who.name };
  },

  release(call, services) {
    const released = services.leases.consumers.release(consumerOf(call, services));
    return { released };
  },

  settle(call, services) {
    const queue = queueOf(call, services);
    const steps = stepsOf(call.body);
    const count = steps.reduce((sum, { tags }) => sum + tags.length, 0);
    assertAtMost(count, services.config.limits.credit, "");
    return settled(call, services, queue, steps, count);
  },
};

interface Step {
  readonly tags: readonly number[];
  readonly outcome: Outcome;
}

/** Each list in the order of its entries: acks first, then nacks, rejects and extends. */
function stepsOf(body: SettleBody): Step[] {
  return [
    { tags: body.ack ?? [], outcome: { kind: "ack" } },
    ...(body.nack ?? []).map((entry) => stepOf("nack", entry)),
    ...(body.reject ?? []).map((entry) => stepOf("reject", entry)),
    ...(body.extend ?? []).map((entry) => stepOf("extend", entry)),
  ];
}

function stepOf(
  kind: "nack" | "reject" | "extend",
  entry: number | { tags: readonly number[] },
): Step {
  if (typeof entry === "number") return { tags: [entry], outcome: { kind } };
  const { tags, ...options } = entry;
  return { tags, outcome: { kind, ...options } };
}

/** All are begun before the first is waited for: in order, and in one transaction. */
function settled(
  call: Call<"settle">,
  { leases }: Services,
  queue: string,
  steps: readonly Step[],
  count: number,
): Promise<{ results: readonly object[] }> {
  const results = new Array<object>(count);
  const { promise, resolve } = Promise.withResolvers<{ results: readonly object[] }>();
  let open = count;
  let begun = 0;
  for (const { tags, outcome } of steps) {
    const first = begun;
    begun += tags.length;
    leases.settle(call.principal.name, queue, tags, outcome, (place, error) => {
      const tag = tags[place]!;
      results[first + place] =
        error === undefined ? { type: "ok", tag } : { tag, ...errorResult(error) };
      open--;
      if (open === 0) resolve({ results });
    });
  }
  if (count === 0) resolve({ results });
  return promise;
}

function consumerOf(call: Call<"alive" | "release">, services: Services): PullConsumerName {
  const queue = queueOf(call, services);
  return { principal: call.principal.name, queue, name: call.body.consumer };
}

/** Over when the client goes, and when the right or the credential that it came with is no longer good. */
function waitOf(call: Call<"pull">, services: Services, queue: string): Wait {
  const { principal, request } = call;
  const lost = () => lostBy(call, services, queue);
  return services.waits.begin(request.signal, principal.expiresAt, lost);
}

type Puller = Pick<Call, "address" | "principal">;

function lostBy(who: Puller, { standing, broker }: Services, queue: string) {
  if (!broker.mayConsume(who.principal.rights, queue)) return notAllowed(queue);
  return standing.lost(who);
}

/**
 * What was pulled goes back when its right or its credential is taken away [P-14.4]. One that has merely run
 * out is another matter: its holder comes with the next one.
 */
function keepOnlyWhileServed(
  pulled: Pulled,
  { address, principal }: Puller,
  services: Services,
  queue: string,
): void {
  if (pulled.deliveries.length === 0) return;
  const lost = () => {
    const error = lostBy({ address, principal }, services, queue);
    return error?.code === "token_expired" ? undefined : error;
  };
  // As over a connection: a right that goes ends the consumer, a credential that goes the connection.
  const cut = ({ code }: WarrenError) => (code === "forbidden" ? pulled.giveBack() : pulled.lose());
  pulled.whenOver(services.waits.watch(lost, cut));
}

/** The queue of the address; `forbidden` before anything is said of it. */
function queueOf(call: Pick<Call, "params" | "principal">, { broker }: Services): string {
  const queue = param(call, "queue");
  if (!broker.mayConsume(call.principal.rights, queue)) {
    throw notAllowed(queue);
  }
  return queue;
}

function notAllowed(queue: string): WarrenError {
  const detail = { action: "consume", on: queue, queue };
  return new WarrenError("forbidden", `You may not consume from ${queue}.`, detail);
}

function assertAtMost(count: number, limit: number, pointer: string): void {
  if (count <= limit) return;
  throw new WarrenError("invalid_frame", `At most ${limit} deliveries at a time.`, {
    pointer,
    limit,
  });
}
