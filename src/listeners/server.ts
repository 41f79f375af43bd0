/** The one TCP listener: WebSocket upgrades go to their listener, everything else to HTTP. */
import type { Server, WebSocketHandler } from "bun";
import { toWarrenError, WarrenError } from "../errors.ts";
import type { HttpHandler } from "./http.ts";
import { problemResponse } from "./problem.ts";

/** Longest silence of an HTTP connection; long polls ask for more. */
const HTTP_IDLE_SECONDS = 30;

export interface ListenOptions<Data> {
  readonly hostname: string;
  readonly port: number;
  /** Largest body; HTTP operations refuse theirs earlier, with a sentence. */
  readonly maxBodyBytes: number;
  /** Throws when the request is not to be answered at all. */
  readonly admit: (request: Request) => void;
  readonly http: HttpHandler;
  readonly webSocketPath: string;
  /** Answers with a refusal, or with undefined once the connection is a WebSocket. */
  readonly upgrade: (
    request: Request,
    server: Server<Data>,
  ) => Promise<Response | undefined> | Response | undefined;
  readonly webSocket: WebSocketHandler<Data>;
}

/** Listens. Throws what the system says, such as `EADDRINUSE`. */
export function listen<Data>(options: ListenOptions<Data>): Server<Data> {
  const { hostname, port, admit, http, upgrade, webSocketPath } = options;
  return Bun.serve<Data>({
    hostname,
    port,
    development: false,
    // Off development Bun shares ports unless told not to: a second broker would take half the requests.
    reusePort: false,
    idleTimeout: HTTP_IDLE_SECONDS,
    maxRequestBodySize: options.maxBodyBytes,
    websocket: options.webSocket,
    fetch(request, server) {
      // The address of a request is put together with its Host, which may be missing or anything.
      const url = URL.parse(request.url);
      if (url === null) {
        return problemResponse(new WarrenError("invalid_frame", "The Host is missing or is none."));
      }
      try {
        admit(request);
      } catch (error) {
        return problemResponse(toWarrenError(error));
      }
      return url.pathname === webSocketPath ? upgrade(request, server) : http(request, server);
    },
  });
}
