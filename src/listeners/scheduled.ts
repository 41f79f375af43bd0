/** Changing and taking back scheduled messages over HTTP [P-5.13]. */
import type { TopicEntry } from "../broker/router.ts";
import { assertInChannel, reschedule, toChange } from "../broker/schedule.ts";
import { assertTerms, type PublishTerms } from "../broker/terms.ts";
import { WarrenError } from "../errors.ts";
import { authorOf } from "./author.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";

export const scheduledHandlers: Handlers<"reschedule" | "unschedule"> = {
  async reschedule(call, services) {
    const { broker, clock, config } = services;
    const { topic } = call.query;
    const { entry, terms } = mayPublish(call, services, topic);
    const now = clock.now();
    const from = authorOf(call);
    const context = { now, newId: broker.newId, limits: config.limits, from };
    const { draft, change } = toChange({ ...call.body, topic }, context);
    const { rates } = assertTerms(terms, draft.message, entry.queues, false);
    if (rates !== undefined) services.admission.rates.underGrants(call, rates);
    assertInChannel(entry, draft, change, now);
    const messageId = param(call, "messageId");
    return { messageId, queues: await reschedule(broker, { topic, messageId, change }) };
  },

  async unschedule(call, services) {
    const { topic } = call.query;
    mayPublish(call, services, topic);
    const messageId = param(call, "messageId");
    const asked = { topic, messageId, change: null };
    return { messageId, queues: await reschedule(services.broker, asked) };
  },
};

/** Throws `draining`, `invalid_topic`, `forbidden`. */
function mayPublish(
  { principal }: Pick<Call, "principal">,
  { broker, phase }: Services,
  topic: string,
): { readonly entry: TopicEntry; readonly terms: PublishTerms } {
  if (phase() === "draining") throw new WarrenError("draining");
  const entry = broker.router.lookup(topic);
  const terms = principal.rights.publishTerms(topic);
  if (terms !== undefined) return { entry, terms };
  throw new WarrenError("forbidden", `You may not publish to ${topic}.`, {
    action: "publish",
    on: topic,
    topic,
  });
}
