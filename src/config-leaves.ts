/**
 * The settings as a flat list: the path, variable and flag of each, derived from the schema, so that
 * the command line, the environment and the documents cannot drift apart from it.
 */
import { ConfigSchema } from "../schemas/config.ts";

export interface Leaf {
  /** Such as `limits.frameBytes`. */
  readonly path: string;
  /** Such as `WARREN_LIMITS_FRAME_BYTES`. */
  readonly variable: string;
  /** Such as `limits-frame-bytes`; absent for what a command line cannot or must not hold. */
  readonly flag?: string;
  /** How its text is read: `list` is separated by commas, `json` is JSON text. */
  readonly kind: "string" | "integer" | "boolean" | "list" | "json";
  readonly description: string;
  readonly default?: unknown;
  readonly unit?: string;
  /** What it is one of, where it is a choice between words. */
  readonly words?: readonly string[];
}

interface Node {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly patternProperties?: unknown;
  readonly items?: Node;
  readonly description?: string;
  readonly default?: unknown;
  readonly unit?: string;
  readonly "x-secret"?: boolean;
  readonly anyOf?: readonly unknown[];
}

let leaves: readonly Leaf[] | undefined;

/** Every setting, in the order of the schema. */
export function settingLeaves(): readonly Leaf[] {
  leaves ??= Object.entries(ConfigSchema.properties).flatMap(([name, node]) =>
    walk(name, node as Node),
  );
  return leaves;
}

/** Objects that hold grants are given as a whole. */
const ONE_VALUE = ["anonymous", "tls.clientPrincipal"];

function walk(path: string, node: Node): Leaf[] {
  // So is everything keyed by names of the operator's.
  if (node.properties !== undefined && !ONE_VALUE.includes(path)) {
    return Object.entries(node.properties).flatMap(([name, child]) =>
      walk(`${path}.${name}`, child),
    );
  }
  const kind = kindOf(node);
  const words = path.replaceAll(".", "-").replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return [
    {
      path,
      variable: `WARREN_${words.replaceAll("-", "_").toUpperCase()}`,
      ...(kind === "json" || node["x-secret"] === true ? {} : { flag: words }),
      kind,
      description: node.description ?? "",
      ...(node.default === undefined ? {} : { default: node.default }),
      ...(node.unit === undefined ? {} : { unit: node.unit }),
      ...wordsOf(node),
    },
  ];
}

function wordsOf({ anyOf }: Node): { words?: readonly string[] } {
  const words = anyOf?.map((choice) => (choice as { const?: unknown }).const);
  if (words === undefined || !words.every((word) => typeof word === "string")) return {};
  return { words: words as string[] };
}

function kindOf(node: Node): Leaf["kind"] {
  if (node.type === "integer" || node.type === "boolean" || node.type === "string")
    return node.type;
  if (node.type === "array" && node.items?.type === "string") return "list";
  return node.anyOf === undefined ? "json" : "string";
}
