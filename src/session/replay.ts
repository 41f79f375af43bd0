/**
 * A subscribe that begins with a part of the history of its topic [P-4.3, P-4.4]: what was missed since an
 * offset, all of it or nothing, or the last messages.
 */
import type { ClientFrameOf } from "../../schemas/frames.ts";
import type { Broker } from "../broker/broker.ts";
import { keptHistory, pageBytes, retains } from "../broker/kept.ts";
import type { HistoryPage, HistoryRequest, KeptMessage, RetainedPage } from "../engine/topics.ts";
import { WarrenError } from "../errors.ts";
import type { Message } from "../message.ts";
import { hasWildcard } from "../topic.ts";
import type { CatchUp } from "./catch-up.ts";
import { Joining } from "./joining.ts";

type Subscribe = ClientFrameOf<"subscribe">;

export class Replay extends Joining {
  readonly holdsPages = true;
  // What is published to the topic meanwhile is in its history.
  readonly isBeforePublishes = false;
  readonly #recover: Subscribe["recover"];
  readonly #last: number;
  readonly #pointer: string;
  #epoch = "";
  /** Everything up to here was read. */
  #after = 0;
  /** There was nothing more behind it when that was read. */
  #complete = false;
  /** What was read and is not sent yet, from `#sent` on. */
  #messages: readonly KeptMessage[] = [];
  #sent = 0;

  /** Throws `invalid_frame`, `not_supported`, `forbidden`. */
  constructor(catchUp: CatchUp, frame: Subscribe) {
    super(catchUp, frame.filter, frame.id);
    this.#recover = frame.recover;
    this.#last = frame.last ?? 0;
    this.#pointer = frame.recover === undefined ? "/last" : "/recover";
    assertOfOneTopic(frame, this.#pointer, this.#broker);
    this.assertAllowed();
  }

  override assertAllowed(): void {
    super.assertAllowed();
    this.catchUp.session.credentials.assertMay("history", this.filter);
  }

  protected proceed(): void {
    this.assertAllowed();
    if (this.answered) this.#send(false);
    else this.#begin();
  }

  get #broker(): Broker {
    return this.catchUp.live.broker;
  }

  #begin(): void {
    const recover = this.#recover;
    if (recover !== undefined) {
      this.#readFirst({ after: recover.offset }, (page, value) => this.#answer(page, page, value));
      return;
    }
    const last = this.#last;
    this.#readFirst({ reverse: true, limit: last }, (place, value) => {
      const { messages, complete, offset, first } = place;
      if (complete || messages.length >= last) {
        const all = { ...place, messages: messages.toReversed(), complete: true };
        this.#answer(place, all, value);
      } else {
        // Those that fit are the newest: they are read again in their turn.
        const after = Math.max(first - 1, offset - last);
        this.#readFirst({ after }, (page, later) => this.#answer(place, page, later));
      }
    });
  }

  /** A part of the history, and the retained value of the same moment, where the topic keeps one. */
  #readFirst(
    range: Partial<HistoryRequest>,
    then: (page: HistoryPage, value: Message | undefined) => void,
  ): void {
    const { filter } = this;
    const isRetained = retains(this.#broker, filter);
    let read: HistoryPage | undefined;
    this.#read(range, (page) => {
      read = page;
      if (!isRetained) then(page, undefined);
    });
    if (!isRetained) return;
    const request = { filter, limit: 1, bytes: pageBytes(this.#broker.limits) };
    this.ask<RetainedPage>(
      (answered) => this.#broker.engine.topics.retained(request, answered),
      ({ messages }) => read !== undefined && then(read, messages[0]),
    );
  }

  /** `place` is where the history stood when it was asked for, `page` what is to be sent first. */
  #answer(place: HistoryPage, page: HistoryPage, value: Message | undefined): void {
    this.assertAllowed();
    const { epoch, offset } = place;
    const recovered = this.#recover && holdsAllAfter(place, this.#recover);
    this.#epoch = epoch;
    this.#take(recovered === false ? { ...place, messages: [], complete: true } : page);
    const isFirst = value !== undefined && !recovered && !this.#brings(value);
    // One that was there before ends here: what it brought since then is brought again.
    this.catchUp.live.leave(this.filter);
    this.answer({
      epoch,
      offset,
      ...(recovered !== undefined && { recovered }),
      ...(isFirst && { retained: 1 }),
    });
    if (isFirst) this.sendRetained(value);
    this.#send(true);
  }

  #take({ messages, complete, offset }: HistoryPage): void {
    this.#messages = messages;
    this.#sent = 0;
    this.#complete = complete;
    this.#after = messages.at(-1)?.offset ?? offset;
  }

  /** Whether the retained value is among what is replayed, so that it is not sent twice. */
  #brings(value: Message): boolean {
    const messages = this.#messages;
    if (messages.some(({ message }) => message.id === value.id)) return true;
    const oldest = messages[0]?.message;
    if (this.#complete || oldest === undefined) return false;
    // Ids that the broker makes rise within a millisecond too.
    return oldest.time === value.time ? oldest.id < value.id : oldest.time < value.time;
  }

  /** `fresh`: in the turn in which the last page came, so that nothing can have come since. */
  #send(fresh: boolean): void {
    const { catchUp } = this;
    const { session } = catchUp;
    while (this.#sent < this.#messages.length) {
      if (!catchUp.hasRoom) {
        catchUp.goOn(this);
        return;
      }
      const { message, offset } = this.#messages[this.#sent++]!;
      const position = { epoch: this.#epoch, offset };
      session.reply(session.protocol.encoder.event(message, undefined, position));
    }
    this.#messages = [];
    this.#sent = 0;
    if (this.over) return;
    if (!fresh || !this.#complete) this.#readOn();
    else {
      this.join();
      this.finish();
    }
  }

  #readOn(): void {
    this.#read({ after: this.#after }, (page) => {
      this.assertAllowed();
      if (!holdsAllAfter(page, { epoch: this.#epoch, offset: this.#after })) {
        throw new WarrenError("conflict", "The history went on faster than it was read.");
      }
      this.#take(page);
      this.#send(true);
    });
  }

  #read(range: Partial<HistoryRequest>, then: (page: HistoryPage) => void): void {
    const { engine, limits } = this.#broker;
    const request = {
      topic: this.filter,
      bounds: keptHistory(this.#broker, this.filter, this.#pointer),
      limit: limits.historyMessages,
      bytes: pageBytes(limits),
      ...range,
    };
    this.ask<HistoryPage>((answered) => engine.topics.history(request, answered), then);
  }
}

/** Whether nothing behind that place is lost, so that it can be brought without a gap. */
function holdsAllAfter(page: HistoryPage, place: { epoch: string; offset: number }): boolean {
  const { epoch, offset, first } = page;
  return epoch === place.epoch && place.offset <= offset && first <= place.offset + 1;
}

function assertOfOneTopic({ filter, last = 0 }: Subscribe, pointer: string, broker: Broker): void {
  if (hasWildcard(filter)) {
    throw new WarrenError("invalid_frame", "Only one topic at a time has a history.", { pointer });
  }
  keptHistory(broker, filter, pointer);
  const { historyMessages: limit } = broker.limits;
  if (last <= limit) return;
  throw new WarrenError("invalid_frame", `At most the last ${limit}.`, { pointer, limit });
}
