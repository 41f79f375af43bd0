/** Names in their order, however many: one comes, goes or is found without looking at the others. */

/** Names that lie together. Twice as many are split. */
const TOGETHER = 128;

export class SortedNames {
  /** None is empty, save the only one. */
  readonly #runs: string[][] = [[]];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Does nothing for a name that is there. */
  add(name: string): void {
    const at = this.#runOf(name);
    const run = this.#runs[at] as string[];
    const place = firstFrom(run, name);
    if (run[place] === name) return;
    run.splice(place, 0, name);
    this.#size++;
    if (run.length >= 2 * TOGETHER) this.#runs.splice(at + 1, 0, run.splice(TOGETHER));
  }

  /** Does nothing for a name that is not there. */
  delete(name: string): void {
    const at = this.#runOf(name);
    const run = this.#runs[at] as string[];
    const place = firstFrom(run, name);
    if (run[place] !== name) return;
    run.splice(place, 1);
    this.#size--;
    if (run.length === 0 && this.#runs.length > 1) this.#runs.splice(at, 1);
  }

  /** At most so many names behind this one, in their order; behind the empty one are all. */
  after(name: string, atMost: number): string[] {
    const found: string[] = [];
    let at = this.#runOf(name);
    let place = firstFrom(this.#runs[at] as string[], name);
    if (this.#runs[at]?.[place] === name) place++;
    while (at < this.#runs.length && found.length < atMost) {
      const run = this.#runs[at++] as string[];
      found.push(...run.slice(place, place + atMost - found.length));
      place = 0;
    }
    return found;
  }

  /** The last run that begins at or before the name, or the first. */
  #runOf(name: string): number {
    let low = 0;
    let high = this.#runs.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#runs[middle]?.[0] ?? "") <= name) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** The place of the first name that does not come before this one. */
function firstFrom(run: readonly string[], name: string): number {
  let low = 0;
  let high = run.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((run[middle] as string) < name) low = middle + 1;
    else high = middle;
  }
  return low;
}
