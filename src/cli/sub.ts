/** `warren sub`: prints live events until it is stopped. */
import { CLIENT_FLAGS, type Command, type Input, integerFlag } from "./command.ts";
import { addressOf, Connection } from "./connection.ts";
import { interrupted } from "./interrupt.ts";
import { brief, clockTime } from "./terminal.ts";

export const subCommand: Command = {
  name: "sub",
  usage: "<filter>…",
  summary: "Print live events on the topics that match, until Ctrl-C.",
  details:
    "In a filter + stands for one level and a last # for all that is left: devices/+/state, #.",
  flags: {
    ...CLIENT_FLAGS,
    last: { type: "string", value: "N", help: "Begin with the last N of a topic with history." },
    count: { type: "string", value: "N", help: "End after so many events." },
  },
  args: [1, 32],
  async run(input) {
    const last = integerFlag(input, "last", 1);
    const count = integerFlag(input, "count", 1) ?? Number.POSITIVE_INFINITY;
    const enough = Promise.withResolvers<void>();
    // Before anything is said: whoever reads it may end the command at once.
    const stopped = interrupted();
    let seen = 0;
    const connection = await Connection.open(addressOf(input), {
      frame(frame) {
        if (frame.type === "event" && seen < count) print(input, frame);
        if (frame.type === "notice") input.terminal.note(`notice: ${JSON.stringify(frame)}`);
        if (frame.type === "event" && ++seen >= count) enough.resolve();
      },
    });
    try {
      for (const filter of input.args) {
        await connection.request({ type: "subscribe", filter, ...(last && { last }) });
      }
      input.terminal.note(`subscribed to ${input.args.join(" ")}`);
      await Promise.race([enough.promise, stopped, connection.closed]);
      return 0;
    } finally {
      connection.close();
    }
  },
};

function print({ terminal }: Input, frame: Record<string, unknown>): void {
  if (terminal.json) {
    const { type, ...event } = frame;
    terminal.object(event);
  } else {
    const time = terminal.dim(clockTime(Number(frame.time)));
    terminal.line(`${time} ${terminal.bold(String(frame.topic))} ${brief(frame.payload)}`);
  }
}
