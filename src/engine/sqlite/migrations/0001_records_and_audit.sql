CREATE TABLE `audit` (
	`number` integer PRIMARY KEY NOT NULL,
	`entry` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `records` (
	`number` integer PRIMARY KEY NOT NULL,
	`collection` text NOT NULL,
	`key` text NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `records_key` ON `records` (`collection`,`key`);