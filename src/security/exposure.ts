/**
 * Settings that are allowed and dangerous: each is said at the start, with what to do about it. What cannot be
 * meant stops the start instead (`assertSafeToListen`).
 */
import type { Grant } from "../broker/access.ts";

export interface Exposure {
  readonly message: string;
  readonly advice: string;
}

export interface ExposurePlan {
  readonly host: string;
  readonly insecure: boolean;
  readonly hasCredentials: boolean;
  readonly hasTls: boolean;
  readonly anonymous?: { readonly grants: readonly Grant[] } | undefined;
  readonly allowedOrigins: readonly string[];
  readonly trustedProxies: readonly string[];
}

/**
 * Throws an Error that says what to do when the broker would listen beyond this machine and let anyone in there, or
 * let anyone administrate it.
 */
export function assertSafeToListen(
  plan: Pick<ExposurePlan, "host" | "hasCredentials" | "insecure" | "anonymous">,
): void {
  if (plan.insecure || isLoopback(plan.host)) return;
  const where = `Refusing to listen on ${plan.host || "every address"}`;
  if (!plan.hasCredentials) {
    throw new Error(
      `${where} without credentials: whoever reaches it could read and publish everything. Set ` +
        "WARREN_JWT_SECRET or configure keys, or listen on 127.0.0.1, or pass --insecure if that is what you want.",
    );
  }
  if (isOperator(plan.anonymous)) {
    throw new Error(
      `${where} while whoever reaches it could administrate the broker without credentials. Take admin out of ` +
        "anonymous.grants, or listen on 127.0.0.1, or pass --insecure if that is what you want.",
    );
  }
}

/** Whether nothing beyond this machine reaches it. */
export function isLoopback(host: string): boolean {
  const bare = host.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  return (
    bare === "localhost" ||
    bare === "::1" ||
    /^(?:::ffff:)?127(?:\.(?:0|[1-9]\d{0,2})){3}$/.test(bare)
  );
}

/** Every dangerous combination in the settings. */
export function exposures(plan: ExposurePlan): Exposure[] {
  const { host, insecure, hasCredentials, hasTls, anonymous } = plan;
  const found: Exposure[] = [];
  const isPublic = !isLoopback(host);
  const isOpen = !hasCredentials && anonymous === undefined;
  const where = host === "" ? "every address" : host;
  if (isPublic && insecure && isOpen) {
    found.push({
      message: `ANYONE WHO REACHES ${where} MAY READ, PUBLISH AND CHANGE EVERYTHING`,
      advice: "Set WARREN_JWT_SECRET or configure keys, and leave --insecure out.",
    });
  } else if (isPublic && insecure && !hasCredentials) {
    found.push({
      message: `ANYONE WHO REACHES ${where} HAS THE RIGHTS OF anonymous, and nobody has others`,
      advice: "Set WARREN_JWT_SECRET or configure keys, and leave --insecure out.",
    });
  } else if (insecure && hasCredentials && !(isPublic && isOperator(anonymous))) {
    found.push({
      message: "insecure is set and does nothing, since there are credentials",
      advice: "Leave it out, so that the broker does not open when they are taken away.",
    });
  }
  if (isPublic && hasCredentials && !hasTls && plan.trustedProxies.length === 0) {
    found.push({
      message: `tokens and keys come to ${where} in the clear, for everyone on the way to read`,
      advice:
        "Set tls.certFile and tls.keyFile; or listen on 127.0.0.1 behind a proxy that ends TLS, and " +
        "name it in trustedProxies.",
    });
  }
  if (isOperator(anonymous)) {
    found.push({
      message: "the operator's plane is open to whoever comes without credentials",
      advice: "Take admin out of anonymous.grants, and give it to a key or a role.",
    });
  }
  if (plan.allowedOrigins.includes("*") && isOpen) {
    found.push({
      message: "any web page that somebody on this machine opens may use this broker",
      advice: 'Name the pages in allowedOrigins instead of "*", or configure credentials.',
    });
  }
  return found;
}

function isOperator(anonymous: ExposurePlan["anonymous"]): boolean {
  const grants = anonymous?.grants ?? [];
  return grants.some((grant) => "allow" in grant && grant.allow.includes("admin"));
}

/**
 * Roles that an issuer's tokens may have and that are nowhere: no fault, since stored roles come and go while
 * the settings stay, but most likely a slip of the pen.
 */
export function unknownIssuerRoles(
  issuers: readonly { readonly issuer: string; readonly allowedRoles?: readonly string[] }[],
  isRole: (name: string) => boolean,
): Exposure[] {
  return issuers.flatMap(({ issuer, allowedRoles = [] }) => {
    const unknown = allowedRoles.filter((name) => !isRole(name));
    if (unknown.length === 0) return [];
    return [
      {
        message: `allowedRoles of ${issuer} names roles that there are not: ${unknown.join(", ")}`,
        advice: "They give nothing until they are defined; look for a slip of the pen.",
      },
    ];
  });
}
