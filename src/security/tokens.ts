/**
 * JSON Web Tokens [P-13.1]: HS256 and nothing else, verified once when a connection presents them.
 */
import { TypeCompiler } from "@sinclair/typebox/compiler";
import { errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import { TokenClaims, type VerifiedClaims } from "../../schemas/access.ts";
import { grantFaults } from "../broker/access.ts";
import type { Clock } from "../clock.ts";
import { WarrenError } from "../errors.ts";

/** RFC 7518, 3.2: a key of HS256 has at least as many bits as its hash, or it can be guessed offline. */
export const SECRET_BYTES_MIN = 32;
export const TOKEN_BYTES_MAX = 8 * 1024;
const CLOCK_TOLERANCE_MS = 5000;
const ALGORITHM = "HS256";

export interface TokenRules {
  readonly secret: string;
  /** `iss` must be this, where given. */
  readonly issuer?: string | undefined;
  /** `aud` must be or hold this, where given. */
  readonly audience?: string | undefined;
  /** How far the issuer's clock may be off, for `exp` and `nbf`; 5 s by default. */
  readonly clockToleranceMs?: number | undefined;
  readonly clock: Clock;
}

export interface TokenVerifier {
  /**
   * The claims of a token that is genuine and in force. Rejects with `token_expired`, or with
   * `unauthenticated` and a sentence that says what is wrong; `grants` is not looked at.
   */
  verify(token: string): Promise<VerifiedClaims>;
}

const claimsShape = TypeCompiler.Compile(TokenClaims);

/** Throws when the secret is too short to be safe. */
export function createTokenVerifier(rules: TokenRules): TokenVerifier {
  const secret = secretBytes(rules.secret);
  const options = {
    algorithms: [ALGORITHM],
    clockTolerance: (rules.clockToleranceMs ?? CLOCK_TOLERANCE_MS) / 1000,
    ...(rules.issuer !== undefined && { issuer: rules.issuer }),
    ...(rules.audience !== undefined && { audience: rules.audience }),
  };
  // Imported once: for every token anew it would cost as much as the signature.
  let key: Promise<CryptoKey> | undefined;
  return {
    async verify(token) {
      if (token.length > TOKEN_BYTES_MAX) {
        throw new WarrenError("unauthenticated", `The token is over ${TOKEN_BYTES_MAX} bytes.`);
      }
      key ??= importSecret(secret);
      const currentDate = new Date(rules.clock.now());
      let payload: JWTPayload;
      try {
        payload = (await jwtVerify(token, await key, { ...options, currentDate })).payload;
      } catch (error) {
        throw refusal(error);
      }
      return checkedClaims(payload);
    },
  };
}

/**
 * A signed token, as `warren token` makes them. `expiresAt` is milliseconds since 1970 UTC; without it
 * the token has the `exp` of the claims or never expires. Throws when the claims do not fit.
 */
export async function signToken(
  claims: TokenClaims,
  secret: string,
  expiresAt?: number,
): Promise<string> {
  const payload: JWTPayload = { ...claims };
  if (expiresAt !== undefined) payload.exp = Math.floor(expiresAt / 1000);
  checkedClaims(payload);
  const fault = grantFaults(claims.grants ?? [], "/grants")[0];
  if (fault !== undefined) throw claimFault(fault.pointer, fault.message);
  return new SignJWT(payload)
    .setProtectedHeader({ alg: ALGORITHM, typ: "JWT" })
    .sign(secretBytes(secret));
}

function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(secret);
  if (bytes.length < SECRET_BYTES_MIN) {
    throw new Error(
      `The JWT secret has ${bytes.length} bytes; it must have at least ${SECRET_BYTES_MIN}, ` +
        "such as `openssl rand -base64 32` makes.",
    );
  }
  return bytes;
}

function importSecret(secret: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, [
    "verify",
  ]);
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
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return new WarrenError("unauthenticated", `The token must be signed with ${ALGORITHM}.`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return new WarrenError("unauthenticated", "The token's signature is not valid.");
  }
  return new WarrenError("unauthenticated", "The token is not a signed JWT.", undefined, {
    cause: error,
  });
}
