/** Credentials that operators take back [P-14.4]. */
import type { Revocation } from "../../schemas/revocations.ts";
import { WarrenError } from "../errors.ts";
import { revocationOf, takesBack } from "../security/revocations.ts";
import { audited } from "./audit.ts";
import { type Call, type Handlers, param, type Services } from "./services.ts";

type Operations = "listRevocations" | "addRevocation" | "getRevocation" | "deleteRevocation";

export const revocationHandlers: Handlers<Operations> = {
  async listRevocations({ query }, { revocations }) {
    const { page, more } = await revocations.page(query);
    const next = more ? page.at(-1)?.id : undefined;
    return { revocations: page, ...(next && { next }) };
  },

  addRevocation(call, services) {
    const { expiring, clock } = services;
    const { jti, principal, client, ...rest } = call.body;
    const add = async () => {
      const made = revocationOf(call.body, clock.now(), call.principal.name);
      assertNotOneself(made, call);
      await expiring.revocations.put(made.id, made);
      return made;
    };
    const named = { jti, principal, client, ...rest };
    const detail = Object.fromEntries(
      Object.entries(named).filter(([, value]) => value !== undefined),
    );
    const on = principal ?? client ?? jti;
    const action = { action: "revocation.add", ...(on !== undefined && { on }) };
    return audited(call, services, action, add, ({ id }) => ({ detail: { id, ...detail } }));
  },

  getRevocation: (call, services) => existing(call, services),

  async deleteRevocation(call, services) {
    const on = param(call, "id");
    await audited(call, services, { action: "revocation.delete", on }, async () => {
      existing(call, services);
      await services.expiring.revocations.remove(on);
    });
    return undefined;
  },
};

/** Whoever has the only key to the broker could not undo it, nor could any key of the same name after it. */
function assertNotOneself(made: Revocation, { principal }: Pick<Call, "principal">): void {
  if (!takesBack(made, principal)) return;
  throw new WarrenError(
    "conflict",
    "This would take back the credentials that it is asked with. Ask with others, or give an issuedBefore " +
      "that spares them.",
    { principal: principal.name },
  );
}

function existing(call: Pick<Call, "params">, { revocations }: Services): Revocation {
  const id = param(call, "id");
  const found = revocations.get(id);
  if (found !== undefined) return found;
  throw new WarrenError("not_found", `There is no revocation ${id}.`, { id });
}
