/** Who is present on a topic, over HTTP [P-7.3]. */
import { WarrenError } from "../errors.ts";
import { assertTopic } from "../topic.ts";
import { type Handlers, param } from "./services.ts";

export const presenceHandlers: Handlers<"presence"> = {
  presence(call, { broker, config }) {
    const topic = param(call, "topic");
    assertTopic(topic, config.limits);
    if (!call.principal.rights.may("presence", topic)) {
      const why = `You may not see who is present on ${topic}.`;
      throw new WarrenError("forbidden", why, { action: "presence", on: topic, topic });
    }
    return broker.presence.list(topic, call.query.limit);
  },
};
