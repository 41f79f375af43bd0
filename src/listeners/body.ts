/**
 * Bodies and queries of HTTP requests: read within a bound, decoded, checked against their schema, and
 * answers put into the encoding that was asked for [P-12.1].
 */
import type { Static, TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { Value } from "@sinclair/typebox/value";
import { WarrenError } from "../errors.ts";
import { firstFault } from "../faults.ts";
import { parseJson } from "../nesting.ts";
import { pack } from "../packing.ts";
import type { Meter } from "../security/meter.ts";
import { unpack } from "../unpacking.ts";

export const MSGPACK = "application/msgpack";

const utf8 = new TextDecoder("utf-8", { fatal: true });
const compiled = new WeakMap<TSchema, TypeCheck<TSchema>>();

/**
 * The whole body, charged to the meter; `too_large` past the bound, before it is read where its length is stated, and
 * `malformed_frame` when the client breaks off.
 */
export async function readBytes(
  request: Request,
  maxBytes: number,
  meter?: Meter,
): Promise<Uint8Array> {
  const stated = Number(request.headers.get("Content-Length") ?? 0);
  const bytes = stated > maxBytes ? undefined : await wholeBody(request);
  if (bytes === undefined || bytes.length > maxBytes) {
    throw new WarrenError("too_large", `The body is over ${maxBytes} bytes.`, { limit: maxBytes });
  }
  meter?.read(bytes.length);
  return bytes;
}

async function wholeBody(request: Request): Promise<Uint8Array> {
  try {
    return new Uint8Array(await request.arrayBuffer());
  } catch (cause) {
    const why = "The body did not arrive whole.";
    throw new WarrenError("malformed_frame", why, undefined, { cause });
  }
}

/**
 * What the bytes say in their encoding: MessagePack where the type says so, else JSON. Throws
 * `malformed_frame`.
 */
export function decoded(bytes: Uint8Array, type: string): unknown {
  if (type === MSGPACK) return unpack(bytes);
  try {
    return parseJson(utf8.decode(bytes));
  } catch (cause) {
    throw new WarrenError("malformed_frame", "The body is not JSON.", undefined, { cause });
  }
}

/** The media type of a body, lower case and without parameters. */
export function mediaType(request: Request): string {
  const header = request.headers.get("Content-Type") ?? "";
  return (header.split(";", 1)[0] as string).trim().toLowerCase();
}

/** The query as an object of what the schema says, defaults filled in; `invalid_frame` otherwise. */
export function checkedQuery<S extends TSchema>(schema: S, url: URL): Static<S> {
  const given = new Map<string, string>();
  const lists: Record<string, string[]> = {};
  for (const [name, text] of url.searchParams) {
    // A credential, and no part of any operation [P-1.3].
    if (name === "access_token") continue;
    if (schema.properties?.[name]?.type === "array") {
      lists[name] = [...(Object.hasOwn(lists, name) ? lists[name]! : []), text];
      continue;
    }
    if (given.has(name)) {
      throw new WarrenError("invalid_frame", `The query gives ${name} more than once.`, {
        pointer: `/${name}`,
      });
    }
    given.set(name, text);
  }
  const one = Object.fromEntries(given);
  const query = Value.Convert(schema, { ...one, ...lists }) as Record<string, unknown>;
  for (const [name, text] of given) {
    // Only what is written as an integer is one: "1e3" would become 1, and "5.9" 5.
    if (typeof query[name] === "number" && String(query[name]) !== text) query[name] = text;
  }
  return checked(schema, Value.Default(schema, query), "query");
}

/** The value as the schema has it, without defaults; `invalid_frame` with the JSON Pointer of the first fault. */
export function checked<S extends TSchema>(
  schema: S,
  value: unknown,
  what = "body",
  pointer = "",
): Static<S> {
  let check = compiled.get(schema) as TypeCheck<S> | undefined;
  if (check === undefined) {
    check = TypeCompiler.Compile(schema);
    compiled.set(schema, check);
  }
  if (check.Check(value)) return value;
  const fault = firstFault(schema, value);
  const place = pointer + (fault?.path ?? "");
  throw new WarrenError(
    "invalid_frame",
    `The ${what} does not fit: ${fault?.message ?? "unknown fault"} at ${place || "the top"}.`,
    { pointer: place },
  );
}

/** An answer in the encoding that the client accepts. */
export function encodedResponse(request: Request, body: unknown, status = 200): Response {
  if (!acceptsMsgpack(request)) return jsonResponse(JSON.stringify(body), status);
  const headers = { "Cache-Control": "no-store", "Content-Type": MSGPACK };
  return new Response(pack(body), { status, headers });
}

/** An answer that is JSON text already. */
export function jsonResponse(text: string, status = 200): Response {
  const headers = { "Cache-Control": "no-store", "Content-Type": "application/json" };
  return new Response(text, { status, headers });
}

export function acceptsMsgpack(request: Request): boolean {
  return (request.headers.get("Accept") ?? "").toLowerCase().includes(MSGPACK);
}
