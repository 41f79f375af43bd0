/** One publish of a session, from its frame until it is answered. */
import type { FrameId } from "../../schemas/frames.ts";
import type { Draft, Publication, Receipt } from "../broker/publication.ts";
import type { TopicEntry } from "../broker/router.ts";
import type { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import type { Session } from "./session.ts";

export class PendingPublish implements Publication {
  readonly message: Message;
  readonly dueAt: number | undefined;
  readonly dedupe: boolean;
  readonly except: Session | undefined;
  readonly entry: TopicEntry;
  readonly #session: Session;
  readonly #id: FrameId | undefined;

  constructor(session: Session, id: FrameId | undefined, draft: Draft, entry: TopicEntry) {
    this.message = draft.message;
    this.dueAt = draft.dueAt;
    this.dedupe = draft.dedupe;
    this.except = draft.echo ? undefined : session;
    this.entry = entry;
    this.#session = session;
    this.#id = id;
  }

  accepted(receipt: Receipt): void {
    this.#session.publishAccepted(this.#id, receipt);
  }

  refused(error: WarrenError): void {
    this.#session.publishRefused(this.#id, error);
  }
}
