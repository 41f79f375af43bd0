/** Presence against a naive model of it: who is a member, and who is told what, in which order [P-7]. */
import { expect, test } from "bun:test";
import { filterMatches } from "../../src/topic.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import { ENCODINGS, type Frame } from "../harness/wire-client.ts";
import { Dice } from "./dice.ts";
import { type Line, PresenceHouse } from "./presence-house.ts";
import { type Person, PresenceModel } from "./presence-model.ts";

const STEPS = 1500;
const ANNOUNCED = 4;
const MOST = 14;
/** Time goes by so many milliseconds, so that no two timers are ever due at once. */
const TICK_MS = 7;

const TOPICS = ["a/1", "a/2", "a/b/c", "b/1", "b/quiet", "c"];
const FILTERS = [...TOPICS, "a/#", "a/+", "#", "+/1", "+/+", "b/#"];
const NAMES = ["ada", "bob", "anonymous"];
const INFOS = [undefined, undefined, null, "x", { seat: [1, 2] }];
const CHANNELS = {
  a: { filter: "a/#", presence: true },
  b: { filter: "b/+", presence: true },
  quiet: { filter: "b/quiet" },
};

const hasPresence = (topic: string) =>
  topic !== "b/quiet" && (filterMatches("a/#", topic) || filterMatches("b/+", topic));

class Fuzz {
  readonly #dice: Dice;
  readonly #house: PresenceHouse;
  readonly #model: PresenceModel;
  readonly #lines = new Map<Person, Line>();

  constructor(seed: number) {
    this.#dice = new Dice(seededRandom(seed));
    const limits = { presenceAnnounced: ANNOUNCED };
    this.#house = new PresenceHouse({ channels: CHANNELS, limits });
    this.#model = new PresenceModel(this.#house.clock.now(), ANNOUNCED, hasPresence);
  }

  /** What happens in one turn of the event loop. */
  step(): void {
    if (this.#dice.chance(0.5)) this.#act(false);
    else for (let left = this.#dice.upTo(8); left >= 0; left--) this.#act(true);
    this.#house.clock.turn();
    this.#compare();
  }

  /** Among others of a turn nobody stops to watch: what he is still told is nobody's business. */
  #act(amongOthers: boolean): void {
    const dice = this.#dice;
    const person = this.#model.people.length === 0 ? undefined : dice.pick(this.#model.people);
    const kind = dice.random();
    if (person === undefined || (kind < 0.12 && this.#model.people.length < MOST)) this.#connect();
    else if (kind < 0.6) this.#subscribe(person, amongOthers);
    else if (kind < 0.75) this.#unsubscribe(person, amongOthers);
    else if (kind < 0.87) this.#end(person);
    else if (!amongOthers) this.#advance();
  }

  #connect(): void {
    const dice = this.#dice;
    const name = dice.pick(NAMES);
    const client = name === "anonymous" ? undefined : dice.pick([undefined, "phone"]);
    const line = this.#house.connect(dice.pick(ENCODINGS), name, client);
    const { id: session } = line.session;
    const person = { session, name, client, filters: new Map(), told: new Map() };
    this.#model.people.push(person);
    this.#lines.set(person, line);
  }

  #subscribe(person: Person, amongOthers: boolean): void {
    const dice = this.#dice;
    const filter = dice.pick(FILTERS);
    const isMember = hasPresence(filter) && TOPICS.includes(filter);
    const info = isMember ? dice.pick(INFOS) : undefined;
    const watches = amongOthers ? [true, undefined] : [true, true, false, undefined];
    const watch = TOPICS.includes(filter) && !isMember ? undefined : dice.pick(watches);
    this.#live(person).subscribe({
      type: "subscribe",
      // An answer opens a turn, so that what is told is gathered.
      ...(dice.chance(0.7) && { id: 0 }),
      filter,
      ...(info !== undefined && { info }),
      ...(watch !== undefined && { presence: watch }),
    });
    this.#model.subscribe(person, filter, watch, info);
  }

  #unsubscribe(person: Person, amongOthers: boolean): void {
    const leavable = [...person.filters].filter(([, watches]) => !(amongOthers && watches));
    const filters = leavable.map(([filter]) => filter);
    if (filters.length === 0) return;
    const filter = this.#dice.pick(filters);
    this.#live(person).unsubscribe({ type: "unsubscribe", filter });
    this.#model.unsubscribe(person, filter);
  }

  #end(person: Person): void {
    const lost = this.#dice.chance(0.7);
    this.#model.end(person, lost);
    this.#lines.get(person)!.end(lost ? 1006 : 1000);
    this.#lines.delete(person);
  }

  #advance(): void {
    const ms = TICK_MS * this.#dice.upTo(this.#dice.chance(0.2) ? 900 : 150);
    this.#house.clock.advance(ms);
    this.#model.advance(ms);
  }

  #live(person: Person) {
    return this.#lines.get(person)!.session.live;
  }

  #compare(): void {
    expect(this.#house.members).toBe(this.#model.members.length);
    for (const [person, line] of this.#lines) {
      expect([person.name, toldBy(line)]).toEqual([person.name, [...person.told].sort(byFilter)]);
      person.told.clear();
    }
    const [person] = this.#lines.keys();
    if (person !== undefined) this.#list(person, this.#dice.pick(["a/1", "a/b/c", "b/1"]));
  }

  #list(person: Person, topic: string): void {
    const line = this.#lines.get(person)!;
    line.session.live.presence({ type: "presence", id: 1, topic });
    this.#house.clock.turn();
    const [{ members, count, many }] = line.frames.splice(0) as [Frame];
    this.#model.listed(topic);
    const wanted = this.#model.on(topic);
    expect([count, many]).toEqual([wanted.length, this.#model.isCrowded(topic) || undefined]);
    expect(members).toEqual(
      wanted.map(({ name, session, firstSession, since, info }) => ({
        principal: name,
        session,
        since,
        ...(firstSession !== session && { firstSession }),
        ...(info !== undefined && { info }),
      })),
    );
  }
}

/** By each filter, what has come to the line. */
function toldBy(line: Line): [string, string[]][] {
  const told = new Map<string, string[]>();
  for (const { type, topic, filter = topic, action, member, count } of line.frames.splice(0)) {
    if (type !== "presence") continue;
    const { principal, session, firstSession = session, info } = member ?? {};
    const what = count ?? `${principal} ${firstSession} ${JSON.stringify(info)}`;
    told.set(filter, [...(told.get(filter) ?? []), `${topic} ${action} ${what}`]);
  }
  return [...told].sort(byFilter);
}

function byFilter([one]: [string, unknown], [other]: [string, unknown]): number {
  return one < other ? -1 : 1;
}

for (const seed of fuzzSeeds(3)) {
  test(`[P-7.1, P-7.2, P-7.4] presence is what the model says (FUZZ_SEED=${seed})`, () => {
    const fuzz = new Fuzz(seed);
    for (let i = 0; i < STEPS; i++) fuzz.step();
  }, 60_000);
}
