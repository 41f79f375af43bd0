/**
 * The whole subject of a certificate as text (RFC 4514): what was put in last comes first, as in
 * `CN=pump-7,OU=Lyon,O=Acme`. Two subjects that differ have texts that differ.
 */
import { TEXT_TAGS, textOf, type Value, valuesIn } from "./der.ts";

/** By their object ids: those of RFC 4514, and two that many certificates have. */
const NAMES: Readonly<Record<string, string>> = {
  "550403": "CN",
  "550405": "serialNumber",
  "550406": "C",
  "550407": "L",
  "550408": "ST",
  "550409": "STREET",
  "55040a": "O",
  "55040b": "OU",
  "0992268993f22c640101": "UID",
  "0992268993f22c640119": "DC",
  "2a864886f70d010901": "emailAddress",
};
const SPECIAL = /["+,;<>\\]/g;
const LENGTH_MAX = 1024;

/** Of the content of a subject in DER. Throws when it is empty, too long or has a text that cannot be a name. */
export function distinguishedName(subject: Buffer): string {
  const parts = valuesIn(subject).map((set) => valuesIn(set.content).map(partOf).join("+"));
  const text = parts.reverse().join(",");
  if (text === "" || text.length > LENGTH_MAX) throw new Error("The subject cannot be a name.");
  return text;
}

function partOf({ content }: Value): string {
  const [type, value] = valuesIn(content);
  if (type === undefined || value === undefined) throw new Error("The subject is incomplete.");
  const name = NAMES[type.content.toString("hex")];
  // What a type means that is not known is not known either: its bytes are what it says.
  if (name === undefined) return `${objectId(type.content)}=#${value.whole.toString("hex")}`;
  if (!TEXT_TAGS.includes(value.tag)) throw new Error("The subject is in an old alphabet.");
  return `${name}=${escaped(textOf(value.content))}`;
}

function escaped(text: string): string {
  return text
    .replace(SPECIAL, "\\$&")
    .replace(/^[ #]/, "\\$&")
    .replace(/(?<=.) $/, "\\ ");
}

/** Such as `1.2.840.113549.1.9.2`. */
function objectId(bytes: Buffer): string {
  const numbers: bigint[] = [];
  let number = 0n;
  for (const byte of bytes) {
    number = (number << 7n) | BigInt(byte & 0x7f);
    if (byte < 0x80) {
      numbers.push(number);
      number = 0n;
    }
  }
  const [both = 0n, ...rest] = numbers;
  const first = both < 80n ? both / 40n : 2n;
  return [first, both - first * 40n, ...rest].join(".");
}
