/** Who consumes a queue, for operators [P-13.3]. */
import type { ConsumerReport } from "../engine/engine.ts";
import { pageOf } from "./page.ts";
import { type Handlers, param } from "./services.ts";

export const consumerHandlers: Handlers<"listConsumers"> = {
  listConsumers(call, { engine, clock }) {
    const now = clock.now();
    const all = joined(engine.queues.consumers(param(call, "name")));
    const { items, next } = pageOf(all, call.query);
    const consumers = items.map(({ report: { holder, oldestDeliveryAt, ...figures } }) => ({
      ...holder,
      ...figures,
      ...(oldestDeliveryAt !== undefined && {
        oldestDeliveryAgeMs: Math.max(0, now - oldestDeliveryAt),
      }),
    }));
    return { consumers, ...(next !== undefined && { next }) };
  },
};

interface Named {
  /** A connection has a consumer of a queue; pulls are one consumer by their principal and name. */
  readonly name: string;
  readonly report: ConsumerReport;
}

function joined(reports: readonly ConsumerReport[]): Named[] {
  const byName = Map.groupBy(
    reports,
    ({ holder: { session = "", consumer = "", principal = "" } }) =>
      [session, principal, consumer].join("\n"),
  );
  return [...byName]
    .map(([name, group]) => ({ name, report: group.reduce(together) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function together(one: ConsumerReport, other: ConsumerReport): ConsumerReport {
  const none = Number.POSITIVE_INFINITY;
  const oldest = Math.min(one.oldestDeliveryAt ?? none, other.oldestDeliveryAt ?? none);
  return {
    holder: one.holder,
    credit: one.credit + other.credit,
    inFlight: one.inFlight + other.inFlight,
    since: Math.min(one.since, other.since),
    ...(Number.isFinite(oldest) && { oldestDeliveryAt: oldest }),
  };
}
