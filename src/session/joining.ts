/**
 * A subscribe that cannot take effect at once, since it begins with something that has to be read. It joins the
 * live subscribers in the very turn in which the last answer comes and all that it brought was sent: so nothing
 * is missed and nothing comes twice.
 */
import type { FrameId, ServerFrameOf } from "../../schemas/frames.ts";
import type { Broker } from "../broker/broker.ts";
import { historyOf, mayRetain, pageBytes, retains } from "../broker/kept.ts";
import type { HistoryPage, RetainedPage } from "../engine/topics.ts";
import { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import { hasWildcard } from "../topic.ts";
import type { CatchUp } from "./catch-up.ts";
import { Read } from "./read.ts";

type Ok = Omit<ServerFrameOf<"ok">, "type" | "id">;

export abstract class Joining extends Read {
  readonly filter: string;
  readonly #id: FrameId | undefined;
  /** Its `ok` was sent. */
  #answered = false;
  #joined = false;
  whenJoined: () => void = () => undefined;

  constructor(catchUp: CatchUp, filter: string, id: FrameId | undefined) {
    super(catchUp);
    this.filter = filter;
    this.#id = id;
  }

  /** What it reads has to take its turn. */
  abstract readonly holdsPages: boolean;

  /** What the connection itself publishes would be missed if it did not wait for this. */
  abstract readonly isBeforePublishes: boolean;

  get joined(): boolean {
    return this.#joined;
  }

  get answered(): boolean {
    return this.#answered;
  }

  /** Rights may have changed since it was asked for. Throws `forbidden`. */
  assertAllowed(): void {
    this.catchUp.session.credentials.assertMay("subscribe", this.filter);
  }

  /** The peer does not want it any more. */
  cancel(): void {
    if (!this.#answered) {
      const why = "It was unsubscribed before it took effect.";
      this.failed(new WarrenError("conflict", why, { filter: this.filter }));
    }
    this.finish();
  }

  protected answer(more: Ok): void {
    const { filter } = this;
    this.#answered = true;
    if (this.#id !== undefined) {
      this.catchUp.session.tell({ type: "ok", id: this.#id, filter, ...more });
    }
  }

  /** Everything that comes from now on is seen live. */
  protected join(): void {
    if (this.over) return;
    this.catchUp.live.join(this.filter);
    this.#joined = true;
    if (!this.catchUp.session.over) this.whenJoined();
  }

  protected sendRetained(message: Message): void {
    const { session } = this.catchUp;
    const filter = this.filter === message.topic ? undefined : this.filter;
    session.reply(session.protocol.encoder.retained(message, filter));
  }

  protected override failed(error: WarrenError): void {
    const { session, live } = this.catchUp;
    if (!this.#answered) session.refuse(this.#id, "subscribe", error);
    else {
      live.end(this.filter);
      session.tell({
        type: "notice",
        code: "unsubscribed",
        filter: this.filter,
        reason: error.code,
      });
    }
  }
}

/**
 * A subscribe that begins with what its topics keep now: where the history stands [P-4.3], and the retained
 * values [P-4.4]; of these the first page, and the others after it has joined. Since each page is read after
 * that, its values are as new as what was seen of their topics before.
 */
export class Arrival extends Joining {
  #after: string | undefined;
  #begun = false;

  /** Whether the filter meets something that has to be read: most do not. */
  static reads(broker: Broker, filter: string): boolean {
    return keepsHistory(broker, filter) || mayRetain(broker, filter);
  }

  get holdsPages(): boolean {
    return mayRetain(this.catchUp.live.broker, this.filter);
  }

  get isBeforePublishes(): boolean {
    // Whatever is published to a topic with history is stored, and seen after what was asked before.
    return !this.joined && !(this.#begun && keepsHistory(this.catchUp.live.broker, this.filter));
  }

  protected proceed(): void {
    if (this.joined) {
      this.#readOn();
      return;
    }
    const { broker } = this.catchUp.live;
    const { filter } = this;
    const bounds = hasWildcard(filter) ? undefined : historyOf(broker, filter);
    const isRetained = mayRetain(broker, filter);
    let place: HistoryPage | undefined;
    if (bounds !== undefined) {
      const request = { topic: filter, bounds, before: 1, limit: 1, bytes: 1 };
      this.ask<HistoryPage>(
        (answered) => broker.engine.topics.history(request, answered),
        (page) => {
          place = page;
          if (!isRetained) this.#arrive(place, undefined);
        },
      );
    }
    if (isRetained) this.#askRetained((page) => this.#arrive(place, page));
    else if (bounds === undefined) this.#arrive(undefined, undefined);
    this.#begun = true;
    this.catchUp.letOn();
  }

  #arrive(place: HistoryPage | undefined, page: RetainedPage | undefined): void {
    this.assertAllowed();
    const values = this.#shown(page);
    this.answer({
      ...(place && { epoch: place.epoch, offset: place.offset }),
      ...(page && { retained: values.length }),
    });
    for (const message of values) this.sendRetained(message);
    this.join();
    this.#after = page?.next;
    if (this.#after === undefined) this.finish();
    else {
      this.catchUp.goOn(this);
      this.catchUp.letOn();
    }
  }

  #readOn(): void {
    this.#askRetained((page) => {
      this.assertAllowed();
      // Events that came before it leave before it, or they would follow a value that is newer.
      this.catchUp.live.settle(this.filter);
      for (const message of this.#shown(page)) this.sendRetained(message);
      this.#after = page.next;
      if (this.#after !== undefined) this.catchUp.goOn(this);
      else {
        const { filter } = this;
        this.catchUp.session.tell({ type: "notice", code: "retained_sent", filter });
        this.finish();
      }
    });
  }

  #askRetained(then: (page: RetainedPage) => void): void {
    const { limits, engine } = this.catchUp.live.broker;
    const request = {
      filter: this.filter,
      limit: limits.retainedMessages,
      bytes: pageBytes(limits),
      ...(this.#after !== undefined && { after: this.#after }),
    };
    this.ask<RetainedPage>((answered) => engine.topics.retained(request, answered), then);
  }

  /** Without what topics kept before their channels were changed. */
  #shown(page: RetainedPage | undefined): readonly Message[] {
    const { broker } = this.catchUp.live;
    return page?.messages.filter(({ topic }) => retains(broker, topic)) ?? [];
  }
}

function keepsHistory(broker: Broker, filter: string): boolean {
  return !hasWildcard(filter) && historyOf(broker, filter) !== undefined;
}
