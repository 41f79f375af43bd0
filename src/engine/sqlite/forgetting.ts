/**
 * Message ids that publishers chose are forgotten when their window is over [P-3.5]: looked for now and then, a
 * part in each commit, and commit after commit for as long as there are more.
 */
import type { QueueHost } from "./host.ts";

const LOOK_EVERY_MS = 10_000;
/** Ids that one commit forgets, so that it stays short. */
const FORGOTTEN_AT_ONCE = 1000;

export class Forgetting {
  /** When it is time to look again. */
  nextAt = 0;
  readonly #host: QueueHost;
  #underWay = false;

  constructor(host: QueueHost) {
    this.#host = host;
  }

  /** Forgets what is over, if it is time to. */
  look(now: number): void {
    if (now < this.nextAt) return;
    this.nextAt = now + LOOK_EVERY_MS;
    if (!this.#underWay) this.#forget(now);
  }

  #forget(now: number): void {
    if (this.#host.storageRefusal() !== undefined) return;
    this.#underWay = true;
    let went = 0;
    const { storage } = this.#host;
    storage.writer.control({ forgetIdsBefore: now, limit: FORGOTTEN_AT_ONCE });
    storage.add({
      answered: (answer) => {
        if (answer.kind === "forgotten") went = answer.went;
      },
      committed: () => {
        this.#underWay = false;
        if (went === FORGOTTEN_AT_ONCE) this.#forget(now);
      },
      aborted: () => {
        this.#underWay = false;
      },
    });
  }
}
