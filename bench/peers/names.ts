/** The peers, each with what its confirm means. */
export const PEERS = {
  "redis-always": "Redis Streams, appendfsync always: fsync before the confirm",
  "redis-everysec": "Redis Streams, appendfsync everysec: fsync within a second after it",
  "jetstream-always": "NATS JetStream, sync_interval always: fsync before the confirm",
  "jetstream-default": "NATS JetStream, default sync_interval: fsync within two minutes after it",
  "rabbit-quorum": "RabbitMQ quorum queue, one node: fsync (Raft log) before the confirm",
  "rabbit-classic": "RabbitMQ classic durable queue: written, not fsynced, before the confirm",
  "bunqueue-durable": "bunqueue, durable jobs: committed, not fsynced, before the confirm",
  "bunqueue-buffered": "bunqueue, default: in a write buffer, committed 10 ms later",
} as const;

export type PeerName = keyof typeof PEERS;
