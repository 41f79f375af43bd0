/** The operations of the process itself: whether it is alive, what it is, how it does. */
import { Type } from "@sinclair/typebox";
import { type Operation, Time } from "./http-operation.ts";

const Health = Type.Object({
  state: Type.Union([Type.Literal("ready"), Type.Literal("unavailable")]),
  reason: Type.Optional(Type.String()),
  advice: Type.Optional(Type.String()),
});

const Info = Type.Object({
  name: Type.Literal("warren"),
  version: Type.String(),
  bun: Type.String(),
  node: Type.String(),
  startedAt: Time,
  engine: Type.Object({
    name: Type.String(),
    durable: Type.Boolean(),
    shared: Type.Boolean(),
    durability: Type.Union([Type.Literal("fsync"), Type.Literal("os"), Type.Literal("none")]),
  }),
  storage: Health,
  limits: Type.Record(Type.String(), Type.Integer()),
});

const Stats = Type.Object({
  time: Time,
  gauges: Type.Record(Type.String(), Type.Number()),
  counters: Type.Record(Type.String(), Type.Number()),
});

export const PLANE_OPERATIONS = {
  healthz: {
    method: "GET",
    path: "/healthz",
    summary: "Whether the process is alive.",
    access: "nobody",
    answer: Type.Object({ status: Type.Literal("ok") }),
  },
  readyz: {
    method: "GET",
    path: "/readyz",
    summary: "Whether the broker takes work: 503 while starting, draining or unable to write.",
    access: "nobody",
    answer: Type.Object({ status: Type.Literal("ready") }),
  },
  version: {
    method: "GET",
    path: "/version",
    summary: "What runs here.",
    access: "nobody",
    answer: Type.Object({ name: Type.Literal("warren"), version: Type.String() }),
  },
  metrics: {
    method: "GET",
    path: "/metrics",
    summary: "Figures for Prometheus; queue names are among them.",
    access: "admin",
    area: "metrics",
  },
  openapi: {
    method: "GET",
    path: "/openapi.json",
    summary: "This document.",
    access: "nobody",
    answer: Type.Object({}),
  },
  info: {
    method: "GET",
    path: "/admin/v1/info",
    summary: "What runs here, with which engine, durability and limits.",
    access: "admin",
    area: "info",
    answer: Info,
  },
  stats: {
    method: "GET",
    path: "/admin/v1/stats",
    summary: "Counters since the start and present figures.",
    access: "admin",
    area: "stats",
    answer: Stats,
  },
} as const satisfies Record<string, Operation>;
