/**
 * The only door to what the broker does: publish, subscribe, consume. Here the order of side effects is
 * decided: first every queue has its copy, then live subscribers see the message, then its publisher is
 * answered [P-3.3].
 */
import type { Clock, Random } from "../clock.ts";
import type {
  AppendReceipt,
  Consumer,
  DeliverySink,
  Engine,
  EngineHealth,
  QueueDescription,
} from "../engine/engine.ts";
import type { Collection } from "../engine/records.ts";
import { isDeadLetterName, ownerOfDeadLetters } from "../engine/rules.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Message } from "../message.ts";
import type { Deniable, Explanation, Rights } from "./access.ts";
import { Passage, Store } from "./appends.ts";
import { Fanout } from "./fanout.ts";
import { Presence } from "./presence.ts";
import { isStored, Misfit, notRetained, type Publication } from "./publication.ts";
import { ReadSlots } from "./read-slots.ts";
import { RecentIds } from "./recent-ids.ts";
import { RefusalTrail } from "./refusal-trail.ts";
import type { EventEncoder, Route, RoutePublisher, Subscriber } from "./route.ts";
import { Router, type TopicEntry } from "./router.ts";
import { TopicUpkeep } from "./upkeep.ts";

export interface BrokerDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  /** Makes ids of messages and sessions: UUIDv7. */
  readonly newId: () => string;
  readonly routes: RoutePublisher;
  /** Told when the store can no longer be written, and when it can again. */
  readonly healthChanged?: (health: EngineHealth) => void;
  /** Told of every queue at the start, and whenever one is defined, changed or removed. */
  readonly queueChanged?: (name: string, description: QueueDescription | undefined) => void;
}

/** Plain numbers since the start. */
export interface BrokerCounters {
  /** Messages accepted from publishers, duplicates among them. */
  published: number;
  refused: number;
  /** Those of them for which one topic more would have kept something than may. */
  topicsRefused: number;
  /** Payloads that did not fit the schema of their channel, counted or refused. */
  invalid: number;
  /** Repetitions of messages that no queue keeps; the engine counts the others. */
  duplicates: number;
  /** Events handed to routes, once for all subscribers of a route. */
  readonly events: number;
  /** Present routes and live subscriptions. */
  readonly routes: number;
  subscriptions: number;
}

export type Explainer = () => Explanation;

export class Broker {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits: Limits;
  readonly newId: () => string;
  readonly router: Router;
  readonly fanout: Fanout;
  readonly presence: Presence;
  /** For all who read of what topics keep. */
  readonly reads: ReadSlots;
  readonly counters: BrokerCounters;
  /** Refusals for lack of rights or credentials go here [P-14.8]. */
  readonly refusals: RefusalTrail;
  readonly #recentIds: RecentIds;
  readonly #upkeep = new TopicUpkeep(this);
  readonly #watchers = new Map<Collection, (key: string, value: unknown) => void>();
  /** Told when a queue is bound to other filters than before. */
  bindingsChanged: () => void = () => undefined;
  readonly #healthChanged: (health: EngineHealth) => void;
  readonly #queueChanged: NonNullable<BrokerDeps["queueChanged"]>;

  constructor(deps: BrokerDeps) {
    this.engine = deps.engine;
    this.clock = deps.clock;
    this.random = deps.random;
    this.limits = deps.limits;
    this.newId = deps.newId;
    this.#healthChanged = deps.healthChanged ?? (() => undefined);
    this.#queueChanged = deps.queueChanged ?? (() => undefined);
    const router = new Router(deps.limits);
    const fanout = new Fanout(deps.routes, deps.clock, deps.limits);
    this.router = router;
    this.fanout = fanout;
    this.presence = new Presence({ fanout, clock: deps.clock, limits: deps.limits });
    this.reads = new ReadSlots(deps.limits.readsAtOnce);
    this.refusals = new RefusalTrail(deps.engine.audit, deps.clock);
    this.#recentIds = new RecentIds(deps.limits.recentMessageIds, deps.limits.dedupeWindowMs);
    this.counters = {
      published: 0,
      refused: 0,
      topicsRefused: 0,
      invalid: 0,
      duplicates: 0,
      subscriptions: 0,
      get events() {
        return fanout.events;
      },
      get routes() {
        return router.routes;
      },
    };
  }

  get health(): EngineHealth {
    return this.engine.health;
  }

  /**
   * Hands every record of the collection to `learn`: at the start those there are, later each that
   * changes; undefined is one that is gone. To be called before `start`.
   */
  watchRecords(collection: Collection, learn: (key: string, value: unknown) => void): void {
    this.#watchers.set(collection, learn);
  }

  /** Opens the engine and binds its queues. Rejects when the store cannot be used. */
  async start(): Promise<void> {
    const { engine } = this;
    await engine.open({
      queueChanged: (name, description) => {
        this.#bind(name, description);
        this.bindingsChanged();
      },
      healthChanged: this.#healthChanged,
      recordChanged: (collection, key, value) => this.#watchers.get(collection)?.(key, value),
    });
    for (const queue of engine.queues.list()) this.#bind(queue.name, queue);
    for (const [collection, learn] of this.#watchers) {
      for (const [key, value] of engine.records.all(collection)) learn(key, value);
    }
    this.#upkeep.start();
  }

  /** Closes the engine: what it accepted is made durable and answered first. */
  close(): Promise<void> {
    this.#upkeep.stop();
    this.refusals.flush();
    this.presence.close();
    return this.engine.close();
  }

  /**
   * Publishes a message [P-3.3]. The publisher's right to do so has been checked. Refuses through the
   * publication with `invalid_topic`, `forbidden` (the topic is the broker's own), `queue_full`,
   * `too_many_topics`, `storage_unavailable`, `busy`.
   */
  publish(publication: Publication): void {
    let entry = publication.entry;
    if (entry === undefined) {
      try {
        entry = this.router.lookup(publication.message.topic);
      } catch (error) {
        this.#refuse(publication, toWarrenError(error));
        return;
      }
    }
    if (entry.reserved) {
      this.#refuse(
        publication,
        new WarrenError("forbidden", "Topics that begin with $ belong to the broker.", {
          topic: entry.topic,
        }),
      );
      return;
    }
    const judged = entry.channel === undefined ? publication : this.judge(publication, entry);
    if (judged instanceof WarrenError) this.#refuse(publication, judged);
    else this.#take(judged, entry);
  }

  /** The publication as the topic's channel lets it go on, or why not [P-14.9]. */
  judge(publication: Publication, entry: TopicEntry): Publication | WarrenError {
    const { channel, queues } = entry;
    const refusal = channel?.refusal(publication.message, this.clock.now());
    if (refusal === undefined) return publication;
    const kept = refusal.code === "schema_violation" && channel?.keepsMisfits && queues.length > 0;
    return kept ? new Misfit(publication, entry, refusal) : refusal;
  }

  /** Puts the subscriber on the filter's route. The filter is valid and the subscriber is not on it. */
  subscribe(subscriber: Subscriber, filter: string, encoder: EventEncoder): Route {
    const route = this.router.openRoute(filter, encoder);
    this.fanout.join(subscriber, route);
    this.counters.subscriptions++;
    return route;
  }

  unsubscribe(subscriber: Subscriber, route: Route): void {
    this.fanout.leave(subscriber, route);
    this.counters.subscriptions--;
    if (route.members.size === 0) this.router.closeRoute(route);
  }

  /** Throws `unknown_queue`, `storage_unavailable`. The consumer starts with no credit. */
  consume(queue: string, sink: DeliverySink): Consumer {
    return this.engine.consume(queue, sink);
  }

  /**
   * Whether somebody with these rights may work on the queue: by its name, and by what its bindings bring
   * into it, which may hold nothing that is kept from them [P-14.6].
   */
  mayConsume(rights: Rights, queue: string): boolean {
    return rights.mayConsume(queue) && this.keptBack(rights, queue) === undefined;
  }

  /** Why somebody with these rights may or may not do this here [P-14.7]. */
  explain(rights: Rights, action: Deniable, on: string): Explanation {
    return this.explainer(rights, action, on)();
  }

  /** The same, to be worded when somebody asks: among many rules the nearest miss is long to find. */
  explainer(rights: Rights, action: Deniable, on: string): Explainer {
    const then = rights.snapshot();
    const binding = action === "consume" ? this.keptBack(then, on) : undefined;
    return () => explained(then, action, on, binding);
  }

  /** A binding of the queue that brings into it what these rights keep from being shown. */
  keptBack(rights: Rights, queue: string): string | undefined {
    const owner = isDeadLetterName(queue) ? ownerOfDeadLetters(queue) : queue;
    return this.router.bindingsOf(owner).find((filter) => !rights.mayReceive(filter));
  }

  #bind(name: string, description: QueueDescription | undefined): void {
    this.router.bind(name, description?.bindings ?? []);
    this.#queueChanged(name, description);
  }

  #take(publication: Publication, entry: TopicEntry): void {
    if (isStored(publication, entry)) this.#store(publication, entry);
    else if (publication instanceof Misfit) {
      this.#refuse(publication, publication.refusal);
    } else if (entry.pendingStores > 0) {
      // What is on its way into the store is seen first: this goes the same way, and leaves nothing there.
      entry.pendingStores++;
      this.engine.append(new Passage(this, publication, entry));
    } else {
      this.#live(publication, entry);
    }
  }

  /** A publish is in order, has no id that must not come twice, and concerns nobody. */
  unheard(): void {
    this.counters.published++;
  }

  /** Nothing is stored of it. */
  #live(publication: Publication, { routes }: TopicEntry): void {
    const { message, except, dedupe } = publication;
    const duplicate = dedupe && !this.#isNew(message);
    if (duplicate) this.counters.duplicates++;
    else this.fanout.publish(message, routes, except);
    this.counters.published++;
    publication.accepted({ messageId: message.id, queues: 0, duplicate });
  }

  #store(publication: Publication, entry: TopicEntry): void {
    if (publication.retain !== undefined && !entry.retained) {
      this.#refuse(publication, notRetained(entry));
      return;
    }
    entry.pendingStores++;
    this.engine.append(new Store(this, publication, entry));
  }

  #isNew(message: Message): boolean {
    return this.#recentIds.add(message.topic, message.id, message.time);
  }

  /** What becomes of a message that nobody keeps. */
  notKept({ dedupe, message }: Publication): AppendReceipt {
    const duplicate = dedupe && !this.#isNew(message);
    if (duplicate) this.counters.duplicates++;
    return { queues: 0, duplicate };
  }

  /** The engine has the message, and nobody saw it yet. */
  stored(publication: Publication, entry: TopicEntry, receipt: AppendReceipt): void {
    const { message, except } = publication;
    if (!receipt.duplicate && publication.invalid === undefined) {
      const { routes } = this.router.lookup(entry.topic, entry);
      this.fanout.publish(message, routes, except, receipt.position);
    }
    this.counters.published++;
    const { queues, duplicate, displaced, position } = receipt;
    const answer = { messageId: message.id, queues, duplicate };
    // Most have nothing more to say, and there is one for each message.
    const isPlain = displaced === undefined && position === undefined;
    publication.accepted(
      isPlain
        ? answer
        : {
            ...answer,
            ...(displaced !== undefined && { displaced }),
            ...(position !== undefined && { position }),
          },
    );
    entry.pendingStores--;
  }

  /** The engine could not store the message: nobody will see it [P-3.6]. */
  failed(publication: Publication, entry: TopicEntry, error: WarrenError): void {
    this.#refuse(publication, overtaken(error));
    entry.pendingStores--;
  }

  /** What was on its way before it has been stored, or was refused. */
  passed(publication: Publication, entry: TopicEntry, error?: WarrenError): void {
    // It needs no store, and behind one that has failed nothing of the topic is stored before it.
    const isInTurn = error === undefined || error.code === "storage_unavailable";
    if (isInTurn) this.#live(publication, this.router.lookup(entry.topic, entry));
    else this.#refuse(publication, error);
    entry.pendingStores--;
  }

  #refuse(publication: Publication, error: WarrenError): void {
    this.counters.refused++;
    if (error.code === "too_many_topics") this.counters.topicsRefused++;
    publication.refused(error);
  }
}

/** A publish waited for room in a queue, and that was removed: sent again it goes where the topic leads then. */
function overtaken(error: WarrenError): WarrenError {
  if (error.code !== "unknown_queue") return error;
  return new WarrenError("busy", "A queue of this topic was removed meanwhile.", error.detail);
}

/** `binding` is one that brings into the queue what these rights keep from being shown. */
function explained(rights: Rights, action: Deniable, on: string, binding?: string): Explanation {
  const said = rights.explain(action, on);
  if (!said.allowed) return said;
  if (action === "publish" && on.startsWith("$")) {
    return { allowed: false, reason: "Topics that begin with $ belong to the broker." };
  }
  if (binding === undefined) return said;
  const why = rights.explain("receive", binding);
  return { ...why, reason: `The queue is bound to ${binding}. ${why.reason}` };
}
