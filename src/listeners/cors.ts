/** What lets pages of other origins read answers, and what keeps them from writing [P-1.6, P-14.12]. */
import { WarrenError } from "../errors.ts";
import { carriesCookie } from "../security/credentials.ts";
import type { OriginCheck } from "../security/origins.ts";

const SAFE = ["GET", "HEAD", "OPTIONS"];
const METHODS = "GET, POST, PUT, PATCH, DELETE";

/**
 * A browser adds the cookie to requests that any page makes, so a request that changes something has to
 * name an origin that is known. Throws `forbidden`.
 */
export function assertNotForged(request: Request, origins: OriginCheck): void {
  if (SAFE.includes(request.method) || !carriesCookie(request)) return;
  const origin = request.headers.get("Origin");
  if (origins.knows(origin, request.url)) return;
  throw new WarrenError("forbidden", "With the cookie a change needs an Origin that is listed.", {
    origin,
  });
}

/** Nothing for an origin that is not allowed; with the cookie only for one that is listed, never for `*`. */
export function corsHeaders(request: Request, origins: OriginCheck): Record<string, string> {
  const origin = request.headers.get("Origin");
  if (origin === null || !origins.allows(origin, request.url)) return { Vary: "Origin" };
  return {
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Expose-Headers": "Retry-After",
    Vary: "Origin",
    ...(origins.knows(origin, request.url) && { "Access-Control-Allow-Credentials": "true" }),
    ...(request.method === "OPTIONS" && {
      "Access-Control-Allow-Methods": METHODS,
      "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers") ?? "",
      "Access-Control-Max-Age": "600",
    }),
  };
}
