/** A broker without a network, whose turns and time are taken by hand, and connections to it. */
import { assemble, type House } from "../../src/assembly.ts";
import { ALLOW_ALL } from "../../src/broker/access.ts";
import { systemRandom } from "../../src/clock.ts";
import { configFrom } from "../../src/config.ts";
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { createLogger } from "../../src/log.ts";
import { NativeProtocol } from "../../src/protocols/native/native.ts";
import { Session } from "../../src/session/session.ts";
import { ManualClock } from "../harness/manual-clock.ts";
import { PretendedRoutes, PretendedSocket } from "../harness/pretended-socket.ts";
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
  readonly #routes = new PretendedRoutes();
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
    this.#house.routes.listener = { publish: this.#routes.publishAll } as never;
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
export class Line extends PretendedSocket {
  #session: Session | undefined;
  /** What has come to the client. */
  readonly frames: Frame[] = [];

  get session(): Session {
    return this.#session as Session;
  }

  attach(session: Session): void {
    this.#session = session;
    session.open(this);
  }

  /** The connection ends, with the code of a close frame or 1006. */
  end(code: number): void {
    this.routes.removeFromAll(this);
    this.session.end(code);
  }

  protected sent(frames: Frame[]): void {
    this.frames.push(...frames);
  }

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
