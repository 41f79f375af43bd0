/** What is wrong with a value, said at the place that its author can mend. */
import type { TSchema } from "@sinclair/typebox";
import { Value, type ValueError } from "@sinclair/typebox/value";

/**
 * The first fault of a value that does not fit, undefined when it fits. Of a choice between several
 * shapes it is the fault that lies deepest, in the shape that was meant, not "none of them".
 */
export function firstFault(schema: TSchema, value: unknown): ValueError | undefined {
  let fault = Value.Errors(schema, value).First();
  for (;;) {
    const inner: ValueError[] = (fault?.errors ?? []).flatMap((errors) => errors.First() ?? []);
    const deepest = inner.sort((a, b) => b.path.length - a.path.length)[0];
    if (fault === undefined || deepest === undefined) return fault;
    if (deepest.path.length <= fault.path.length) return fault;
    fault = deepest;
  }
}
