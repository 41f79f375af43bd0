/**
 * Hands events to routes. What one turn of the event loop brings for a route leaves as one message
 * [P-2.1]: fewer, larger writes are what makes fan-out cheap, and a lone event waits for nothing but
 * the input that has already arrived.
 *
 * A turn of its own costs some microseconds, so while little is going on events leave at once: Bun too
 * gathers what is published until it goes back to the network. The more subscribers, the sooner it pays
 * to gather first.
 *
 * Order at the end of a turn: replies and deliveries of all sessions first, then the routes. So the `ok`
 * of a subscribe comes before its first event [P-4.1]. Whenever a route has to leave earlier (it is full,
 * someone joins or leaves it), the sessions' frames leave before it too.
 */
import type { Clock } from "../clock.ts";
import type { Position } from "../engine/topics.ts";
import type { Limits } from "../limits.ts";
import type { Message } from "../message.ts";
import type { Bytes, Route, RoutePublisher, Subscriber } from "./route.ts";

/** So many events times subscribers leave at once in a millisecond; what comes then is gathered. */
const AT_ONCE = 64;

export class Fanout {
  readonly #publisher: RoutePublisher;
  readonly #clock: Clock;
  readonly #limits: Limits;
  /** What leaves before the routes: the sessions' own frames. */
  #flushSessions: () => void = () => undefined;
  /** Routes with pending events; some may have been flushed since. */
  readonly #dirty: Route[] = [];
  #turnRequested = false;
  /** Routes with a reader under backpressure, since the backlogs were looked at last. */
  readonly #congested = new Set<Route>();
  #bytesSinceCheck = 0;
  #checking = false;
  /** The millisecond, by the time of its messages, and what may still leave at once in it. */
  #millisecond = 0;
  #leftAtOnce = 0;
  /** Events handed to routes, once for all subscribers of a route. */
  events = 0;

  constructor(publisher: RoutePublisher, clock: Clock, limits: Limits) {
    this.#publisher = publisher;
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Sets what leaves before the routes do. */
  beforeRoutes(flush: () => void): void {
    this.#flushSessions = flush;
  }

  /** Asks for a flush at the end of this turn. */
  requestTurn(): void {
    if (this.#turnRequested) return;
    this.#turnRequested = true;
    this.#clock.endOfTurn(this.#endOfTurn);
  }

  /**
   * Sends the message to every route, sparing `except` on the routes that it is on. `position` is where it
   * stands in the history of its topic.
   */
  publish(
    message: Message,
    routes: readonly Route[],
    except: Subscriber | undefined,
    position?: Position,
  ): void {
    for (let i = 0; i < routes.length; i++) {
      const route = routes[i]!;
      const spared = except !== undefined && route.members.has(except) ? except : undefined;
      this.#add(route, message, spared, position);
    }
  }

  /** Sends one more frame, which is no event, to everyone on the route. */
  tell(route: Route, bytes: Bytes, now: number): void {
    route.events++;
    if (route.listening > 0) this.#queue(route, bytes, now, undefined);
  }

  join(subscriber: Subscriber, route: Route): void {
    this.settle(route);
    route.members.add(subscriber);
    if (route.aired) subscriber.socket.subscribe(route.name);
    else if (route.members.size > 1) air(route);
  }

  leave(subscriber: Subscriber, route: Route): void {
    const spared = route.pendingExcept === subscriber;
    // What it is spared leaves without it, and not by its socket: one that is closed cannot publish any more.
    if (spared) route.pendingExcept = undefined;
    else this.settle(route);
    this.drop(subscriber, route);
    if (spared) this.settle(route);
  }

  /** Takes a member off that has no use any more for what is pending. */
  drop(subscriber: Subscriber, route: Route): void {
    if (route.aired) subscriber.socket.unsubscribe(route.name);
    route.members.delete(subscriber);
    if (route.lagging?.delete(subscriber) && route.lagging.size === 0) route.lagging = undefined;
    if (route.members.size > 0) return;
    this.#congested.delete(route);
    // Another route of this name may have members before this one would have been flushed.
    route.pending = undefined;
    route.pendingBytes = 0;
  }

  /** What is pending leaves now: before the route's membership changes, or because it is full. */
  settle(route: Route): void {
    if (route.pendingBytes === 0) return;
    this.#flushSessions();
    this.#flush(route);
  }

  /** Takes a member off the air; the events that it misses are counted until `resume`. */
  suspend(subscriber: Subscriber, route: Route): void {
    if (!route.members.has(subscriber) || route.lagging?.has(subscriber)) return;
    this.settle(route);
    if (route.aired) subscriber.socket.unsubscribe(route.name);
    route.lagging ??= new Map();
    route.lagging.set(subscriber, route.events);
  }

  /** Puts a member back on the air; returns how many events it has missed [P-4.7]. */
  resume(subscriber: Subscriber, route: Route): number {
    const since = route.lagging?.get(subscriber);
    if (since === undefined) return 0;
    this.settle(route);
    route.lagging?.delete(subscriber);
    if (route.lagging?.size === 0) route.lagging = undefined;
    if (route.aired) subscriber.socket.subscribe(route.name);
    return route.events - since;
  }

  #add(
    route: Route,
    message: Message,
    spared: Subscriber | undefined,
    position: Position | undefined,
  ): void {
    this.events++;
    route.events++;
    let except = spared;
    if (route.lagging !== undefined) {
      const since = except === undefined ? undefined : route.lagging.get(except);
      if (except !== undefined && since !== undefined) {
        // It would not have seen this one anyway: nothing missed. Nor can it publish to this route now.
        route.lagging.set(except, since + 1);
        except = undefined;
      }
      if (route.listening === 0) return;
    }
    const { filter, encoder } = route;
    const bytes = encoder.event(message, filter === message.topic ? undefined : filter, position);
    this.#queue(route, bytes, message.time, except);
  }

  #queue(route: Route, bytes: Bytes, now: number, except: Subscriber | undefined): void {
    if (route.pendingExcept !== except) this.settle(route);
    if (!this.#turnRequested && this.#mayLeaveAtOnce(now, route.members.size)) {
      this.#send(route, bytes, except);
      return;
    }
    route.pendingExcept = except;
    route.pending ??= [];
    const { pending } = route;
    if (pending.length === 0) {
      this.#dirty.push(route);
      this.requestTurn();
    }
    pending.push(bytes);
    route.pendingBytes += bytes.length;
    if (
      pending.length >= this.#limits.coalescedFrames ||
      route.pendingBytes >= this.#limits.coalescedBytes
    ) {
      this.settle(route);
    }
  }

  #flush(route: Route): void {
    const { pending, pendingExcept } = route;
    const first = pending?.[0];
    // Flushing the sessions may have closed one, and with it this route.
    if (pending === undefined || first === undefined) return;
    const bytes = pending.length === 1 ? first : route.encoder.batch(pending);
    pending.length = 0;
    route.pendingBytes = 0;
    route.pendingExcept = undefined;
    this.#send(route, bytes, pendingExcept);
  }

  #mayLeaveAtOnce(time: number, subscribers: number): boolean {
    if (time !== this.#millisecond) {
      this.#millisecond = time;
      this.#leftAtOnce = AT_ONCE;
    }
    this.#leftAtOnce -= subscribers;
    return this.#leftAtOnce >= 0;
  }

  #send(route: Route, bytes: Bytes, except: Subscriber | undefined): void {
    if (!route.aired) air(route);
    const sent = this.#publisher.publish(route.name, bytes, except?.socket);
    this.#bytesSinceCheck += bytes.length;
    if (sent <= 0 && route.members.size > 0) this.#congested.add(route);
    // Looking at every member after every publish would be the loop that native publish saves. Between
    // two looks nobody's backlog grows by more than this, which is far below Bun's own limit.
    if (this.#bytesSinceCheck * 4 >= this.#limits.outboundBytes) this.#checkBacklogs();
  }

  #checkBacklogs(): void {
    if (this.#checking) return;
    this.#bytesSinceCheck = 0;
    if (this.#congested.size === 0) return;
    this.#checking = true;
    const routes = [...this.#congested];
    this.#congested.clear();
    for (const route of routes) for (const member of route.members) member.checkBacklog();
    this.#checking = false;
  }

  readonly #endOfTurn = (): void => {
    this.#turnRequested = false;
    this.#flushSessions();
    const dirty = this.#dirty;
    for (let i = 0; i < dirty.length; i++) this.#flush(dirty[i]!);
    dirty.length = 0;
  };
}

/**
 * Its members' sockets are subscribed when the first event leaves, or when there are two: Bun's part of a subscribe
 * is a large one, and of the many filters of one connection most never have an event.
 */
function air(route: Route): void {
  route.aired = true;
  for (const member of route.members) {
    if (!route.lagging?.has(member)) member.socket.subscribe(route.name);
  }
}
