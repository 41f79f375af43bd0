/**
 * What the claims of a token say about itself [P-14.1]: when it is good (RFC 7519), who made it and for whom. Asked
 * only once its signature has been checked.
 */
import { WarrenError } from "../errors.ts";

/** What a token may claim, before its shape is known. */
type Claims = Readonly<Record<string, unknown>>;

export interface ClaimRules {
  /** `iss` must be this, where given. */
  readonly issuer?: string | undefined;
  /** `aud` must be or hold this, where given. */
  readonly audience?: string | undefined;
  /** Oldest token by its `iat`, which it must then have. */
  readonly maxAgeMs?: number | undefined;
  /** How far the issuer's clock may be off, for `exp`, `nbf` and `iat`. */
  readonly toleranceMs: number;
}

/** Milliseconds since 1970: from when and until when a token is good whatever the tolerance. */
export interface Span {
  readonly from: number;
  readonly until: number;
}

/** Throws `token_expired`, or `unauthenticated` with the claim that does not hold. */
export function assertClaims(claims: Claims, rules: ClaimRules, now: number): void {
  const { issuer, audience, maxAgeMs, toleranceMs } = rules;
  if (issuer !== undefined && claims.iss !== issuer) throw notAsAsked("iss");
  if (audience !== undefined && !isFor(claims.aud, audience)) throw notAsAsked("aud");
  const notBefore = timeOf(claims, "nbf");
  if (notBefore !== undefined && notBefore > now + toleranceMs) {
    throw new WarrenError("unauthenticated", "The token is not valid yet.", { pointer: "/nbf" });
  }
  const expiry = timeOf(claims, "exp");
  if (expiry !== undefined && expiry <= now - toleranceMs) throw new WarrenError("token_expired");
  const issuedAt = timeOf(claims, "iat");
  // One from the future would outlast what revokes all tokens issued until now.
  if (issuedAt !== undefined && issuedAt > now + toleranceMs) {
    const why = "The token was issued in the future.";
    throw new WarrenError("unauthenticated", why, { pointer: "/iat" });
  }
  if (maxAgeMs === undefined) return;
  if (issuedAt === undefined) throw notAsAsked("iat");
  if (now - issuedAt - toleranceMs > maxAgeMs) throw new WarrenError("token_expired");
}

/** When `assertClaims` holds for sure, of claims for which it has held. */
export function spanOf(claims: Claims, { maxAgeMs }: ClaimRules): Span {
  const issuedAt = timeOf(claims, "iat") ?? 0;
  const expiry = timeOf(claims, "exp") ?? Number.POSITIVE_INFINITY;
  const aged = maxAgeMs === undefined ? Number.POSITIVE_INFINITY : issuedAt + maxAgeMs;
  return {
    from: Math.max(timeOf(claims, "nbf") ?? 0, issuedAt),
    until: Math.min(expiry, aged),
  };
}

function isFor(claim: unknown, audience: string): boolean {
  return Array.isArray(claim) ? claim.includes(audience) : claim === audience;
}

/** In milliseconds. */
function timeOf(claims: Claims, name: "exp" | "nbf" | "iat"): number | undefined {
  const value = claims[name];
  if (value === undefined) return undefined;
  if (typeof value !== "number") throw notAsAsked(name);
  return value * 1000;
}

function notAsAsked(claim: string): WarrenError {
  const message = `The token's claim /${claim} is missing or not what this broker asks for.`;
  return new WarrenError("unauthenticated", message, { pointer: `/${claim}` });
}
