/** The documents that are checked in say what the schemas say. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { ERRORS } from "../../schemas/errors.ts";
import { documents } from "../../schemas/generate.ts";
import { OPERATIONS } from "../../schemas/http.ts";

const folder = join(import.meta.dir, "../../schemas");

for (const [name, text] of Object.entries(documents())) {
  test(`schemas/${name} is up to date; else run \`npm run schemas\``, async () => {
    expect(await Bun.file(join(folder, name)).text()).toBe(text);
  });
}

test("[P-12.1] every operation is in the OpenAPI document, with its method", () => {
  const document = JSON.parse(documents()["openapi.json"] ?? "{}");
  for (const [name, { method, path }] of Object.entries(OPERATIONS)) {
    const operation = document.paths[path.replace("...}", "}")]?.[method.toLowerCase()];
    expect(operation?.operationId).toBe(name);
  }
});

test("[P-10.1] every error code is in errors.json", () => {
  const { errors } = JSON.parse(documents()["errors.json"] ?? "{}");
  expect(Object.keys(errors)).toEqual(Object.keys(ERRORS));
});
