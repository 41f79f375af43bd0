/**
 * Where a request carries its credential [P-1.3], and how a URL is logged without it.
 */
import type { OriginCheck } from "./origins.ts";

/** Begins the subprotocol item with a token: browsers cannot set headers on a WebSocket. */
export const TOKEN_SUBPROTOCOL = "warren.token.";
const QUERY_PARAMETER = "access_token";
const COOKIE = "warren_token";
const REDACTED = "redacted";

/**
 * The credential of a request, by precedence: `Authorization: Bearer`, the subprotocol item
 * `warren.token.<token>`, `?access_token=`, the cookie `warren_token` if the `Origin` is present and
 * trusted. Undefined when there is none; an empty one is found, and counts as a wrong one.
 */
export function findCredential(request: Request, origins: OriginCheck): string | undefined {
  const { headers } = request;
  return (
    bearer(headers.get("authorization")) ??
    subprotocol(headers.get("sec-websocket-protocol")) ??
    queryParameter(request.url) ??
    cookie(headers, request.url, origins)
  );
}

function bearer(header: string | null): string | undefined {
  if (header === null) return undefined;
  // Another scheme is for someone on the way, such as a proxy that asks for passwords.
  const found = /^bearer(?:\s+(.*))?$/i.exec(header.trim());
  return found === null ? undefined : (found[1] ?? "");
}

function subprotocol(header: string | null): string | undefined {
  if (header === null) return undefined;
  for (const item of header.split(",")) {
    const name = item.trim();
    if (name.startsWith(TOKEN_SUBPROTOCOL)) return name.slice(TOKEN_SUBPROTOCOL.length);
  }
  return undefined;
}

function queryParameter(url: string): string | undefined {
  const { query } = splitUrl(url);
  if (query === undefined) return undefined;
  return new URLSearchParams(query).get(QUERY_PARAMETER) ?? undefined;
}

/** Whether the cookie is all that the request has to say who it is. */
export function carriesCookie({ headers, url }: Request): boolean {
  return (
    bearer(headers.get("authorization")) === undefined &&
    queryParameter(url) === undefined &&
    cookieValue(headers) !== undefined
  );
}

/**
 * A browser adds cookies to any page's request, so a cookie counts only with an origin that is known by
 * its name; no origin proves nothing, nor does one that `*` lets in.
 */
function cookie(headers: Headers, url: string, origins: OriginCheck): string | undefined {
  return origins.knows(headers.get("origin"), url) ? cookieValue(headers) : undefined;
}

/**
 * A browser shows its certificate with any page's request too, so beside an origin it counts as the cookie does.
 * Clients that are no browsers name no origin.
 */
export function certificateFor<T>(
  { headers, url }: Request,
  origins: OriginCheck,
  certificate: T | undefined,
): T | undefined {
  const origin = headers.get("origin");
  return origin === null || origins.knows(origin, url) ? certificate : undefined;
}

function cookieValue(headers: Headers): string | undefined {
  for (const item of headers.get("cookie")?.split(";") ?? []) {
    const at = item.indexOf("=");
    if (at < 0 || item.slice(0, at).trim() !== COOKIE) continue;
    return item
      .slice(at + 1)
      .trim()
      .replace(/^"(.*)"$/, "$1");
  }
  return undefined;
}

/** The URL, or a part of one from its path on, with the value of `access_token` left out: for logs. */
export function redactUrl(url: string): string {
  const { before, query, after } = splitUrl(url);
  if (query === undefined) return url;
  // Each name is read with the parser that finds the credential, so that no spelling of it slips by.
  const parts = query
    .split("&")
    .map((part) =>
      new URLSearchParams(part).has(QUERY_PARAMETER) ? `${QUERY_PARAMETER}=${REDACTED}` : part,
    );
  return `${before}?${parts.join("&")}${after}`;
}

function splitUrl(url: string): { before: string; query: string | undefined; after: string } {
  const hash = url.indexOf("#");
  const end = hash < 0 ? url.length : hash;
  const start = url.indexOf("?");
  if (start < 0 || start > end) return { before: url, query: undefined, after: "" };
  return { before: url.slice(0, start), query: url.slice(start + 1, end), after: url.slice(end) };
}
