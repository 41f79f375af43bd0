/**
 * Fetching what others publish, such as the keys of an issuer [P-14.1], without being sent where only
 * this machine can go: the address is looked up and judged first, and then that address is asked, so
 * that a name which changes its mind in between gains nothing.
 */
import { BlockList, isIP } from "node:net";
import { isLinkLocal, namesLinkLocal } from "../link-local.ts";
import { addressesOf, bareHost, fetchAt, type Resolve, systemResolve } from "../pinned-fetch.ts";

/** No more is read of an answer. */
export const ANSWER_BYTES_MAX = 256 * 1024;
const TIMEOUT_MS = 5000;

export interface Outbound {
  /** Private and loopback addresses may be asked, and they alone over plain http; link-local ones never. */
  readonly allowPrivate: boolean;
  /** PEM of the authorities to trust, instead of the system's. */
  readonly ca?: string;
  /** How names are looked up; the system's way when absent. */
  readonly resolve?: Resolve;
}

/** Whom no name given from outside may lead to: RFC 6890 and its successors. */
const PRIVATE = new BlockList();
for (const [address, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const) {
  PRIVATE.addSubnet(address, bits, "ipv4");
}
/** The only part of IPv6 that is given out to the world; in it, what stands for other addresses. */
const GLOBAL_V6 = new BlockList();
GLOBAL_V6.addSubnet("2000::", 3, "ipv6");
const EMBEDDING_V6 = new BlockList();
for (const [address, bits] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const) {
  EMBEDDING_V6.addSubnet(address, bits, "ipv6");
}

/** Whether an address belongs to no machine on the open internet; text that is none counts as such. */
export function isPrivateAddress(address: string): boolean {
  const kind = isIP(address);
  if (kind === 4) return PRIVATE.check(address, "ipv4");
  if (kind !== 6) return true;
  // `::ffff:10.0.0.1` and all other ways to write an IPv4 address lie outside what is global.
  return !GLOBAL_V6.check(address, "ipv6") || EMBEDDING_V6.check(address, "ipv6");
}

/** The sentence that says why a URL is not fetched, whatever its name leads to; undefined: it may be. */
export function urlFault(text: string, { allowPrivate }: Outbound): string | undefined {
  const url = URL.parse(text);
  if (url === null) return "it is not a URL";
  if (url.protocol !== "https:" && !(allowPrivate && url.protocol === "http:")) {
    return "it must begin with https://";
  }
  if (url.username !== "" || url.password !== "") return "it must not hold a name or a password";
  if (url.hash !== "") return "it must not have a fragment";
  const host = bareHost(url);
  if (namesLinkLocal(text))
    return "it leads to a link-local address, which is never asked: give the one of the issuer itself";
  if (!allowPrivate && (host === "localhost" || (isIP(host) !== 0 && isPrivateAddress(host)))) {
    return "it leads to a private address; set allowPrivate if that is meant";
  }
  return undefined;
}

/** The JSON at a URL. Throws an Error with a sentence for the operator's log. */
export async function fetchJson(text: string, outbound: Outbound): Promise<unknown> {
  const fault = urlFault(text, outbound);
  const shown = shownUrl(text);
  if (fault !== undefined) throw new Error(`${shown} is not fetched: ${fault}.`);
  const url = new URL(text);
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const addresses = await addressesOf(url, signal, outbound.resolve ?? systemResolve);
  assertAllowed(url, addresses, outbound);
  const answer = await fetchAt(url, addresses, {
    signal,
    headers: { Accept: "application/json" },
    ...(outbound.ca !== undefined && { tls: { ca: outbound.ca } }),
  });
  if (answer.status !== 200) {
    await answer.body?.cancel();
    throw new Error(`${shown} answered ${answer.status}; redirects are not followed.`);
  }
  const body = await boundedText(answer, shown);
  try {
    return JSON.parse(body);
  } catch {
    // A parser quotes what it tripped over, and what came instead may be a secret.
    throw new Error(`${shown} answered no JSON.`);
  }
}

/** The URL in sentences for the log: names, passwords and queries may be secrets. */
function shownUrl(text: string): string {
  const url = URL.parse(text);
  return url === null ? "What is no URL" : `${url.protocol}//${url.host}${url.pathname}`;
}

/** Throws unless all addresses of the URL's name may be asked. */
function assertAllowed(url: URL, addresses: readonly string[], { allowPrivate }: Outbound): void {
  const name = bareHost(url);
  for (const address of addresses) {
    if (isLinkLocal(address)) throw new Error(`${name} leads to a link-local address.`);
    const isPrivate = isPrivateAddress(address);
    if (isPrivate && !allowPrivate) {
      throw new Error(`${name} leads to the private address ${address}; see allowPrivate.`);
    }
    if (!isPrivate && url.protocol === "http:") {
      throw new Error(`${name} is not private, so it is asked over https only.`);
    }
  }
}

async function boundedText(answer: Response, from: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX)
      throw new Error(`${from} answered over ${ANSWER_BYTES_MAX} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
