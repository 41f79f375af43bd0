/** As much of DER (ITU-T X.690) as the names in a certificate need. */

export interface Value {
  readonly tag: number;
  readonly content: Buffer;
  /** With tag and length. */
  readonly whole: Buffer;
}

export const SEQUENCE = 0x30;
export const OBJECT_ID = 0x06;
export const OCTETS = 0x04;
/** UTF8String, PrintableString and IA5String; other kinds of text name no principal. */
export const TEXT_TAGS = [0x0c, 0x13, 0x16];
const NAME_LENGTH = 256;

/** What lies in the first of these, which must be of this kind. */
export function first(values: readonly Value[], tag: number): Buffer {
  const found = values[0];
  if (found?.tag !== tag) throw new Error("This is not a certificate.");
  return found.content;
}

/** A tag of one byte, a length, that many bytes; again and again. */
export function valuesIn(bytes: Buffer): Value[] {
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
    values.push({ tag, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return values;
}

function cut(): Error {
  return new Error("The certificate's bytes are not DER.");
}

/** A name as text; throws when it is not UTF-8, empty, too long or has control characters in it. */
export function textOf(content: Buffer): string {
  const text = new TextDecoder("utf-8", { fatal: true }).decode(content);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (text === "" || text.length > NAME_LENGTH || /[\u0000-\u001f\u007f-\u009f]/.test(text)) {
    throw new Error("The name in the certificate cannot be one.");
  }
  return text;
}
