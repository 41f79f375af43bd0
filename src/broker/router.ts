/**
 * Which routes and queues a topic has. The trie knows the filters; a bounded cache keeps the answer for
 * the topics that are published to, so that a publish costs one look-up and no matching.
 *
 * A filter that comes or goes makes cached answers stale: without wildcards for its one topic, with
 * them for all, each of which is then matched again when it is next asked for. Further subscribers of a
 * route that exists change nothing here.
 */
import type { HistoryBounds, KeepingChannel } from "../engine/topics.ts";
import type { Limits } from "../limits.ts";
import { assertTopic, hasWildcard } from "../topic.ts";
import type { Channel, ChannelBook } from "./channels.ts";
import { type EventEncoder, Route } from "./route.ts";
import type { PublishTerms } from "./terms.ts";
import { TopicCache } from "./topic-cache.ts";
import { FilterTrie } from "./trie.ts";

const STALE = -1;
/** Of the cache, for topics without routes, queues and channel. */
const IDLE_SHARE = 32;
const NO_ROUTES: readonly Route[] = [];
const NO_QUEUES: readonly string[] = [];
const NO_FILTERS: readonly string[] = [];

/** What the broker knows of one valid topic. One object per topic while it is `cached`. */
export class TopicEntry {
  readonly topic: string;
  /** Begins with `$`: belongs to the broker, nobody publishes to it [P-3.1]. */
  readonly reserved: boolean;
  routes: readonly Route[] = NO_ROUTES;
  /** What rules the topic [P-14.9]; most have nothing. */
  channel: Channel | undefined;
  /** Names of the queues bound to the topic, each once. */
  queues: readonly string[] = NO_QUEUES;
  /** The history that its messages enter, where the channel keeps one [P-4.3]. */
  history: HistoryBounds | undefined;
  /** Whether it keeps a retained value [P-4.4]. */
  retained = false;
  /** Whom it counts for, where it keeps something [P-14.9]. */
  keeping: KeepingChannel | undefined;
  version = STALE;
  cached = true;
  /** Publishes to this topic that the engine has not answered yet. */
  pendingStores = 0;
  /** The terms under which it was published to last, and of which version of whose rights they are. */
  terms: PublishTerms | undefined;
  rightsVersion = 0;

  constructor(topic: string) {
    this.topic = topic;
    this.reserved = topic.startsWith("$");
  }
}

/** What hangs on one filter. */
interface FilterTargets {
  readonly routes: Route[];
  /** Most filters have none, and there are many filters. */
  queues: string[] | undefined;
}

export class Router {
  readonly #limits: Limits;
  readonly #known: TopicCache;
  /** Topics that concern nobody: a flood of them is not to drive out the others, nor to be held in memory. */
  readonly #idle: TopicCache;
  readonly #filters = new FilterTrie<FilterTargets>();
  readonly #bindings = new Map<string, readonly string[]>();
  readonly #found: FilterTargets[] = [];
  /** Finds the channel of a topic. */
  channels: Pick<ChannelBook, "find" | "mayRetain" | "maxTopicsOf"> | undefined;
  /** How often they have changed. */
  channelChanges = 0;
  #version = 0;
  #routes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
    const idle = Math.ceil(limits.topicCache / IDLE_SHARE);
    this.#idle = new TopicCache(idle);
    this.#known = new TopicCache(limits.topicCache - idle);
  }

  get routes(): number {
    return this.#routes;
  }

  get filters(): number {
    return this.#filters.size;
  }

  get cachedTopics(): number {
    return this.#known.size + this.#idle.size;
  }

  /**
   * The topic's entry, up to date. `hint` is the entry that the caller met last: when it is for the same
   * topic the look-up is one string comparison. Throws `invalid_topic`.
   */
  lookup(topic: string, hint?: TopicEntry): TopicEntry {
    const entry =
      hint !== undefined && hint.topic === topic && hint.cached ? hint : this.#entry(topic, false);
    if (entry.version !== this.#version) this.#match(entry);
    return entry;
  }

  /**
   * The same for a publish that is over with this turn if nothing of it is stored: of topics of which nothing is
   * only those that come again are remembered.
   */
  glance(topic: string, hint?: TopicEntry): TopicEntry {
    const entry =
      hint !== undefined && hint.topic === topic && hint.cached ? hint : this.#entry(topic, true);
    if (entry.version !== this.#version) this.#match(entry);
    return entry;
  }

  /** The route of the filter in that encoding; undefined where nobody is on it. */
  route(filter: string, encoder: EventEncoder): Route | undefined {
    const targets = this.#filters.get(filter);
    return targets && routeIn(targets, encoder);
  }

  /** The same, made if there is none. The filter must be valid. */
  openRoute(filter: string, encoder: EventEncoder): Route {
    const targets = this.#filters.get(filter);
    const existing = targets && routeIn(targets, encoder);
    if (existing !== undefined) return existing;
    const route = new Route(filter, encoder);
    if (targets !== undefined) targets.routes.push(route);
    else this.#filters.set(filter, { routes: [route], queues: undefined });
    this.#routes++;
    this.#invalidate(filter);
    return route;
  }

  /** Forgets a route that has no members left. */
  closeRoute(route: Route): void {
    const targets = this.#filters.get(route.filter);
    if (targets === undefined || !take(targets.routes, route)) return;
    this.#routes--;
    this.#release(route.filter, targets);
  }

  /** Binds the queue to exactly these filters; none unbinds it. Invalid filters match nothing. */
  bind(queue: string, filters: readonly string[]): void {
    const before = this.#bindings.get(queue) ?? [];
    for (const filter of new Set(filters)) {
      if (before.includes(filter)) continue;
      const targets = this.#filters.get(filter);
      if (targets === undefined) this.#filters.set(filter, { routes: [], queues: [queue] });
      else if (targets.queues === undefined) targets.queues = [queue];
      else targets.queues.push(queue);
      this.#invalidate(filter);
    }
    for (const filter of before) {
      const targets = this.#filters.get(filter);
      if (filters.includes(filter) || targets?.queues === undefined) continue;
      take(targets.queues, queue);
      if (targets.queues.length === 0) targets.queues = undefined;
      this.#release(filter, targets);
    }
    if (filters.length === 0) this.#bindings.delete(queue);
    else this.#bindings.set(queue, [...new Set(filters)]);
  }

  /** Channels have changed: each topic looks for its own again. */
  channelsChanged(): void {
    this.channelChanges++;
    this.#version++;
  }

  /** The filters that the queue is bound to. */
  bindingsOf(queue: string): readonly string[] {
    return this.#bindings.get(queue) ?? NO_FILTERS;
  }

  #entry(topic: string, isPassing: boolean): TopicEntry {
    const cached = this.#known.get(topic) ?? this.#idle.get(topic);
    if (cached !== undefined) return cached;
    assertTopic(topic, this.#limits);
    const entry = new TopicEntry(topic);
    this.#match(entry);
    const { routes, queues, channel, history, retained } = entry;
    const isIdle = routes.length === 0 && queues.length === 0 && channel === undefined;
    const cache = isIdle ? this.#idle : this.#known;
    const isStored = queues.length > 0 || history !== undefined || retained;
    if (isPassing && !isStored) cache.offer(entry);
    else cache.add(entry);
    return entry;
  }

  #match(entry: TopicEntry): void {
    const found = this.#found;
    this.#filters.match(entry.topic, found);
    entry.routes = found.length === 0 ? NO_ROUTES : found.flatMap((targets) => targets.routes);
    entry.queues = found.every((targets) => targets.queues === undefined)
      ? NO_QUEUES
      : [...new Set(found.flatMap((targets) => targets.queues ?? NO_QUEUES))];
    const channel = this.channels?.find(entry.topic);
    entry.channel = channel;
    entry.history = channel?.history;
    entry.retained = channel?.retained === true;
    entry.keeping = channel?.keeping;
    entry.version = this.#version;
    found.length = 0;
  }

  #release(filter: string, targets: FilterTargets): void {
    if (targets.routes.length === 0 && targets.queues === undefined) this.#filters.delete(filter);
    this.#invalidate(filter);
  }

  #invalidate(filter: string): void {
    if (hasWildcard(filter)) this.#version++;
    else {
      const entry = this.#known.peek(filter) ?? this.#idle.peek(filter);
      if (entry !== undefined) entry.version = STALE;
    }
  }
}

function routeIn({ routes }: FilterTargets, encoder: EventEncoder): Route | undefined {
  // There are as many as encodings.
  for (let i = 0; i < routes.length; i++) if (routes[i]!.encoder === encoder) return routes[i];
  return undefined;
}

function take<T>(items: T[], item: T): boolean {
  const at = items.indexOf(item);
  if (at < 0) return false;
  items.splice(at, 1);
  return true;
}
