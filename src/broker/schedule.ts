/**
 * Changing or taking back what was published for later [P-5.13], the same over every transport: what a
 * publisher may say of it is held to the bounds of a publish.
 */
import type { RescheduleBody } from "../../schemas/frames.ts";
import type { ScheduleChange } from "../engine/schedule.ts";
import { WarrenError } from "../errors.ts";
import type { Broker } from "./broker.ts";
import { type Draft, type MessageContext, toMessage } from "./publication.ts";
import type { TopicEntry } from "./router.ts";

/** What a topic and an id name, and what becomes of it; null: it goes. */
export interface Rescheduling {
  readonly topic: string;
  readonly messageId: string;
  readonly change: ScheduleChange | null;
}

/** Of a change that leaves the payload as it is. */
const NO_PAYLOAD = new Uint8Array();

/**
 * The change, and the draft by which it is judged like a publish. Throws what `toMessage` throws, and
 * `invalid_frame` when nothing would change.
 */
export function toChange(
  body: RescheduleBody & { readonly topic: string },
  context: MessageContext,
): { readonly draft: Draft; readonly change: ScheduleChange } {
  const { deliverAt, delayMs, payload, headers, contentType, ttlMs } = body;
  const draft = toMessage(
    { ...body, payload: payload === undefined ? NO_PAYLOAD : payload },
    context,
  );
  const { message } = draft;
  const dueAt = deliverAt ?? (delayMs === undefined ? undefined : context.now + delayMs);
  const change: ScheduleChange = {
    ...(dueAt !== undefined && { dueAt }),
    ...(payload !== undefined && { payload: message.payload }),
    ...(headers !== undefined && { headers }),
    ...(contentType !== undefined && { contentType }),
    // Nobody speaks in the name of somebody else.
    ...(writes(body) && { from: context.from ?? null }),
    ...(ttlMs !== undefined && { expiresAt: context.now + ttlMs }),
  };
  if (Object.keys(change).length > 0) return { draft, change };
  throw new WarrenError("invalid_frame", "It says nothing that is to be changed.", {
    pointer: "/deliverAt",
  });
}

function writes({ payload, headers, contentType }: RescheduleBody): boolean {
  return payload !== undefined || headers !== undefined || contentType !== undefined;
}

/** Throws what the topic's channel says against a new payload. */
export function assertInChannel(
  { channel }: TopicEntry,
  { message }: Draft,
  { payload }: ScheduleChange,
  now: number,
): void {
  const refusal = payload === undefined ? undefined : channel?.refusal(message, now);
  if (refusal !== undefined) throw refusal;
}

/** The right to publish to the topic has been checked. Resolves to how many copies there were. */
export function reschedule(broker: Broker, asked: Rescheduling): Promise<number> {
  return new Promise((done, failed) => broker.engine.reschedule({ ...asked, done, failed }));
}
