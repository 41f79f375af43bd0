/** One thing after the other: what begins from how things are, and ends later in having changed them. */

export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Begins when all that came before has ended, in whatever way. */
  take<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#last.then(action);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
