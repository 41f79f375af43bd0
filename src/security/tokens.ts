/**
 * JSON Web Tokens [P-13.1], [P-14.1]: verified once, when a connection presents them, with the keys and
 * the algorithms of the issuer that they name. Nothing in a token's header chooses a key by itself.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { type JWTPayload, SignJWT } from "jose";
import { TokenClaims, type VerifiedClaims } from "../../schemas/access.ts";
import { grantFaults } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";
import { withoutDepths } from "../nesting.ts";
import { assertClaims, type Span, spanOf } from "./claims.ts";
import type { KeyHint } from "./jwks.ts";
import { type KeySource, secretBytes } from "./key-sources.ts";
import { isSignedBy } from "./signatures.ts";
import type { Turnstile } from "./turnstile.ts";

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
  /** Before each signature that is checked. */
  readonly turnstile?: Turnstile | undefined;
}

export interface TokenVerifier {
  /**
   * The claims of a token that is genuine and in force. Rejects with `token_expired`, with `busy` when
   * the issuer's keys cannot be had, or with `unauthenticated` and a sentence that says what is wrong;
   * `grants` is not looked at. `mayGoOn` is asked before each signature, which may have had to wait for its turn;
   * what it throws is the answer.
   */
  verify(token: UnverifiedToken, mayGoOn?: () => void): Promise<VerifiedToken>;
}

export interface VerifiedToken {
  readonly claims: VerifiedClaims;
  /** When its claims hold whatever the tolerance. */
  readonly span: Span;
  /** Whether the key that signed it still is its issuer's; absent where that cannot change. */
  readonly vouchedFor?: (() => boolean) | undefined;
}

/** What a token says of itself, before anything of it is believed. */
export interface UnverifiedToken {
  readonly hint: KeyHint;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  /** Undefined when it is missing or no text. */
  readonly issuer: string | undefined;
}

const claimsShape = TypeCompiler.Compile(TokenClaims);
/** Bytes that are no UTF-8 are no text, and not another text either. */
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
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
  const { alg, kid, typ, cty, crit, b64 } = header;
  // RFC 7515, 4.1.11: what must be understood and is not. Nothing of the kind is understood here.
  if (typeof alg !== "string" || crit !== undefined || b64 !== undefined) throw notAToken();
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
  const { iss, iat } = payload;
  return {
    hint: { alg, kid, issuedAt: typeof iat === "number" ? iat * 1000 : undefined },
    payload,
    signed: Buffer.from(text.slice(0, text.lastIndexOf(".")), "latin1"),
    signature: Buffer.from(third ?? "", "base64url"),
    issuer: typeof iss === "string" ? iss : undefined,
  };
}

function jsonObject(part: string | undefined): Record<string, unknown> | undefined {
  if (part === undefined || !isCanonical(part)) return undefined;
  try {
    const text = strict.decode(Buffer.from(part, "base64url"));
    // What is signed is taken as a whole or not at all.
    if (withoutDepths(text) !== text) return undefined;
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** One text for one value: spare bits of the last letter would make many tokens out of one. */
function isCanonical(part: string): boolean {
  const over = part.length % 4;
  if (over === 0) return true;
  // Two letters over are one byte and four spare bits, three are two bytes and two; one alone is no byte.
  const spare = over === 2 ? 0b1111 : 0b11;
  return over > 1 && (LETTERS.indexOf(part.charAt(part.length - 1)) & spare) === 0;
}

export function createTokenVerifier(rules: TokenRules): TokenVerifier {
  const { keys, clock, issuer, audience, maxAgeMs, turnstile } = rules;
  const algorithms = rules.algorithms ?? keys.algorithms;
  const toleranceMs = rules.clockToleranceMs ?? CLOCK_TOLERANCE_MS;
  const claimRules = { issuer, audience, maxAgeMs, toleranceMs };
  return {
    async verify({ hint, payload, signed, signature }, mayGoOn) {
      if (!algorithms.includes(hint.alg)) throw wrongAlgorithm(algorithms);
      for (const key of await keys.keysFor(hint)) {
        await turnstile?.pass();
        mayGoOn?.();
        if (!(await isSignedBy(key, hint.alg, signed, signature))) continue;
        assertClaims(payload, claimRules, clock.now());
        const claims = checkedClaims(payload);
        return { claims, span: spanOf(claims, claimRules), vouchedFor: keys.voucherOf?.(key) };
      }
      throw new WarrenError("unauthenticated", "The token's signature is not valid.");
    },
  };
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

function checkedClaims(payload: unknown): VerifiedClaims {
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

function notAToken(): WarrenError {
  return new WarrenError("unauthenticated", "The token is not a signed JWT.");
}
