/** What one who watches a topic by a filter knows of its members, by what the broker sent him [P-7.1, P-7.4]. */
import type { PresenceMember } from "../../schemas/frames.ts";
import type { MemberList } from "../../src/broker/presence.ts";
import type { Frame } from "../harness/wire-client.ts";

export class View {
  /** He was told, or has listed, all there are. */
  #isWhole = false;
  #members = new Map<string, PresenceMember>();
  /** How many there are, while they are too many to be told. */
  #count: number | undefined;

  /** He may rely on it. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  listed({ members, count, many }: Frame): void {
    this.#count = many ? count : undefined;
    this.#isWhole = many === true || members.length === count;
    this.#members = new Map();
    if (many !== true) for (const one of members) this.#members.set(keyOf(one), one);
  }

  /** Returns what is wrong with what he is told. */
  told({ action, member, count }: Frame): string | undefined {
    if (action === "many" || action === "few") {
      if (action === "few" && this.#isWhole && this.#count === undefined) return "few of not many";
      this.#members.clear();
      this.#count = action === "many" ? count : undefined;
      this.#isWhole = action === "many";
      return undefined;
    }
    if (this.#count !== undefined) return `${action} although there are many`;
    const key = keyOf(member);
    const isKnown = this.#members.has(key);
    if (action === "join" && isKnown) return `${key} comes twice`;
    if (action !== "join" && this.#isWhole && !isKnown)
      return `${action} of ${key}, who is not there`;
    if (action === "leave") this.#members.delete(key);
    else this.#members.set(key, member);
    return undefined;
  }

  /** What differs from what the broker lists; `atRest` is whether nobody came or went for a while. */
  fault(list: MemberList, atRest: boolean): string | undefined {
    if (list.many !== undefined || this.#count !== undefined) {
      if (!this.#isWhole) return undefined;
      if ((this.#count !== undefined) !== (list.many === true)) return "many for one, not for both";
      const isRight = !atRest || this.#count === list.count;
      return isRight ? undefined : `${this.#count} of ${list.count}`;
    }
    const there = new Map(list.members.map((one) => [keyOf(one), one]));
    for (const [key, { principal, since, info }] of this.#members) {
      const one = there.get(key);
      const seen = { principal, since, info };
      const is = one && { principal: one.principal, since: one.since, info: one.info };
      if (!Bun.deepEquals(seen, is)) return `${key} is seen as ${JSON.stringify(seen)}`;
    }
    if (!this.#isWhole || this.#members.size === there.size) return undefined;
    return `${[...there.keys()].filter((key) => !this.#members.has(key)).join()} not seen`;
  }

  get isEmpty(): boolean {
    return this.#members.size === 0 && (this.#count ?? 0) === 0;
  }
}

function keyOf({ session, firstSession = session }: PresenceMember): string {
  return firstSession;
}
