/** Somebody in a simulation who is present on topics and watches who else is [P-7], and comes and goes. */
import { filterMatches, hasWildcard } from "../../src/topic.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";
import { AGAIN_MS, type Surroundings } from "./peer.ts";
import { TOPICS } from "./rules.ts";
import type { SimPeer, SimSocket, Who } from "./socket.ts";
import type { PresenceWitness, WitnessedLine } from "./witness.ts";

const FILTERS = [...TOPICS, ...TOPICS, "room/#", "room/+", "room/log/#", "room/open/#"];
const INFOS = ["here", { seat: [1, 2] }, null];
const ACT_MS = 1500;
/** Some stay away for longer than anybody waits for them. */
const AWAY_MS = 6000;
const ANONYMOUS = "anonymous";
/** Who is thrown out, and who is to come back. */
const EXPELLED = [4410, 4508];

interface Wish {
  readonly presence: boolean;
  readonly info: unknown;
}

export interface GuestOptions {
  readonly encoding: Encoding;
  readonly who: Who;
  /** It connects as nobody, and shows its token later. */
  readonly isLate?: boolean;
}

export class SimGuest {
  readonly name: string;
  readonly world: Surroundings;
  readonly options: GuestOptions;
  /** What it wants to be subscribed to, whatever happens. */
  readonly wishes = new Map<string, Wish>();
  readonly #witness: PresenceWitness;
  #line: GuestLine | undefined;

  constructor(world: Surroundings, witness: PresenceWitness, name: string, options: GuestOptions) {
    this.world = world;
    this.#witness = witness;
    this.name = name;
    this.options = options;
    for (const filter of FILTERS) if (world.random() < 0.3) this.#wish(filter);
    this.#act();
  }

  /** It has what it wants, and knows that. */
  get done(): boolean {
    return this.#line?.done === true;
  }

  start(): void {
    const line = new GuestLine(this, this.#witness);
    this.#line = line.connect() ? line : undefined;
    if (this.#line === undefined) this.world.time.after(AGAIN_MS, () => this.start());
  }

  cut(): void {
    this.#line?.socket?.cut();
  }

  goodbye(): void {
    this.#line?.socket?.cut(1000);
  }

  fade(): void {
    this.#line?.socket?.fade();
  }

  expel(): void {
    const code = EXPELLED[Math.floor(this.world.random() * EXPELLED.length)]!;
    this.#line?.socket?.expel(code);
  }

  closed(): void {
    this.#line = undefined;
    const { healed, random, time } = this.world;
    const awayMs = !healed && random() < 0.3 ? AWAY_MS : AGAIN_MS;
    time.after(random() * awayMs, () => this.start());
  }

  #wish(filter: string): Wish {
    const { random } = this.world;
    const says = !hasWildcard(filter) && random() < 0.5;
    const info = says ? INFOS[Math.floor(random() * INFOS.length)] : undefined;
    const wish = { presence: random() < 0.6, info };
    this.wishes.set(filter, wish);
    return wish;
  }

  /** Comes to want something else, now and then. */
  #act(): void {
    const { random, time } = this.world;
    time.after(random() * ACT_MS, () => {
      if (this.world.healed) return;
      const filter = FILTERS[Math.floor(random() * FILTERS.length)]!;
      const chance = random();
      if (chance < 0.6) this.#line?.subscribe(filter, this.#wish(filter));
      else if (chance < 0.8) this.#line?.list(filter, 1 + Math.floor(random() * 4));
      else if (this.wishes.delete(filter)) this.#line?.ask({ type: "unsubscribe", filter });
      this.#act();
    });
  }
}

/** One of its connections. */
class GuestLine implements SimPeer {
  readonly encoding: Encoding;
  readonly who: Who;
  socket: SimSocket | undefined;
  readonly #guest: SimGuest;
  readonly #witness: PresenceWitness;
  #witnessed: WitnessedLine | undefined;
  readonly #asked = new Map<number, Frame>();
  #lastId = 0;
  /** What is to be asked again in a moment. */
  #again = 0;

  constructor(guest: SimGuest, witness: PresenceWitness) {
    const { encoding, who, isLate } = guest.options;
    this.#guest = guest;
    this.#witness = witness;
    this.encoding = encoding;
    this.who = isLate ? { name: ANONYMOUS } : who;
  }

  get done(): boolean {
    return this.#asked.size === 0 && this.#again === 0;
  }

  /** Whether there is a broker to connect to. */
  connect(): boolean {
    this.#witnessed = this.#witness.line(this.who);
    this.socket = this.#guest.world.connect(this);
    if (this.socket === undefined) {
      this.#witnessed.ended(true);
      return false;
    }
    const { wishes, world, options } = this.#guest;
    for (const [filter, wish] of wishes) this.subscribe(filter, wish);
    const { isLate, who } = options;
    const shows = () => this.ask({ type: "auth", token: JSON.stringify(who) });
    if (isLate) this.#later(world.random() * AWAY_MS, shows);
    return true;
  }

  subscribe(filter: string, { presence, info }: Wish): void {
    this.ask({ type: "subscribe", filter, presence, ...(info !== undefined && { info }) });
  }

  /** Asks who is on the topics of the filter; all of them without a limit. */
  list(filter: string, limit?: number): void {
    for (const topic of TOPICS.filter((one) => filterMatches(filter, one))) {
      this.ask({ type: "presence", topic, ...(limit !== undefined && { limit }) });
    }
  }

  ask(frame: Frame): void {
    const id = ++this.#lastId;
    this.#asked.set(id, frame);
    this.socket?.toBroker([{ ...frame, id }]);
  }

  wasRead(frame: Frame): void {
    this.#witnessed?.read(frame);
  }

  wasSent(frame: Frame): void {
    this.#witnessed?.sent(frame);
  }

  wasClosed(code: number): void {
    this.#witnessed?.closed(code);
  }

  wasEnded(inOrder: boolean): void {
    this.#witnessed?.ended(inOrder);
  }

  closed(): void {
    this.socket = undefined;
    this.#guest.closed();
  }

  receive(frame: Frame): void {
    const { type, code, filter, topic, action } = frame;
    if (type === "notice" && code === "unsubscribed") this.#wishAgain(filter);
    else if (type === "notice" && code === "presence_ended") this.#wishAgain(filter);
    else if (type === "presence" && action === "few") this.list(topic);
    const asked = this.#asked.get(frame.id);
    if (asked === undefined) return;
    this.#asked.delete(frame.id);
    if (type === "ok") this.#answered(asked, frame);
    else if (asked.type === "subscribe") this.#wishAgain(asked.filter);
    else if (asked.type === "presence" && asked.limit === undefined) {
      this.#later(AGAIN_MS, () => this.#isWatched(asked.topic) && this.list(asked.topic));
    }
  }

  #answered({ type, filter, presence, topic, limit }: Frame, { members, count, many }: Frame) {
    if (type === "subscribe" && presence === true) this.list(filter);
    // It has seen a part, and has to know all where it watches.
    const isPart = limit !== undefined && !many && members.length < count;
    if (type === "presence" && isPart && this.#isWatched(topic)) this.list(topic);
  }

  #isWatched(topic: string): boolean {
    const { wishes } = this.#guest;
    return wishes.entries().some(([one, { presence }]) => presence && filterMatches(one, topic));
  }

  #wishAgain(filter: string): void {
    this.#later(AGAIN_MS, () => {
      const wish = this.#guest.wishes.get(filter);
      if (wish !== undefined) this.subscribe(filter, wish);
    });
  }

  #later(ms: number, action: () => void): void {
    this.#again++;
    this.#guest.world.time.after(ms, () => {
      this.#again--;
      if (this.socket !== undefined) action();
    });
  }
}

/** Some alone, some with two devices, two tabs on one, and some of whom nobody knows who they are. */
export function guestsOf(world: Surroundings, witness: PresenceWitness): SimGuest[] {
  const ada = { name: "ada" };
  const bob = { name: "bob", client: "phone" };
  const options: readonly (readonly [string, Who, boolean?])[] = [
    ["ada", ada],
    ["ada again", ada],
    ["bob", bob],
    ["bob again", bob],
    ["bob elsewhere", { name: "bob", client: "desk" }],
    ["cleo", { name: "cleo" }],
    ["dan", { name: "dan" }, true],
    ["nobody", { name: ANONYMOUS }],
  ];
  return options.map(([name, who, isLate = false], number) => {
    const encoding = number % 2 === 0 ? "json" : "msgpack";
    return new SimGuest(world, witness, name, { encoding, who, isLate });
  });
}
