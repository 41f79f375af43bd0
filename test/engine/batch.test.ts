/** The packed batch: what is written as one kind of operation is read as that kind. */
import { expect, test } from "bun:test";
import { OPERATION } from "../../src/engine/sqlite/batch.ts";

test("[P-3.4] every operation of a batch has a number of its own", () => {
  const numbers = Object.values(OPERATION);
  expect([...new Set(numbers)]).toEqual(numbers);
});
