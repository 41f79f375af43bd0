/** Credentials for tests: a secret, the settings that trust it, and tokens signed with it. */
import { SignJWT } from "jose";

export const SECRET = "a secret for tests that is long enough for HS256";

/** Settings under which only tokens of `tokenFor` are let in. */
export const TOKENS_ONLY = { jwt: { secret: SECRET } } as const;

export const EVERYTHING = [
  { allow: ["publish", "subscribe", "consume", "admin"], on: ["#"] },
] as const;

/** A token for this principal; `claims` are added to it. */
export function tokenFor(
  subject: string,
  claims: Readonly<Record<string, unknown>> = { grants: EVERYTHING },
): Promise<string> {
  return new SignJWT({ ...claims })
    .setSubject(subject)
    .setProtectedHeader({ alg: "HS256" })
    .sign(new TextEncoder().encode(SECRET));
}
