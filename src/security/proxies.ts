/**
 * Whose request it is when it came through a proxy [P-14.12]: `X-Forwarded-For` says it, and only a proxy
 * that the operator trusts is believed. `Forwarded` is not read: a proxy that writes one of the two lets
 * through the other as the client made it.
 */
import { AddressRanges, canonicalAddress, parseAddress, parseRange } from "./addresses.ts";

export interface ClientAddresses {
  /** The address that sent the request to the outermost trusted proxy; without one, the peer's. */
  of(headers: Headers, peer: string): string;
}

/** Throws an Error that names an entry which is neither an address nor a range, or is everybody. */
export function createClientAddresses(trustedProxies: readonly string[]): ClientAddresses {
  const trusted = new AddressRanges<true>();
  for (const entry of trustedProxies) {
    const range = parseRange(entry);
    if (range === undefined) {
      throw new Error(`"${entry}" must be an address or a range, such as 10.0.0.0/8.`);
    }
    if (range.prefix === 0) {
      throw new Error(
        `"${entry}" trusts everyone: whoever connects could say any address; name the proxies' own addresses.`,
      );
    }
    trusted.add(range, true);
  }
  const isTrusted = (text: string): boolean => {
    const address = parseAddress(text);
    return address !== undefined && trusted.find(address, () => true) === true;
  };
  return {
    of(headers, peer) {
      let known = canonicalAddress(peer);
      if (trustedProxies.length === 0) return known;
      const hops = headers.get("x-forwarded-for")?.split(",") ?? [];
      // From the right: each entry was written by the hop behind it, so it is as good as that hop.
      while (isTrusted(known)) {
        const hop = withoutPort(hops.pop()?.trim() ?? "");
        if (parseAddress(hop) === undefined) break;
        known = canonicalAddress(hop);
      }
      return known;
    },
  };
}

/** Some proxies write `203.0.113.7:4711` and `[2001:db8::1]:4711`. */
function withoutPort(hop: string): string {
  return /^(\[[^\]]*\]|[\d.]+):\d+$/.exec(hop)?.[1] ?? hop;
}
