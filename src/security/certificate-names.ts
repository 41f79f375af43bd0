/**
 * The names in a certificate, read from its bytes [P-14.3]. The text forms that libraries offer join all
 * names with commas, and a name may hold one: what one certificate says must not look like another.
 */
import type { PrincipalField } from "../../schemas/identity.ts";
import {
  first,
  OBJECT_ID,
  OCTETS,
  SEQUENCE,
  TEXT_TAGS,
  textOf,
  type Value,
  valuesIn,
} from "./der.ts";
import { distinguishedName } from "./distinguished-name.ts";

/** `[3]` in a certificate: its extensions. */
const EXTENSIONS = 0xa3;
const COMMON_NAME = "550403";
const SUBJECT_ALT_NAME = "551d11";
/** The tags of GeneralName (RFC 5280, 4.2.1.6). */
const ALT_NAME_TAGS: Readonly<Record<Exclude<PrincipalField, "cn" | "subject">, number>> = {
  "san:email": 0x81,
  "san:dns": 0x82,
  "san:uri": 0x86,
};

/** Every name of this kind in a DER certificate, in its order. Throws when the bytes are no certificate. */
export function certificateNames(der: Buffer, field: PrincipalField): string[] {
  const body = valuesIn(first(valuesIn(first(valuesIn(der), SEQUENCE)), SEQUENCE));
  if (field === "subject") return [distinguishedName(subjectOf(body))];
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
function subjectOf(body: readonly Value[]): Buffer {
  const sequences = body.filter(({ tag }) => tag === SEQUENCE);
  const subject = sequences.at(-2);
  if (subject === undefined) throw new Error("The certificate has no subject.");
  return subject.content;
}

function commonNames(body: readonly Value[]): Buffer[] {
  return valuesIn(subjectOf(body)).flatMap((set) =>
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
