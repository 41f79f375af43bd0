/**
 * What one session publishes, from its frames until they are answered: one message at a time [P-3], or
 * several together [P-5.14].
 */
import type { ClientFrameOf, FrameId, PublishBody, ServerFrameOf } from "../../schemas/frames.ts";
import { publishBatch, withIndex } from "../broker/batch.ts";
import {
  assertRetainable,
  concernsNobody,
  type Draft,
  type MessageContext,
  type Publication,
  type Receipt,
  toMessage,
} from "../broker/publication.ts";
import type { TopicEntry } from "../broker/router.ts";
import { assertInChannel, reschedule, toChange } from "../broker/schedule.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { Credentials } from "./credentials.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";

const unnamed = () => "";

type BatchResult = NonNullable<ServerFrameOf<"ok">["results"]>[number];

export class Publisher {
  readonly session: Session;
  readonly #sessions: Sessions;
  readonly #credentials: Credentials;

  constructor(session: Session, sessions: Sessions, credentials: Credentials) {
    this.session = session;
    this.#sessions = sessions;
    this.#credentials = credentials;
  }

  /** Throws `draining`, `invalid_topic`, `forbidden`, and what `toMessage` throws; the rest is answered later. */
  publish(frame: ClientFrameOf<"publish">): void {
    const { broker } = this.#sessions;
    const { id, topic, messageId } = frame;
    const entry = this.#mayPublish(topic);
    if (id === undefined && messageId === undefined && concernsNobody(entry)) {
      // Nobody will ask for what it is called.
      this.#draft(frame, entry, unnamed);
      broker.unheard();
      return;
    }
    const draft = this.#draft(frame, entry, broker.newId);
    this.session.intake.published();
    broker.publish(this.#pending(this, id, draft, entry));
  }

  /** Throws like `publish`, and `rate_limited`; `detail.index` says of which message it is. */
  batch({ id, publish }: ClientFrameOf<"batch">): void {
    const { session } = this;
    const limit = session.limits.batch;
    if (publish.length > limit) {
      const why = `A batch holds at most ${limit} messages.`;
      throw new WarrenError("invalid_frame", why, { pointer: "/publish", limit });
    }
    const batch = new PendingBatch(this, id, publish.length);
    const publications = publish.map((body, index) => {
      try {
        // The first was paid for as the frame [P-14.11].
        if (index > 0) session.throttle?.admit();
        const entry = this.#mayPublish(body.topic);
        const draft = this.#draft(body, entry, this.#sessions.broker.newId);
        return this.#pending(batch, index, draft, entry);
      } catch (thrown) {
        throw ofItem(toWarrenError(thrown), index);
      }
    });
    for (const _ of publications) session.intake.published();
    publishBatch(this.#sessions.broker, publications);
  }

  /** Throws like `publish`, and what is said against a change; the rest is answered later [P-5.13]. */
  reschedule(frame: ClientFrameOf<"reschedule">): void {
    const { broker } = this.#sessions;
    const { id, type, topic, messageId } = frame;
    const entry = this.#mayPublish(topic);
    const context = this.#context(broker.newId);
    const { draft, change } = toChange(frame, context);
    this.#credentials.admit(draft, entry, false);
    assertInChannel(entry, draft, change, context.now);
    this.#answerLater(id, type, reschedule(broker, { topic, messageId, change }));
  }

  /** Throws `draining`, `invalid_topic`, `forbidden`; the rest is answered later [P-5.13]. */
  unschedule({ id, type, topic, messageId }: ClientFrameOf<"unschedule">): void {
    this.#mayPublish(topic);
    const asked = { topic, messageId, change: null };
    this.#answerLater(id, type, reschedule(this.#sessions.broker, asked));
  }

  #answerLater(id: FrameId | undefined, type: string, changed: Promise<number>): void {
    const { session } = this;
    session.intake.published();
    changed
      .then(
        (queues) => id !== undefined && session.tell({ type: "ok", id, queues }),
        (error) => session.refuse(id, type, toWarrenError(error)),
      )
      .then(() => session.publishAnswered());
  }

  accepted(id: FrameId | undefined, receipt: Receipt): void {
    const { session } = this;
    if (id !== undefined) session.reply(session.protocol.encoder.published(id, receipt));
    session.publishAnswered();
  }

  refused(id: FrameId | undefined, error: WarrenError): void {
    this.session.refuse(id, "publish", error);
    this.session.publishAnswered();
  }

  /** What is to be published, which is in order. Of the topic that was asked for last. */
  #draft(body: PublishBody, entry: TopicEntry, newId: () => string): Draft {
    const draft = toMessage(body, this.#context(newId));
    assertRetainable(draft, entry);
    this.#credentials.admit(draft, entry, body.retain === true);
    return draft;
  }

  #pending<Id>(
    owner: PublishOwner<Id>,
    id: Id,
    draft: Draft,
    entry: TopicEntry,
  ): PendingPublish<Id> {
    return new PendingPublish(owner, id, draft, entry, draft.echo ? undefined : this.session);
  }

  #mayPublish(topic: string): TopicEntry {
    if (this.session.state === "draining") throw new WarrenError("draining");
    return this.#credentials.publishTo(topic, this.#sessions.broker.router);
  }

  #context(newId: () => string): MessageContext {
    const { clock } = this.#sessions.broker;
    const { limits } = this.session;
    return { now: clock.now(), newId, limits, from: this.#credentials.from };
  }
}

/** Who is told what became of a publish, by what it calls it. */
interface PublishOwner<Id> {
  accepted(id: Id, receipt: Receipt): void;
  refused(id: Id, error: WarrenError): void;
}

class PendingPublish<Id> implements Publication {
  readonly message: Message;
  readonly dueAt: number | undefined;
  readonly dedupe: boolean;
  readonly retain: Draft["retain"];
  readonly except: Session | undefined;
  readonly entry: TopicEntry;
  readonly #owner: PublishOwner<Id>;
  readonly #id: Id;

  constructor(
    owner: PublishOwner<Id>,
    id: Id,
    draft: Draft,
    entry: TopicEntry,
    except: Session | undefined,
  ) {
    this.message = draft.message;
    this.dueAt = draft.dueAt;
    this.dedupe = draft.dedupe;
    this.retain = draft.retain;
    this.except = except;
    this.entry = entry;
    this.#owner = owner;
    this.#id = id;
  }

  accepted(receipt: Receipt): void {
    this.#owner.accepted(this.#id, receipt);
  }

  refused(error: WarrenError): void {
    this.#owner.refused(this.#id, error);
  }
}

/** Several publishes with one answer: all are accepted, or all refused with the same error. */
class PendingBatch implements PublishOwner<number> {
  readonly #publisher: Publisher;
  readonly #id: FrameId | undefined;
  readonly #results: BatchResult[];
  #open: number;

  constructor(publisher: Publisher, id: FrameId | undefined, size: number) {
    this.#publisher = publisher;
    this.#id = id;
    this.#results = new Array(size);
    this.#open = size;
  }

  accepted(index: number, receipt: Receipt): void {
    const { session } = this.#publisher;
    const { messageId, queues, duplicate, displaced, invalid, position } = receipt;
    this.#results[index] = {
      messageId,
      queues,
      ...(duplicate && { duplicate }),
      ...(displaced !== undefined && { displaced }),
      ...(invalid && { invalid }),
      ...position,
    };
    this.#open--;
    if (this.#open === 0 && this.#id !== undefined) {
      session.tell({ type: "ok", id: this.#id, results: this.#results });
    }
    session.publishAnswered();
  }

  refused(_index: number, error: WarrenError): void {
    const { session } = this.#publisher;
    if (this.#open === this.#results.length) session.refuse(this.#id, "batch", error);
    this.#open--;
    session.publishAnswered();
  }
}

/** The error as that of one message of a batch: what it points at lies in the frame. */
function ofItem(error: WarrenError, index: number): WarrenError {
  const { code, message, detail } = withIndex(error, index);
  if (typeof detail?.pointer !== "string") return withIndex(error, index);
  const pointer = `/publish/${index}${detail.pointer}`;
  return new WarrenError(code, message, { ...detail, pointer });
}
