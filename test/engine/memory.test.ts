/** The memory engine keeps the engine contract. */
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import { describeEngine } from "../contracts/engine.contract.ts";

describeEngine({
  name: "memory",
  durable: false,
  open: async (parts) => ({
    create: () => new MemoryEngine(parts),
    dispose: async () => {},
  }),
});
