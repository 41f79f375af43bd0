/** The figures that operators read, gathered from the parts of the broker that keep them anyway. */
import type { Broker } from "../broker/broker.ts";
import type { ChannelGauges, LagWatch, QueueGauges } from "../metrics.ts";
import type { Sessions } from "../session/sessions.ts";
import type { Webhooks } from "../webhooks/webhooks.ts";
import type { Figures } from "./services.ts";

export interface FigureSources {
  readonly broker: Broker;
  readonly sessions: Sessions;
  readonly webhooks: Webhooks;
  readonly lag: LagWatch;
}

export function createFigures(sources: FigureSources, isDraining: () => boolean): Figures {
  const { broker, sessions, webhooks, lag } = sources;
  const { engine } = broker;
  return {
    gauges: () => ({
      event_loop_lag_seconds: lag.seconds,
      sessions: sessions.size,
      subscriptions: broker.counters.subscriptions,
      routes: broker.counters.routes,
      presence_members: broker.presence.members,
      queues: engine.queues.size,
      topics_kept: engine.topics.totals.topics,
      history_messages: engine.topics.totals.historyMessages,
      history_bytes: engine.topics.totals.historyBytes,
      retained_messages: engine.topics.totals.retainedMessages,
      bans: sessions.admission.bans.count(),
      storage_ready: engine.health.state === "ready" ? 1 : 0,
      webhook_requests: webhooks.figures.inFlight,
      webhooks_failing: webhooks.figures.failing,
      draining: isDraining() ? 1 : 0,
    }),
    counters() {
      const { published, refused, topicsRefused, invalid, events, duplicates } = broker.counters;
      const store = engine.counters;
      return {
        published,
        refused,
        topics_refused: topicsRefused,
        invalid,
        events,
        presence_frames: broker.presence.frames,
        sessions_opened: sessions.opened,
        rate_limited: sessions.admission.rates.limited,
        turned_away: sessions.admission.turnedAway,
        automatic_bans: sessions.admission.bans.automatic,
        stored: store.stored,
        delivered: store.delivered,
        redelivered: store.redelivered,
        acked: store.acked,
        nacked: store.nacked,
        rejected: store.rejected,
        dead_lettered: store.deadLettered,
        expired: store.expired,
        timed_out: store.timedOut,
        displaced: store.displaced,
        redriven: store.redriven,
        duplicates: duplicates + store.duplicates,
        audit_dropped: store.auditDropped,
        commits: store.commits,
        commit_operations: store.commitOperations,
        commit_seconds: store.commitMs / 1000,
      };
    },
  };
}

/** The first so many queues by name, with what is in them. */
export function queueGauges({ engine }: Broker, atMost: number): QueueGauges[] {
  return engine.queues.list({ atMost }).map(({ name, counts, counters, oldestAgeMs }) => ({
    name,
    ...counts,
    counters,
    ...(oldestAgeMs === undefined ? {} : { oldestAgeMs }),
  }));
}

/** The first so many channels by name of which topics keep something. */
export function channelGauges({ engine, router }: Broker, atMost: number): ChannelGauges[] {
  const { channels } = engine.topics;
  const names = [...channels.keys()].filter((name) => name !== "").sort();
  return names.slice(0, atMost).map((name) => ({
    name,
    topics: channels.get(name)?.topics ?? 0,
    maxTopics: router.channels?.maxTopicsOf(name) ?? 0,
    historyBytes: channels.get(name)?.historyBytes ?? 0,
  }));
}
