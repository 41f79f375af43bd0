/**
 * WebSockets at `/ws`: who may come in and in which encoding [P-1], and the way from Bun's events to the
 * session. The handlers are synchronous: Bun would run the messages of one connection side by side if
 * they were not.
 */
import type { ServerWebSocket, WebSocketHandler } from "bun";
import type { Principal } from "../broker/access.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { NativeProtocol } from "../protocols/native/native.ts";
import {
  certificateFor,
  findCredential,
  redactUrl,
  TOKEN_SUBPROTOCOL,
} from "../security/credentials.ts";
import type { OriginCheck } from "../security/origins.ts";
import { Turnstile } from "../security/turnstile.ts";
import { Session } from "../session/session.ts";
import type { Sessions } from "../session/sessions.ts";
import { assertOrigin, type Frontier } from "./frontier.ts";
import { problemOf, problemResponse } from "./problem.ts";
import { secure } from "./security-headers.ts";
import type { Peer } from "./server.ts";

/**
 * Bun drops what is sent to a socket with more than this many times the outbound limit waiting. Sessions
 * act at one and two times the limit, so that it never comes to that.
 */
const HARD_CAP = 4;

export interface WebSocketListener {
  readonly handlers: WebSocketHandler<Session>;
  /** Answers with a refusal [P-1.4], or with undefined once the connection is a WebSocket. */
  upgrade(request: Request, server: Peer<Session>): Promise<Response | undefined>;
}

export function createWebSocketListener(
  sessions: Sessions,
  frontier: Frontier,
  log: Logger,
): WebSocketListener {
  const protocols = [NativeProtocol.json(), NativeProtocol.msgpack()] as const;
  const { departures, broker, limits } = sessions;
  const seeingOff = () => departures.size > 0;
  const handshakes = new Turnstile(broker.clock, limits.pendingHandshakes, seeingOff);
  return {
    handlers: handlersFor(sessions, log),
    async upgrade(request, server) {
      const peer = server.requestIP(request)?.address ?? "";
      const address = frontier.addresses.of(request.headers, peer);
      const comer: Comer = { request, server, address, principal: undefined };
      try {
        // Who is banned takes no place among those who wait.
        sessions.admission.request(address);
        // Those who are connected are served between those who come.
        const turn = handshakes.pass();
        if (turn !== undefined) {
          await turn;
          // Who has given up meanwhile takes nothing from the others, neither time nor a rate.
          if (request.signal.aborted) return new Response(null, { status: 408 });
        }
        return await admit(comer, sessions, frontier.origins, protocols);
      } catch (thrown) {
        const error = toWarrenError(thrown);
        if (error.code === "internal") {
          log.error("upgrade failed", { url: redactUrl(request.url), error: error.cause });
        }
        sessions.broker.refusals.note(error, comer);
        return problemResponse(error);
      }
    },
  };
}

function handlersFor({ limits, outboxes }: Sessions, log: Logger): WebSocketHandler<Session> {
  return {
    maxPayloadLength: limits.frameBytes,
    backpressureLimit: HARD_CAP * limits.outboundBytes,
    // Bun's shared one begins each message anew, in both directions: what one peer sent is no context for
    // another, and `maxPayloadLength` counts what it unpacks to [P-14.13].
    perMessageDeflate:
      outboxes.compressFrom !== Number.POSITIVE_INFINITY &&
      ({ compress: "shared", decompress: "shared" } as const),
    // Bun never reaps a mute peer that it keeps sending to; the sessions' own sweep does [P-9.2].
    idleTimeout: 0,
    sendPings: false,
    open: (socket) => socket.data.open(socket),
    message: (socket, data) => socket.data.receive(data),
    drain: (socket) => socket.data.drained(),
    ping(socket, data) {
      control(socket.data, data);
      // Bun has answered it: pongs wait too when they are not read, and nothing else may be sent.
      socket.data.checkBacklog();
    },
    pong: (socket, data) => control(socket.data, data),
    close: (socket, code) => socket.data.end(code),
    error(error: Error, socket?: ServerWebSocket<Session>) {
      log.error("a fault in a WebSocket handler", { error, session: socket?.data.id });
      socket?.data.fail(undefined, undefined, toWarrenError(error));
    },
  } as WebSocketHandler<Session>;
}

interface Comer {
  readonly request: Request;
  readonly server: Peer<Session>;
  readonly address: string;
  /** Who it is, once that is known. */
  principal: Principal | undefined;
}

/** The WebSocket's own frames are signs of life, and count for the rates as any other [P-14.11]. */
function control(session: Session, data: Buffer): void {
  session.heard();
  const { throttle, over } = session;
  if (throttle === undefined || over) return;
  throttle.read(data);
  try {
    throttle.admit();
  } catch {
    // Nobody is told, since there is no answer of ours to them; who goes on is not read any more.
  }
}

async function admit(
  comer: Comer,
  sessions: Sessions,
  origins: OriginCheck,
  protocols: readonly [NativeProtocol, NativeProtocol],
): Promise<Response | undefined> {
  const { request, server, address } = comer;
  const { authenticator, admission } = sessions;
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    // No handshake, but a request like any other.
    admission.meterOf({ address, principal: undefined });
    return upgradeRequired();
  }
  assertRoom(sessions);
  admission.knock(address);
  assertOrigin(request, origins);
  const offer = request.headers.get("sec-websocket-protocol");
  const protocol = negotiate(offer, protocols);
  const credential =
    findCredential(request, origins) ?? certificateFor(request, origins, server.certificate);
  const principal =
    credential === undefined && !authenticator.anonymousAllowed
      ? undefined
      : await authenticator.authenticate(credential, { address });
  comer.principal = principal;
  // The answer may have taken a while.
  assertRoom(sessions);
  admission.assertRoom({ address, principal });
  const data = new Session(sessions, protocol ?? protocols[0], address, principal);
  // Left to itself Bun would accept the first item of the offer, even one with a token in it.
  const headers =
    offer === null ? undefined : { "Sec-WebSocket-Protocol": protocol?.subprotocol ?? "" };
  if (server.upgrade(request, { data, ...(headers !== undefined && { headers }) })) {
    return undefined;
  }
  throw new WarrenError("invalid_frame", "This is not a valid WebSocket handshake.");
}

/**
 * The first protocol of the offer that is spoken here; undefined when none is offered (a token is none)
 * [P-1.2].
 */
function negotiate(
  offer: string | null,
  protocols: readonly NativeProtocol[],
): NativeProtocol | undefined {
  if (offer === null) return undefined;
  const offered = offer
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "" && !item.startsWith(TOKEN_SUBPROTOCOL));
  for (const item of offered) {
    const known = protocols.find(({ subprotocol }) => subprotocol === item);
    if (known !== undefined) return known;
  }
  if (offered.length === 0) return undefined;
  const spoken = protocols.map(({ subprotocol }) => subprotocol);
  throw new WarrenError(
    "invalid_frame",
    `None of the subprotocols offered is spoken here; offer ${spoken.join(" or ")}.`,
    { subprotocols: spoken },
  );
}

function assertRoom(sessions: Sessions): void {
  if (sessions.draining) throw new WarrenError("draining");
  if (sessions.size < sessions.limits.connections) return;
  throw new WarrenError("busy", "The broker has as many connections as it takes.", {
    limit: sessions.limits.connections,
  });
}

/** No code of ours has the status that RFC 9110 has for this. */
function upgradeRequired(): Response {
  const status = 426;
  const why = new WarrenError("invalid_frame", "Connect with a WebSocket here.");
  const headers = new Headers({
    "Content-Type": "application/problem+json",
    Upgrade: "websocket",
  });
  secure(headers);
  const problem = { ...problemOf(why), title: "A WebSocket upgrade is required.", status };
  return new Response(JSON.stringify(problem), { status, headers });
}
