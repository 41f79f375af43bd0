/** What is wrong with a value, said at the place that its author can mend. */
import type { TSchema } from "@sinclair/typebox";
import { Value, type ValueError } from "@sinclair/typebox/value";

export interface Fault {
  /** JSON Pointer. */
  readonly path: string;
  readonly message: string;
}

/**
 * The first fault of a value that does not fit, undefined when it fits. Of a choice between several
 * shapes it is the fault that lies deepest, in the shape that was meant; of a choice between words, the
 * words.
 */
export function firstFault(schema: TSchema, value: unknown): Fault | undefined {
  let fault = Value.Errors(schema, value).First();
  for (;;) {
    const inner: ValueError[] = (fault?.errors ?? []).flatMap((errors) => errors.First() ?? []);
    const only = fault === undefined ? undefined : soleShapeOf(fault.schema);
    if (only !== undefined && inner[only] !== undefined) {
      fault = inner[only];
      continue;
    }
    const deepest = inner.sort((a, b) => b.path.length - a.path.length)[0];
    if (fault === undefined || deepest === undefined) return fault;
    if (deepest.path.length <= fault.path.length) {
      const words = wordsOf(fault.schema);
      return words === undefined ? fault : { path: fault.path, message: `Expected ${words}` };
    }
    fault = deepest;
  }
}

/** Which of the choices is meant by whoever does not mean null, where there is just one other. */
function soleShapeOf({ anyOf }: TSchema): number | undefined {
  const shapes = (anyOf as TSchema[] | undefined) ?? [];
  const others = shapes.filter(({ type }) => type !== "null");
  return shapes.length === 2 && others.length === 1 ? shapes.indexOf(others[0]!) : undefined;
}

/** `a, b or c` for a choice between constants. */
function wordsOf({ anyOf }: TSchema): string | undefined {
  const words = (anyOf as TSchema[] | undefined)?.map((choice) => choice.const as unknown);
  if (words === undefined || words.length < 2 || words.includes(undefined)) return undefined;
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
