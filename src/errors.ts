/** The broker's only error type for expected failures; faults of our own become `internal`. */
import { ERRORS, type ErrorCode, type ErrorRule } from "../schemas/errors.ts";

export type { ErrorCode };

export class WarrenError extends Error {
  override readonly name = "WarrenError";
  readonly code: ErrorCode;
  /** What the caller can act on: the offending field's JSON Pointer, a limit, a queue's name. */
  readonly detail: Readonly<Record<string, unknown>> | undefined;

  constructor(
    code: ErrorCode,
    message?: string,
    detail?: Readonly<Record<string, unknown>>,
    options?: ErrorOptions,
  ) {
    super(message ?? ERRORS[code].meaning, options);
    this.code = code;
    this.detail = detail;
  }

  get rule(): ErrorRule {
    return ERRORS[this.code];
  }

  get retry(): boolean {
    return ERRORS[this.code].retry;
  }
}

/**
 * For boundaries: whatever was thrown, as a WarrenError. A foreign error becomes `internal` without its
 * text (it may hold secrets); the original is kept as `cause` for the log.
 */
export function toWarrenError(thrown: unknown): WarrenError {
  if (thrown instanceof WarrenError) return thrown;
  return new WarrenError("internal", undefined, undefined, { cause: thrown });
}
