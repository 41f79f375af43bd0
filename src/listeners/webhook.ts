/** What operators see of a queue's webhook: never its secrets, and how it does [P-5.16]. */
import type { QueueSettings } from "../../schemas/queue.ts";
import { WarrenError } from "../errors.ts";
import { namesLinkLocal } from "../link-local.ts";
import { type Handlers, param } from "./services.ts";

/** The settings of a queue without what nobody may read back. */
export function shownSettings({ webhook, ...settings }: QueueSettings): object {
  if (webhook === undefined) return settings;
  const { secret, headers, ...rest } = webhook;
  const shown = {
    ...rest,
    secretSet: secret !== undefined,
    headerNames: Object.keys(headers ?? {}),
  };
  return { ...settings, webhook: shown };
}

/** Throws `invalid_frame` for a URL that no webhook may have. */
export function assertWebhook({ webhook }: QueueSettings): void {
  if (webhook === undefined || !namesLinkLocal(webhook.url)) return;
  throw new WarrenError("invalid_frame", "A webhook must not lead to a link-local address.", {
    pointer: "/webhook/url",
  });
}

export const webhookHandlers: Handlers<"getWebhook"> = {
  getWebhook(call, { engine, webhooks }) {
    const queue = param(call, "name");
    const { settings } = engine.queues.describe(queue);
    const status = webhooks.status(queue);
    if (settings.webhook === undefined || status === undefined) {
      throw new WarrenError("not_found", `The queue ${queue} has no webhook.`, { queue });
    }
    return { url: settings.webhook.url, ...status };
  },
};
