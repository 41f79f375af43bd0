/** The operations on credentials that are taken back [P-14.4]. */
import { Type } from "@sinclair/typebox";
import { closed, type Operation, Page } from "./http-operation.ts";
import { Revocation, RevocationBody } from "./revocations.ts";

const one = "/admin/v1/revocations/{id}";
const revocations = { access: "admin", area: "revocations" } as const;

export const REVOCATION_OPERATIONS = {
  listRevocations: {
    method: "GET",
    path: "/admin/v1/revocations",
    summary: "The revocations in force, by id.",
    ...revocations,
    query: Type.Object({ ...Page, principal: Type.Optional(Type.String()) }, closed),
    answer: Type.Object({
      revocations: Type.Array(Revocation),
      next: Type.Optional(Type.String()),
    }),
  },
  addRevocation: {
    method: "POST",
    path: "/admin/v1/revocations",
    summary: "Takes credentials back: a token by its `jti`, or those of a principal or client.",
    ...revocations,
    body: RevocationBody,
    answer: Revocation,
  },
  getRevocation: {
    method: "GET",
    path: one,
    summary: "One revocation.",
    ...revocations,
    answer: Revocation,
  },
  deleteRevocation: {
    method: "DELETE",
    path: one,
    summary: "What was revoked and has not expired is good again.",
    ...revocations,
    status: 204,
  },
} as const satisfies Record<string, Operation>;
