/**
 * JSON Web Tokens [P-13.1], [P-14.1]: verified once, when a connection presents them, with the keys and
 * the algorithms of the issuer that they name. Nothing in a token's header chooses a key by itself.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import { TokenClaims, type VerifiedClaims } from "../../schemas/access.ts";
import { grantFaults } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import type { KeyHint } from "./jwks.ts";
import { type KeySource, secretBytes } from "./key-sources.ts";

export const TOKEN_BYTES_MAX = 8 * 1024;
const CLOCK_TOLERANCE_MS = 5000;
const KEY_ID_LENGTH = 256;
/** RFC 8725, 3.11: what is signed for something else is no token for this, whoever signed it. */
const TYPES = new Set(["jwt", "at+jwt"]);

export interface TokenRules {
  readonly keys: KeySource;
  /** Fewer than the keys could verify. */
  readonly algorithms?: readonly string[] | undefined;
  /** `iss` must be this, where given. */
  readonly issuer?: string | undefined;
  /** `aud` must be or hold this, where given. */
  readonly audience?: string | undefined;
  /** Oldest token by its `iat`, which it must then have. */
  readonly maxAgeMs?: number | undefined;
  /** How far the issuer's clock may be off, for `exp`, `nbf` and `iat`; 5 s by default. */
  readonly clockToleranceMs?: number | undefined;
  readonly clock: Clock;
}

export interface TokenVerifier {
  /**
   * The claims of a token that is genuine and in force. Rejects with `token_expired`, with `busy` when
   * the issuer's keys cannot be had, or with `unauthenticated` and a sentence that says what is wrong;
   * `grants` is not looked at.
   */
  verify(token: UnverifiedToken): Promise<VerifiedToken>;
}

export interface VerifiedToken {
  readonly claims: VerifiedClaims;
  /** Whether the key that signed it still is its issuer's; absent where that cannot change. */
  readonly vouchedFor?: (() => boolean) | undefined;
}

/** What a token says of itself, before anything of it is believed. */
export interface UnverifiedToken {
  readonly text: string;
  readonly hint: KeyHint;
  /** Undefined when it is missing or no text. */
  readonly issuer: string | undefined;
}

const claimsShape = TypeCompiler.Compile(TokenClaims);
const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$/;

/** Throws `unauthenticated` for what is no compact JWS with a JSON object in it. */
export function readToken(text: string): UnverifiedToken {
  if (text.length > TOKEN_BYTES_MAX) {
    throw new WarrenError("unauthenticated", `The token is over ${TOKEN_BYTES_MAX} bytes.`);
  }
  const [, first, second, third] = COMPACT.exec(text) ?? [];
  const header = jsonObject(first);
  const payload = jsonObject(second);
  if (header === undefined || payload === undefined || !isCanonical(third ?? "")) {
    throw notAToken();
  }
  const { alg, kid, typ, cty } = header;
  if (typeof alg !== "string") throw notAToken();
  if (kid !== undefined && (typeof kid !== "string" || kid.length > KEY_ID_LENGTH)) {
    throw new WarrenError("unauthenticated", "The token's key id cannot be one.");
  }
  const type = typeof typ === "string" ? typ.toLowerCase().replace(/^application\//, "") : typ;
  if (cty !== undefined || (type !== undefined && !TYPES.has(type as string))) {
    throw new WarrenError(
      "unauthenticated",
      "The token is of a type that was made for other uses.",
    );
  }
  const { iss } = payload;
  return { text, hint: { alg, kid }, issuer: typeof iss === "string" ? iss : undefined };
}

function jsonObject(part: string | undefined): Record<string, unknown> | undefined {
  if (part === undefined || !isCanonical(part)) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(part, "base64url").toString());
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** One text for one value: spare bits of the last letter would make many tokens out of one. */
function isCanonical(part: string): boolean {
  return Buffer.from(part, "base64url").toString("base64url") === part;
}

export function createTokenVerifier(rules: TokenRules): TokenVerifier {
  const { keys, clock, maxAgeMs } = rules;
  const algorithms = rules.algorithms ?? keys.algorithms;
  const toleranceMs = rules.clockToleranceMs ?? CLOCK_TOLERANCE_MS;
  const options = {
    algorithms: [...algorithms],
    clockTolerance: toleranceMs / 1000,
    ...(rules.issuer !== undefined && { issuer: rules.issuer }),
    ...(rules.audience !== undefined && { audience: rules.audience }),
    ...(maxAgeMs !== undefined && { maxTokenAge: maxAgeMs / 1000 }),
  };
  return {
    async verify({ text, hint }) {
      if (!algorithms.includes(hint.alg)) throw wrongAlgorithm(algorithms);
      let failure: unknown = new errors.JWSSignatureVerificationFailed();
      for (const key of await keys.keysFor(hint)) {
        const currentDate = new Date(clock.now());
        try {
          const { payload } = await jwtVerify(text, key, { ...options, currentDate });
          const claims = assertIssued(checkedClaims(payload), clock.now() + toleranceMs);
          return { claims, vouchedFor: keys.voucherOf?.(key) };
        } catch (error) {
          failure = error;
          if (!(error instanceof errors.JWSSignatureVerificationFailed)) break;
        }
      }
      throw failure instanceof WarrenError ? failure : refusal(failure);
    },
  };
}

/** A token from the future would outlast what revokes all tokens issued until now. */
function assertIssued(claims: VerifiedClaims, latestMs: number): VerifiedClaims {
  if (claims.iat === undefined || claims.iat * 1000 <= latestMs) return claims;
  throw new WarrenError("unauthenticated", "The token was issued in the future.", {
    pointer: "/iat",
  });
}

/** What a token is signed with: a shared secret, or a private key with what its header says. */
export interface SigningKey {
  readonly alg: string;
  readonly key: CryptoKey | Uint8Array;
  readonly kid?: string | undefined;
}

/** The key that makes HS256 of a secret. Throws when it is too short. */
export function sharedKey(secret: string, alg = "HS256"): SigningKey {
  return { alg, key: secretBytes(secret) };
}

/**
 * A signed token, as `warren token` makes them; a text as key is a secret for HS256. `expiresAt` is
 * milliseconds since 1970 UTC; without it the token has the `exp` of the claims or never expires. Throws
 * when the claims do not fit.
 */
export async function signToken(
  claims: TokenClaims,
  key: SigningKey | string,
  expiresAt?: number,
): Promise<string> {
  const payload: JWTPayload = { ...claims };
  if (expiresAt !== undefined) payload.exp = Math.floor(expiresAt / 1000);
  checkedClaims(payload);
  const fault = grantFaults(claims.grants ?? [], "/grants")[0];
  if (fault !== undefined) throw claimFault(fault.pointer, fault.message);
  const { alg, kid, key: signing } = typeof key === "string" ? sharedKey(key) : key;
  return new SignJWT(payload)
    .setProtectedHeader({ alg, typ: "JWT", ...(kid !== undefined && { kid }) })
    .sign(signing);
}

function checkedClaims(payload: JWTPayload): VerifiedClaims {
  if (claimsShape.Check(payload)) return payload;
  const fault = claimsShape.Errors(payload).First();
  throw claimFault(fault?.path ?? "", fault?.message ?? "unknown fault");
}

/** The refusal of a token that is genuine, but with a claim that cannot be used. */
export function claimFault(pointer: string, message: string): WarrenError {
  const text = `The token's claim ${pointer} does not fit: ${message}.`;
  return new WarrenError("unauthenticated", text, { pointer });
}

function wrongAlgorithm(algorithms: readonly string[]): WarrenError {
  const message = `The token must be signed with ${algorithms.join(" or ")}.`;
  return new WarrenError("unauthenticated", message);
}

function notAToken(cause?: unknown): WarrenError {
  return new WarrenError("unauthenticated", "The token is not a signed JWT.", undefined, {
    ...(cause !== undefined && { cause }),
  });
}

/** What a client may know of why its token is refused: no more than it could read in the token. */
function refusal(error: unknown): WarrenError {
  if (error instanceof errors.JWTExpired) return new WarrenError("token_expired");
  if (error instanceof errors.JWTClaimValidationFailed) {
    const message =
      error.reason === "check_failed" && error.claim === "nbf"
        ? "The token is not valid yet."
        : `The token's claim /${error.claim} is missing or not what this broker asks for.`;
    return new WarrenError("unauthenticated", message, { pointer: `/${error.claim}` });
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return new WarrenError("unauthenticated", "The token's signature is not valid.");
  }
  return notAToken(error);
}
