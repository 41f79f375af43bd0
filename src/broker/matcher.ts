/**
 * Many filters, asked at once which of them covers what somebody wants [P-13.1]: a tree of their
 * levels, so that a check costs the levels of the topic and not the number of rules.
 *
 * The tree is shared by everyone who has the same grants: a variable is a branch of its own, and what
 * it stands for is given with each question. Questions allocate nothing. They are synchronous, so the
 * text that is asked about is taken apart once, into a scratch that all matchers share.
 */

/** What the variables of a matcher stand for, by their number; undefined has no usable value. */
export type Values = readonly (string | undefined)[];

/** No filter. */
export const NONE = -1;

const LITERAL = 0;
const PLUS = 1;
const HASH = 2;

const DOLLAR_CODE = 36;
const SLASH_CODE = 47;
const PLUS_CODE = 43;
const HASH_CODE = 35;
const FNV_PRIME = 0x01000193;
const FNV_START = 0x811c9dc5;

/** Texts have at most as many levels as bytes; one more stands for the level that `/#` asks for. */
const MOST_LEVELS = 4098;
/** Larger than the number of any filter. */
const NO_FILTER = 2 ** 30;
const NO_VARIABLES: readonly Variable[] = [];

/**
 * A level of filters, and what may follow it. There are thousands, of which a check meets a few that no cache of
 * the processor has any more: most have one thing after them, and are small.
 */
class Node {
  /** A literal one, and its hash. */
  readonly level: string;
  readonly hash: number;
  /** Another after the same one, whose level has the same hash. */
  next: Node | undefined;
  /** The literal level that follows, where it is the only one; else the first that did. */
  child: Node | undefined;
  /** Where several follow. */
  children: Children | undefined;
  variables: Variable[] | undefined;
  plus: Node | undefined;
  /** Of filters that end here, and of those that end here with `#`. */
  ends: number[] | undefined;
  below: number[] | undefined;
  /** The first filter at or below this node. */
  first = NO_FILTER;

  constructor(level = "", hash = 0) {
    this.level = level;
    this.hash = hash;
  }

  /** The child of that literal level, made if there is none. */
  literal(level: string): Node {
    const hash = hashOf(level);
    for (let child = this.#chain(hash); child !== undefined; child = child.next) {
      if (child.level === level) return child;
    }
    const made = new Node(level, hash);
    if (this.child === undefined) this.child = made;
    else {
      this.children ??= new Children(this.child);
      this.children.add(made);
    }
    return made;
  }

  /** The child whose level is that of the text in question at this place. */
  childAt(at: number): Node | undefined {
    let child = this.#chain(asked.hashes[at]!);
    while (child !== undefined && !isLevel(child.level, at)) child = child.next;
    return child;
  }

  #chain(hash: number): Node | undefined {
    if (this.children !== undefined) return this.children.byHash.get(hash);
    return this.child?.hash === hash ? this.child : undefined;
  }
}

/** Several literal levels that may follow one. */
class Children {
  readonly all: Node[] = [];
  /** Those that share a hash are a chain. */
  readonly byHash = new Map<number, Node>();

  constructor(first: Node) {
    this.add(first);
  }

  add(node: Node): void {
    node.next = this.byHash.get(node.hash);
    this.byHash.set(node.hash, node);
    this.all.push(node);
  }
}

interface Variable {
  readonly variable: number;
  readonly node: Node;
}

/** The text in question, taken apart. */
const asked = {
  text: "",
  levels: 0,
  /** Its first level begins with `$`, so that no wildcard covers it [P-3.1]. */
  reserved: false,
  starts: new Int32Array(MOST_LEVELS),
  ends: new Int32Array(MOST_LEVELS),
  hashes: new Int32Array(MOST_LEVELS),
  kinds: new Uint8Array(MOST_LEVELS),
};

function takeApart(text: string): void {
  const { starts, ends, hashes, kinds } = asked;
  let level = 0;
  let start = 0;
  let hash = FNV_START | 0;
  for (let at = 0; at <= text.length && level < MOST_LEVELS - 1; at++) {
    const code = at === text.length ? SLASH_CODE : text.charCodeAt(at);
    if (code !== SLASH_CODE) {
      hash = Math.imul(hash ^ code, FNV_PRIME);
      continue;
    }
    starts[level] = start;
    ends[level] = at;
    hashes[level] = hash;
    kinds[level] = kindAt(text, start, at);
    level++;
    start = at + 1;
    hash = FNV_START | 0;
  }
  asked.text = text;
  asked.reserved = text.charCodeAt(0) === DOLLAR_CODE;
  asked.levels = level;
  if (level === 2 && kinds[1] === HASH) normalise();
}

/**
 * A topic has at least one level, so `+/#` is `#`; and it is not empty, so `/#`, which would match the
 * empty one, is `/+/#`. With these two put straight the levels tell the whole truth.
 */
function normalise(): void {
  const { starts, ends, kinds } = asked;
  if (kinds[0] === PLUS) {
    kinds[0] = HASH;
    asked.levels = 1;
  } else if (starts[0] === ends[0]) {
    kinds[1] = PLUS;
    kinds[2] = HASH;
    asked.levels = 3;
  }
}

function kindAt(text: string, start: number, end: number): number {
  if (end - start !== 1) return LITERAL;
  const code = text.charCodeAt(start);
  return code === PLUS_CODE ? PLUS : code === HASH_CODE ? HASH : LITERAL;
}

/** The filters of one action. */
export class FilterMatcher {
  readonly #root = new Node();
  readonly #variableNumber: (level: string) => number;
  #values: Values = [];
  #found: number[] | undefined;
  #size = 0;

  /** `variableNumber` tells the number of a level that is a variable, `NONE` for any other. */
  constructor(variableNumber: (level: string) => number = () => NONE) {
    this.#variableNumber = variableNumber;
  }

  get size(): number {
    return this.#size;
  }

  /** Adds a valid filter; numbers count up, and the first of several that fit is the answer. */
  add(filter: string, number: number): void {
    this.#size++;
    const normal = filter === "+/#" ? "#" : filter === "/#" ? "/+/#" : filter;
    const levels = normal.split("/");
    const open = levels.at(-1) === "#";
    if (open) levels.pop();
    let node = this.#root;
    node.first = Math.min(node.first, number);
    for (const level of levels) {
      node = this.#grow(node, level);
      node.first = Math.min(node.first, number);
    }
    if (open) node.below = [...(node.below ?? []), number];
    else node.ends = [...(node.ends ?? []), number];
  }

  /** A filter that alone covers every topic of `filter`; a topic is a filter too. */
  covering(filter: string, values: Values): number {
    if (this.#size === 0) return NONE;
    takeApart(filter);
    this.#values = values;
    this.#found = undefined;
    return this.#cover(this.#root, 0);
  }

  /** Adds every filter that covers `filter` to `found`. */
  allCovering(filter: string, values: Values, found: number[]): void {
    if (this.#size === 0) return;
    takeApart(filter);
    this.#values = values;
    this.#found = found;
    this.#cover(this.#root, 0);
  }

  /**
   * A filter that shares a topic with `filter`. A variable without a usable value stands for every
   * value here: what is missing must not open what a denial was written to close.
   */
  overlapping(filter: string, values: Values): number {
    if (this.#size === 0) return NONE;
    takeApart(filter);
    this.#values = values;
    this.#found = undefined;
    return this.#overlap(this.#root, 0);
  }

  #grow(node: Node, level: string): Node {
    if (level === "+") {
      node.plus ??= new Node();
      return node.plus;
    }
    const variable = this.#variableNumber(level);
    if (variable === NONE) return node.literal(level);
    node.variables ??= [];
    const known = node.variables.find((one) => one.variable === variable);
    if (known !== undefined) return known.node;
    const child = new Node();
    node.variables.push({ variable, node: child });
    return child;
  }

  #cover(node: Node, at: number): number {
    const wild = at > 0 || !asked.reserved;
    if (node.below !== undefined && wild) {
      const here = this.#take(node.below);
      if (here !== NONE) return here;
    }
    if (at === asked.levels) return node.ends === undefined ? NONE : this.#take(node.ends);
    const kind = asked.kinds[at];
    // What goes on for ever is covered by what goes on for ever only.
    if (kind === HASH) return NONE;
    if (kind === LITERAL) {
      const child = node.childAt(at);
      const by = child === undefined ? NONE : this.#cover(child, at + 1);
      if (by !== NONE) return by;
      // A principal that calls itself `$…` must not come by the topics of the broker.
      if (wild && node.variables !== undefined) {
        const { variables } = node;
        for (let i = 0; i < variables.length; i++) {
          const value = this.#values[variables[i]!.variable];
          if (value === undefined || !isLevel(value, at)) continue;
          const through = this.#cover(variables[i]!.node, at + 1);
          if (through !== NONE) return through;
        }
      }
    }
    return node.plus !== undefined && wild ? this.#cover(node.plus, at + 1) : NONE;
  }

  #overlap(node: Node, at: number): number {
    const wild = at > 0 || !asked.reserved;
    if (node.below !== undefined && wild) return this.#take(node.below);
    if (at === asked.levels) return node.ends === undefined ? NONE : this.#take(node.ends);
    const kind = asked.kinds[at];
    if (kind === HASH && at > 0) return node.first;
    if (kind !== LITERAL) return this.#overlapAny(node, at, kind === HASH);
    const child = node.childAt(at);
    const by = child === undefined ? NONE : this.#overlap(child, at + 1);
    if (by !== NONE) return by;
    const { variables = NO_VARIABLES } = node;
    for (let i = 0; i < variables.length; i++) {
      const value = this.#values[variables[i]!.variable];
      if (value === undefined ? !wild : !isLevel(value, at)) continue;
      const through = this.#overlap(variables[i]!.node, at + 1);
      if (through !== NONE) return through;
    }
    return node.plus !== undefined && wild ? this.#overlap(node.plus, at + 1) : NONE;
  }

  /** Any level is asked for, and with `whole` (only at the root) whatever follows it. */
  #overlapAny(node: Node, at: number, whole: boolean): number {
    const { child: only, children, variables = NO_VARIABLES, plus } = node;
    const literals = children === undefined ? (only === undefined ? 0 : 1) : children.all.length;
    for (let i = 0; i < literals; i++) {
      const child = children === undefined ? only! : children.all[i]!;
      if (at === 0 && child.level.charCodeAt(0) === DOLLAR_CODE) continue;
      const by = whole ? child.first : this.#overlap(child, at + 1);
      if (by !== NONE) return by;
    }
    for (let i = 0; i < variables.length; i++) {
      const { variable, node: child } = variables[i]!;
      if (at === 0 && this.#values[variable]?.charCodeAt(0) === DOLLAR_CODE) continue;
      const by = whole ? child.first : this.#overlap(child, at + 1);
      if (by !== NONE) return by;
    }
    if (plus === undefined) return NONE;
    return whole ? plus.first : this.#overlap(plus, at + 1);
  }

  #take(numbers: readonly number[]): number {
    if (this.#found === undefined) return numbers[0]!;
    for (let i = 0; i < numbers.length; i++) this.#found.push(numbers[i]!);
    return NONE;
  }
}

function isLevel(level: string, at: number): boolean {
  const start = asked.starts[at]!;
  const { length } = level;
  if (start + length !== asked.ends[at]) return false;
  const { text } = asked;
  // A call of `startsWith` would cost more than most levels are long.
  for (let i = 0; i < length; i++) {
    if (level.charCodeAt(i) !== text.charCodeAt(start + i)) return false;
  }
  return true;
}

/** 32 bits, not hard to find another text for. */
export function hashOf(text: string): number {
  let hash = FNV_START | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME);
  return hash;
}
