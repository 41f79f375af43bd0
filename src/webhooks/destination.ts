/**
 * Where webhooks may not lead: link-local addresses, at which clouds hand out the machine's own credentials
 * [P-5.16]. Private addresses are allowed, since endpoints inside a cluster are what most webhooks are for.
 */
import { BlockList, isIP } from "node:net";
import { addressesOf, bareHost, type Resolve } from "../pinned-fetch.ts";

const FORBIDDEN = new BlockList();
FORBIDDEN.addSubnet("169.254.0.0", 16, "ipv4");
FORBIDDEN.addSubnet("fe80::", 10, "ipv6");
FORBIDDEN.addSubnet("::ffff:169.254.0.0", 112, "ipv6");
FORBIDDEN.addSubnet("64:ff9b::169.254.0.0", 112, "ipv6");
// The one such address that a cloud put among the private ones.
FORBIDDEN.addAddress("fd00:ec2::254", "ipv6");

/** Whether an address may not be asked. */
export function isForbiddenAddress(address: string): boolean {
  const bare = address.replace(/%.*$/, "");
  const kind = isIP(bare);
  return kind !== 0 && FORBIDDEN.check(bare, kind === 4 ? "ipv4" : "ipv6");
}

/** Whether the URL itself names such an address, in whatever spelling. */
export function leadsAstray(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed !== null && isForbiddenAddress(bareHost(parsed));
}

/** The addresses of the URL; rejects when one of them is such an address, or once it is aborted. */
export async function destinationOf(
  url: URL,
  signal: AbortSignal,
  resolve: Resolve,
): Promise<readonly string[]> {
  const addresses = await addressesOf(url, signal, resolve);
  if (!addresses.some(isForbiddenAddress)) return addresses;
  const error = new Error(`${bareHost(url)} is link-local`);
  throw Object.assign(error, { code: "a link-local address" });
}
