/** How a session says no: the errors it makes itself, and the frame that carries any of them. */
import type { ClientFrameOf, FrameId, ServerFrameOf } from "../../schemas/frames.ts";
import { WarrenError } from "../errors.ts";

/** With the frame's id, or without one naming the frame's type [P-2.2]. */
export function errorFrame(
  id: FrameId | undefined,
  type: string | undefined,
  { code, message, retry, detail }: WarrenError,
): ServerFrameOf<"error"> {
  return {
    type: "error",
    ...(id !== undefined ? { id } : type !== undefined && { ref: type }),
    code,
    message,
    retry,
    ...(detail !== undefined && { detail: { ...detail } }),
  };
}

export function notConsumed(queue: string): WarrenError {
  return new WarrenError("unknown_queue", "This connection does not consume the queue.", { queue });
}

/** Throws `not_supported` for what a subscription may ask for one day [P-4.5], and `invalid_frame`. */
export function assertSupported(frame: ClientFrameOf<"subscribe">): void {
  const { where, recover, last = 0 } = frame;
  if (where !== undefined) {
    throw new WarrenError("not_supported", "Subscribing with where is not supported.", {
      pointer: "/where",
    });
  }
  if (recover === undefined || last === 0) return;
  const why = "recover and last do not go together.";
  throw new WarrenError("invalid_frame", why, { pointer: "/last" });
}
