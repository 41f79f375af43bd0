/** What a delivery must be, by the model. */
import type { Delivery } from "../../src/message.ts";
import { isReady, ModelOrder } from "./model-order.ts";
import {
  boundsOf,
  type Copy,
  expiryOf,
  inFlightOf,
  type ModelPeer,
  type ModelQueue,
} from "./model-queue.ts";

/** A message that was replayed may be there more than once: the first of those that it can be. */
export function whichOf(
  queue: ModelQueue,
  now: number,
  delivery: Delivery,
  serial: number,
): Copy | undefined {
  const all = queue.copies
    .filter((copy) => copy.serial === serial)
    .sort((x, y) => y.priority - x.priority || x.rank - y.rank);
  const isIt = (copy: Copy) =>
    isReady(copy, now) &&
    copy.attempts + 1 === delivery.attempt &&
    expiryOf(queue, copy) === delivery.expiresAt &&
    copy.deaths.length === (delivery.deaths?.length ?? 0);
  return all.find(isIt) ?? all[0];
}

/** Everything that is wrong with handing this copy to this peer now. */
export function wrongWith(
  peer: ModelPeer,
  copy: Copy | undefined,
  delivery: Delivery,
  now: number,
  isNewTag: boolean,
): string[] {
  if (copy === undefined) return ["delivered, but it is not in the queue"];
  const { queue } = peer;
  const { maxInFlight, maxInFlightPerConsumer } = boundsOf(queue);
  const expiresAt = expiryOf(queue, copy);
  const order = new ModelOrder(queue, now);
  const holder = order.holderOf(copy);
  const before = order.before(copy);
  const demands: readonly (readonly [holds: boolean, what: string])[] = [
    [!peer.gone, "delivered to a consumer that has gone"],
    [!peer.onHold, "delivered to a consumer on hold"],
    [peer.held.size < peer.credit, `delivered beyond the credit of ${peer.credit}`],
    [!queue.settings.paused, "delivered from a paused queue"],
    [inFlightOf(queue) < maxInFlight, `delivered beyond maxInFlight ${maxInFlight}`],
    [peer.held.size < maxInFlightPerConsumer, "delivered beyond maxInFlightPerConsumer"],
    [copy.confirmed, "delivered before its publisher was told"],
    [copy.lease === undefined, "delivered while somebody holds it"],
    [copy.dueAt <= now, `delivered ${copy.dueAt - now} ms early`],
    [expiresAt > now, "delivered although expired"],
    [delivery.attempt === copy.attempts + 1, `has ${copy.attempts} counted attempts`],
    [delivery.expiresAt === expiresAt, `expires at ${expiresAt}`],
    [(delivery.deaths?.length ?? 0) === copy.deaths.length, "has other deaths"],
    [isNewTag, "has a tag that was used before"],
    [holder === undefined, `delivered although #${holder?.serial} of its key is before it`],
    [before === undefined, `delivered before #${before?.serial}`],
  ];
  return demands.filter(([holds]) => !holds).map(([, what]) => what);
}
