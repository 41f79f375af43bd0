/**
 * How a webhook request is signed, so that its receiver knows who sent it, that nobody changed it, and
 * when it was sent: the symmetric scheme of Standard Webhooks (standardwebhooks.com, "v1") [P-5.16].
 */
import { createHmac } from "node:crypto";

const SECRET_PREFIX = "whsec_";

/** The key bytes: base64 behind `whsec_`, as its libraries have it, else the text itself. */
function keyOf(secret: string): Uint8Array {
  if (secret.startsWith(SECRET_PREFIX)) {
    return Buffer.from(secret.slice(SECRET_PREFIX.length), "base64");
  }
  return Buffer.from(secret);
}

/** The value of `webhook-signature`. `seconds` are those of `webhook-timestamp`, since 1970 UTC. */
export function webhookSignature(
  secret: string,
  messageId: string,
  seconds: number,
  body: Uint8Array | string,
): string {
  const mac = createHmac("sha256", keyOf(secret));
  mac.update(`${messageId}.${seconds}.`).update(body);
  return `v1,${mac.digest("base64")}`;
}
