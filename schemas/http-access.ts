/** The operations on rights: roles, and why somebody may do something or not [P-13.8], [P-14.7]. */
import { Type } from "@sinclair/typebox";
import { DENIABLE, Grant, RoleSettings } from "./access.ts";
import { closed, type Operation, Page, Time } from "./http-operation.ts";

const Role = Type.Object({
  name: Type.String(),
  origin: Type.Union([Type.Literal("settings"), Type.Literal("stored")]),
  ...RoleSettings.properties,
});

const SourceShape = Type.Object({
  kind: Type.Union(
    ["token", "certificate", "anonymous", "request", "open", "role", "channel", "key"].map((kind) =>
      Type.Literal(kind),
    ),
  ),
  name: Type.Optional(Type.String()),
  id: Type.Optional(Type.String()),
});

const Explained = {
  allowed: Type.Boolean(),
  reason: Type.String(),
  rule: Type.Optional(Grant),
  source: Type.Optional(SourceShape),
};

const rolePath = "/admin/v1/roles/{name}";
const role = { access: "admin", area: "roles" } as const;

export const ACCESS_OPERATIONS = {
  listRoles: {
    method: "GET",
    path: "/admin/v1/roles",
    summary: "Every role that counts, by name.",
    ...role,
    query: Type.Object(Page, closed),
    answer: Type.Object({ roles: Type.Array(Role), next: Type.Optional(Type.String()) }),
  },
  getRole: { method: "GET", path: rolePath, summary: "One role.", ...role, answer: Role },
  putRole: {
    method: "PUT",
    path: rolePath,
    summary: "Defines a role or replaces it, for those who are connected too.",
    ...role,
    body: RoleSettings,
    answer: Role,
  },
  deleteRole: {
    method: "DELETE",
    path: rolePath,
    summary: "Removes a stored role; whoever has it loses what it gave.",
    ...role,
    status: 204,
  },
  explainAccess: {
    method: "GET",
    path: "/admin/v1/access/explain",
    summary: "Whether somebody may do something, and which rule says so.",
    access: "admin",
    area: "access",
    query: Type.Object(
      {
        action: Type.Union(DENIABLE.map((action) => Type.Literal(action))),
        on: Type.String({ minLength: 1, maxLength: 4096 }),
        principal: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
        client: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
        session: Type.Optional(Type.String({ maxLength: 64 })),
        roles: Type.Optional(
          Type.String({ maxLength: 8192, description: "Names, separated by commas." }),
        ),
        grants: Type.Optional(Type.String({ maxLength: 65_536, description: "JSON." })),
        claims: Type.Optional(
          Type.String({ maxLength: 8192, description: "JSON, for {claims.<name>}." }),
        ),
      },
      closed,
    ),
    answer: Type.Object({
      principal: Type.String(),
      action: Type.String(),
      on: Type.String(),
      subjects: Type.Array(
        Type.Object({
          session: Type.Optional(Type.String()),
          key: Type.Optional(Type.String()),
          ...Explained,
        }),
      ),
      ended: Type.Array(
        Type.Object({
          time: Time,
          session: Type.String(),
          action: Type.String(),
          on: Type.String(),
          reason: Type.String(),
        }),
      ),
    }),
  },
} as const satisfies Record<string, Operation>;
