/** What of the floor's messages may be handed out, in memory: in order, by priority, or by key. */

export interface Waiting {
  readonly id: number;
  readonly key?: string | undefined;
  readonly priority?: number | undefined;
}

export interface Ready<R extends Waiting> {
  readonly size: number;
  push(row: R): void;
  shift(): R | undefined;
  /** It has been acked. */
  done(id: number): void;
}

export class InOrder<R extends Waiting> implements Ready<R> {
  #rows: R[] = [];
  #at = 0;

  get size(): number {
    return this.#rows.length - this.#at;
  }

  push(row: R): void {
    this.#rows.push(row);
  }

  shift(): R | undefined {
    const row = this.#rows[this.#at];
    if (row === undefined) return undefined;
    this.#at++;
    if (this.#at > 1024 && this.#at * 2 > this.#rows.length) {
      this.#rows = this.#rows.slice(this.#at);
      this.#at = 0;
    }
    return row;
  }

  done(): void {}
}

const PRIORITIES = 10;
const DEFAULT_PRIORITY = 4;

export class ByPriority<R extends Waiting> implements Ready<R> {
  readonly #lines = Array.from({ length: PRIORITIES }, () => new InOrder<R>());
  size = 0;

  push(row: R): void {
    this.#lines[row.priority ?? DEFAULT_PRIORITY]!.push(row);
    this.size++;
  }

  shift(): R | undefined {
    const line = this.#lines.findLast((rows) => rows.size > 0);
    if (line !== undefined) this.size--;
    return line?.shift();
  }

  done(): void {}
}

/** At most one of a key is out; the next one of it is ready when that is acked. */
export class ByKey<R extends Waiting> implements Ready<R> {
  readonly #ready = new InOrder<R>();
  /** Behind the one that is ready or out. */
  readonly #behind = new Map<string, R[]>();
  readonly #out = new Map<number, string>();

  get size(): number {
    return this.#ready.size;
  }

  push(row: R): void {
    const { key } = row;
    const behind = key === undefined ? undefined : this.#behind.get(key);
    if (behind !== undefined) {
      behind.push(row);
      return;
    }
    if (key !== undefined) this.#behind.set(key, []);
    this.#ready.push(row);
  }

  shift(): R | undefined {
    const row = this.#ready.shift();
    if (row?.key !== undefined) this.#out.set(row.id, row.key);
    return row;
  }

  done(id: number): void {
    const key = this.#out.get(id);
    if (key === undefined) return;
    this.#out.delete(id);
    const next = this.#behind.get(key)?.shift();
    if (next === undefined) this.#behind.delete(key);
    else this.#ready.push(next);
  }
}
