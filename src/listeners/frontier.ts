/**
 * What is looked at before a request is anybody's [P-14.12]: which page sent it and from which address it
 * comes.
 */
import { WarrenError } from "../errors.ts";
import type { OriginCheck } from "../security/origins.ts";
import type { ClientAddresses } from "../security/proxies.ts";

export interface Frontier {
  readonly origins: OriginCheck;
  readonly addresses: ClientAddresses;
}

/** Throws `forbidden` for a page that may not use this broker [P-1.6]. */
export function assertOrigin(request: Request, origins: OriginCheck): void {
  const origin = request.headers.get("Origin");
  if (origins.allows(origin, request.url)) return;
  throw new WarrenError("forbidden", "Pages of this origin may not use this broker.", { origin });
}
