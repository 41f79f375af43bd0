/**
 * The names in a certificate, read from its bytes [P-14.3]. The text forms that libraries offer join all
 * names with commas, and a name may hold one: what one certificate says must not look like another.
 */
import type { PrincipalField } from "../../schemas/identity.ts";

interface Value {
  readonly tag: number;
  readonly content: Buffer;
}

const SEQUENCE = 0x30;
const OBJECT_ID = 0x06;
const OCTETS = 0x04;
/** `[3]` in a certificate: its extensions. */
const EXTENSIONS = 0xa3;
const COMMON_NAME = "550403";
const SUBJECT_ALT_NAME = "551d11";
/** The tags of GeneralName (RFC 5280, 4.2.1.6). */
const ALT_NAME_TAGS: Readonly<Record<Exclude<PrincipalField, "cn">, number>> = {
  "san:email": 0x81,
  "san:dns": 0x82,
  "san:uri": 0x86,
};
/** UTF8String, PrintableString and IA5String; other kinds of text name no principal. */
const TEXT_TAGS = [0x0c, 0x13, 0x16];
const NAME_LENGTH = 256;

/** Every name of this kind in a DER certificate, in its order. Throws when the bytes are no certificate. */
export function certificateNames(der: Buffer, field: PrincipalField): string[] {
  const body = valuesIn(first(valuesIn(first(valuesIn(der), SEQUENCE)), SEQUENCE));
  const found = field === "cn" ? commonNames(body) : altNames(body, ALT_NAME_TAGS[field]);
  return found.map(textOf);
}

/** The one name of this kind; undefined when there is none, or more than one to choose from. */
export function certificateName(der: Buffer, field: PrincipalField): string | undefined {
  try {
    const names = certificateNames(der, field);
    return names.length === 1 ? names[0] : undefined;
  } catch {
    return undefined;
  }
}

/** The subject is the last plain sequence but one: after it comes the public key. */
function commonNames(body: readonly Value[]): Buffer[] {
  const sequences = body.filter(({ tag }) => tag === SEQUENCE);
  const subject = sequences.at(-2);
  if (subject === undefined) throw new Error("The certificate has no subject.");
  return valuesIn(subject.content).flatMap((set) =>
    valuesIn(set.content).flatMap((pair) => {
      const [type, value] = valuesIn(pair.content);
      if (type?.content.toString("hex") !== COMMON_NAME || value === undefined) return [];
      if (!TEXT_TAGS.includes(value.tag)) throw new Error("The common name is in an old alphabet.");
      return [value.content];
    }),
  );
}

function altNames(body: readonly Value[], tag: number): Buffer[] {
  const wrapped = body.find((value) => value.tag === EXTENSIONS);
  if (wrapped === undefined) return [];
  const list = first(valuesIn(wrapped.content), SEQUENCE);
  const names = valuesIn(list).flatMap((extension) => {
    const [type, ...rest] = valuesIn(extension.content);
    if (type?.tag !== OBJECT_ID || type.content.toString("hex") !== SUBJECT_ALT_NAME) return [];
    const octets = rest.find((value) => value.tag === OCTETS);
    return octets === undefined ? [] : valuesIn(first(valuesIn(octets.content), SEQUENCE));
  });
  return names.filter((name) => name.tag === tag).map(({ content }) => content);
}

function first(values: readonly Value[], tag: number): Buffer {
  const found = values[0];
  if (found?.tag !== tag) throw new Error("This is not a certificate.");
  return found.content;
}

/** DER: a tag of one byte, a length, that many bytes; again and again. */
function valuesIn(bytes: Buffer): Value[] {
  const values: Value[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at];
    const short = bytes[at + 1];
    if (tag === undefined || short === undefined || (tag & 0x1f) === 0x1f) throw cut();
    const more = short < 0x80 ? 0 : short & 0x7f;
    if (more > 3 || (short >= 0x80 && more === 0) || at + 2 + more > bytes.length) throw cut();
    const start = at + 2 + more;
    const end = start + (more === 0 ? short : bytes.readUIntBE(at + 2, more));
    if (end > bytes.length) throw cut();
    values.push({ tag, content: bytes.subarray(start, end) });
    at = end;
  }
  return values;
}

function cut(): Error {
  return new Error("The certificate's bytes are not DER.");
}

function textOf(content: Buffer): string {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(content);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (text === "" || text.length > NAME_LENGTH || /[\u0000-\u001f\u007f-\u009f]/.test(text)) {
    throw new Error("The name in the certificate cannot be one.");
  }
  return text;
}
