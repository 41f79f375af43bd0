/** The kinds of promise that can be found broken. */

export type FaultKind =
  /** It was confirmed, or seen, and then neither acked nor found dead. */
  | "lost"
  /** One of its queues, or one of its batch, was stored and another one was not [P-3.6]. */
  | "torn"
  | "delivered_after_ack"
  | "delivered_after_death"
  /** It was refused, each time that it was sent. */
  | "delivered_though_refused"
  /** It was taken back, or shows a state that it had before a change was confirmed [P-5.13]. */
  | "change_ignored"
  /** Handed out while somebody had it, or stored anew although its id was known. */
  | "stored_twice"
  /** First attempts of a publisher's messages of one priority came in another order. */
  | "order"
  | "early"
  | "over_credit"
  | "too_many_attempts"
  /** The attempt is not the count of those that were counted. */
  | "wrong_attempt"
  /** Dead for a reason that does not hold. */
  | "unexplained_death"
  /** Nobody published it, or not so. */
  | "altered"
  | "tag_reused"
  /** Somebody was told that a delivery was not theirs although it was. */
  | "taken_away"
  /** A settling was accepted although its delivery was over. */
  | "late_settled"
  /** Two messages of one key were out at the same time. */
  | "key_overlap"
  /** It came back from the dead although nobody asked for it [P-13.10]. */
  | "revived";

export interface Fault {
  readonly kind: FaultKind;
  readonly text: string;
}

/** Takes note of one. */
export type Report = (kind: FaultKind, text: string) => void;
