/**
 * Makes the documents that are checked in beside the schemas. `bun schemas/generate.ts` writes them; a
 * test holds the files against `documents()`.
 */
import { join } from "node:path";
import { version } from "../package.json";
import { ConfigSchema } from "./config.ts";
import { CLOSE, ERRORS } from "./errors.ts";
import { CLIENT_FRAMES, SERVER_FRAMES } from "./frames.ts";
import { openApiDocument } from "./openapi.ts";

const DIALECT = "https://json-schema.org/draft/2020-12/schema";

/** The text of every document by its file name. */
export function documents(): Readonly<Record<string, string>> {
  return {
    "config.schema.json": text({ $schema: DIALECT, ...ConfigSchema }),
    "frames.schema.json": text({
      $schema: DIALECT,
      title: "Warren frames",
      oneOf: [...named("client", CLIENT_FRAMES), ...named("server", SERVER_FRAMES)],
      $defs: { client: CLIENT_FRAMES, server: SERVER_FRAMES },
    }),
    "errors.json": text({ errors: ERRORS, closeCodes: CLOSE }),
    "openapi.json": text(openApiDocument(version)),
  };
}

function named(side: string, frames: object): { $ref: string }[] {
  return Object.keys(frames).map((name) => ({ $ref: `#/$defs/${side}/${name}` }));
}

function text(document: unknown): string {
  return `${JSON.stringify(document, null, 2)}\n`;
}

if (import.meta.main) {
  for (const [name, content] of Object.entries(documents())) {
    await Bun.write(join(import.meta.dir, name), content);
  }
}
