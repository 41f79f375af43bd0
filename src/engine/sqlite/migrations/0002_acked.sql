CREATE TABLE `acked` (
	`id` integer PRIMARY KEY NOT NULL,
	`attempts` integer NOT NULL,
	`acked_at` integer NOT NULL,
	`record` blob NOT NULL
);
--> statement-breakpoint
ALTER TABLE `queues` ADD `acked_messages` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `queues` ADD `acked_bytes` integer DEFAULT 0 NOT NULL;