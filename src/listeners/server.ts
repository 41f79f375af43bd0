/**
 * The TCP listener: WebSocket upgrades go to theirs, everything else to HTTP. TLS, where it is spoken, is
 * Bun's own, or the gate's when clients show certificates [P-14.3].
 */
import type { Server, WebSocketHandler } from "bun";
import type { Bytes, Socket } from "../broker/route.ts";
import type { Clock } from "../clock.ts";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { ClientCertificate, TlsMaterial } from "../security/tls.ts";
import { problemResponse } from "./problem.ts";
import { Stalls } from "./stalls.ts";
import { TlsGate } from "./tls-gate.ts";

/** Longest silence of an HTTP connection; long polls ask for more. */
const HTTP_IDLE_SECONDS = 30;
/** Browsers that came once over TLS come no other way for a year. */
const STRICT_TRANSPORT = "max-age=31536000";

/** The server as handlers see it, with who is at the other end. */
export interface Peer<Data = unknown>
  extends Pick<Server<Data>, "timeout" | "requestIP" | "upgrade"> {
  /** The verified certificate of the client, where it has shown one. */
  readonly certificate?: ClientCertificate | undefined;
}

/** As much of it as a request without an upgrade needs. */
export type HttpPeer = Pick<Peer, "timeout" | "requestIP" | "certificate">;

/** Answers requests; it never rejects. */
export type HttpHandler = (request: Request, server: HttpPeer) => Promise<Response>;

export interface ListenOptions<Data> {
  readonly hostname: string;
  readonly port: number;
  /** Absent: without TLS. */
  readonly tls?: TlsMaterial | undefined;
  /** A client certificate is a credential, and not only the way in. */
  readonly certificatesName: boolean;
  /** Largest body; HTTP operations refuse theirs earlier, with a sentence. */
  readonly maxBodyBytes: number;
  readonly clock: Clock;
  /** How long a peer that takes nothing may say nothing, where the server itself cannot see that. */
  readonly silenceMs: number;
  /** Throws when the request is not to be answered at all. */
  readonly admit: (request: Request) => void;
  readonly http: HttpHandler;
  readonly webSocketPath: string;
  /** Answers with a refusal, or with undefined once the connection is a WebSocket. */
  readonly upgrade: (
    request: Request,
    server: Peer<Data>,
  ) => Promise<Response | undefined> | Response | undefined;
  readonly webSocket: WebSocketHandler<Data>;
}

/** What listens, whatever it is made of. */
export interface Listener {
  /** Such as `https://127.0.0.1:7070`. */
  readonly url: string;
  /** To every socket that has joined the route, whichever certificate it came under; but not to `except`. */
  publish(routeName: string, bytes: Bytes, compress: boolean, except?: Socket): number;
  /** New connections see this certificate; those that are open stay open. False: it is the one in use. */
  renew(tls: TlsMaterial): boolean;
  /** Takes no more connections, and resolves when there are none; with `force` ends them. */
  stop(force?: boolean): Promise<void>;
}

/** Listens. Rejects with what the system says, such as `EADDRINUSE`. */
export async function listen<Data>(options: ListenOptions<Data>): Promise<Listener> {
  const { tls, hostname, port } = options;
  if (tls === undefined || tls.clientCertificate === "none") return new BunListener(options);
  const gate: { open?: TlsGate } = {};
  const server = serve({ ...options, hostname: "127.0.0.1", port: 0 }, undefined, () => gate.open);
  try {
    const stalls = new Stalls(options.clock, options.silenceMs);
    gate.open = await TlsGate.open(tls, { hostname, port, innerPort: server.port ?? 0 }, stalls);
  } catch (error) {
    await server.stop(true);
    throw error;
  }
  return gatedListener(server, gate.open, hostname);
}

/** Bun gives a server one certificate for life, so a new certificate is a new server on the same port. */
class BunListener<Data> implements Listener {
  readonly #options: ListenOptions<Data>;
  #current: Server<Data>;
  #tls: TlsMaterial | undefined;
  /** Servers of earlier certificates that still have connections. */
  readonly #earlier = new Map<Server<Data>, Promise<void>>();
  readonly url: string;

  constructor(options: ListenOptions<Data>) {
    this.#options = options;
    this.#tls = options.tls;
    this.#current = serve(options, options.tls);
    this.url = this.#current.url.origin;
  }

  publish(routeName: string, bytes: Bytes, compress: boolean, except?: Socket): number {
    if (except === undefined) return this.#publishToAll(routeName, bytes, compress);
    // A socket publishes to those of its own server only.
    if (this.#earlier.size === 0) return except.publish(routeName, bytes, compress);
    except.unsubscribe(routeName);
    const sent = this.#publishToAll(routeName, bytes, compress);
    except.subscribe(routeName);
    return sent;
  }

  #publishToAll(routeName: string, bytes: Bytes, compress: boolean): number {
    // Left to itself Bun compresses.
    let sent = this.#current.publish(routeName, bytes, compress);
    for (const server of this.#earlier.keys()) {
      const also = server.publish(routeName, bytes, compress);
      // That somebody takes no more is to be known, whoever else does: it is below 0.
      sent = sent < 0 || also < 0 ? -1 : Math.max(sent, also);
    }
    return sent;
  }

  renew(tls: TlsMaterial): boolean {
    // Each server more is one more to publish to, for as long as somebody is connected to it.
    if (Bun.deepEquals(tls, this.#tls)) return false;
    // A certificate that Bun will not have must not cost the one that works.
    void serve({ ...this.#options, hostname: "127.0.0.1", port: 0 }, tls).stop(true);
    const old = this.#current;
    const { port } = old;
    // The port is free as soon as the old server is told to stop, within this turn of the event loop.
    const ended = old.stop().finally(() => this.#earlier.delete(old));
    this.#earlier.set(old, ended);
    this.#current = serve({ ...this.#options, port: port ?? this.#options.port }, tls);
    this.#tls = tls;
    return true;
  }

  async stop(force = false): Promise<void> {
    const earlier = [...this.#earlier].map(([server, ended]) =>
      force ? server.stop(true) : ended,
    );
    await Promise.all([this.#current.stop(force), ...earlier]);
  }
}

function gatedListener<Data>(server: Server<Data>, gate: TlsGate, hostname: string): Listener {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `https://${host}:${gate.port}`,
    publish: (routeName, bytes, compress, except) =>
      (except ?? server).publish(routeName, bytes, compress),
    renew: (tls) => gate.renew(tls),
    async stop(force = false) {
      gate.close();
      await server.stop(force);
      gate.destroy();
    },
  };
}

/** `gate` is given where connections come through one, and is there once it is open. */
function serve<Data>(
  options: ListenOptions<Data>,
  tls: TlsMaterial | undefined,
  gate?: () => TlsGate | undefined,
): Server<Data> {
  const { hostname, port } = options;
  const secure = tls !== undefined || gate !== undefined;
  return Bun.serve<Data>({
    hostname,
    port,
    development: false,
    // Off development Bun shares ports unless told not to: a second broker would take half the requests.
    reusePort: false,
    idleTimeout: HTTP_IDLE_SECONDS,
    maxRequestBodySize: options.maxBodyBytes,
    websocket: options.webSocket,
    ...(tls !== undefined && { tls: bunTls(tls) }),
    async fetch(request, server) {
      const answer = await answerTo(request, server, options, gate);
      if (secure) answer?.headers.set("Strict-Transport-Security", STRICT_TRANSPORT);
      return answer;
    },
  });
}

/** Undefined once the connection is a WebSocket. */
function answerTo<Data>(
  request: Request,
  server: Server<Data>,
  { admit, http, upgrade, webSocketPath, certificatesName }: ListenOptions<Data>,
  gate: (() => TlsGate | undefined) | undefined,
): Promise<Response | undefined> | Response | undefined {
  // The address of a request is put together with its Host, which may be missing or anything.
  const url = URL.parse(request.url);
  // Several come joined by a comma: whoever forwarded them may have gone by another one.
  if (url === null || request.headers.get("host")?.includes(",") === true) {
    const why = "The Host is missing or is none, or there are several.";
    return problemResponse(new WarrenError("invalid_frame", why));
  }
  const peer = gate === undefined ? server : gatePeer(request, server, gate(), certificatesName);
  if (peer === undefined) return problemResponse(new WarrenError("forbidden"));
  try {
    admit(request);
  } catch (error) {
    return problemResponse(toWarrenError(error));
  }
  return url.pathname === webSocketPath ? upgrade(request, peer) : http(request, peer);
}

/** Bun's types leave out that it takes the number of a TLS version. */
function bunTls({ cert, key, minVersion }: TlsMaterial): { cert: string; key: string } {
  const options = { cert, key, minVersion: minVersion === "TLSv1.3" ? 0x0304 : 0x0303 };
  return options;
}

/** The server with the address that the gate saw; undefined when the connection is not the gate's. */
function gatePeer<Data>(
  request: Request,
  server: Server<Data>,
  gate: TlsGate | undefined,
  named: boolean,
): Peer<Data> | undefined {
  const inner = server.requestIP(request);
  const found = gate?.peer(inner?.port);
  if (inner === null || found === undefined) return undefined;
  return {
    ...(named && { certificate: found.certificate }),
    requestIP: () => ({ ...inner, address: found.address }),
    timeout: (one, seconds) => server.timeout(one, seconds),
    upgrade: server.upgrade.bind(server),
  };
}
