/** `warren serve`: runs a broker until it is told to stop, and says how to use it. */
import { type Config, configSecrets } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Warren } from "../main.ts";
import { type Command, Failure } from "./command.ts";
import { SETTINGS_FLAGS, settingsOf } from "./settings-flags.ts";
import type { Terminal } from "./terminal.ts";

export const serveCommand: Command = {
  name: "serve",
  usage: "",
  summary: "Run a broker.",
  details:
    "Every setting is also a variable: --limits-batch is WARREN_LIMITS_BATCH. Secrets, keys, roles and\n" +
    "queues are set by variable or file only. SIGTERM and SIGINT drain and end; a second one ends at once.\n" +
    "SIGHUP reads key files and certificates anew.",
  flags: SETTINGS_FLAGS,
  args: [0, 0],
  async run(input) {
    const settings = await settingsOf(input);
    const config: Config = input.flags.json === true ? { ...settings, log: "json" } : settings;
    const secrets = configSecrets(config);
    // Here, for the broker's modules take most of a client command's time to load.
    const { createLogger } = await import("../log.ts");
    const log = createLogger({ format: config.log, level: config.logLevel, secrets });
    endOnFaults(log);
    const stopping = Promise.withResolvers<string>();
    // Asked for before the start, so that a signal during a long recovery is not lost.
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(1));
        stopping.resolve(signal);
      });
    }
    const warren = await start(config, log);
    process.on("SIGHUP", () => warren.reload());
    if (config.log === "pretty") banner(input.terminal, warren, config);
    await warren.stop(await stopping.promise);
    // Whatever is still open is somebody else's, such as a half-closed connection.
    process.exit(0);
  },
};

async function start(config: Config, log: Logger): Promise<Warren> {
  const { StartError, startWarren } = await import("../main.ts");
  try {
    return await startWarren(config, { log });
  } catch (error) {
    if (error instanceof StartError) throw new Failure(error.message);
    throw error;
  }
}

/** A fault that nobody caught leaves a state that nobody knows: the log has it, and the process ends. */
function endOnFaults(log: Logger): void {
  for (const event of ["unhandledRejection", "uncaughtException"] as const) {
    process.on(event, (error: unknown) => {
      log.error("fatal", { error });
      process.exit(1);
    });
  }
}

function banner(terminal: Terminal, { url, open, broker }: Warren, config: Config): void {
  const there = url === "http://127.0.0.1:7070" ? "" : ` --url ${url}`;
  const kept =
    config.durability === "fsync"
      ? "confirmed means on disk"
      : "confirmed means handed to the system; a power loss may take the last moments";
  terminal.line(
    `${terminal.bold(`Warren listens on ${url}`)}\n` +
      `Data in ${config.dataDir} (${broker.engine.name}; ${kept}).\n` +
      `${whoMay(open, config)}\n\nTry it, in another terminal:\n\n` +
      `  npx warren sub 'devices/#'${there}\n` +
      `  npx warren pub devices/42/temperature 21.5${there}\n` +
      `  npx warren queue define jobs --binding 'jobs/#'${there} && npx warren consume jobs${there}\n`,
  );
}

function whoMay(open: boolean, config: Config): string {
  if (!open) return "Who connects needs a token or an API key, or has what `anonymous` grants.";
  return config.insecure
    ? "ANYONE who reaches this address may do anything: --insecure was given."
    : "Anyone on this machine may use it, and nobody else can reach it: no credentials are configured.";
}
