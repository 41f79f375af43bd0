CREATE TABLE `history` (
	`id` integer PRIMARY KEY NOT NULL,
	`time` integer NOT NULL,
	`bytes_before` integer NOT NULL,
	`record` blob NOT NULL
);
--> statement-breakpoint
CREATE TABLE `keeping` (
	`id` integer PRIMARY KEY NOT NULL,
	`store` text NOT NULL,
	`inode` integer NOT NULL,
	`unsynced_boot` text,
	`generation` integer NOT NULL,
	`topics` integer NOT NULL,
	`history_messages` integer NOT NULL,
	`history_bytes` integer NOT NULL,
	`retained_messages` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `retained` (
	`number` integer PRIMARY KEY NOT NULL,
	`topic` text NOT NULL,
	`expires_at` integer,
	`record` blob NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `retained_topic_unique` ON `retained` (`topic`);--> statement-breakpoint
CREATE TABLE `topics` (
	`number` integer PRIMARY KEY NOT NULL,
	`topic` text NOT NULL,
	`generation` integer NOT NULL,
	`last_offset` integer NOT NULL,
	`messages` integer NOT NULL,
	`bytes` integer NOT NULL,
	`written_bytes` integer NOT NULL,
	`changed_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `topics_topic_unique` ON `topics` (`topic`);