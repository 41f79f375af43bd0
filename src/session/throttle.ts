/**
 * How much one connection may still send [P-14.11]. What is too much by a little is refused, frame by frame;
 * what goes on being too much is not read any more for a while, so that it fills the peer's buffers.
 */
import { CLOSE } from "../../schemas/errors.ts";
import type { Principal } from "../broker/access.ts";
import { Account } from "../security/accounts.ts";
import { addressGroup } from "../security/addresses.ts";
import type { Admission } from "../security/admission.ts";
import { Meter } from "../security/meter.ts";
import type { Deadlines, HasDeadline } from "./deadlines.ts";
import type { Intake } from "./intake.ts";

/** Refusals in a row until it is not read any more. */
const REFUSALS = 16;
/** Reading stops for no longer than this: an end of the peer is not seen meanwhile. */
const PAUSE_MAX_MS = 10_000;
/** A second's worth at least, or it would be stopped again at once. */
const PAUSE_MIN_MS = 1000;

export class Throttle implements HasDeadline {
  deadline = 0;
  heapIndex = -1;
  readonly #admission: Admission;
  readonly #deadlines: Deadlines;
  readonly #intake: Intake;
  readonly #address: string;
  readonly #meter: Meter;
  readonly #own = new Account("");
  readonly #place: Account;
  #principal: Principal | undefined;
  #name: Account | undefined;
  #refusals = 0;

  constructor(admission: Admission, deadlines: Deadlines, intake: Intake, address: string) {
    const { rates } = admission;
    this.#admission = admission;
    this.#deadlines = deadlines;
    this.#intake = intake;
    this.#address = address;
    this.#meter = new Meter(rates);
    this.#place = rates.addresses.hold(addressGroup(address));
  }

  /** It has a principal now, or other rights of the same one. */
  identify(principal: Principal | undefined): void {
    const { rates } = this.#admission;
    const before = this.#name;
    this.#principal = principal;
    this.#name = principal && rates.principals.hold(principal.name);
    if (before !== undefined) rates.principals.release(before);
    const party = { address: this.#address, principal };
    this.#meter.messages = rates.payers("messages", party, this.#own);
    this.#meter.bytes = rates.payers("bytes", party, this.#own);
  }

  /** So much was read. */
  read(data: string | Buffer): void {
    if (this.#meter.bytes.length === 0) return;
    const waitMs = this.#meter.read(Buffer.byteLength(data));
    if (waitMs > 0) this.#pause(waitMs);
  }

  /** One frame; throws `rate_limited`. */
  admit(): void {
    try {
      this.#meter.message();
      this.#refusals = 0;
    } catch (error) {
      if (++this.#refusals >= REFUSALS) {
        this.#refusals = 0;
        if (!this.#intake.throttled) this.#admission.refused(this, error);
        this.#pause(PAUSE_MIN_MS);
      }
      throw error;
    }
  }

  get address(): string {
    return this.#address;
  }

  get principal(): Principal | undefined {
    return this.#principal;
  }

  onDeadline(): void {
    this.#intake.throttle(false);
  }

  /** The connection has ended; `sentAwayWith` is the code where that was our doing. */
  stop(sentAwayWith?: number): void {
    const { rates } = this.#admission;
    this.#deadlines.clear(this);
    rates.addresses.release(this.#place);
    if (this.#name !== undefined) rates.principals.release(this.#name);
    // Whom an operator or the end of his credentials sends away does not come and go by himself.
    if (sentAwayWith !== CLOSE.kicked && sentAwayWith !== CLOSE.unauthenticated) {
      this.#admission.ended(this);
    }
  }

  #pause(waitMs: number): void {
    this.#intake.throttle(true);
    const now = this.#admission.rates.clock.now();
    this.#deadlines.set(this, now + Math.min(waitMs, PAUSE_MAX_MS));
  }
}
