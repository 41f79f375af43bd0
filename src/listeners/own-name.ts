/**
 * A broker that lets anyone on this machine in must be reached by a name of this machine. Otherwise a
 * stranger's page could point a name of its own at 127.0.0.1 and be same-origin with the broker (DNS
 * rebinding), with everything allowed.
 */
import { WarrenError } from "../errors.ts";

const LOOPBACK = /^(?:localhost|.+\.localhost|127(?:\.\d{1,3}){3}|\[::1\])$/;

/** Throws `forbidden` when the request is for another name. */
export function assertOwnName(request: Request): void {
  const { hostname } = new URL(request.url);
  if (LOOPBACK.test(hostname)) return;
  throw new WarrenError(
    "forbidden",
    `This broker has no credentials configured, so it answers on this machine's own names only, not ` +
      `as ${hostname}. Configure credentials, or start it with --insecure.`,
    { host: hostname },
  );
}
