/**
 * TLS in front of the server, for clients with certificates [P-14.3]. Bun's own TLS verifies a client's
 * certificate but shows it to nobody, so this gate ends TLS, keeps the certificate, and hands the bytes on
 * to the server on loopback. Which connection is whose is told by the port that the gate uses towards the
 * server: a connection that the gate did not make is nobody's, and is refused.
 */
import { type AddressInfo, connect, type Socket } from "node:net";
import { createServer, type TLSSocket, type Server as TlsServer } from "node:tls";
import type { ClientCertificate, TlsMaterial } from "../security/tls.ts";
import type { Stalls } from "./stalls.ts";

/** A TLS handshake that takes longer is given up. */
const HANDSHAKE_MS = 10_000;
const LOOPBACK = "127.0.0.1";

/** Who is at the other end of a connection that came through the gate. */
export interface GatePeer {
  readonly address: string;
  readonly certificate: ClientCertificate | undefined;
}

export class TlsGate {
  readonly #server: TlsServer;
  readonly #peers = new Map<number, GatePeer>();
  readonly #sockets = new Set<TLSSocket>();
  readonly #innerPort: number;
  readonly #stalls: Stalls;
  #material: TlsMaterial;

  private constructor(material: TlsMaterial, innerPort: number, stalls: Stalls) {
    this.#material = material;
    this.#innerPort = innerPort;
    this.#stalls = stalls;
    this.#server = createServer(
      { ...optionsOf(material), handshakeTimeout: HANDSHAKE_MS },
      (socket) => this.#accept(socket),
    );
    // From the first byte on: a stop must end those who never come to an end of their handshake too.
    this.#server.on("connection", (socket: TLSSocket) => this.#note(socket));
    // A handshake that fails is the client's affair; one that takes too long is left open by Bun.
    this.#server.on("tlsClientError", (_error, socket) => void socket?.destroy());
  }

  /** Rejects with what the system says, such as `EADDRINUSE`. */
  static async open(
    material: TlsMaterial,
    to: { hostname: string; port: number; innerPort: number },
    stalls: Stalls,
  ): Promise<TlsGate> {
    const gate = new TlsGate(material, to.innerPort, stalls);
    await new Promise<void>((resolve, reject) => {
      gate.#server.once("error", reject);
      gate.#server.listen(to.port, to.hostname, () => {
        gate.#server.off("error", reject);
        resolve();
      });
    });
    return gate;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Whoever uses this port towards the server; undefined for a connection that is not the gate's. */
  peer(port: number | undefined): GatePeer | undefined {
    return port === undefined ? undefined : this.#peers.get(port);
  }

  /** New connections see the new certificate; those that are open stay. False: it is the one in use. */
  renew(material: TlsMaterial): boolean {
    if (Bun.deepEquals(material, this.#material)) return false;
    this.#server.setSecureContext(optionsOf(material));
    this.#material = material;
    return true;
  }

  /** Takes no more connections. */
  close(): void {
    this.#server.close();
  }

  /** Ends those that are open. */
  destroy(): void {
    this.close();
    this.#stalls.stop();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: TLSSocket): void {
    const certificate = certificateOf(socket);
    socket.on("error", () => socket.destroy());
    // It showed one that does not hold: that is not the same as having none.
    if (certificate === "refused") return void socket.destroy();
    const address = socket.remoteAddress ?? "";
    const inner = connect({ host: LOOPBACK, port: this.#innerPort }, () => {
      const port = inner.localPort;
      if (port === undefined || socket.destroyed) return void inner.destroy();
      this.#peers.set(port, { address, certificate });
      inner.once("close", () => this.#peers.delete(port));
      join(socket, inner);
      this.#stalls.watch(socket);
    });
    inner.on("error", () => socket.destroy());
    inner.once("close", () => socket.destroy());
    socket.once("close", () => inner.destroy());
  }

  #note(socket: TLSSocket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }
}

function join(socket: TLSSocket, inner: Socket): void {
  inner.setNoDelay(true);
  socket.setNoDelay(true);
  socket.pipe(inner);
  inner.pipe(socket);
}

function optionsOf({ cert, key, ca, minVersion, clientCertificate }: TlsMaterial) {
  return {
    cert,
    key,
    minVersion,
    requestCert: clientCertificate !== "none",
    rejectUnauthorized: clientCertificate === "require",
    ALPNProtocols: ["http/1.1"],
    ...(ca !== undefined && { ca }),
  };
}

function certificateOf(socket: TLSSocket): ClientCertificate | undefined | "refused" {
  const { raw, valid_from: validFrom, valid_to: validTo } = socket.getPeerCertificate() ?? {};
  if (raw === undefined) return undefined;
  if (!socket.authorized) return "refused";
  return { der: raw, validFrom: Date.parse(validFrom), validTo: Date.parse(validTo) };
}
