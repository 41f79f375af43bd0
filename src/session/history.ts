/** A page of the history of a topic, for one who asks for it [P-8.1]. */
import type { ClientFrameOf } from "../../schemas/frames.ts";
import { historyRequest, nextOffset } from "../broker/kept.ts";
import type { HistoryPage } from "../engine/topics.ts";
import type { WarrenError } from "../errors.ts";
import type { CatchUp } from "./catch-up.ts";
import { Read } from "./read.ts";

export class HistoryRead extends Read {
  readonly #frame: ClientFrameOf<"history">;

  constructor(catchUp: CatchUp, frame: ClientFrameOf<"history">) {
    super(catchUp);
    this.#frame = frame;
  }

  protected proceed(): void {
    const { session, live } = this.catchUp;
    const { id, topic } = this.#frame;
    const request = historyRequest(this.#frame, live.broker);
    this.ask<HistoryPage>(
      (answered) => live.broker.engine.topics.history(request, answered),
      (page) => {
        session.credentials.assertMay("history", topic);
        if (id !== undefined) {
          session.reply(session.protocol.encoder.history(id, page, nextOffset(page)));
        }
        this.finish();
      },
    );
  }

  protected override failed(error: WarrenError): void {
    this.catchUp.session.refuse(this.#frame.id, "history", error);
  }
}
