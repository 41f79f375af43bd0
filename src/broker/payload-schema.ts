/**
 * Payload schemas of channels [P-14.10]: JSON Schema 2020-12, compiled once. A schema is an operator's,
 * what it is asked about a stranger's, so what could make a check expensive is refused when the schema is
 * written: patterns are matched in linear time, and nothing refers to itself or grows past a bound.
 */
import Ajv2020 from "ajv/dist/2020.js";
import { RE2JS } from "re2js";
import { PAYLOAD_FORMAT, type Payload } from "../payload.ts";
import type { Fault } from "./access.ts";

const SCHEMA_CHARACTERS = 65_536;
/** Places of a schema, each reference counted as often as it is followed. */
const PLACES_AT_MOST = 4096;
/** More items than these are not compared with each other, which takes the square of their number. */
const UNIQUE_ITEMS_AT_MOST = 1000;
const PATTERN_CHARACTERS = 512;
/** Characters times the size of the compiled pattern, for all patterns and texts of one payload together. */
const PATTERN_STEPS_AT_MOST = 1 << 24;
/** Values of one payload times the places of the schema that each of them may be held against. */
const COMPARISONS_AT_MOST = 1 << 22;
const LOCAL_REFERENCE = /^#\/\$defs\/([A-Za-z0-9_.-]{1,128})$/;
/** What stands below these is asked once for each item or property that a stranger sends. */
const REPEATING = new Set([
  ...["items", "contains", "unevaluatedItems", "additionalProperties", "patternProperties"],
  ...["propertyNames", "unevaluatedProperties"],
]);
/** What stands below these are names that the operator chose, and no keywords. */
const NAMING = new Set(["properties", "patternProperties", "$defs", "dependentSchemas"]);
const DYNAMIC = ["$dynamicRef", "$dynamicAnchor", "$anchor", "$id", "$vocabulary"];

/** The JSON Pointer of what does not fit, with the sentence; undefined for a payload that fits. */
export type PayloadCheck = (payload: Payload) => Fault | undefined;

/** Compiles a schema, or says what is wrong with it. */
export function compileSchema(schema: unknown, pointer: string): PayloadCheck | Fault {
  const walk = walked(schema, pointer);
  if (!(walk instanceof SchemaWalk)) return walk;
  const effort = new PatternEffort();
  // One for each schema: what one compiles another must not see, and it goes when the schema goes.
  const ajv = new Ajv2020({
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    // In this draft a format is a note, unless one asks for more.
    validateFormats: false,
    logger: false,
    code: { regExp: effort.regExp },
  });
  const valuesAtMost = COMPARISONS_AT_MOST / walk.repeated;
  try {
    const check = ajv.compile(schema as object);
    return (payload) => {
      if (payload.isBinary) return { pointer: "", message: "is binary and no JSON value" };
      const value = valueInJson(payload);
      if (exceeds(value, valuesAtMost)) return { pointer: "", message: TOO_MANY_VALUES };
      effort.begin();
      try {
        if (check(value)) return undefined;
      } catch (error) {
        if (error instanceof TooMuchText) return { pointer: "", message: error.message };
        throw error;
      }
      const [first] = check.errors ?? [];
      return { pointer: first?.instancePath ?? "", message: first?.message ?? "does not fit" };
    };
  } catch (error) {
    const place = ajv.errors?.[0]?.instancePath ?? "";
    return { pointer: pointer + place, message: error instanceof Error ? error.message : "" };
  }
}

const TOO_MANY_VALUES = "has too many values to be held against all that the schema says of each";

/** Not `false`: a schema may say `not`, and then it would be let through. */
class TooMuchText extends Error {
  constructor() {
    super("has too much text to be matched against the patterns of the schema");
  }
}

/**
 * RE2's syntax, without look-around and back references: time in the length of the text. It is in the size of
 * the pattern too, so that what both come to is bounded for each payload.
 */
class PatternEffort {
  #stepsLeft = 0;

  begin(): void {
    this.#stepsLeft = PATTERN_STEPS_AT_MOST;
  }

  readonly regExp = Object.assign(
    (pattern: string) => {
      const compiled = RE2JS.compile(pattern);
      const size = compiled.programSize();
      return {
        test: (text: string) => {
          this.#stepsLeft -= size * (text.length + 1);
          if (this.#stepsLeft < 0) throw new TooMuchText();
          return compiled.matcher(text).find();
        },
        // What Ajv tells one pattern from another by.
        toString: () => pattern,
      };
    },
    { code: "linearRegExp" },
  );
}

/** The value that is checked is the one that readers of JSON are shown: bytes within it are text to them. */
function valueInJson(payload: Payload): unknown {
  const value = payload.value();
  const isForeign = payload.format === PAYLOAD_FORMAT.msgpack && holdsForeign(value);
  return isForeign ? JSON.parse(payload.json()) : value;
}

/** Whether something in it has no like in JSON. */
function holdsForeign(value: unknown): boolean {
  if (typeof value === "bigint" || value instanceof Uint8Array) return true;
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some(holdsForeign);
}

/** Whether a value has more values within it, at all levels. */
function exceeds(value: unknown, atMost: number): boolean {
  if (atMost === Number.POSITIVE_INFINITY) return false;
  let left = atMost;
  const look = (part: unknown): boolean => {
    if (typeof part !== "object" || part === null) return false;
    if (Array.isArray(part)) {
      left -= part.length;
      return left < 0 || part.some(look);
    }
    const parts = Object.values(part);
    left -= parts.length;
    return left < 0 || parts.some(look);
  };
  return look(value);
}

function walked(schema: unknown, pointer: string): SchemaWalk | Fault {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    return { pointer, message: "must be a JSON Schema, an object" };
  }
  if (JSON.stringify(schema).length > SCHEMA_CHARACTERS) {
    return { pointer, message: `must have at most ${SCHEMA_CHARACTERS} characters` };
  }
  const walk = new SchemaWalk(schema);
  return walk.look(schema, { pointer, through: [], repeats: false, names: false }) ?? walk;
}

/** Where in a schema something stands. */
interface Place {
  readonly pointer: string;
  /** The definitions on the way. */
  readonly through: readonly string[];
  /** It is asked for each of many values. */
  readonly repeats: boolean;
  /** What is in it are names. */
  readonly names: boolean;
}

class SchemaWalk {
  readonly #definitions: unknown;
  #places = 0;
  /** Places that each of many values may be held against. */
  repeated = 0;

  constructor(root: object) {
    this.#definitions = (root as Record<string, unknown>).$defs;
  }

  look(value: unknown, at: Place): Fault | undefined {
    if (typeof value !== "object" || value === null) return undefined;
    const { pointer } = at;
    if (++this.#places > PLACES_AT_MOST) {
      return { pointer, message: `has more than ${PLACES_AT_MOST} places, references followed` };
    }
    if (at.repeats) this.repeated++;
    const fault = Array.isArray(value)
      ? undefined
      : (keywordFault(value as Record<string, unknown>, pointer) ??
        this.#reference((value as Record<string, unknown>).$ref, at));
    if (fault !== undefined) return fault;
    for (const [name, part] of Object.entries(value)) {
      const isKeyword = !at.names && !Array.isArray(value);
      const repeats = at.repeats || (isKeyword && REPEATING.has(name));
      if (repeats && isKeyword && name === "enum" && Array.isArray(part)) {
        this.repeated += part.length;
      }
      const within = this.look(part, {
        pointer: `${pointer}/${pointerPart(name)}`,
        through: at.through,
        repeats,
        names: isKeyword && NAMING.has(name),
      });
      if (within !== undefined) return within;
    }
    return undefined;
  }

  #reference(to: unknown, { pointer: from, through, repeats }: Place): Fault | undefined {
    if (typeof to !== "string") return undefined;
    const pointer = `${from}/$ref`;
    const name = LOCAL_REFERENCE.exec(to)?.[1];
    if (name === undefined) return { pointer, message: "may only be #/$defs/<name>" };
    if (through.includes(name)) return { pointer, message: "leads back to itself" };
    const { [name]: part } = (this.#definitions ?? {}) as Record<string, unknown>;
    const path = [...through, name];
    return this.look(part, {
      pointer: `/schema/$defs/${name}`,
      through: path,
      repeats,
      names: false,
    });
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
