/**
 * Asking a URL at addresses that were judged before. Between a look-up and a second one a name may change
 * its mind (DNS rebinding), so there is one only, and what it found is what is connected to.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** All addresses of a name, the best first; rejects when it has none, with a `code` that says why. */
export type Resolve = (name: string) => Promise<readonly string[]>;

export const systemResolve: Resolve = async (name) =>
  (await lookup(name, { all: true })).map(({ address }) => address);

/** Nobody was there: nothing was sent, and another address of the name may be tried. */
const NOT_CONNECTED = new Set([
  ...["ECONNREFUSED", "ConnectionRefused", "FailedToOpenSocket"],
  ...["EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL"],
]);

/** The host of a URL as look-ups and certificates know it: without brackets and the last dot. */
export function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
}

/** Where a URL leads: at least one address. Rejects with the signal's reason once it is aborted. */
export async function addressesOf(
  url: URL,
  signal: AbortSignal,
  resolve: Resolve,
): Promise<readonly string[]> {
  const host = bareHost(url);
  if (isIP(host) !== 0) return [host];
  const found = await within(signal, resolve(host));
  if (found.length === 0) throw new Error(`${host} has no address.`);
  return found;
}

/**
 * As `fetch`, at the first of the addresses that can be connected to. Over https the certificate must
 * be for the name in the URL. Redirects are handed back, since where they lead nobody has judged.
 */
export async function fetchAt(
  url: URL,
  addresses: readonly string[],
  init: BunFetchRequestInit,
): Promise<Response> {
  const name = bareHost(url);
  const headers = new Headers(init.headers as Record<string, string> | undefined);
  if (!headers.has("Host")) headers.set("Host", url.host);
  const options = {
    ...init,
    redirect: "manual",
    headers,
    tls: { ...init.tls, ...(isIP(name) === 0 && { serverName: name }) },
  } as const;
  const pinned = new URL(url);
  for (const [at, address] of addresses.entries()) {
    pinned.hostname = isIP(address) === 6 ? `[${address}]` : address;
    try {
      return await fetch(pinned, options);
    } catch (error) {
      const { code = "" } = error as { code?: string };
      if (at === addresses.length - 1 || !NOT_CONNECTED.has(code)) throw error;
    }
  }
  throw new Error(`${name} has no address.`);
}

/** Look-ups know no signal. */
function within<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    work.then(resolve, reject);
  });
}
