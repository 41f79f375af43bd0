/** What topics keep of their messages, by their channels, and what may be asked of it [P-4.3, P-4.4, P-8.1]. */
import type { HistoryBounds, HistoryPage, HistoryRequest } from "../engine/topics.ts";
import { WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { assertTopic } from "../topic.ts";
import type { Broker } from "./broker.ts";

const DEFAULT_LIMIT = 100;

/** What is asked of the history of a topic, over any transport. */
export interface HistoryQuery {
  readonly topic: string;
  readonly after?: number | undefined;
  readonly before?: number | undefined;
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

/** The bounds of the topic's history; undefined where it keeps none. */
export function historyOf({ router }: Broker, topic: string): HistoryBounds | undefined {
  return router.channels?.find(topic)?.history;
}

/** The same, or `not_supported`, pointing at what asked for it. */
export function keptHistory(broker: Broker, topic: string, pointer: string): HistoryBounds {
  const bounds = historyOf(broker, topic);
  if (bounds !== undefined) return bounds;
  throw new WarrenError("not_supported", "No history is kept of this topic.", { pointer, topic });
}

/** Whether the topic keeps a value now; one that is stored from before is not to be shown. */
export function retains({ router }: Broker, topic: string): boolean {
  return router.channels?.find(topic)?.retained === true;
}

/** Whether a subscription to the filter may have to begin with retained values. */
export function mayRetain({ router }: Broker, filter: string): boolean {
  return router.channels?.mayRetain(filter) === true;
}

/** Bytes of one page: it must find room in front of a reader, beside what waits for him already. */
export function pageBytes({ replayBytes, outboundBytes }: Limits): number {
  return Math.min(replayBytes, outboundBytes >> 2);
}

/** Throws `invalid_topic`, `invalid_frame`. */
export function assertHistoryQuery({ topic, limit = 0 }: HistoryQuery, limits: Limits): void {
  assertTopic(topic, limits);
  const { historyMessages } = limits;
  if (limit <= historyMessages) return;
  throw new WarrenError("invalid_frame", `At most ${historyMessages} messages at a time.`, {
    pointer: "/limit",
    limit: historyMessages,
  });
}

/** What the engine is asked, by the bounds that hold now. Throws `not_supported`. */
export function historyRequest(query: HistoryQuery, broker: Broker): HistoryRequest {
  const { topic, after, before, reverse } = query;
  const { limits } = broker;
  return {
    topic,
    bounds: keptHistory(broker, topic, "/topic"),
    ...(after !== undefined && { after }),
    ...(before !== undefined && { before }),
    ...(reverse !== undefined && { reverse }),
    limit: query.limit ?? Math.min(DEFAULT_LIMIT, limits.historyMessages),
    bytes: pageBytes(limits),
  };
}

/** `after` of the page behind this one, or `before` in reverse; undefined when there is nothing more. */
export function nextOffset({ complete, messages }: HistoryPage): number | undefined {
  return complete ? undefined : messages.at(-1)?.offset;
}
