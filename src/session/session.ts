/**
 * One connection: who it is, what it may do and what it holds. Its verbs are those of the protocol,
 * whatever the encoding; each takes effect or throws a `WarrenError`, which the protocol reports.
 *
 * | state    | since                                                   | verbs              |
 * |----------|---------------------------------------------------------|--------------------|
 * | waiting  | it connected without a credential                       | `auth`, in time    |
 * | open     | it has a principal; `welcome` was sent                  | all                |
 * | draining | the broker is stopping; pending publishes are answered  | all but `publish`  |
 * | leaving  | we close it, once the peer has read what waits for it   | none               |
 * | ended    | its socket is closed                                    | none               |
 *
 * There are many: what most of them never use is made when it is first used, and none owns a timer.
 */
import { CLOSE } from "../../schemas/errors.ts";
import type { ClientFrameOf, FrameId, ServerFrame } from "../../schemas/frames.ts";
import type { Principal } from "../broker/access.ts";
import type { Bytes, Socket, Subscriber } from "../broker/route.ts";
import { toWarrenError, type WarrenError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { Credentials, type CredentialsOwner } from "./credentials.ts";
import type { Payer } from "./fair-turns.ts";
import { isGoodbye, mayComeBack } from "./farewell.ts";
import { Intake } from "./intake.ts";
import { LiveSubscriptions } from "./live.ts";
import { Outbox, type OutboxOwner } from "./outbox.ts";
import type { Protocol } from "./protocol.ts";
import { Publisher } from "./publish.ts";
import { errorFrame } from "./refusals.ts";
import type { Sessions } from "./sessions.ts";
import type { Holdings } from "./sweep.ts";
import type { Throttle } from "./throttle.ts";
import { Work } from "./work.ts";

/** What a message costs apart from its bytes, as if it were so many. */
const MESSAGE_BYTES = 64;

export type SessionState = "waiting" | "open" | "draining" | "leaving" | "ended";

export class Session implements Subscriber, OutboxOwner, CredentialsOwner, Payer {
  readonly id: string;
  readonly protocol: Protocol;
  readonly address: string;
  readonly connectedAt: number;
  readonly #sessions: Sessions;
  readonly credentials: Credentials;
  #state: SessionState = "waiting";
  #socket!: Socket;
  #outbox!: Outbox;
  #intake: Intake | undefined;
  #live: LiveSubscriptions | undefined;
  #work: Work | undefined;
  #publisher: Publisher | undefined;
  /** Frames in a row that did not fit their schema, for the protocol to count [P-2.4]. */
  badFrames = 0;
  /** With which code and reason it will be closed, while it is leaving. */
  #farewell: readonly [code: number, reason: string] | undefined;
  /** The code of a close that came while what was sent before it waited for its turn. */
  #goneWith: number | undefined;
  /** Since when it is leaving, or its live subscriptions are suspended, in ticks of the sweep. */
  #behindSince = 0;
  /** When something last came from the peer, in ticks of the sweep. */
  heardAt = 0;
  /** What bounds its rates, if anything does: asked for each frame before its verb. */
  throttle: Throttle | undefined;
  /** Kept by `Sessions`: the place in its list. */
  slot = -1;
  /** Bytes that are taken from it until others have their turn. */
  #share: number;
  /** Kept by `FairTurns`. */
  paidUntilMs = 0;

  constructor(
    sessions: Sessions,
    protocol: Protocol,
    address: string,
    principal: Principal | undefined,
  ) {
    this.id = sessions.broker.newId();
    this.#sessions = sessions;
    this.protocol = protocol;
    this.address = address;
    this.#share = sessions.limits.turnBytes;
    this.connectedAt = sessions.broker.clock.now();
    this.credentials = new Credentials(this, sessions, principal);
  }

  get socket(): Socket {
    return this.#socket;
  }

  get principal(): Principal | undefined {
    return this.credentials.principal;
  }

  get limits(): Limits {
    return this.#sessions.limits;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** What it holds, for those who look at it now and then. */
  get holdings(): Holdings {
    const [live, work, intake] = [this.#live, this.#work, this.#intake];
    return { live, work, intake, behindSince: this.#behindSince };
  }

  /** Nothing is taken from it and nothing sent to it any more. */
  get over(): boolean {
    return this.#state === "leaving" || this.#state === "ended";
  }

  /** The socket is open. */
  open(socket: Socket): void {
    const { outboxes, limits } = this.#sessions;
    this.#socket = socket;
    this.#outbox = new Outbox(socket, this.protocol.encoder, limits, outboxes, this);
    this.#sessions.add(this);
    this.throttle = this.#sessions.throttleFor(this);
    this.credentials.start(this.#now(), limits.handshakeTimeoutMs);
    if (this.principal === undefined) return;
    this.#begin(this.principal);
    // In the same write as the answer to the handshake, which at the end of the turn would have left alone.
    this.#outbox.flush();
  }

  /** One WebSocket message. */
  receive(data: string | Buffer): void {
    this.heardAt = this.#sessions.tick;
    if (this.over) return;
    const { turns } = this.#sessions;
    const shut = this.#intake?.shut === true;
    this.throttle?.read(data);
    if (!shut && !turns.begin(this)) {
      this.#take(data);
      turns.end(this);
      return;
    }
    if (!shut) this.intake.yieldTurn();
    this.#keep(data);
  }

  #keep(data: string | Buffer): void {
    const kept = this.intake.hold(() => this.#take(data), data.length);
    if (!kept) this.close(CLOSE.abuse, "too much at once");
  }

  #take(data: string | Buffer): void {
    if (this.over) return;
    this.protocol.receive(this, data);
    this.#share -= MESSAGE_BYTES + data.length;
    if (this.#share > 0) return;
    this.#share = this.limits.turnBytes;
    this.intake.yieldTurn();
  }

  /** A sign of life other than a message [P-9.2]. */
  heard(): void {
    this.heardAt = this.#sessions.tick;
  }

  get intake(): Intake {
    const { turns, limits } = this.#sessions;
    this.#intake ??= new Intake(this.#socket, turns, this, limits);
    return this.#intake;
  }

  /** What follows has to wait, by `hold`: for what is being decided, or for being over its rates no longer. */
  get stopped(): boolean {
    return this.#intake?.stopped === true;
  }

  /** What is being read has had its time, and the rest of it has to wait, by `hold`. */
  get cutShort(): boolean {
    return this.intake.cutShort;
  }

  /** The frame has to wait for what is being read for those before it, and what follows waits too. */
  mustWait(type: unknown): boolean {
    if (this.#live?.holdsBack(type) !== true) return false;
    this.intake.shutGate();
    return true;
  }

  hold(action: () => void): void {
    this.#intake?.hold(action);
  }

  /** The socket is closed, with the code of the peer's close frame, or 1006 when there came none. */
  end(code: number): void {
    if (this.#state === "ended") return;
    if (this.#intake?.behind) {
      // What was sent before it is taken first, though nobody hears of it.
      this.#outbox.close();
      this.#goneWith = code;
      this.#intake.end(() => this.end(code));
      return;
    }
    const holds = this.#state !== "leaving";
    this.#state = "ended";
    this.throttle?.stop(this.#farewell?.[0]);
    const planned = isGoodbye(code) || this.#sessions.draining;
    if (holds) {
      // Else what others give back would go from one who is gone to the next.
      this.#work?.hold(true);
      this.#sessions.departures.take(() => this.#letGo(planned, !planned));
    }
    this.#sessions.remove(this);
  }

  /** Closes the connection; what is in the outbox leaves before. */
  close(code: number, reason: string): void {
    if (this.over) return;
    this.#outbox.flush();
    this.leave(code, reason);
  }

  /** Publishes, one message at a time or several together. */
  get publisher(): Publisher {
    this.#publisher ??= new Publisher(this, this.#sessions, this.credentials);
    return this.#publisher;
  }

  /** Its live subscriptions, with the verbs that change them. */
  get live(): LiveSubscriptions {
    this.#live ??= new LiveSubscriptions(this, this.#sessions.broker);
    return this.#live;
  }

  /** Its consumers, with the verbs that concern what they are handed. */
  get work(): Work {
    this.#work ??= new Work(this, this.#sessions.broker);
    return this.#work;
  }

  /** Replaces the credentials [P-9.1]. What arrives meanwhile waits; the answer comes later. */
  auth({ id, token }: ClientFrameOf<"auth">): void {
    this.intake.shutGate();
    this.#sessions.authenticator
      .authenticate(token, this)
      .then((principal) => this.#authenticated(principal, id))
      .catch((error) => this.#notAuthenticated(toWarrenError(error), id))
      .then(() => this.#intake?.openGate());
  }

  ping({ id }: ClientFrameOf<"ping">): void {
    if (id !== undefined) this.tell({ type: "ok", id, time: this.#now() });
  }

  /** Reports a failure. */
  refuse(id: FrameId | undefined, type: string | undefined, error: WarrenError): void {
    if (error.code === "internal") this.#sessions.logFault(this, error);
    else this.#sessions.broker.refusals.note(error, this);
    this.tell(errorFrame(id, type, error));
  }

  /** Reports a failure that ends the connection. */
  fail(id: FrameId | undefined, type: string | undefined, error: WarrenError): void {
    this.refuse(id, type, error);
    this.close(error.rule.close ?? CLOSE.internal, error.code);
  }

  /** A publish was answered. */
  publishAnswered(): void {
    this.#intake?.answered();
    if (!this.#intake?.pending && this.#state === "draining") {
      this.close(CLOSE.restart, "the broker restarts");
    }
  }

  backlogged(dropped: boolean): void {
    if (dropped) this.leave(CLOSE.slowConsumer, "reads too slowly");
    else this.checkBacklog();
  }

  checkBacklog(): void {
    if (this.over) return;
    const limit = this.limits.outboundBytes;
    const waiting = this.#socket.getBufferedAmount();
    // Deliveries stop first, since nothing is lost by it; then events, which are counted. Replies are
    // bounded by what the peer asks for: one that asks on and on without reading ends here.
    if (waiting > limit / 2) this.#work?.hold(true);
    if (waiting > limit && this.#live?.suspended === false) {
      this.#behindSince = this.#sessions.tick;
      this.#live.suspend();
    }
    if (waiting > 2 * limit) this.leave(CLOSE.slowConsumer, "reads too slowly");
  }

  /** The socket has room again. */
  drained(): void {
    const waiting = this.#socket.getBufferedAmount();
    if (this.#farewell !== undefined) {
      if (waiting === 0) this.#socket.close(...this.#farewell);
    } else if (waiting <= this.limits.outboundBytes / 4) {
      this.#live?.drained();
      this.#work?.hold(false);
    }
  }

  /** Ends what its rights do not allow any more [P-4.6, P-5.2]; returns how much there was to look at. */
  review(): number {
    return this.over ? 0 : this.#sessions.review.of(this, this.#live, this.#work);
  }

  notAuthenticatedInTime(): void {
    this.close(CLOSE.authTimeout, "no auth in time");
  }

  expiring(expiresAt: number): void {
    this.tell({ type: "notice", code: "token_expiring", expiresAt });
  }

  credentialsEnded(why: WarrenError): void {
    this.fail(undefined, undefined, why);
  }

  /** The broker is stopping: told, answered, closed [P-9.3]. */
  drain(reconnectAfterMs: number): void {
    if (this.#state === "open") {
      this.tell({ type: "notice", code: "draining", reconnectAfterMs });
      this.#state = "draining";
    }
    if (!this.#intake?.pending) this.close(CLOSE.restart, "the broker restarts");
  }

  #begin(principal: Principal): void {
    this.#state = "open";
    this.tell(this.#sessions.welcome(this.id, principal));
  }

  #authenticated(principal: Principal, id: FrameId | undefined): void {
    if (this.over) return;
    this.#sessions.assertRoomFor(this, principal);
    this.credentials.replace(principal, this.#now());
    this.throttle = this.#sessions.throttleFor(this);
    if (this.#state === "waiting") this.#begin(principal);
    else {
      this.review();
      this.#live?.identified();
    }
    const { expiresAt } = principal;
    if (id !== undefined) this.tell({ type: "ok", id, ...(expiresAt && { expiresAt }) });
  }

  #notAuthenticated(error: WarrenError, id: FrameId | undefined): void {
    // Under credentials that are still valid it goes on; without any there is nothing to go on with, but
    // what may be right later ends nothing.
    if (this.#state === "waiting" && error.rule.close !== undefined) this.fail(id, "auth", error);
    else this.refuse(id, "auth", error);
  }

  /** Lets go of everything and closes the socket, once the peer has read what waits for it. */
  leave(code: number, reason: string): void {
    if (this.over) return;
    this.#state = "leaving";
    this.#letGo(code === CLOSE.restart, mayComeBack(code));
    this.#behindSince = this.#sessions.tick;
    if (this.#goneWith !== undefined) {
      this.end(this.#goneWith);
      return;
    }
    this.#farewell = [code, reason];
    // A socket closed with a backlog stays open for as long as its peer does not read.
    if (this.#socket.getBufferedAmount() === 0) this.#socket.close(code, reason);
  }

  /**
   * An end that was `planned`, by the peer or by us, burns no attempt [P-5.12]; a peer that is `lost` may be
   * back soon, and nobody notices [P-7.2].
   */
  #letGo(planned: boolean, lost: boolean): void {
    this.#outbox.discard();
    this.#intake?.discard();
    this.#live?.clear(lost);
    if (planned) this.#work?.cancelAll();
    else this.#work?.disconnect();
    this.credentials.stop();
  }

  #now(): number {
    return this.#sessions.broker.clock.now();
  }

  /** Sends a frame that is encoded already. */
  reply(frame: Bytes): void {
    if (!this.over) this.#outbox.push(frame);
  }

  ok(id: FrameId | undefined): void {
    if (id !== undefined && !this.over) this.#outbox.push(this.protocol.encoder.ok(id));
  }

  tell(frame: ServerFrame): void {
    if (!this.over) this.#outbox.push(this.protocol.encoder.frame(frame));
  }
}
