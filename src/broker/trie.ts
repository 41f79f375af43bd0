/**
 * Filters and the topics they match [P-3.1]: a value for each filter, and all values whose filter
 * matches a topic. A filter is looked up by its name; without a wildcard that is all, so that a hundred thousand
 * devices with a topic each cost a map entry each. Only wildcards live in the tree too.
 */
import { hasWildcard } from "../topic.ts";

/** One level of the tree; the filters that end here are its values. */
interface Node<Value> {
  children: Map<string, Node<Value>> | undefined;
  /** Behind `+` at this level. */
  plus: Node<Value> | undefined;
  /** Of the filter that ends exactly here. */
  value: Value | undefined;
  /** Of the filter that ends here with `#`: this level and all below. */
  below: Value | undefined;
}

export class FilterTrie<Value> {
  /** Of every filter, so that whoever comes and goes walks down the tree only to change it. */
  readonly #values = new Map<string, Value>();
  readonly #root: Node<Value> = emptyNode();
  #wildcards = 0;

  /** How many filters have a value. */
  get size(): number {
    return this.#values.size;
  }

  get(filter: string): Value | undefined {
    return this.#values.get(filter);
  }

  set(filter: string, value: Value): void {
    const before = this.#values.size;
    this.#values.set(filter, value);
    if (!hasWildcard(filter)) return;
    if (this.#values.size > before) this.#wildcards++;
    const levels = filter.split("/");
    const open = levels.at(-1) === "#";
    let node = this.#root;
    for (let i = 0; i < levels.length - (open ? 1 : 0); i++) node = grow(node, levels[i]!);
    if (open) node.below = value;
    else node.value = value;
  }

  /** Forgets the filter and every level that nothing else needs. */
  delete(filter: string): void {
    if (!this.#values.delete(filter) || !hasWildcard(filter)) return;
    this.#wildcards--;
    prune(this.#root, filter.split("/"), 0);
  }

  /** Adds to `found` the value of every filter that matches `topic`, in no particular order. */
  match(topic: string, found: Value[]): void {
    // A topic holds no wildcard, so what has its name is no filter of the tree.
    const literal = this.#values.get(topic);
    if (literal !== undefined) found.push(literal);
    if (this.#wildcards === 0) return;
    const levels = topic.split("/");
    if (levels[0]!.startsWith("$")) {
      // No wildcard at the first level matches what belongs to the broker.
      const child = this.#root.children?.get(levels[0]!);
      if (child !== undefined) collect(child, levels, 1, found);
    } else collect(this.#root, levels, 0, found);
  }
}

function collect<Value>(
  node: Node<Value>,
  levels: readonly string[],
  at: number,
  found: Value[],
): void {
  // `a/#` matches `a`, but a lone `#` is asked at the root, where a topic has its first level yet to come.
  if (node.below !== undefined) found.push(node.below);
  if (at === levels.length) {
    if (node.value !== undefined) found.push(node.value);
    return;
  }
  const child = node.children?.get(levels[at]!);
  if (child !== undefined) collect(child, levels, at + 1, found);
  if (node.plus !== undefined) collect(node.plus, levels, at + 1, found);
}

function emptyNode<Value>(): Node<Value> {
  return { children: undefined, plus: undefined, value: undefined, below: undefined };
}

function childOf<Value>(node: Node<Value>, level: string): Node<Value> | undefined {
  return level === "+" ? node.plus : node.children?.get(level);
}

function grow<Value>(node: Node<Value>, level: string): Node<Value> {
  const existing = childOf(node, level);
  if (existing !== undefined) return existing;
  const child = emptyNode<Value>();
  if (level === "+") node.plus = child;
  else {
    node.children ??= new Map();
    node.children.set(level, child);
  }
  return child;
}

/** Removes the value at the end of `levels`; tells whether `node` is empty now. */
function prune<Value>(node: Node<Value>, levels: readonly string[], at: number): boolean {
  const level = levels[at];
  if (level === undefined) node.value = undefined;
  else if (level === "#") node.below = undefined;
  else {
    const child = childOf(node, level);
    if (child !== undefined && prune(child, levels, at + 1)) {
      if (level === "+") node.plus = undefined;
      else if (node.children?.delete(level) && node.children.size === 0) node.children = undefined;
    }
  }
  return (
    node.value === undefined &&
    node.below === undefined &&
    node.plus === undefined &&
    node.children === undefined
  );
}
