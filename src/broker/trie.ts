/**
 * Filters and the topics they match [P-3.1]: a value for each filter, and all values whose filter
 * matches a topic. Every filter is looked up by its name, and those without a wildcard live there alone, so that a
 * hundred thousand devices with a topic each cost a map entry each; only wildcards live in the tree.
 */
import { hasWildcard } from "../topic.ts";

/** One level of the tree; the filters that end here are its values. */
interface Node<Value> {
  readonly parent: Node<Value> | undefined;
  /** Its name at the parent; `+` for what is behind that. */
  readonly level: string;
  children: Map<string, Node<Value>> | undefined;
  /** Behind `+` at this level. */
  plus: Node<Value> | undefined;
  /** Of the filter that ends exactly here. */
  value: Value | undefined;
  /** Of the filter that ends here with `#`: this level and all below. */
  below: Value | undefined;
}

export class FilterTrie<Value> {
  readonly #literal = new Map<string, Value>();
  /** Where each filter with a wildcard ends, so that only one that comes is taken apart. */
  readonly #wild = new Map<string, Node<Value>>();
  readonly #root = emptyNode<Value>(undefined, "");

  /** How many filters have a value. */
  get size(): number {
    return this.#literal.size + this.#wild.size;
  }

  get(filter: string): Value | undefined {
    const literal = this.#literal.get(filter);
    if (literal !== undefined) return literal;
    const node = this.#wild.get(filter);
    return isOpen(filter) ? node?.below : node?.value;
  }

  set(filter: string, value: Value): void {
    if (!hasWildcard(filter)) {
      this.#literal.set(filter, value);
      return;
    }
    const levels = filter.split("/");
    const open = isOpen(filter);
    let node = this.#root;
    for (let i = 0; i < levels.length - (open ? 1 : 0); i++) node = grow(node, levels[i]!);
    this.#wild.set(filter, node);
    if (open) node.below = value;
    else node.value = value;
  }

  /** Forgets the filter and every level that nothing else needs. */
  delete(filter: string): void {
    if (this.#literal.delete(filter)) return;
    const node = this.#wild.get(filter);
    if (node === undefined) return;
    this.#wild.delete(filter);
    if (isOpen(filter)) node.below = undefined;
    else node.value = undefined;
    prune(node);
  }

  /** Adds to `found` the value of every filter that matches `topic`, in no particular order. */
  match(topic: string, found: Value[]): void {
    const literal = this.#literal.get(topic);
    if (literal !== undefined) found.push(literal);
    if (this.#wild.size === 0) return;
    const levels = topic.split("/");
    if (levels[0]!.startsWith("$")) {
      // No wildcard at the first level matches what belongs to the broker.
      const child = this.#root.children?.get(levels[0]!);
      if (child !== undefined) collect(child, levels, 1, found);
    } else collect(this.#root, levels, 0, found);
  }
}

/** Whether its last level is `#`, and not only ends with it: what is bound need not be valid. */
function isOpen(filter: string): boolean {
  return filter.endsWith("/#") || filter === "#";
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

function emptyNode<Value>(parent: Node<Value> | undefined, level: string): Node<Value> {
  return {
    parent,
    level,
    children: undefined,
    plus: undefined,
    value: undefined,
    below: undefined,
  };
}

function grow<Value>(node: Node<Value>, level: string): Node<Value> {
  const existing = level === "+" ? node.plus : node.children?.get(level);
  if (existing !== undefined) return existing;
  const child = emptyNode(node, level);
  if (level === "+") node.plus = child;
  else {
    node.children ??= new Map();
    node.children.set(level, child);
  }
  return child;
}

/** Removes the node, and those above it, as far as nothing needs them any more. */
function prune<Value>(bottom: Node<Value>): void {
  let node = bottom;
  while (node.parent !== undefined && isEmpty(node)) {
    const { parent, level } = node;
    if (level === "+") parent.plus = undefined;
    else if (parent.children?.delete(level) && parent.children.size === 0) {
      parent.children = undefined;
    }
    node = parent;
  }
}

function isEmpty({ value, below, plus, children }: Node<unknown>): boolean {
  return value === undefined && below === undefined && plus === undefined && children === undefined;
}
