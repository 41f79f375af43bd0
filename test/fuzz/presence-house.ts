/** A broker without a network, whose turns and time are taken by hand, and connections to it. */
import { decode } from "@msgpack/msgpack";
import { assemble, type House } from "../../src/assembly.ts";
import { ALLOW_ALL } from "../../src/broker/access.ts";
import type { Bytes, Socket } from "../../src/broker/route.ts";
import { systemRandom } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { createLogger } from "../../src/log.ts";
import { NativeProtocol } from "../../src/protocols/native/native.ts";
import { Session } from "../../src/session/session.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import type { Encoding, Frame } from "../harness/wire-client.ts";

class TurnClock extends ManualClock {
  readonly #turn: (() => void)[] = [];

  override endOfTurn(action: () => void): void {
    this.#turn.push(action);
  }

  /** Ends this turn, and those that it leads to. */
  turn(): void {
    for (let action = this.#turn.shift(); action !== undefined; action = this.#turn.shift()) {
      action();
    }
  }
}

export class PresenceHouse {
  readonly clock = new TurnClock();
  readonly #house: House;
  readonly #routes = new Map<string, Set<Line>>();
  readonly #protocols = { json: NativeProtocol.json(), msgpack: NativeProtocol.msgpack() };

  constructor(settings: Readonly<Record<string, unknown>>) {
    const config = configFrom({ ...settings });
    const { clock } = this;
    const engine = new MemoryEngine({ clock, random: systemRandom, limits: config.limits });
    const log = createLogger({
      format: "json",
      level: "silent",
      secrets: [],
      write: () => undefined,
    });
    this.#house = assemble(config, { clock, engine, log });
    const publish = (route: string, bytes: Bytes) => {
      for (const line of this.#routes.get(route) ?? []) line.send(bytes);
      return bytes.length;
    };
    this.#house.routes.listener = { publish } as never;
  }

  get members(): number {
    return this.#house.services.broker.presence.members;
  }

  connect(encoding: Encoding, name: string, client: string | undefined): Line {
    const principal = { name, rights: ALLOW_ALL, ...(client !== undefined && { client }) };
    const { sessions } = this.#house;
    const line = new Line(this.#routes);
    line.attach(new Session(sessions, this.#protocols[encoding], "", principal));
    return line;
  }
}

/** Both ends of a connection. */
export class Line implements Socket {
  readonly #routes: Map<string, Set<Line>>;
  #session: Session | undefined;
  /** What has come to the client. */
  readonly frames: Frame[] = [];

  constructor(routes: Map<string, Set<Line>>) {
    this.#routes = routes;
  }

  get session(): Session {
    return this.#session as Session;
  }

  attach(session: Session): void {
    this.#session = session;
    session.open(this);
  }

  /** The connection ends, with the code of a close frame or 1006. */
  end(code: number): void {
    for (const members of this.#routes.values()) members.delete(this);
    this.session.end(code);
  }

  send(bytes: Bytes): number {
    const value = typeof bytes === "string" ? JSON.parse(bytes) : decode(bytes);
    this.frames.push(...((Array.isArray(value) ? value : [value]) as Frame[]));
    return bytes.length;
  }

  publish(): number {
    throw new Error("nobody is spared here");
  }

  subscribe(route: string): void {
    const members = this.#routes.get(route);
    if (members === undefined) this.#routes.set(route, new Set([this]));
    else members.add(this);
  }

  unsubscribe(route: string): void {
    this.#routes.get(route)?.delete(this);
  }

  getBufferedAmount(): number {
    return 0;
  }

  pause(): void {}

  resume(): void {}

  ping(): number {
    this.session.heard();
    return 0;
  }

  close(code: number): void {
    this.end(code);
  }

  terminate(): void {
    this.end(1006);
  }
}
