/**
 * Payload schemas of channels [P-14.10]: JSON Schema 2020-12, compiled once. A schema is an operator's,
 * what it is asked about a stranger's, so what could make a check expensive is refused when the schema is
 * written: patterns are matched in linear time, and nothing refers to itself or grows past a bound.
 */
import Ajv2020 from "ajv/dist/2020.js";
import { RE2JS } from "re2js";
import type { Payload } from "../payload.ts";
import type { Fault } from "./access.ts";

const SCHEMA_CHARACTERS = 65_536;
/** Places of a schema, each reference counted as often as it is followed. */
const PLACES_AT_MOST = 4096;
/** More items than these are not compared with each other, which takes the square of their number. */
const UNIQUE_ITEMS_AT_MOST = 1000;
const PATTERN_CHARACTERS = 512;
const LOCAL_REFERENCE = /^#\/\$defs\/([A-Za-z0-9_.-]{1,128})$/;
const DYNAMIC = ["$dynamicRef", "$dynamicAnchor", "$anchor", "$id", "$vocabulary"];

/** The JSON Pointer of what does not fit, with the sentence; undefined for a payload that fits. */
export type PayloadCheck = (payload: Payload) => Fault | undefined;

/** Compiles a schema, or says what is wrong with it. */
export function compileSchema(schema: unknown, pointer: string): PayloadCheck | Fault {
  const fault = schemaFault(schema, pointer);
  if (fault !== undefined) return fault;
  // One for each schema: what one compiles another must not see, and it goes when the schema goes.
  const ajv = new Ajv2020({
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    // In this draft a format is a note, unless one asks for more.
    validateFormats: false,
    logger: false,
    code: { regExp: linearRegExp },
  });
  try {
    const check = ajv.compile(schema as object);
    return (payload) => {
      if (payload.isBinary) return { pointer: "", message: "is binary and no JSON value" };
      if (check(payload.value())) return undefined;
      const [first] = check.errors ?? [];
      return { pointer: first?.instancePath ?? "", message: first?.message ?? "does not fit" };
    };
  } catch (error) {
    const place = ajv.errors?.[0]?.instancePath ?? "";
    return { pointer: pointer + place, message: error instanceof Error ? error.message : "" };
  }
}

/** RE2's syntax, without look-around and back references: time in the length of the text. */
const linearRegExp = Object.assign(
  (pattern: string) => {
    const compiled = RE2JS.compile(pattern);
    return {
      test: (text: string) => compiled.matcher(text).find(),
      // What Ajv tells one pattern from another by.
      toString: () => pattern,
    };
  },
  { code: "linearRegExp" },
);

function schemaFault(schema: unknown, pointer: string): Fault | undefined {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    return { pointer, message: "must be a JSON Schema, an object" };
  }
  if (JSON.stringify(schema).length > SCHEMA_CHARACTERS) {
    return { pointer, message: `must have at most ${SCHEMA_CHARACTERS} characters` };
  }
  return new SchemaWalk(schema).look(schema, pointer, []);
}

class SchemaWalk {
  readonly #definitions: unknown;
  #places = 0;

  constructor(root: object) {
    this.#definitions = (root as Record<string, unknown>).$defs;
  }

  look(value: unknown, pointer: string, through: readonly string[]): Fault | undefined {
    if (typeof value !== "object" || value === null) return undefined;
    if (++this.#places > PLACES_AT_MOST) {
      return { pointer, message: `has more than ${PLACES_AT_MOST} places, references followed` };
    }
    const fault = Array.isArray(value)
      ? undefined
      : (keywordFault(value as Record<string, unknown>, pointer) ??
        this.#reference((value as Record<string, unknown>).$ref, `${pointer}/$ref`, through));
    if (fault !== undefined) return fault;
    for (const [name, part] of Object.entries(value)) {
      const within = this.look(part, `${pointer}/${pointerPart(name)}`, through);
      if (within !== undefined) return within;
    }
    return undefined;
  }

  #reference(to: unknown, pointer: string, through: readonly string[]): Fault | undefined {
    if (typeof to !== "string") return undefined;
    const name = LOCAL_REFERENCE.exec(to)?.[1];
    if (name === undefined) return { pointer, message: "may only be #/$defs/<name>" };
    if (through.includes(name)) return { pointer, message: "leads back to itself" };
    const { [name]: part } = (this.#definitions ?? {}) as Record<string, unknown>;
    return this.look(part, `/schema/$defs/${name}`, [...through, name]);
  }
}

function keywordFault(part: Record<string, unknown>, pointer: string): Fault | undefined {
  for (const word of DYNAMIC) {
    if (typeof part[word] === "string") {
      return { pointer: `${pointer}/${word}`, message: "is not supported" };
    }
  }
  const { pattern, patternProperties, uniqueItems, maxItems } = part;
  const patterns: [string, string][] = [];
  if (typeof pattern === "string") patterns.push([`${pointer}/pattern`, pattern]);
  if (typeof patternProperties === "object" && patternProperties !== null) {
    const at = `${pointer}/patternProperties`;
    for (const one of Object.keys(patternProperties)) patterns.push([at, one]);
  }
  for (const [place, text] of patterns) {
    const message = patternFault(text);
    if (message !== undefined) return { pointer: place, message };
  }
  if (uniqueItems === true && !(typeof maxItems === "number" && maxItems <= UNIQUE_ITEMS_AT_MOST)) {
    const message = `needs maxItems of at most ${UNIQUE_ITEMS_AT_MOST} beside it`;
    return { pointer: `${pointer}/uniqueItems`, message };
  }
  return undefined;
}

function patternFault(text: string): string | undefined {
  if (text.length > PATTERN_CHARACTERS) return `is over ${PATTERN_CHARACTERS} characters`;
  try {
    RE2JS.compile(text);
  } catch (error) {
    return error instanceof Error ? error.message : "is no pattern";
  }
  return undefined;
}

function pointerPart(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}
