/**
 * The one renderer of errors over HTTP: `application/problem+json` [P-1.4], with the codes of the one
 * table. A fault of the broker's own shows no more than `internal`; its cause belongs to the log.
 */
import { ERRORS } from "../../schemas/errors.ts";
import type { WarrenError } from "../errors.ts";
import { secure } from "./security-headers.ts";

/** What a `problem+json` body holds; what the error says beside its sentence stands next to it. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly retry: boolean;
  readonly [extension: string]: unknown;
}

/** How long to wait before the next try; one second where nothing better is known. */
const RETRY_AFTER_SECONDS: Readonly<Record<string, number>> = {
  draining: 2,
  storage_unavailable: 5,
};

export function problemOf(error: WarrenError): Problem {
  const rule = ERRORS[error.code];
  return {
    ...error.detail,
    type: `urn:warren:error:${error.code}`,
    title: rule.meaning,
    status: rule.status,
    code: error.code,
    detail: error.message,
    retry: rule.retry,
  };
}

/** The answer for an error; `headers` are added to it. */
export function problemResponse(
  error: WarrenError,
  headers?: Readonly<Record<string, string>>,
): Response {
  const { status } = ERRORS[error.code];
  const all = new Headers(headers);
  all.set("Content-Type", "application/problem+json");
  all.set("Cache-Control", "no-store");
  if (status === 429 || status === 503) {
    all.set("Retry-After", String(retryAfterSeconds(error)));
  }
  if (status === 401) all.set("WWW-Authenticate", 'Bearer realm="warren"');
  secure(all);
  return new Response(JSON.stringify(problemOf(error)), { status, headers: all });
}

function retryAfterSeconds({ code, detail }: WarrenError): number {
  const waitMs = detail?.retryAfterMs;
  return typeof waitMs === "number" ? Math.ceil(waitMs / 1000) : (RETRY_AFTER_SECONDS[code] ?? 1);
}

/** An error as one of several results in an answer: the fields of an `error` frame [P-2.2]. */
export function errorResult(error: WarrenError): object {
  return {
    type: "error",
    code: error.code,
    message: error.message,
    retry: error.retry,
    ...(error.detail === undefined ? {} : { detail: error.detail }),
  };
}
