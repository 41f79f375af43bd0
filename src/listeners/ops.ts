/** What machines ask a broker about itself: alive, ready, which version, figures, its own description [P-12.2]. */
import { openApiDocument } from "../../schemas/openapi.ts";
import { WarrenError } from "../errors.ts";
import type { Handlers, Services } from "./services.ts";

export const opsHandlers: Handlers<"healthz" | "readyz" | "version" | "metrics" | "openapi"> = {
  healthz: () => ({ status: "ok" }),

  readyz(_call, services) {
    assertReady(services);
    return { status: "ready" };
  },

  version: (_call, { version }) => ({ name: "warren", version }),

  async metrics(_call, { metrics }) {
    const text = await metrics.render();
    return new Response(text, { headers: { "Content-Type": metrics.contentType } });
  },

  openapi: (_call, { version }) => openApiDocument(version),
};

/** Throws what a client has to know before it sends work: not started, stopping, unable to write. */
function assertReady({ phase, engine }: Services): void {
  if (phase() === "starting") throw new WarrenError("busy", "The broker is starting.");
  if (phase() === "draining") throw new WarrenError("draining");
  const { health } = engine;
  if (health.state === "unavailable") {
    throw new WarrenError("storage_unavailable", health.reason, { advice: health.advice });
  }
}
