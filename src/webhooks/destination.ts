/**
 * Where webhooks may not lead: link-local addresses [P-5.16]. Private addresses are allowed, since endpoints inside a
 * cluster are what most webhooks are for.
 */
import { isLinkLocal } from "../link-local.ts";
import { addressesOf, bareHost, type Resolve } from "../pinned-fetch.ts";

/** The addresses of the URL; rejects when one of them is such an address, or once it is aborted. */
export async function destinationOf(
  url: URL,
  signal: AbortSignal,
  resolve: Resolve,
): Promise<readonly string[]> {
  const addresses = await addressesOf(url, signal, resolve);
  if (!addresses.some(isLinkLocal)) return addresses;
  const error = new Error(`${bareHost(url)} is link-local`);
  throw Object.assign(error, { code: "a link-local address" });
}
