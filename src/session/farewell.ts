/** What the code of a close says of the peer: whether it went in order, and whether it is to come back. */
import { CLOSE } from "../../schemas/errors.ts";

/** What a close frame without a code is read as [RFC 6455, 7.1.5]. */
const NO_CODE = 1005;

/** Whether a peer that we close with this code is to come back as if nothing had been [P-10.2]. */
export function mayComeBack(code: number): boolean {
  return code === CLOSE.internal || (code >= 4500 && code < 4600);
}

/** Whether a peer that closes with this code has shut down in order; a plain `close()` names none. */
export function isGoodbye(code: number): boolean {
  return code === CLOSE.normal || code === CLOSE.goingAway || code === NO_CODE;
}
