/** The SQLite engine keeps the engine contract. */
import { describeEngine } from "../contracts/engine.contract.ts";
import { sqlite } from "./sqlite-kind.ts";

describeEngine(sqlite);
