/** Peers who wish a broker ill, each of one kind, at a bounded pace, with what each is to be seen beside. */
import type { Attack } from "./hostile.ts";
import { OPENINGS } from "./openings.ts";
import { PAYLOADS } from "./payloads.ts";
import { READERS } from "./readers.ts";

export const ATTACKS: readonly Attack[] = [...OPENINGS, ...PAYLOADS, ...READERS];
