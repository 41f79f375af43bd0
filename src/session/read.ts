/** Something that a session reads of what topics keep, of any number of pages, and when it is over. */
import type { ReadSlots } from "../broker/read-slots.ts";
import type { Answered } from "../engine/topics.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { CatchUp } from "./catch-up.ts";

export abstract class Read {
  readonly #catchUp: CatchUp;
  /** Answers that have not come yet. */
  #asked = 0;
  /** One of the broker's slots is its own. */
  #hasSlot = false;
  #over = false;

  constructor(catchUp: CatchUp) {
    this.#catchUp = catchUp;
  }

  /** Nothing more comes of it. */
  get over(): boolean {
    return this.#over;
  }

  protected get catchUp(): CatchUp {
    return this.#catchUp;
  }

  /** Its turn has come, or the socket has room again: it goes on when the broker has a slot for it. */
  go(): void {
    if (this.#hasSlot) {
      this.attempt(() => this.proceed());
      return;
    }
    // To wait for a slot is to ask for something.
    this.#asked++;
    this.#slots.take(() => {
      this.#asked--;
      this.#hasSlot = true;
      if (this.#over) this.#release();
      else this.attempt(() => this.proceed());
      this.#giveBack();
    });
  }

  /** It has a slot. May throw what `fail` is then told. */
  protected abstract proceed(): void;

  /** It could not be done: the peer is told. */
  protected abstract failed(error: WarrenError): void;

  /** Asks the engine; `then` is not called once this is over, and may throw what `fail` is then told. */
  protected ask<Page>(begin: (answered: Answered<Page>) => void, then: (page: Page) => void): void {
    this.#asked++;
    begin((answer) => {
      this.#asked--;
      if (this.#over) this.#release();
      else if (answer instanceof WarrenError) this.fail(answer);
      else this.attempt(() => then(answer));
      this.#giveBack();
    });
  }

  attempt(action: () => void): void {
    try {
      action();
    } catch (thrown) {
      this.fail(toWarrenError(thrown));
    }
  }

  fail(error: WarrenError): void {
    if (this.#over) return;
    if (error.code === "internal") this.#catchUp.session.fail(undefined, undefined, error);
    else this.failed(error);
    this.finish();
  }

  finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#catchUp.over(this);
    this.#release();
  }

  /** What was asked for holds its place until it is answered, or asking and dropping would have no bound. */
  #release(): void {
    if (this.#asked === 0) this.#catchUp.ended(this);
  }

  get #slots(): ReadSlots {
    return this.#catchUp.live.broker.reads;
  }

  #giveBack(): void {
    if (!this.#hasSlot || this.#asked > 0) return;
    this.#hasSlot = false;
    this.#slots.giveBack();
  }
}
