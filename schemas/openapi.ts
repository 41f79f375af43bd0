/** The OpenAPI document, made from the table of operations, so that no route can be left out. */
import type { TSchema } from "@sinclair/typebox";
import { ERRORS } from "./errors.ts";
import { OPERATIONS, type Operation } from "./http.ts";

const ENCODINGS = ["application/json", "application/msgpack"] as const;

/** The document for this version of the broker; plain JSON. */
export function openApiDocument(version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [name, operation] of Object.entries(OPERATIONS) as [string, Operation][]) {
    const path = operation.path.replace("...}", "}");
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = describe(name, operation);
  }
  const document = {
    openapi: "3.1.0",
    info: { title: "Warren", version, description: "Live channels and durable queues." },
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: { Problem: problemSchema() },
      responses: {
        Problem: {
          description: "What went wrong, with a code that says whether to try again.",
          content: { "application/problem+json": { schema: ref("schemas/Problem") } },
        },
      },
    },
  };
  // TypeBox keeps its own marks as symbols, which JSON leaves out.
  return JSON.parse(JSON.stringify(document));
}

function describe(name: string, operation: Operation): Record<string, unknown> {
  const { items } = operation;
  const several = items && { anyOf: [items, { type: "array", items }] };
  const body = operation.body ?? several ?? (operation.rawBody === true ? {} : undefined);
  return {
    operationId: name,
    summary: operation.summary,
    tags: [operation.path.split("/")[1] ?? ""],
    security: operation.access === "nobody" ? [] : [{ bearer: [] }],
    parameters: [...pathParameters(operation.path), ...queryParameters(operation)],
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            content: operation.rawBody === true ? { "*/*": { schema: {} } } : content(body),
          },
        }),
    responses: { ...success(operation), default: ref("responses/Problem") },
  };
}

function success(operation: Operation): Record<string, unknown> {
  if (operation.status === 204) return { 204: { description: "Done." } };
  if (operation.answer === undefined) {
    return { 200: { description: "Text.", content: { "text/plain": { schema: {} } } } };
  }
  return { 200: { description: "Done.", content: content(operation.answer) } };
}

function content(schema: TSchema | Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(ENCODINGS.map((encoding) => [encoding, { schema }]));
}

function pathParameters(path: string): unknown[] {
  return [...path.matchAll(/\{(\w+)(?:\.\.\.)?\}/g)].map((match) => ({
    name: match[1],
    in: "path",
    required: true,
    schema: { type: "string" },
  }));
}

function queryParameters(operation: Operation): unknown[] {
  const required = operation.query?.required ?? [];
  return Object.entries(operation.query?.properties ?? {}).map(([name, schema]) => ({
    name,
    in: "query",
    required: required.includes(name) && schema.default === undefined,
    schema,
  }));
}

function problemSchema(): Record<string, unknown> {
  return {
    type: "object",
    required: ["type", "title", "status", "code", "detail", "retry"],
    properties: {
      type: { type: "string" },
      title: { type: "string" },
      status: { type: "integer" },
      code: { type: "string", enum: Object.keys(ERRORS) },
      detail: { type: "string" },
      retry: { type: "boolean", description: "Whether the same request may succeed later." },
      pointer: { type: "string", description: "JSON Pointer of the field that is wrong." },
    },
  };
}

function ref(place: string): Record<string, string> {
  return { $ref: `#/components/${place}` };
}
