CREATE TABLE `health` (
	`id` integer PRIMARY KEY NOT NULL,
	`probed_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `messages` (
	`id` integer PRIMARY KEY NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`due_at` integer,
	`expires_at` integer,
	`record` blob NOT NULL
);
--> statement-breakpoint
CREATE INDEX `messages_due` ON `messages` (`due_at`) WHERE "messages"."due_at" is not null;--> statement-breakpoint
CREATE INDEX `messages_expiry` ON `messages` (`expires_at`) WHERE "messages"."expires_at" is not null;--> statement-breakpoint
CREATE TABLE `queues` (
	`number` integer PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`settings` text NOT NULL,
	`bindings` text NOT NULL,
	`created_at` integer NOT NULL,
	`dead_letter_of` text,
	`messages` integer DEFAULT 0 NOT NULL,
	`bytes` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `queues_name_unique` ON `queues` (`name`);--> statement-breakpoint
CREATE TABLE `recent_ids` (
	`key` text PRIMARY KEY NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `recent_ids_expiry` ON `recent_ids` (`expires_at`);