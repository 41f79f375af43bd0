/** Who is on a route gets every event of it from then on, and no other, whenever sockets are subscribed to what. */
import { expect, test } from "bun:test";
import { Fanout } from "../../src/broker/fanout.ts";
import { Route, type Subscriber } from "../../src/broker/route.ts";
import type { Clock } from "../../src/clock.ts";
import { DEFAULT_LIMITS } from "../../src/limits.ts";
import { Payload } from "../../src/payload.ts";
import { JsonEncoder } from "../../src/protocols/native/json.ts";
import { PretendedRoutes, PretendedSocket } from "../harness/pretended-socket.ts";
import { fuzzSeeds, seededRandom } from "../harness/seeded-random.ts";
import type { Frame } from "../harness/wire-client.ts";
import { Dice } from "./dice.ts";

class Ear extends PretendedSocket {
  readonly heard: number[] = [];

  protected sent(frames: Frame[]): void {
    for (const { payload } of frames) this.heard.push(payload);
  }

  ping(): number {
    return 1;
  }

  close(): void {}

  terminate(): void {}
}

/** One member, and what it should have heard and missed. */
class Member implements Subscriber {
  readonly socket: Ear;
  readonly expected: number[] = [];
  on = false;
  suspended = false;
  missed = 0;

  constructor(routes: PretendedRoutes) {
    this.socket = new Ear(routes);
  }

  checkBacklog(): void {}
}

class World {
  readonly #turns: (() => void)[] = [];
  readonly #clock: Clock = {
    now: () => 0,
    elapsedMs: () => 0,
    after: () => ({ cancel: () => undefined }),
    endOfTurn: (action) => void this.#turns.push(action),
  };
  readonly #routes = new PretendedRoutes();
  readonly #fanout = new Fanout(this.#routes, this.#clock, {
    ...DEFAULT_LIMITS,
    coalescedFrames: 4,
  });
  readonly members = Array.from({ length: 4 }, () => new Member(this.#routes));
  readonly #encoder = new JsonEncoder();
  #route = new Route("a", this.#encoder);
  #events = 0;

  /** Does one thing to one member, or for all. */
  step(dice: Dice): void {
    const member = dice.pick(this.members);
    const [at, fanout] = [dice.upTo(9), this.#fanout];
    if (at < 3) this.#publish(dice.chance(0.3) ? member : undefined);
    else if (at < 4) this.endTurn();
    else if (!member.on) {
      fanout.join(member, this.#route);
      member.on = true;
    } else if (at < 7) this.#leave(member);
    else if (!member.suspended) {
      fanout.suspend(member, this.#route);
      member.suspended = true;
    } else {
      expect(fanout.resume(member, this.#route)).toBe(member.missed);
      member.suspended = false;
      member.missed = 0;
    }
  }

  endTurn(): void {
    for (const action of this.#turns.splice(0)) action();
  }

  #leave(member: Member): void {
    this.#fanout.leave(member, this.#route);
    Object.assign(member, { on: false, suspended: false, missed: 0 });
    // As the router does: who comes next comes to another one of the same name.
    if (this.#route.members.size === 0) this.#route = new Route("a", this.#encoder);
  }

  #publish(except: Member | undefined): void {
    const payload = ++this.#events;
    for (const member of this.members) {
      if (!member.on || member === except) continue;
      if (member.suspended) member.missed++;
      else member.expected.push(payload);
    }
    const message = { id: `${payload}`, topic: "a", time: 0, payload: Payload.fromValue(payload) };
    this.#fanout.publish(message, this.#route.members.size === 0 ? [] : [this.#route], except);
  }
}

for (const seed of fuzzSeeds(3)) {
  test(`[P-4.1, P-4.7] whoever is on a route gets its events, FUZZ_SEED=${seed}`, () => {
    const dice = new Dice(seededRandom(seed));
    for (let life = 0; life < 200; life++) {
      const world = new World();
      for (let step = 0; step < 40; step++) world.step(dice);
      world.endTurn();
      for (const { socket, expected } of world.members) expect(socket.heard).toEqual(expected);
    }
  });
}
