/**
 * Where webhooks may not lead: link-local addresses, at which clouds hand out the machine's own credentials
 * [P-5.16]. Private addresses are allowed, since endpoints inside a cluster are what most webhooks are for.
 */
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";

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

/** Rejects when the URL, or the name in it, leads to such an address. */
export async function assertDestination(url: string): Promise<void> {
  const host = bareHost(new URL(url));
  const found = isIP(host) === 0 ? await lookup(host, { all: true }) : [{ address: host }];
  if (!found.some(({ address }) => isForbiddenAddress(address))) return;
  throw Object.assign(new Error(`${host} is link-local`), { code: "a link-local address" });
}

function bareHost({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}
