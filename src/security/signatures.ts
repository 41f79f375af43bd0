/**
 * Checking the signature of a token [P-14.1]. Whoever chose the key has seen to it that it is of the algorithm's
 * kind: an algorithm that a token names never decides what a key is.
 *
 * Most are checked on the event loop. Handing one to another thread and hearing of it again takes about 90 µs of
 * CPU, the check itself 2 µs (HMAC), 27 µs (RSA of 2048 bits) or 70 µs (ES256, EdDSA); what takes longer than
 * going there and back goes there.
 */
import {
  constants,
  createHmac,
  type KeyObject,
  timingSafeEqual,
  type VerifyKeyObjectInput,
  verify,
} from "node:crypto";

/** RSA keys below it can be broken. */
const RSA_BITS_MIN = 2048;
/** Larger keys take longer than a trip to another thread. */
const RSA_BITS_AT_ONCE = 4096;

type Padding = Pick<VerifyKeyObjectInput, "padding" | "saltLength" | "dsaEncoding">;

const PADDINGS: Readonly<Record<string, Padding>> = {
  RS: { padding: constants.RSA_PKCS1_PADDING },
  // RFC 7518, 3.5: the salt is as long as the hash.
  PS: {
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  },
  // RFC 7518, 3.4: both numbers in full length, not DER.
  ES: { dsaEncoding: "ieee-p1363" },
};

/** Whether the key has signed it; at once, or from another thread. No signature is too malformed to be false. */
export function isSignedBy(
  key: KeyObject,
  algorithm: string,
  signed: Uint8Array,
  signature: Uint8Array,
): boolean | Promise<boolean> {
  const hash = `sha${algorithm.slice(2)}`;
  if (algorithm.startsWith("HS")) {
    const mac = createHmac(hash, key).update(signed).digest();
    return mac.length === signature.length && timingSafeEqual(mac, signature);
  }
  if (algorithm === "EdDSA") return verify(null, signed, key, signature);
  const input = { key, ...PADDINGS[algorithm.slice(0, 2)] };
  if (takesLong(key, algorithm)) {
    return new Promise((resolve, reject) => {
      verify(hash, signed, input, signature, (error, holds) => {
        if (error === null) resolve(holds);
        else reject(error);
      });
    });
  }
  return verify(hash, signed, input, signature);
}

function takesLong(key: KeyObject, algorithm: string): boolean {
  if (algorithm.startsWith("ES")) return algorithm !== "ES256";
  return (key.asymmetricKeyDetails?.modulusLength ?? 0) > RSA_BITS_AT_ONCE;
}

/** Throws for a key that is too weak for any algorithm. */
export function assertStrong(key: KeyObject): void {
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < RSA_BITS_MIN) {
    throw new Error(`An RSA key has at least ${RSA_BITS_MIN} bits, and this one ${bits}.`);
  }
}
