/**
 * Which web pages may connect [P-1.6]: a browser sends the page's origin, and one that is not listed is
 * refused, so that a stranger's page cannot use the credentials of whoever opens it.
 */

export interface OriginCheck {
  /**
   * Whether a request with this `Origin` header (null: none, so not a browser's cross-site request) to
   * `requestUrl` may go on.
   */
  allows(origin: string | null, requestUrl: string): boolean;
  /** Whether it is the same origin or listed by its name: `*` lets a page in, but not a cookie with it. */
  knows(origin: string | null, requestUrl: string): boolean;
}

const ANY = "*";
/** Any scheme: apps have origins of their own, such as `capacitor://localhost`. */
const ORIGIN = /^([a-z][a-z0-9+.-]*):\/\/(\[[0-9a-f:.]+\]|[^\s/?#@:*[\]]+)(?::(\d{1,5}))?$/;
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: "80", https: "443" };

/**
 * The check for a list of allowed origins, each `scheme://host` or `scheme://host:port`, or `*` for any.
 * Throws an Error that names an entry which is neither. `behindTls`: requests came over https, whatever
 * their URL says.
 */
export function createOriginCheck(allowed: readonly string[], behindTls = false): OriginCheck {
  const listed = new Set<string>();
  for (const entry of allowed) {
    const origin = entry === ANY ? ANY : canonicalOrigin(entry);
    if (origin === undefined) {
      throw new Error(`The origin "${entry}" must be scheme://host or scheme://host:port, or *.`);
    }
    listed.add(origin);
  }
  const any = listed.delete(ANY);
  const knows = (origin: string | null, requestUrl: string) => {
    if (origin === null) return false;
    if (listed.has(origin)) return true;
    const own = URL.parse(requestUrl)?.origin;
    return origin === (behindTls ? own?.replace(/^http:/, "https:") : own);
  };
  return {
    knows,
    allows: (origin, requestUrl) => origin === null || any || knows(origin, requestUrl),
  };
}

/** An origin as browsers write it: lower case, without the port that its scheme implies. */
function canonicalOrigin(text: string): string | undefined {
  const [, scheme, host, port] = ORIGIN.exec(text.toLowerCase()) ?? [];
  if (scheme === undefined || host === undefined) return undefined;
  if (port === undefined || port === DEFAULT_PORTS[scheme]) return `${scheme}://${host}`;
  return Number(port) <= 65_535 ? `${scheme}://${host}:${Number(port)}` : undefined;
}
