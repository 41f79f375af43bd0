/** The memory engine as the contract suite and the fuzzers open it. */
import { MemoryEngine } from "../../src/engine/memory/engine.ts";
import type { EngineKind } from "../contracts/engine.contract.ts";

export const memory: EngineKind = {
  name: "memory",
  durable: false,
  open: async (parts) => ({
    create: () => new MemoryEngine(parts),
    dispose: async () => {},
  }),
};
