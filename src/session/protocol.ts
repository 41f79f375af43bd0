/**
 * What a session needs of the vocabulary its peer speaks. The interfaces are the session's; the
 * protocols implement them, so that a session knows frames but no encoding.
 */
import type { FrameId } from "../../schemas/frames.ts";
import type { Receipt } from "../broker/publication.ts";
import type { Bytes, EventEncoder } from "../broker/route.ts";
import type { HistoryPage } from "../engine/topics.ts";
import type { Delivery, Message } from "../message.ts";
import type { Session } from "./session.ts";

/** Makes the bytes of frames; the frequent ones have a way of their own. */
export interface FrameEncoder extends EventEncoder {
  /** `ok` for a publish [P-3.4]. */
  published(id: FrameId, receipt: Receipt): Bytes;
  /** `ok` with nothing beside it. */
  ok(id: FrameId): Bytes;
  delivery(delivery: Delivery): Bytes;
  /** The event of a retained value [P-4.4]. */
  retained(message: Message, filter: string | undefined): Bytes;
  /** `ok` for `history`; `next` is where the page behind it begins [P-8.1]. */
  history(id: FrameId, page: HistoryPage, next: number | undefined): Bytes;
}

export interface Protocol {
  readonly encoder: FrameEncoder;
  /** Takes one WebSocket message of the session's peer. Synchronous; never throws. */
  receive(session: Session, data: string | Buffer): void;
}
