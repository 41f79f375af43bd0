/**
 * The native protocol: decodes what arrives, checks each frame against its schema and calls the session's
 * verb of the same name. One object per encoding serves all connections.
 */
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";
import { CLOSE } from "../../../schemas/errors.ts";
import {
  CLIENT_FRAMES,
  type ClientFrameOf,
  type ClientFrameType,
  FrameId,
} from "../../../schemas/frames.ts";
import type { Outcome } from "../../engine/engine.ts";
import { toWarrenError, WarrenError } from "../../errors.ts";
import type { FrameEncoder, Protocol } from "../../session/protocol.ts";
import type { Session } from "../../session/session.ts";
import { decodeJson, JsonEncoder } from "./json.ts";
import { decodeMsgpack, MsgpackEncoder } from "./msgpack.ts";

const ACK: Outcome = { kind: "ack" };

type Verbs = {
  readonly [T in ClientFrameType]: (session: Session, frame: ClientFrameOf<T>) => void;
};

const VERBS: Verbs = {
  publish: (session, frame) => session.publisher.publish(frame),
  batch: (session, frame) => session.publisher.batch(frame),
  reschedule: (session, frame) => session.publisher.reschedule(frame),
  unschedule: (session, frame) => session.publisher.unschedule(frame),
  subscribe: (session, frame) => session.live.subscribe(frame),
  history: (session, frame) => session.live.history(frame),
  unsubscribe: (session, frame) => session.live.unsubscribe(frame),
  presence: (session, frame) => session.live.presence(frame),
  consume: (session, frame) => session.work.consume(frame),
  credit: (session, frame) => session.work.credit(frame),
  cancel: (session, frame) => session.work.cancel(frame),
  ack: (session, frame) => session.work.settle(frame, ACK),
  nack(session, frame) {
    const { delayMs, reason } = frame;
    session.work.settle(frame, {
      kind: "nack",
      ...(delayMs !== undefined && { delayMs }),
      ...(reason !== undefined && { reason }),
    });
  },
  reject(session, frame) {
    const { reason } = frame;
    session.work.settle(frame, { kind: "reject", ...(reason !== undefined && { reason }) });
  },
  extend(session, frame) {
    const { byMs } = frame;
    session.work.settle(frame, { kind: "extend", ...(byMs !== undefined && { byMs }) });
  },
  auth: (session, frame) => session.auth(frame),
  ping: (session, frame) => session.ping(frame),
};

interface Verb {
  readonly check: TypeCheck<(typeof CLIENT_FRAMES)[ClientFrameType]>;
  readonly run: (session: Session, frame: never) => void;
}

const BY_TYPE = new Map<string, Verb>(
  (Object.keys(CLIENT_FRAMES) as ClientFrameType[]).map((type) => [
    type,
    { check: TypeCompiler.Compile(CLIENT_FRAMES[type]), run: VERBS[type] },
  ]),
);
const isFrameId = TypeCompiler.Compile(FrameId);
/** How many frames of one message are taken until it is asked whether that took long. */
const FRAMES_A_LOOK = 16;
/** Ids are bounded in bytes; the schema can only count characters. */
const ID_BYTES = 64;

export class NativeProtocol implements Protocol {
  /** What a client offers to speak it [P-1.2]. */
  readonly subprotocol: string;
  readonly encoder: FrameEncoder;
  /** Its messages are binary, not text. */
  readonly #packed: boolean;
  readonly #decode: (data: never) => unknown;

  private constructor(
    subprotocol: string,
    encoder: FrameEncoder,
    packed: boolean,
    decode: (data: never) => unknown,
  ) {
    this.subprotocol = subprotocol;
    this.encoder = encoder;
    this.#packed = packed;
    this.#decode = decode;
  }

  static json(): NativeProtocol {
    return new NativeProtocol("warren.v1.json", new JsonEncoder(), false, decodeJson);
  }

  static msgpack(): NativeProtocol {
    return new NativeProtocol("warren.v1.msgpack", new MsgpackEncoder(), true, decodeMsgpack);
  }

  receive(session: Session, data: string | Buffer): void {
    // Text is JSON's, binary MessagePack's, and nothing else can be meant [P-2.4].
    if ((typeof data === "string") === this.#packed) {
      session.close(
        CLOSE.unsupportedData,
        this.#packed ? "binary is expected" : "text is expected",
      );
      return;
    }
    let frames: unknown;
    try {
      frames = this.#decode(data as never);
    } catch (error) {
      session.fail(undefined, undefined, toWarrenError(error));
      return;
    }
    if (!Array.isArray(frames)) handle(session, frames);
    else if (frames.length <= session.limits.batch) handleFrom(session, frames, 0);
    else {
      const limit = session.limits.batch;
      const why = `A message holds more than ${limit} frames.`;
      bad(session, undefined, undefined, new WarrenError("invalid_frame", why, { limit }));
    }
  }
}

function handleFrom(session: Session, frames: readonly unknown[], start: number): void {
  for (let i = start; i < frames.length && !session.over; i++) {
    const looks = i > start && (i - start) % FRAMES_A_LOOK === 0;
    if (session.stopped || (looks && session.cutShort)) {
      holdFrom(session, frames, i);
      return;
    }
    handle(session, frames[i]);
  }
}

// Apart, since a function that makes another makes an object of what that captures, for each frame.
function holdFrom(session: Session, frames: readonly unknown[], start: number): void {
  session.hold(() => handleFrom(session, frames, start));
}

function hold(session: Session, frame: unknown): void {
  session.hold(() => {
    if (!session.over) handle(session, frame);
  });
}

function handle(session: Session, value: unknown): void {
  const frame = (typeof value === "object" && value !== null ? value : {}) as {
    readonly type?: unknown;
    readonly id?: unknown;
  };
  if (session.mustWait(frame.type)) {
    hold(session, value);
    return;
  }
  if (session.throttle !== undefined && !isAdmitted(session, frame)) return;
  const verb = BY_TYPE.get(frame.type as string);
  if (verb === undefined) refuseType(session, frame);
  else if (!verb.check.Check(frame) || longId(frame.id)) refuseShape(session, frame, verb);
  else {
    const type = frame.type as string;
    const id = frame.id as FrameId | undefined;
    if (session.state === "waiting" && type !== "auth") {
      bad(session, id, type, new WarrenError("unauthenticated", "The first frame must be auth."));
      return;
    }
    run(session, verb, frame, id, type);
  }
}

function run(
  session: Session,
  verb: Verb,
  frame: object,
  id: FrameId | undefined,
  type: string,
): void {
  try {
    verb.run(session, frame as never);
    session.badFrames = 0;
  } catch (thrown) {
    const error = toWarrenError(thrown);
    // What no schema can say of a frame is as bad as what one says [P-2.4].
    if (error.code === "invalid_frame") {
      bad(session, id, type, error);
      return;
    }
    session.badFrames = 0;
    if (error.code === "internal") session.fail(id, type, error);
    else session.refuse(id, type, error);
  }
}

/** Whatever it is, it counts [P-14.11]. */
function isAdmitted(session: Session, frame: { type?: unknown; id?: unknown }): boolean {
  try {
    session.throttle?.admit();
    return true;
  } catch (thrown) {
    const type = typeof frame.type === "string" ? frame.type.slice(0, 64) : undefined;
    session.refuse(idOf(frame), type, toWarrenError(thrown));
    return false;
  }
}

function refuseType(session: Session, frame: { type?: unknown; id?: unknown }): void {
  const { type } = frame;
  if (typeof type === "string") {
    const named = type.slice(0, 64);
    const error = new WarrenError("unknown_type", `There is no frame of type "${named}".`);
    session.refuse(idOf(frame), named, error);
    return;
  }
  const why = "A frame is an object with a type.";
  bad(session, idOf(frame), undefined, new WarrenError("invalid_frame", why, { pointer: "/type" }));
}

function refuseShape(session: Session, frame: { type?: unknown; id?: unknown }, verb: Verb): void {
  const fault = verb.check.Errors(frame).First();
  const pointer = fault?.path ?? "/id";
  const why = fault?.message ?? `an id has at most ${ID_BYTES} bytes`;
  // Of which message of a batch it is [P-5.14].
  const index = frame.type === "batch" ? /^\/publish\/(\d+)/.exec(pointer)?.[1] : undefined;
  const detail = index === undefined ? { pointer } : { pointer, index: Number(index) };
  const error = new WarrenError(
    "invalid_frame",
    `The frame does not fit: ${why} at ${pointer || "the top"}.`,
    detail,
  );
  bad(session, idOf(frame), frame.type as string, error);
}

function bad(
  session: Session,
  id: FrameId | undefined,
  type: string | undefined,
  error: WarrenError,
): void {
  session.refuse(id, type, error);
  if (++session.badFrames >= session.limits.badFramesInARow) {
    session.close(CLOSE.tooManyBadFrames, "too many bad frames in a row");
  }
}

/** The id to answer with, if the frame has one that could be. */
function idOf({ id }: { id?: unknown }): FrameId | undefined {
  return isFrameId.Check(id) && !longId(id) ? id : undefined;
}

function longId(id: unknown): boolean {
  return typeof id === "string" && id.length * 3 > ID_BYTES && Buffer.byteLength(id) > ID_BYTES;
}
