/** Link-local addresses, at which clouds hand out the machine's own credentials: nobody is asked there, ever. */
import { BlockList, isIP } from "node:net";
import { bareHost } from "./pinned-fetch.ts";

const LINK_LOCAL = new BlockList();
LINK_LOCAL.addSubnet("169.254.0.0", 16, "ipv4");
LINK_LOCAL.addSubnet("fe80::", 10, "ipv6");
LINK_LOCAL.addSubnet("::ffff:169.254.0.0", 112, "ipv6");
LINK_LOCAL.addSubnet("64:ff9b::169.254.0.0", 112, "ipv6");
// The one such address that a cloud put among the private ones.
LINK_LOCAL.addAddress("fd00:ec2::254", "ipv6");

/** False for text that is no address. */
export function isLinkLocal(address: string): boolean {
  const bare = address.replace(/%.*$/, "");
  const kind = isIP(bare);
  return kind !== 0 && LINK_LOCAL.check(bare, kind === 4 ? "ipv4" : "ipv6");
}

/** Whether the URL itself names such an address, in whatever spelling. */
export function namesLinkLocal(url: string): boolean {
  const parsed = URL.parse(url);
  return parsed !== null && isLinkLocal(bareHost(parsed));
}
