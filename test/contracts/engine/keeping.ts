/** Short words for what the suite does to what topics keep besides the queues. */
import type { AppendReceipt } from "../../../src/engine/engine.ts";
import type {
  Answered,
  HistoryPage,
  HistoryRequest,
  KeptTopic,
  RetainedPage,
  RetainedRequest,
} from "../../../src/engine/topics.ts";
import { WarrenError } from "../../../src/errors.ts";
import { Payload } from "../../../src/payload.ts";
import { type AppendOptions, type EngineKind, Subject, type SubjectOptions } from "./subject.ts";

export const PLENTY = 1000;
export const PLENTY_BYTES = 1024 * 1024;
/** What nothing of these tests reaches. */
export const WIDE = { maxMessages: PLENTY };

/** A subject whose tests are about one topic, `t`, unless they name another. */
export class Keeping {
  readonly subject: Subject;

  private constructor(subject: Subject) {
    this.subject = subject;
  }

  static async open(kind: EngineKind, options: SubjectOptions = {}): Promise<Keeping> {
    return new Keeping(await Subject.open(kind, options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.subject[Symbol.asyncDispose]();
  }

  /** Into the history of its topic, and into no queue, unless the options say otherwise. */
  publish(id: string, { queues = [], ...options }: PublishOptions = {}): Promise<AppendReceipt> {
    return this.subject.append(queues, { topic: "t", history: WIDE, ...options, id });
  }

  /** One after the other. */
  async publishAll(ids: readonly string[], options: PublishOptions = {}): Promise<void> {
    for (const id of ids) await this.publish(id, options);
  }

  history(request: Partial<HistoryRequest> = {}): Promise<HistoryPage> {
    const all = { topic: "t", bounds: WIDE, limit: PLENTY, bytes: PLENTY_BYTES };
    return answerOf((answered) =>
      this.subject.engine.topics.history({ ...all, ...request }, answered),
    );
  }

  /** Each message of the page as `offset:id`. */
  async offsets(request: Partial<HistoryRequest> = {}): Promise<string> {
    const { messages } = await this.history(request);
    return messages.map(({ offset, message }) => `${offset}:${message.id}`).join(" ");
  }

  retained(request: Partial<RetainedRequest> = {}): Promise<RetainedPage> {
    const all = { filter: "#", limit: PLENTY, bytes: PLENTY_BYTES };
    return answerOf((answered) =>
      this.subject.engine.topics.retained({ ...all, ...request }, answered),
    );
  }

  /** Makes `id` the retained value of the topic, without history. */
  async retain(topic: string, id: string, options: PublishOptions = {}): Promise<void> {
    await this.subject.append([], { topic, retain: "set", ...options, id });
  }

  /** Each retained value as `topic=id`. */
  async values(request: Partial<RetainedRequest> = {}): Promise<string> {
    const { messages } = await this.retained(request);
    return messages.map(({ topic, id }) => `${topic}=${id}`).join(" ");
  }

  async known(topic = "t"): Promise<KeptTopic | undefined> {
    const { topics } = await this.subject.engine.topics.list(undefined, PLENTY);
    return topics.find((kept) => kept.topic === topic);
  }

  /** Nothing of the topic is left, nor known. */
  forget(topic = "t"): Promise<void> {
    const forgetBefore = Number.MAX_SAFE_INTEGER;
    return this.subject.engine.topics.trim([{ topic, retained: false, forgetBefore }]);
  }
}

export interface PublishOptions extends AppendOptions {
  readonly queues?: readonly string[];
}

/** A payload that takes a little more than so many bytes on disk. */
export function payloadOf(bytes: number): Payload {
  return Payload.fromValue("x".repeat(bytes));
}

/** What a read was answered, as a promise. */
export function answerOf<Page>(ask: (answered: Answered<Page>) => void): Promise<Page> {
  return new Promise((resolve, reject) =>
    ask((answer) => (answer instanceof WarrenError ? reject(answer) : resolve(answer))),
  );
}
